"""The one-step vocoder's stage: tokens, some of them wrong, and a condition -> the sum of all embeddings. The codec is frozen.

The paper's loss is L1 + L2 of the embeddings (section 3.4), which counts all their directions alike. What they become is sound, so the
codec's spectral loss on a crop of the decoded sound is added.

A vocoder whose condition is in codec space learns, where it cleans speech, the vectors of the clean speech themselves, which the sum of all
embeddings stands for: what the last quantizer leaves over is nothing that a token or a condition tells of. They are standardised for the
loss, as a codec's numbers may be of any size. Where it speaks it learns frames of a source and a filter. Its letters stand where the
speller finds them in the tokens, wrong ones among them, as in use.

B batch, N samples, T codec frames, E embedding width.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lauragpt.audio import SAMPLE_RATE
from lauragpt.codec.losses import SpectralLoss
from lauragpt.errors import LauraError
from lauragpt.model.flow import Flow
from lauragpt.model.lauragpt import LauraModel
from lauragpt.model.multi_step import MultiStep
from lauragpt.model.vocoder import speech_loss, vocoder_loss
from lauragpt.sequence import layout
from lauragpt.train.batches import VocoderBatch, VocoderBatches, VocoderGroup, train_and_dev
from lauragpt.train.corpus import Corpus
from lauragpt.train.encoding import CodecTokens
from lauragpt.train.speech_frames import SpeechFrames
from lauragpt.train.stage import ModelStage, ModelStageConfig, Update
from lauragpt.train.stages.speller import with_errors


@dataclass(frozen=True)
class VocoderStageConfig(ModelStageConfig):
    weights: dict[str, float] = field(default_factory=lambda: {"tts": 1.0, "se": 1.0})
    token_errors: float = 0.08  # share of the tokens that are replaced by others, since the GPT errs
    written_tokens: float = 0.0  # chance that tokens are those which the GPT writes behind the true ones, where letters are found by them
    condition_mismatch: float = 0.0  # chance that noisy speech is another utterance's. It teaches the vocoder to distrust its condition
    pace_jitter: float = 0.1  # by how much, at most, speech is faster or slower than the pace that is given
    prompt_seconds: float = 3.0  # of the speaker's other utterance
    spectral_frames: int = 50  # codec frames of each batch that are decoded for the spectral loss
    spectral_windows: tuple[int, ...] = (64, 256, 512, 1024)


class VocoderStage(ModelStage):
    name, trained = "vocoder", ("vocoder",)
    Config = VocoderStageConfig

    def __init__(self, model: LauraModel, corpus: Corpus, config: VocoderStageConfig, seed: int = 0, rank: int = 0):
        if config.written_tokens and not model.config.vocoder.in_codec_space:
            raise LauraError("vocoder: written_tokens are for a vocoder with `condition: codec`, which the preset has not: leave it at 0")
        super().__init__(model, config)
        if not model.config.vocoder.in_codec_space:
            with torch.no_grad():  # at first, nearly nothing is added to the tokens' own embeddings
                model.vocoder.output.weight.mul_(0.1)
                model.vocoder.output.bias.zero_()
        model.codec.requires_grad_(False)  # the gradient of the sound goes through it
        tokens = frames = None
        if model.config.vocoder.in_codec_space:
            tokens = CodecTokens(model, corpus.waves, corpus.out)
            frames = SpeechFrames(corpus.waves, corpus.out / "speech_frames" if corpus.out else None)
            measure(model, corpus, frames, seed)
        elif isinstance(model.vocoder, Flow) and not model.vocoder.spread.any():
            measure_rest(model, corpus, seed)
        self.batch, self.dev_batch = train_and_dev(VocoderBatches, corpus, config, seed, rank, model.config.codec.hop, tokens, frames)
        self.spectral_loss = SpectralLoss(config.spectral_windows, SAMPLE_RATE).to(self.device)

    def tokens(self, batch: VocoderBatch) -> list[int]:
        """Of each group."""
        return [int(-(-group.clean.samples // self.model.config.codec.hop).sum()) for group in batch.groups]

    def sizes(self, batch: VocoderBatch) -> dict[str, float]:
        return {"tokens": sum(self.tokens(batch))}

    def step(self, batch: VocoderBatch, step: int, update: Update) -> dict[str, Tensor]:
        tokens = self.tokens(batch)
        loss = sum(self.loss(group) * (count / sum(tokens)) for group, count in zip(batch.groups, tokens, strict=True))
        update("model", {"tokens": loss})
        return {"loss": loss.detach(), batch.task: loss.detach()}

    def loss(self, group: VocoderGroup) -> Tensor:
        codec = self.model.codec.eval()
        clean, samples = group.clean.to(self.device)
        in_codec_space, vocoder = self.model.config.vocoder.in_codec_space, self.model.vocoder
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            codes = group.tokens.to(self.device)[:, None] if in_codec_space else codec.encode(clean, samples)
            target = group.target.to(self.device).float() if in_codec_space else codec.embed(codes)
        lengths, generator = -(-samples // codec.config.hop), torch.Generator().manual_seed(group.seed)
        tokens = self.written(group, lengths, generator) if group.written else codes[:, 0]
        tokens = with_errors(tokens, self.config.token_errors, self.model.config.audio_size, generator)
        given = self.conditions(group, tokens, lengths)
        if in_codec_space and group.text is not None:
            return speech_loss(vocoder.speech_numbers(tokens, lengths, **given), target, vocoder, lengths)
        if isinstance(vocoder, MultiStep):
            return self.level_loss(group, codes, tokens, lengths, given)
        if isinstance(vocoder, Flow):
            return vocoder.loss(tokens, codec.embed(tokens[:, None]), target, lengths, generator, **given)
        predicted = self.model.vocode(tokens, lengths, **given)
        loss = vocoder_loss(vocoder.standardised(predicted), vocoder.standardised(target), lengths)
        return loss + self.sound_loss(predicted, clean, lengths, generator)

    @torch.no_grad()
    def written(self, group: VocoderGroup, lengths: Tensor, generator: torch.Generator) -> Tensor:
        """(B, T): a token drawn from what the GPT expects at each place behind the group's own tokens, of which `lengths` (B,) are real."""
        model, counts = self.model, lengths.tolist()
        model.encoder.eval()
        vocabulary, task = model.vocabulary, "tts" if group.noisy is None else "se"
        heard = model.encode(*group.noisy.to(self.device)) if group.noisy is not None else None
        texts = [()] * len(counts)
        if group.text is not None:
            texts = [ids[:count].tolist() for ids, count in zip(group.text.ids, group.text.lengths, strict=True)]
        frames = heard.lengths.tolist() if heard is not None else [0] * len(counts)
        rows = zip(group.langs, group.tokens, counts, frames, texts, strict=True)
        layouts = [layout(vocabulary, task, lang, vocabulary.audio(codes[:n].tolist()), T, text) for lang, codes, n, T, text in rows]
        logits = model.output_logits(layouts, heard.embeddings if heard is not None else None).float().cpu()
        logits = logits[:, vocabulary.text_size : vocabulary.text_size + vocabulary.audio_size]
        noise = -torch.rand(logits.shape, generator=generator).clamp(min=1e-20).log().clamp(min=1e-20).log()  # of Gumbel
        drawn = (logits + noise).argmax(-1).split([n + 2 for n in counts])  # the language comes before, <eos> behind
        return pad_sequence([row[1:-1] for row in drawn], batch_first=True).to(self.device)

    def conditions(self, group: VocoderGroup, tokens: Tensor, lengths: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """Those of the group that are not empty, as the vocoder takes them beside tokens (B, T) of which `lengths` (B,) are real."""
        given = {"text": group.text, "prompt": group.prompt, "noisy": group.noisy}
        full = {name: tensors for name, tensors in given.items() if tensors is not None and tensors[0].shape[1]}
        there = {name: tuple(tensor.to(self.device) for tensor in tensors) for name, tensors in full.items()}
        in_codec_space = self.model.config.vocoder.in_codec_space
        reads = {"prompt": self.model.prompt_of, "noisy": self.model.noisy_of}
        heard = {name: reads[name](*tensors) if name in reads else tensors for name, tensors in there.items()}
        if "text" in heard and in_codec_space:
            ids, counts, _ = heard["text"]
            letters = [row[:count].tolist() for row, count in zip(ids, counts.tolist(), strict=True)]
            heard["text"] = ids, counts, self.model.said(tokens, lengths, letters)
        return heard

    def level_loss(self, group: VocoderGroup, codes: Tensor, tokens: Tensor, lengths: Tensor, given: dict) -> Tensor:
        """Where there are several steps: codes (B, K, T), tokens (B, T) with errors -> cross-entropy of the codes of one level, which is
        drawn."""
        at = 1 + group.seed % (self.model.config.vocoder.steps - 1)
        below = torch.cat([tokens[:, None], codes[:, 1:at]], 1)
        logits = self.model.vocoder.logits(tokens, below, self.model.codec, lengths, **given)
        real = torch.arange(tokens.shape[1], device=lengths.device) < lengths[:, None]
        return F.cross_entropy(logits[real], codes[:, at][real])

    def sound_loss(self, embeddings: Tensor, clean: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
        """embeddings (B, T, E), clean (B, N), lengths (B,) in frames -> the spectral loss of a random crop, the same for the whole
        batch."""
        hop, size = self.model.config.codec.hop, min(self.config.spectral_frames, embeddings.shape[1])
        start = int(torch.randint(embeddings.shape[1] - size + 1, (1,), generator=generator))
        lead = min(start, getattr(self.model.codec.decoder, "context", (0, 0))[0])  # a causal decoder also reads what came before
        lengths = (lengths - start).clamp(0, size)
        part = embeddings[:, start - lead : start + size].float()
        decoded = self.model.codec.decode_embeddings(part, lengths + lead)[:, lead * hop :]
        real = clean[:, start * hop : (start + size) * hop]
        real = F.pad(real, (0, decoded.shape[1] - real.shape[1]))
        return self.spectral_loss(decoded * (torch.arange(size * hop, device=lengths.device) < lengths[:, None] * hop), real)


@torch.no_grad()
def measure(model: LauraModel, corpus: Corpus, frames: SpeechFrames, seed: int = 0, count: int = 200) -> None:
    """Standardises what the vocoder reads and predicts over recordings that training draws from: the codec's vectors where it cleans
    speech, frames where it speaks. What is measured already stays as it is."""
    vocoder, device, waves = model.vocoder, model.gpt.embed_tokens.weight.device, corpus.waves
    model.codec.eval()

    def vectors(path: str) -> Tensor:
        return model.codec.vectors(torch.from_numpy(waves(path)).to(device)[None])[0]

    def drawn(task: str, deviation: Tensor, made: Callable[[str], Tensor]) -> list[Tensor]:
        examples = [example for example in corpus.train if example.task == task] if not deviation.any() else []
        chosen = np.random.default_rng((seed, 3)).integers(len(examples), size=count) if examples else ()
        return [made(examples[i].audio) for i in chosen]

    if rows := drawn("se", vocoder.deviation, vectors):
        vocoder.measure(torch.cat(rows))
    if rows := drawn("tts", vocoder.frame_deviation, frames):
        vocoder.measure_frames(torch.cat(rows).float().to(device))


@torch.no_grad()
def measure_rest(model: LauraModel, corpus: Corpus, seed: int = 0, count: int = 40) -> None:
    """Tells flow matching how much the quantizers behind the first add, over recordings that training draws from."""
    examples, device = [e for e in corpus.train if e.task in ("tts", "se")], model.gpt.embed_tokens.weight.device
    codec, rest = model.codec.eval(), []
    for i in np.random.default_rng((seed, 4)).integers(len(examples), size=count) if examples else ():
        codes = codec.encode(torch.from_numpy(corpus.waves(examples[i].audio))[None].to(device))
        rest.append((codec.embed(codes) - codec.embed(codes[:, :1]))[0])
    if rest:
        model.vocoder.measure_rest(torch.cat(rest))
