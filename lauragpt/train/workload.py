"""What a stage's step computes: batches of the recipe's size, as examples without sound -> the stage's networks on the meta device.

Batches are drawn as training draws them (data/loader.py); of a recording only its seconds count, of a text its letters, four to a token
where it is not spelled. CTC, spectra and what makes the batches are no matrix products, and are left out.

B batch, T frames, D width, N samples.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from lauragpt.audio import SAMPLE_RATE
from lauragpt.codec import Codec
from lauragpt.codec.discriminator import Discriminator
from lauragpt.data.manifest import Example
from lauragpt.errors import LauraError
from lauragpt.evaluate.speaker import SpeakerEncoder
from lauragpt.features import FeatureConfig
from lauragpt.model.encoder import EncoderOutput
from lauragpt.model.flow import Flow
from lauragpt.model.grouping import WASTE, alike, waste_on
from lauragpt.model.lauragpt import LauraConfig, LauraModel
from lauragpt.model.listener import Listener
from lauragpt.model.whisper import Whisper
from lauragpt.sequence import PACE, Layout, layout
from lauragpt.tasks import TASKS
from lauragpt.train.batches import EncoderBatches, VocoderBatches
from lauragpt.train.counting import Count, count
from lauragpt.train.encoding import stacked
from lauragpt.train.lora import LoraConfig, add_adapters
from lauragpt.train.stage import StageConfig
from lauragpt.train.stages import STAGES
from lauragpt.train.stages.listener import Reader
from lauragpt.train.text_batches import GPTBatches, JointBatches

DRAWN = 16  # batches whose mean is told; the one nearest to it is counted
LETTERS_A_TOKEN = 4.0
LETTERS_A_WORD = 5.5  # with the space
WORDS_OF_A_PHRASE = 0.4  # mean share of `phrase_words` (corpus.py: the power 1.5 of a share between 0 and 1)


@dataclass
class Batch:
    """Of a process and one batch; a step has `accumulate` of them."""

    examples: list[Example]
    heard: float = 0.0  # seconds of recordings that are decoded for it
    frames: int = 0  # that the GPT reads of recordings and posteriors
    text: int = 0  # text tokens, special ones among them
    audio: int = 0  # audio tokens
    padding: dict[str, float] = field(default_factory=dict)  # of a mean: network -> share of the places computed that hold nothing


def stage_modules(name: str, model: LauraModel, config: StageConfig, speakers: int = 0) -> nn.ModuleDict:
    """What a stage saves, its parameters marked as trained or not, as the stage itself has it. LauraError for a stage of which the
    model has no part."""
    if name in ("listener", "speller") and getattr(model, name) is None:
        raise LauraError(f"stages.{name}: the preset has no {name}: leave the stage out")
    device = model.posterior_embedding.weight.device
    if name == "speaker":
        encoder = SpeakerEncoder().to(device)
        return nn.ModuleDict({"speaker": encoder, "classes": nn.Linear(encoder.output.out_features, speakers, False, device)})
    if name == "codec":
        if model.listener is not None:
            model.listener.requires_grad_(False)
        if config.init:
            model.codec.encoder.requires_grad_(False)
        return nn.ModuleDict({"codec": model.codec, "discriminator": Discriminator(config.discriminator).to(device)})
    if frozen := getattr(config, "frozen_layers", 0):
        encoder = model.listener.encoder if name == "listener" else model.encoder
        if not isinstance(encoder, Whisper):
            raise LauraError("frozen_layers: the preset's encoder has no published layers: leave it out, or choose the preset mini")
        encoder.freeze(frozen)
    if name == "vocoder":
        model.codec.requires_grad_(False)
    modules = nn.ModuleDict({part: getattr(model, part) for part in STAGES[name].trained})
    if name == "listener":
        levels, bins = model.config.codec.quantizer.levels, model.listener.features.config.bins
        modules["reader"] = Reader(len(levels), model.config.encoder.units, bins, config.reader_width, config.reader_layers).to(device)
    if (lora := getattr(config, "lora", LoraConfig())).rank:
        add_adapters(modules, lora)
    return modules


def draw(
    name: str, model: LauraModel, config: StageConfig, examples: Sequence[Example], device: str = "cpu"
) -> tuple[Batch, Batch]:  # fmt: skip
    """(the batch that is counted, the mean of those drawn, of which it is the nearest). `device`: on which the padding would be. LauraError
    where no example fits."""
    if name in ("codec", "speaker"):
        rows = max(1, int(config.batch_seconds / config.crop_seconds))
        batch = Batch([], heard=rows * config.crop_seconds)
        return batch, batch
    reading = model, None, None
    parts = {"encoder": (EncoderBatches,), "listener": (EncoderBatches,), "speller": (EncoderBatches,), "gpt": (GPTBatches, *reading)}
    parts["joint"] = JointBatches, *reading
    kind, *more = parts.get(name, (VocoderBatches, model.config.codec.hop))
    plans = kind(None, examples, config, 0, 0, *more)
    steps = np.linspace(0, config.steps - 1, DRAWN).astype(int).tolist()
    drawn = [measured(name, model.config, config, plans.draw(step * config.accumulate, step)) for step in steps]
    padding = padding_of(name, model.config, config, [batch.examples for batch in drawn], torch.device(device))
    mean = Batch([], *(sum(getattr(each, key) for each in drawn) / DRAWN for key in ("heard", "frames", "text", "audio")), padding)
    size = lambda batch: batch.heard + (batch.frames + batch.text + batch.audio) / 25  # noqa: E731
    return min(drawn, key=lambda batch: abs(size(batch) - size(mean))), mean


def measured(name: str, sizes: LauraConfig, config: StageConfig, examples: list[Example]) -> Batch:
    if name == "vocoder":  # one task a batch
        examples = [example for example in examples if example.task == examples[0].task]
    batch = Batch(examples)
    as_tokens = {"gpt": TASKS, "speller": TASKS, "joint": ("tts",)}.get(name, ())  # tasks whose recordings are read as codec tokens
    batch.heard = sum(seconds_heard(example, config) for example in examples if example.task not in as_tokens)
    if name in ("encoder", "listener"):
        batch.text = sum(len(example.targets[0]) for example in examples)
        batch.frames = sum(sizes.features.length(int(example.duration * SAMPLE_RATE)) for example in examples)
    elif name in ("vocoder", "speller"):
        batch.audio = sum(codes_of(example) for example in examples)
    else:
        vocabulary = sizes.vocabulary
        for row in (row for rows in layouts_of(name, sizes, config, examples) for row in rows):
            batch.frames += row.frames
            sounds = int(vocabulary.sounds(np.array(row.ids)).sum())
            batch.audio, batch.text = batch.audio + sounds, batch.text + len(row.ids) - sounds
    return batch


def padding_of(
    name: str, sizes: LauraConfig, config: StageConfig, drawn: Sequence[Sequence[Example]], device: torch.device
) -> dict[str, float]:
    """Network -> the share of the places that it computes of these batches which hold nothing, since others of their group are longer."""
    held, computed = Counter(), Counter()
    for examples in drawn:
        for network, lengths, waste in _lengths(name, sizes, config, examples, device):
            held[network] += sum(lengths)
            computed[network] += sum(len(group) * max(lengths[i] for i in group) for group in alike(lengths, waste))
    return {network: 1 - held[network] / places for network, places in computed.items() if places}


def _lengths(
    name: str, sizes: LauraConfig, config: StageConfig, examples: Sequence[Example], device: torch.device
) -> Iterator[tuple[str, list[int], float]]:
    """(network, lengths of what it reads of a batch, the padding that it is allowed)"""
    if name == "vocoder":
        yield "vocoder", [codes_of(example) for example in examples], WASTE
    elif name == "speller":
        yield "speller", [codes_of(example) for example in examples], 1.0  # one group
    elif name in ("encoder", "listener"):
        width = sizes.encoder.width if name == "encoder" else sizes.codec.listener.get("width", 0)
        yield name, [sizes.features.length(int(e.duration * SAMPLE_RATE)) for e in examples], waste_on(device, width)
    else:
        plain, read = layouts_of(name, sizes, config, examples)
        if name == "joint":
            yield "encoder", [row.frames for row in plain if row.frames], waste_on(device, sizes.encoder.width)
        for rows in (plain, read) if name == "joint" else (plain + read,):
            yield "gpt", [row.length for row in rows], waste_on(device, sizes.gpt.width)


def seconds_heard(example: Example, config: StageConfig) -> float:
    crop = getattr(config, "sound_seconds", 0.0)
    return min(crop, example.duration) if crop and example.task == "aac" else example.duration


def codes_of(example: Example) -> int:
    return math.ceil(25 * example.duration)


def layouts_of(name: str, sizes: LauraConfig, config: StageConfig, examples: Sequence[Example]) -> tuple[list[Layout], list[Layout]]:
    """(sequences of the examples, those with a recording first; sequences that read posteriors). In the GPT's stage no example has a
    recording, and all but speech and translation are read from posteriors."""
    vocabulary, plain, read, prompts, injected = sizes.vocabulary, [], [], 0.0, 0.0

    def tokens(task: str, text: str) -> int:
        return len(text) if TASKS[task].letters else math.ceil(len(text) / LETTERS_A_TOKEN)

    def row(task: str, output: int, frames: int = 0, source: int = 0, sound: bool = False) -> Layout:
        return layout(vocabulary, task, "en", [vocabulary.text_size * sound] * output, frames, [0] * source)

    for example in examples:
        task, target = example.task, example.targets[0] if example.targets else ""
        spoken = example.extra.get("transcript") or target
        if task == "tts":
            prompts += config.voice_prompt
            times, prompts = 1 + (prompts >= 1), prompts % 1
            plain.append(row(task, times * codes_of(example), 0, times * len(example.source), sound=True))
        elif task == "mt":
            injected += config.text_injection
            if injected >= 1:
                read.append(row("s2tt", tokens("mt", target), round(PACE * len(example.source))))
            else:
                plain.append(row(task, tokens(task, target), 0, tokens(task, example.source)))
            injected %= 1
        elif name == "gpt":
            read.append(row(task, tokens(task, target), round(PACE * len(spoken))))
        else:
            frames = sizes.features.length(int(seconds_heard(example, config) * SAMPLE_RATE))
            sound = task == "se"
            plain.append(row(task, codes_of(example) if sound else tokens(task, target), frames, sound=sound))
    count = config.phrases * len(examples) if name == "gpt" else max(1, config.phrases * len(plain)) if config.phrases else 0
    letters = round((1 + WORDS_OF_A_PHRASE * config.phrase_words) * LETTERS_A_WORD)
    read += [row("asr", letters, round(PACE * letters)) for _ in range(round(count))]
    read += [row("slu", 16, round(PACE * 60)) for _ in range(round(getattr(config, "slu_templates", 0) * len(plain)))]
    return sorted(plain, key=lambda each: not each.frames), read


def count_batch(name: str, model: LauraModel, modules: nn.ModuleDict, config: StageConfig, batch: Batch, bf16: bool, fused: bool) -> Count:
    """Forward and backward of a batch, of a model on the meta device."""
    model.eval()  # no layer is dropped
    modules.eval()
    for module in [module for module in (model.listener, modules["speaker"] if name == "speaker" else None) if module is not None]:
        module.features = Given(module.features.config)
    losses: dict[str, Callable[[], Tensor]] = {
        "encoder": lambda: _encoder(model, config, batch), "listener": lambda: _listener(model, modules["reader"], config, batch),
        "speller": lambda: _speller(model, batch), "gpt": lambda: _reading("gpt", model, config, batch),
        "joint": lambda: _reading("joint", model, config, batch), "vocoder": lambda: _vocoder(model, config, batch),
        "codec": lambda: _codec(model.codec, modules["discriminator"], config, batch),
        "speaker": lambda: _speaker(modules, config, batch),
    }  # fmt: skip
    return count(nn.ModuleList([model, modules]), losses[name], bf16, fused)


def _meta(*shape: int, **more: object) -> Tensor:
    return torch.zeros(*shape, device="meta", **more)


class Given(nn.Module):
    """Features (B, T, F) of waves (B, N), of shapes alone: to make the real ones, numbers are read."""

    def __init__(self, config: FeatureConfig):
        super().__init__()
        self.config = config

    def forward(self, waves: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        return _meta(len(waves), self.config.length(waves.shape[1]), self.config.width), _meta(len(waves), dtype=torch.int64)


def _encoder(model: LauraModel, config: StageConfig, batch: Batch) -> Tensor:
    outputs = _listen(model, config, [example.duration for example in batch.examples])
    return sum(letters_of(output).sum() for output in outputs)


def letters_of(output: EncoderOutput) -> Tensor:
    """What CTC learns, of the last layer and, where there is one, of the middle (B, T, U or 2 U)."""
    middle = output.middle_log_probs
    return output.ctc_log_probs if middle is None else torch.cat([output.ctc_log_probs, middle], -1)


def _listener(model: LauraModel, reader: Reader, config: StageConfig, batch: Batch) -> Tensor:
    outputs = _listen(model.listener, config, [example.duration for example in batch.examples])
    read = [each for output in outputs for each in reader(output.embeddings.float(), output.lengths)]
    return sum(each.sum() for each in read[:: 1 if config.sound_weight else 2])


def _speller(model: LauraModel, batch: Batch) -> Tensor:
    lengths = [codes_of(example) for example in batch.examples]
    return model.speller(_meta(len(lengths), max(lengths), dtype=torch.int64), _meta(len(lengths), dtype=torch.int64)).sum()


def _listen(hearer: LauraModel | Listener, config: StageConfig, seconds: Sequence[float]) -> list[EncoderOutput]:
    """Of recordings in groups of like length, from the longest on."""
    features, encoder, depth, outputs = hearer.features.config, hearer.encoder, getattr(config, "frozen_layers", 0), []
    lengths = [features.length(int(each * SAMPLE_RATE)) for each in seconds]
    for group in alike(lengths):
        shape, count = (len(group), max(lengths[i] for i in group)), _meta(len(group), dtype=torch.int64)
        heard = _meta(*shape, dtype=torch.int64) if features.kind == "codes" else _meta(*shape, features.width)
        if not depth:
            outputs.append(encoder(heard, count))
        elif config.frames_gigabytes:  # made once
            kept = _meta(len(group), 2 * heard.shape[1], len(encoder.layers_below(depth)), encoder.config.width)
            outputs.append(encoder.above(kept, count, depth))
        else:
            with torch.no_grad():
                below = encoder.below(heard, count, depth)
            outputs.append(encoder.above(below, count, depth))
    return [hearer.with_posteriors(output) for output in outputs]


def _reading(name: str, model: LauraModel, config: StageConfig, batch: Batch) -> Tensor:
    plain, read = layouts_of(name, model.config, config, batch.examples)
    loss, heard = _meta(1), []
    if any(row.frames for row in plain):
        seconds = [seconds_heard(example, config) for example in batch.examples if example.audio and example.task != "tts"]
        outputs = _listen(model, config, seconds)
        heard, loss = [output.embeddings for output in outputs], loss + sum(letters_of(output).sum() for output in outputs)
    if read:
        heard.append(model.embed_posteriors(_meta(len(read), max(row.frames for row in read), model.config.encoder.units)))
    return (loss + model.loss(plain + read, stacked(heard), len(plain) if name == "joint" else 0).sum()).sum()


def _quantize(codec: Codec, latents: Tensor) -> Tensor:
    """(B, T, D) -> (B, T, D): the search of each level's nearest code."""
    own, _ = codec.quantizer.split(latents)
    points, config = own.detach().flatten(0, 1).float(), codec.quantizer.config
    for _ in range(config.n_quantizers):
        points @ _meta(config.dim, config.codebook_size)
    return own


def _vocoder(model: LauraModel, config: StageConfig, batch: Batch) -> Tensor:
    sizes, codec, loss = model.config.vocoder, model.codec, _meta(1)
    lengths = [codes_of(example) for example in batch.examples]
    for group in alike(lengths):
        examples, T, size = [batch.examples[i] for i in group], max(lengths[i] for i in group), len(group)
        count, whole = _meta(size, dtype=torch.int64), _meta(size, T * codec.config.hop)
        tokens, first = _meta(size, T, dtype=torch.int64), _meta(size, T, sizes.embedding)
        with torch.no_grad():
            if not sizes.in_codec_space:
                _quantize(codec, codec.latents(whole))
            elif examples[0].task == "se":
                codec.vectors(whole)
        given = {}
        if examples[0].task == "se":
            given["noisy"] = _meta(size, T, sizes.noisy_width), count
        else:
            letters, prompt = max(len(example.source) for example in examples), max(1, int(25 * config.prompt_seconds))
            places = _meta(size, T, dtype=torch.int64) if sizes.in_codec_space else _meta(size)
            given["text"] = _meta(size, letters, dtype=torch.int64), count, places
            given["prompt"] = _meta(size, prompt, sizes.features), count
        if sizes.in_codec_space and examples[0].task == "tts":
            loss = loss + model.vocoder.speech_numbers(tokens, count, **given).sum()
            continue
        if isinstance(model.vocoder, Flow):  # it learns the velocity at one time, and no sound
            loss = loss + model.vocoder.velocity(tokens, first, _meta(size), count, **given).sum()
            continue
        predicted = model.vocoder(tokens, first, count, **given)
        decoded = codec.decode_embeddings(predicted[:, : config.spectral_frames].float())
        loss = loss + predicted.sum() + decoded.sum()
    return loss.sum()


def _codec(codec: Codec, discriminator: Discriminator, config: StageConfig, batch: Batch) -> Tensor:
    """As in the last steps, where the discriminator has joined if it ever does."""
    rows, size = round(batch.heard / config.crop_seconds), int(config.crop_seconds * SAMPLE_RATE)
    decoded = codec.decode_embeddings(_quantize(codec, codec.latents(_meta(rows, size))))
    loss = decoded.sum()
    if config.steps > config.adversarial_from:
        crop = decoded[:, : int(config.adversarial_seconds * SAMPLE_RATE)]
        real = torch.zeros_like(crop)
        with torch.no_grad():
            discriminator(real)
        discriminator.requires_grad_(False)
        loss = loss + judged(discriminator, crop)
        discriminator.requires_grad_(True)
        loss = loss + judged(discriminator, real) + judged(discriminator, crop.detach())
    return loss


def judged(discriminator: Discriminator, wave: Tensor) -> Tensor:
    return sum(each.sum() for each in discriminator(wave).logits)


def _speaker(modules: nn.ModuleDict, config: StageConfig, batch: Batch) -> Tensor:
    rows, size = round(batch.heard / config.crop_seconds), int(config.crop_seconds * SAMPLE_RATE)
    embedded = modules["speaker"](_meta(rows, size), _meta(rows, dtype=torch.int64))
    return nn.functional.linear(embedded, modules["classes"].weight).sum()
