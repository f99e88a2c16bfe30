"""LauraModel: the parts of the flow composed, their presets, and a checkpoint's folder.

    waves -> features -> encoder -> frames (B, T, D) -> gpt -> logits (B, S, V)
    codes (B, T) + condition -> vocoder -> embeddings (B, T, E) -> codec decoder -> waves
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lauragpt.checkpoint import FORMAT, file_of, read_config, weight_files
from lauragpt.codec import CODEC_PRESETS, Codec, CodecConfig
from lauragpt.codec.codec import in_eight_bits
from lauragpt.ctc import follow_rows
from lauragpt.errors import TYPE_NAMES, LauraError
from lauragpt.features import LISTENER_FEATURES, WHISPER_FEATURES, FeatureConfig
from lauragpt.model.conformer import ConformerConfig, sinusoids
from lauragpt.model.discrete import Codes, check_codes
from lauragpt.model.encoder import EncoderOutput
from lauragpt.model.encoders import EncoderConfig, encoder_config, make_encoder
from lauragpt.model.flow import Flow
from lauragpt.model.gpt import GPT, GPTConfig
from lauragpt.model.grouping import alike, waste_on
from lauragpt.model.listener import Listener
from lauragpt.model.log_mel import Features, make_features
from lauragpt.model.multi_step import MultiStep
from lauragpt.model.speller import Speller
from lauragpt.model.vocoder import Vocoder, VocoderConfig
from lauragpt.model.whisper import WhisperConfig
from lauragpt.sequence import Layout, Vocabulary, times_of
from lauragpt.stored_weights import SCALE, quantize, read_tensor, stored_shapes
from lauragpt.tasks import ADDED, add_rows, added_rows

VOCABULARY = ("embed_tokens.weight", "lm_head.weight")  # what has a row for each token


@dataclass(frozen=True)
class LauraConfig:
    """Every size. The widths where two parts meet are derived, not said twice."""

    text_size: int = 2048
    audio_size: int = 1024
    features: FeatureConfig = field(default_factory=FeatureConfig)
    encoder: EncoderConfig = field(default_factory=ConformerConfig)
    gpt: GPTConfig = field(default_factory=lambda: GPTConfig(vocabulary=0))
    vocoder: VocoderConfig = field(default_factory=VocoderConfig)
    codec: CodecConfig = field(default_factory=lambda: CODEC_PRESETS["mini"])
    posterior_temperature: float = 1.0  # of the CTC head's probabilities as the GPT reads them: above 1, less likely units stand out more
    time_aligned: bool = False  # the letters of a transcript stand when they are said (ctc.py), and not behind the frames
    posteriors: bool = True  # the GPT also reads what the CTC head makes of each frame

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self.text_size, self.audio_size, self.features.parts)

    @property
    def discrete(self) -> bool:
        """Whether the GPT reads recordings as the codec's codes (discrete.py), and nothing tells letters."""
        return self.features.kind == "codes"

    @classmethod
    def from_dict(cls, values: dict) -> "LauraConfig":
        parts = {"features": FeatureConfig, "gpt": GPTConfig, "vocoder": VocoderConfig}
        made = {name: parts[name](**value) if name in parts else value for name, value in values.items()}
        made["codec"], made["encoder"] = CodecConfig.from_dict(values["codec"]), encoder_config(values["encoder"])
        return cls(**made)

    def to_dict(self) -> dict:
        return asdict(self) | {"codec": self.codec.to_dict()}


def compose(text_size: int, codec: CodecConfig, features: dict, encoder: dict, gpt: dict, vocoder: dict) -> LauraConfig:
    """A configuration whose parts fit each other."""
    front = FeatureConfig(**features)
    audio_size = codec.quantizer.codebook_size
    return LauraConfig(
        text_size=text_size,
        audio_size=audio_size,
        features=front,
        encoder=encoder_config({"input": front.width, "output": gpt["width"], **encoder}),
        gpt=GPTConfig(vocabulary=Vocabulary(text_size, audio_size).size, **gpt),
        vocoder=VocoderConfig(
            audio_size=audio_size, text_size=text_size, features=FeatureConfig(skip=4).width, embedding=codec.quantizer.dim, **vocoder
        ),
        codec=codec,
        posterior_temperature=2.0,
        time_aligned="units" not in encoder,  # a CTC head on other units than letters tells no letter's time
    )


PRESETS: dict[str, LauraConfig] = {
    "debug": compose(
        320, CODEC_PRESETS["debug"], {},
        {"width": 32, "layers": 2, "heads": 2, "ffn": 64, "kernel": 5, "intermediate_layer": 1},
        {"width": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_width": 16, "ffn": 64},
        {"width": 32, "layers": 2, "heads": 2, "ffn": 64},
    ),
    "mini": compose(
        2048, CODEC_PRESETS["mini"], WHISPER_FEATURES,
        {"kind": "whisper", "width": 512, "layers": 6, "heads": 8, "ffn": 2048, "drop_layer": 0.05},
        {"width": 256, "layers": 8, "heads": 4, "kv_heads": 2, "head_width": 64, "ffn": 768},
        {"width": 256, "layers": 4, "heads": 4, "ffn": 768},
    ),
    "mini-lyra": compose(
        2048, CODEC_PRESETS["lyra"], WHISPER_FEATURES,
        {"kind": "whisper", "width": 512, "layers": 6, "heads": 8, "ffn": 2048, "drop_layer": 0.05},
        {"width": 256, "layers": 8, "heads": 4, "kv_heads": 2, "head_width": 64, "ffn": 768},
        {"width": 256, "layers": 4, "heads": 4, "ffn": 1024, "look_ahead": 0, "kernel": 5, "condition": "codec"},
    ),
    "scratch": compose(
        2048, CODEC_PRESETS["mini"], {},
        {"width": 192, "layers": 8, "heads": 4, "ffn": 768, "drop_layer": 0.1, "intermediate_layer": 3},
        {"width": 256, "layers": 6, "heads": 4, "kv_heads": 2, "head_width": 64, "ffn": 768},
        {"width": 256, "layers": 4, "heads": 4, "ffn": 768},
    ),
    "paper-2b": compose(
        151_936, CODEC_PRESETS["paper"], {"skip": 6},
        {"width": 512, "layers": 32, "heads": 16, "ffn": 1536, "units": 1024},
        {"width": 2048, "layers": 24, "heads": 16, "kv_heads": 16, "head_width": 128, "ffn": 5504,
         "qkv_bias": True, "qk_norm": False, "tied": False},
        {"width": 512, "layers": 6, "heads": 8, "ffn": 2048, "look_ahead": 1},
    ),
}  # fmt: skip


def with_changes(config: LauraConfig, changes: Mapping) -> LauraConfig:
    """The configuration with other values, by their names and those of the parts. Widths where two parts meet follow. LauraError for a
    name that there is not, or for parts that do not go together."""
    if not changes:
        return config
    kind = (changes.get("encoder") or {}).get("kind", config.encoder.kind)
    start = config if kind == config.encoder.kind else replace(config, encoder=encoder_config({"kind": kind}))
    values = merged(start.to_dict(), changes, "model")
    made = LauraConfig.from_dict(values)
    if made.vocoder.steps > (most := made.codec.quantizer.n_quantizers):
        raise LauraError(f"model.vocoder.steps is {made.vocoder.steps}, and the codec has {most} quantizers: give no more")
    if kind == "codes":
        check_codes(made)
        made = replace(made, features=made.encoder.features)
    elif made.discrete:
        raise LauraError(f"model.features.kind is codes, and encoder.kind is {kind}: set that to codes too, or leave features.kind out")
    widths = {"whisper": {}, "conformer": {"input": made.features.width}, "codes": {"size": made.codec.quantizer.codebook_size}}
    encoder = {"output": made.gpt.width} | widths[kind]
    vocoder = {"audio_size": made.audio_size, "text_size": made.text_size, "embedding": made.codec.quantizer.dim}
    return replace(made, encoder=replace(made.encoder, **encoder), vocoder=replace(made.vocoder, **vocoder))


def merged(values: Mapping, changes: Mapping, where: str) -> dict:
    """Nested mappings of values with some of them changed. LauraError for a key that there is not, or for a value of another type."""
    made = dict(values)
    for key, change in changes.items():
        if key not in made:
            raise LauraError(f"{where}: unknown key {key!r}: allowed are {', '.join(made)}")
        kind = type(made[key])
        if made[key] is not None and type(change) is not kind and (kind, type(change)) not in ((float, int), (tuple, list)):
            raise LauraError(f"{where}.{key} must be {TYPE_NAMES[kind]}, not {change!r}")
        made[key] = merged(made[key], change, f"{where}.{key}") if isinstance(change, Mapping) else change
    return made


def with_encoder(config: LauraConfig, encoder: WhisperConfig) -> LauraConfig:
    """The configuration with an encoder of Whisper's kind of other sizes."""
    return replace(config, encoder=encoder, features=replace(config.features, bins=encoder.bins))


def with_gpt(config: LauraConfig, gpt: GPTConfig) -> LauraConfig:
    """The configuration with a GPT from outside, whose vocabulary are the text tokens."""
    size = Vocabulary(gpt.vocabulary, config.audio_size).size
    return replace(
        config, text_size=gpt.vocabulary, gpt=replace(gpt, vocabulary=size), encoder=replace(config.encoder, output=gpt.width),
        vocoder=replace(config.vocoder, text_size=gpt.vocabulary),
    )  # fmt: skip


class LauraModel(nn.Module):
    def __init__(self, config: LauraConfig, gpt: GPT | None = None):
        """gpt: one that has its weights, of the configuration's sizes; without it the GPT is random."""
        super().__init__()
        size = max(config.gpt.vocabulary, config.vocabulary.size)  # larger where a task was added since
        config = replace(config, gpt=replace(config.gpt, vocabulary=size))
        self.config, self.vocabulary = config, config.vocabulary
        self.condition = Features(FeatureConfig(skip=4))  # the vocoder's features, where it reads such, run at the rate of the tokens
        self.encoder = make_encoder(config.encoder)
        self.posterior_embedding = nn.Linear(config.encoder.units, config.gpt.width, bias=False)
        self.gpt = GPT(config.gpt) if gpt is None else gpt
        self.vocoder = (Flow if config.vocoder.flow else Vocoder if config.vocoder.steps == 1 else MultiStep)(config.vocoder)
        sizes = config.vocoder.speller, config.audio_size, config.text_size
        self.speller = Speller(*sizes) if config.vocoder.in_codec_space else None
        listener = config.codec.listener
        self.codec = Codec.from_config(config.codec, Listener(LISTENER_FEATURES, encoder_config(listener)) if listener else None)
        self.features = Codes(config.features, self.codec) if config.discrete else make_features(config.features)
        # Frames start as small as the token embeddings beside which the GPT reads them. The intermediate layer's are larger: they must
        # count from the start.
        nn.init.normal_(self.posterior_embedding.weight, std=0.02)
        if self.encoder.output is not None:
            nn.init.normal_(self.encoder.output.weight, std=0.002)
            nn.init.zeros_(self.encoder.output.bias)

    @property
    def listener(self) -> Listener | None:
        return self.codec.listener

    def encode(self, waves: Tensor, samples: Tensor) -> EncoderOutput:
        """(B, N), (B,) -> EncoderOutput."""
        return self.listen(*self.features(waves, samples))

    def listen(self, features: Tensor, lengths: Tensor) -> EncoderOutput:
        """(B, T, F), (B,) -> EncoderOutput, for the GPT: the encoder's frames plus, where it reads posteriors, an embedding of those of its
        CTC head (the probabilities times a matrix, as in LegoSLM, arXiv 2505.11352). The second part can be learnt from text alone."""
        return self.with_posteriors(self.encoder(features, lengths))

    def with_posteriors(self, output: EncoderOutput) -> EncoderOutput:
        if not self.config.posteriors:
            return output
        return replace(output, embeddings=output.embeddings + self.embed_posteriors(output.ctc_log_probs.exp()))

    def embed_posteriors(self, probabilities: Tensor) -> Tensor:
        """The CTC head's probabilities of each frame (B, T, U), with sinusoidal positions -> (B, T, D)."""
        temperature = self.config.posterior_temperature
        embedded = self.posterior_embedding(probabilities if temperature == 1 else probabilities.clamp(min=1e-6).pow(1 / temperature))
        return embedded + 0.1 * sinusoids(embedded.shape[1], embedded.shape[2], embedded.device).to(embedded.dtype)

    def vocode(self, codes: Tensor, lengths: Tensor, text=None, prompt=None, noisy=None) -> Tensor:
        """codes (B, T); prompt and noisy speech as `prompt_of` and `noisy_of` give them, the text's letters as the vocoder takes them, or
        None -> embeddings (B, T, E)."""
        if isinstance(self.vocoder, MultiStep):
            return self.codec.embed(self.vocoder.codes(codes, self.codec, lengths, text=text, prompt=prompt, noisy=noisy))
        return self.vocoder(codes, self.codec.embed(codes[:, None]), lengths, text, prompt, noisy)

    @torch.no_grad()
    def said(self, codes: Tensor, lengths: Tensor, letters: Sequence[Sequence[int]]) -> Tensor:
        """Which of a row's letters each of its codes (B, T), of which `lengths` (B,) are real, says: (B, T), -1 for none."""
        spelled = self.speller(codes, lengths).cpu().numpy()
        return torch.from_numpy(follow_rows(spelled, lengths.tolist(), letters)).to(codes.device)

    @torch.no_grad()
    def prompt_of(self, waves: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Waves (B, N), (B,), of which one without samples is none -> what the vocoder reads of a voice (B, P, F), at the rate of the
        tokens, and how many frames (B,)."""
        features, lengths = self.condition(waves, samples)
        return features, torch.where(samples > 0, lengths, 0)

    @torch.no_grad()
    def noisy_of(self, waves: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """The same of noisy speech: its features or, in codec space, the codec's vectors of it."""
        if not self.config.vocoder.in_codec_space:
            return self.prompt_of(waves, samples)
        with torch.autocast(waves.device.type, enabled=False):
            return self.codec.vectors(waves, samples), -(-samples // self.config.codec.hop)

    def loss(self, layouts: Sequence[Layout], frames: Tensor | None, apart: int = 0) -> Tensor:
        """Cross-entropy over output tokens only, one number per token (n,). Rows with frames take those of `frames` (B, T, D) in order. The
        first `apart` rows are padded among themselves: it costs less where the others are much shorter."""
        targets = np.array([i for row in layouts for i, counts in zip(row.ids, row.targets, strict=True) if counts])
        logits = self.output_logits(layouts, frames, apart)
        return nn.functional.cross_entropy(logits.float(), to_device(targets, logits.device), reduction="none")

    def output_logits(self, layouts: Sequence[Layout], frames: Tensor | None, apart: int = 0) -> Tensor:
        """(n, V): from which each output token is predicted, behind those before it. Arguments as of `loss`."""
        device = self.gpt.embed_tokens.weight.device
        embeddings = self.gpt.embed(to_device(np.array([i for row in layouts for i in row.read or row.ids]), device))
        sources, begun = [embeddings, embeddings.new_zeros(1, embeddings.shape[1])], 0
        if frames is not None:
            sources, begun = [frames.flatten(0, 1).to(embeddings.dtype), *sources], frames.shape[0] * frames.shape[1]
        # All that is read, one row after the other: where each sequence's frames and ids begin there, and behind all a row of padding.
        heard = np.cumsum([0, *(row.frames > 0 for row in layouts)]) * (frames.shape[1] if frames is not None else 0)
        written, read = begun + np.cumsum([0, *(len(row.ids) for row in layouts)]), torch.cat(sources)
        batches, first, size = [], np.zeros(len(layouts), np.int64), 0  # first: where each sequence's states begin
        for group in alike([row.length for row in layouts], waste_on(device, self.config.gpt.width), apart):
            shape = len(group), max(layouts[i].length for i in group)
            places, times = np.full(shape, written[-1]), np.zeros(shape, np.float32)
            for at, i in enumerate(group):
                row = layouts[i]
                places[at, : row.frames] = np.arange(heard[i], heard[i] + row.frames)
                places[at, row.frames : row.length] = np.arange(written[i], written[i + 1])
                times[at, : row.length] = times_of(self.vocabulary, row)
                first[i] = size + at * shape[1]
            rows = read.index_select(0, to_device(places.reshape(-1), device)).unflatten(0, shape)
            batches.append((rows, to_device(times, device)))
            size += shape[0] * shape[1]
        # The output at a position is predicted at the position before it.
        counted = [np.flatnonzero(row.targets) for row in layouts]
        before = [start + row.frames + at - 1 for start, row, at in zip(first, layouts, counted, strict=True)]
        return self.gpt.logits(self.gpt.hidden_of(*zip(*batches, strict=True)).index_select(0, to_device(np.concatenate(before), device)))


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """A small array on the device, on its way there while the program goes on."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def stored_tensors(model: LauraModel) -> dict[str, Tensor]:
    """The tensors as a checkpoint stores them: matrices and kernels of encoders of Whisper's kind in 8 bits, all others in fp16.

    Such an encoder is most of the smaller presets, and its frames change by little more than a hundredth.
    """
    stored, whisper = {}, model.config.encoder.kind == "whisper"
    for name, tensor in model.state_dict().items():
        matrix = name.endswith(".weight") and tensor.ndim > 1
        if (whisper and matrix and name.startswith("encoder.")) or in_eight_bits(name.removeprefix("codec."), tensor):
            values, scales = quantize(tensor.float().cpu().numpy())
            stored |= {name: torch.from_numpy(values), name + SCALE: torch.from_numpy(scales)}
        else:
            stored[name] = tensor.half().contiguous() if tensor.is_floating_point() else tensor
    return stored


def save_checkpoint(model: LauraModel, folder: Path, **about: object) -> None:
    """`config.json` and what `stored_tensors` gives, written aside and then renamed one after the other. `about`: corpora, licences, a
    name."""
    folder.mkdir(parents=True, exist_ok=True)
    state = stored_tensors(model)
    config = {"format": FORMAT, "codec_hash": model.codec.hash, **about, "model": model.config.to_dict()}
    config |= {"added": added_rows()} if ADDED else {}
    written = []
    for path in weight_files(folder):
        written.append((path.with_suffix(".part"), path))
        save_file({name: tensor for name, tensor in state.items() if file_of(name) == path.name}, written[-1][0])
        os.chmod(written[-1][0], 0o644)  # a package that others on the machine can read
    written.append((folder / "config.json.part", folder / "config.json"))
    written[-1][0].write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for aside, path in written:
        os.replace(aside, path)


def load_checkpoint(folder: Path) -> LauraModel:
    """The model of a folder, float32, rebuilt from its own configuration. LauraError when it is foreign, or when its weights are not those
    of its configuration.

    Beside the model one tensor at a time is in memory. The largest come first, while memory for the others is not in use yet.
    """
    config = read_config(folder)
    if config.get("format") != FORMAT:
        raise LauraError(f"{folder} is not a LauraGPT checkpoint: its config.json must say format {FORMAT!r}")
    shapes = stored_shapes(folder)  # a damaged file is told before anything is built
    add_rows(config.get("added") or [], str(folder))
    with Unfilled():
        model = LauraModel(LauraConfig.from_dict(config["model"]))
    if model.config.gpt.vocabulary > model.vocabulary.size:
        raise LauraError(f"{folder} knows more tasks than were added here: add them in the same order before it is loaded (tasks.add_task)")
    own = model.state_dict()
    check_shapes(folder, shapes, own)
    for name in sorted(own, key=lambda name: -own[name].numel()):
        stored, place = torch.from_numpy(read_tensor(folder, name)), own[name]
        if stored.shape != place.shape:
            nn.init.normal_(place[len(stored) :], std=0.02)  # rows of tasks that were added since begin as in a new GPT
            place = place[: len(stored)]
        place.copy_(stored)
    return model.eval()


class Unfilled(TorchFunctionMode):
    """Modules that are made here do not fill their parameters by chance, as they will be read: that takes as long as reading them."""

    def __torch_function__(self, function: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None) -> object:
        if function in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_):
            return (kwargs or {}).get("tensor", args[:1])
        return function(*args, **(kwargs or {}))


def check_shapes(folder: Path, stored: Mapping[str, tuple[int, ...]], own: Mapping[str, Tensor]) -> None:
    """LauraError where the tensors of a checkpoint are not those of the model, but for rows of the vocabulary that it has not yet."""
    for name in sorted(own.keys() | stored.keys()):
        if name not in stored or name not in own:
            wrong = f"{name} is missing" if name in own else f"its configuration has no place for {name}"
        elif stored[name] != (shape := tuple(own[name].shape)):
            if name.endswith(VOCABULARY) and stored[name][1:] == shape[1:] and stored[name][0] < shape[0]:
                continue
            wrong = f"{name} has the shape {stored[name]}, and by its config.json {shape}"
        else:
            continue
        raise LauraError(f"{folder} is not a whole LauraGPT checkpoint ({wrong}): fetch or export it again")


def with_new_rows(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The state dict with the model's own rows of the vocabulary behind those it has: the tokens of tasks that were added since."""
    own = model.state_dict()
    short = [k for k in state if k.endswith(VOCABULARY) and len(state[k]) < len(own[k])]
    return state | {key: torch.cat([state[key], own[key][len(state[key]) :].to(state[key])]) for key in short}
