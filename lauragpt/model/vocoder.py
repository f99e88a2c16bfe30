"""The one-step vocoder's predictor: audio tokens (B, T) + condition -> the sum of all quantizers' embeddings (B, T, E), in one pass.

Paper, section 3.4: a transformer is given the first quantizer's tokens and a condition, and estimates the sum of all quantizers'
embeddings; here it estimates the rest, since the first token's own embedding is given. Conditions: the text and a prompt of the
speaker (TTS), the noisy speech (SE). Layout: `[letters, prompt, tokens]`; the noisy speech, as many frames as tokens, is added to the
tokens. A letter's position is about the time of its sound, as for the GPT (sequence.py). A token sees the whole condition, all tokens
before it and `look_ahead` after it in each layer, so that sound can be sent while it is generated.

Prompt and noisy speech are log-mel features. With `condition: codec` the noisy speech is the vectors that the codec's own encoder makes of
it, so that what is given and what is asked for are of one kind. Then a gate for each number of each frame chooses between the noisy
speech's vector and the token's embedding, and the transformer adds the rest. Gates begin at 1 and the rest at 0: an untrained vocoder
gives the noisy speech back as it was, and training takes out what is noise. Beginning at the token's embedding, which alone is hardly
speech, it would first have to learn to pass on what it is given.

Where speech is made of a text there is nothing to pass on, and half of what the codec's vectors hold is the phase of the sound, which
neither tokens nor text nor speaker tell: their mean, which is what a regression gives, is a mumble. So with `condition: codec` speech is
predicted as frames of a source and a filter (source_filter.py), all of whose numbers change slowly, and the voice's phase follows from its
pitch. Its letters stand at no pace of their own: each token reads the one that is being said, with its neighbours (speller.py tells
which), added to what the token is and to what the prompt tells of the speaker.

B batch, T tokens, C width, E codec embedding, F numbers of a condition's frame.
"""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lauragpt.errors import LauraError
from lauragpt.model.conformer import Attention, Convolution, FeedForward, sinusoids, sinusoids_at
from lauragpt.model.speller import SpellerConfig
from lauragpt.source_filter import APERIODICITY, F0, FRAMES, HIGHEST, LOWEST, POINTS, WIDTH

CONDITIONS = ("features", "codec")
VOICED = WIDTH  # behind a frame's own numbers: the logit that there is a voice


@dataclass(frozen=True)
class VocoderConfig:
    """LauraError for a condition that there is not."""

    audio_size: int = 1024
    text_size: int = 2048
    steps: int = 1  # the paper's; more: as many quantizers, one after the other (multi_step.py), to compare with
    flow: int = 0  # steps of flow matching in its place (flow.py), to compare with
    condition: str = "features"  # of noisy speech: "features", or the "codec" encoder's vectors; a prompt is always features
    features: int = 560  # stacked log-mel, at the rate of the tokens
    width: int = 256
    layers: int = 4
    heads: int = 4
    ffn: int = 1024
    look_ahead: int = 2  # tokens a layer; 4 layers of 2 make the 8 that streaming waits for
    kernel: int = 0  # of a convolution over the tokens in each layer, behind its attention; 0 is none
    embedding: int = 128
    speller: SpellerConfig = field(default_factory=SpellerConfig)  # with `condition: codec`

    def __post_init__(self):
        if isinstance(self.speller, dict):  # as a checkpoint's config.json has it
            object.__setattr__(self, "speller", SpellerConfig(**self.speller))
        if self.condition not in CONDITIONS:
            raise LauraError(f"vocoder.condition is {self.condition!r}: choose {' or '.join(CONDITIONS)}")
        if self.flow < 0:
            raise LauraError(f"vocoder.flow is {self.flow}: give as many steps as flow matching is to take, such as 8, or 0 for none")
        if self.steps < 1:
            raise LauraError(f"vocoder.steps is {self.steps}: give 1, or as many quantizers as are to be predicted one after the other")

    @property
    def in_codec_space(self) -> bool:
        return self.condition == "codec"

    @property
    def noisy_width(self) -> int:
        """Numbers of a frame of noisy speech."""
        return self.embedding if self.in_codec_space else self.features


class VocoderLayer(nn.Module):
    """Attention to condition and tokens, then what a token's neighbours are, which attention alone is slow to learn."""

    def __init__(self, config: VocoderConfig):
        super().__init__()
        self.attention = Attention(config.width, config.heads)
        self.convolution = Convolution(config.width, config.kernel) if config.kernel else None
        self.feed_forward = FeedForward(config.width, config.ffn)

    def forward(self, x: Tensor, mask: Tensor, real: Tensor) -> Tensor:
        """x (B, P + T, C); mask as attention takes it; real (B, T, 1): where the tokens, which stand behind the condition, are none."""
        x = x + self.attention(x, mask)
        if self.convolution is not None:
            condition, tokens = x.split([x.shape[1] - real.shape[1], real.shape[1]], 1)
            x = torch.cat([condition, tokens + self.convolution(tokens, real)], 1)
        return x + self.feed_forward(x)


class Letters(nn.Module):
    """A text as tokens read it: of each letter an embedding that knows its neighbours."""

    def __init__(self, width: int, layers: int = 2, kernel: int = 5):
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(width, width, kernel, padding=kernel // 2) for _ in range(layers))

    def forward(self, letters: Tensor, lengths: Tensor, said: Tensor) -> Tensor:
        """Embedded letters (B, L, C), lengths (B,), and which of them each token says (B, T), -1 for none -> (B, T, C)"""
        x = F.pad(letters, (0, 0, 0, 1))  # a text may be empty
        real = inside(lengths, x.shape[1])[..., None].to(x.dtype)
        x = x * real
        for convolution in self.convolutions:
            x = x + F.gelu(convolution(x.transpose(1, 2)).transpose(1, 2)) * real
        heard = x.gather(1, said.clamp(min=0)[..., None].expand(-1, -1, x.shape[2]))
        return heard * (said >= 0)[..., None]


class Speaker(nn.Module):
    """What is the same all through a prompt: features (B, P, F), lengths (B,) -> (B, C); nothing of an empty one. Attention alone is slow
    to learn that all tokens are spoken by one voice."""

    def __init__(self, features: int, width: int):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(features, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        real = inside(lengths, features.shape[1])[..., None].to(features.dtype)
        return (self.network(features) * real).sum(1) / lengths.clamp(min=1)[:, None]


class Vocoder(nn.Module):
    def __init__(self, config: VocoderConfig):
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.audio_size, config.width)
        self.text = nn.Embedding(config.text_size, config.width)
        self.prompt = nn.Linear(config.features, config.width)
        self.noisy = nn.Linear(config.noisy_width, config.width)
        self.layers = nn.ModuleList(VocoderLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width, config.embedding)
        for embedding in (self.tokens, self.text):
            nn.init.normal_(embedding.weight, std=0.5)
        if config.in_codec_space:
            self.gate = nn.Linear(config.width, config.embedding)
            self.letters, self.speaker = Letters(config.width), Speaker(config.features, config.width)
            self.frames = nn.Linear(config.width, FRAMES * (WIDTH + 1))
        else:
            self.gate = self.letters = self.speaker = self.frames = None
        for name, size in (("", config.embedding), ("frame_", WIDTH)):  # of the codec's vectors and of frames; 0 until they are measured
            for statistic in ("mean", "deviation"):
                self.register_buffer(name + statistic, torch.zeros(size) if config.in_codec_space else None)
        for layer in (self.output, self.gate) if config.in_codec_space else ():
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def measure(self, vectors: Tensor) -> None:
        """The codec's vectors (n, E) of many recordings: with `condition: codec` they are read, and predicted, standardised."""
        self.mean.copy_(vectors.mean(0))
        self.deviation.copy_(vectors.std(0))

    @torch.no_grad()
    def measure_frames(self, frames: Tensor) -> None:
        """Frames (n, 66) of many recordings, for the same. The envelope's numbers share one deviation, as all are logarithms of power.
        LauraError where nothing is voiced."""
        pitch = frames[frames[:, F0] > 0, F0].log()
        if len(pitch) < 2:
            raise LauraError("vocoder: no recording of those to be spoken has a voice in it: look at the data")
        self.frame_mean.copy_(torch.cat([frames[:, :F0].mean(0), pitch.mean()[None]]))
        deviations = frames.std(0)
        deviations[:POINTS] = deviations[:POINTS].mean()
        self.frame_deviation.copy_(torch.cat([deviations[:F0], pitch.std()[None]]))

    @property
    def look_ahead(self) -> int:
        """Tokens behind a token that its vector depends on."""
        return self.config.layers * (self.config.look_ahead + self.config.kernel // 2)

    @property
    def scale(self) -> Tensor:
        return torch.where(self.deviation > 0, self.deviation, 1.0)

    def standardised(self, vectors: Tensor) -> Tensor:
        """(..., F) -> (..., F); features stay as they are."""
        return vectors if self.mean is None else (vectors - self.mean) / self.scale

    def speech(self, tokens: Tensor, lengths: Tensor, *conditions: tuple[Tensor, ...] | None) -> Tensor:
        """With `condition: codec`: tokens (B, T), lengths (B,), text and prompt as `states` takes them -> frames of a source and a filter
        (B, 4 T, 66)."""
        numbers = self.speech_numbers(tokens, lengths, *conditions)
        frames = numbers[..., :VOICED] * self.frame_deviation + self.frame_mean
        pitch = torch.where(numbers[..., VOICED] > 0, frames[..., F0].clamp(math.log(LOWEST), math.log(HIGHEST)).exp(), 0)
        return torch.cat([frames[..., :F0], pitch[..., None]], -1)

    def speech_numbers(
        self,
        tokens: Tensor,
        lengths: Tensor,
        text: tuple[Tensor, Tensor, Tensor] | None = None,
        prompt: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The frames as they are learnt (B, 4 T, 67): standardised, the pitch as a logarithm, and the logit that there is a voice."""
        return self.frames(self.states(tokens, lengths, text, prompt)).float().unflatten(2, (FRAMES, WIDTH + 1)).flatten(1, 2)

    def forward(
        self,
        tokens: Tensor,
        first: Tensor,
        lengths: Tensor,
        text: tuple[Tensor, Tensor, Tensor] | None = None,
        prompt: tuple[Tensor, Tensor] | None = None,
        noisy: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """tokens (B, T), their own embeddings (B, T, E), lengths (B,), and the conditions as `states` takes them -> (B, T, E)"""
        noisy = as_long(noisy, tokens.shape[1])
        states = self.states(tokens, lengths, text, prompt, noisy)
        rest = self.output(states).to(first.dtype)
        if self.gate is None:
            return first + rest
        if noisy is not None:
            gate = inside(noisy[1], tokens.shape[1])[..., None] * (1 + self.gate(states).to(first.dtype))
            first = first + gate * (noisy[0].to(first.dtype) - first)
        return first + rest * self.scale

    def states(
        self,
        tokens: Tensor,
        lengths: Tensor,
        text: tuple[Tensor, Tensor, Tensor] | None = None,
        prompt: tuple[Tensor, Tensor] | None = None,
        noisy: tuple[Tensor, Tensor] | None = None,
        lower: Tensor | None = None,
    ) -> Tensor:
        """tokens (B, T), lengths (B,); letters (B, L), their lengths, and their paces (B,), in tokens a letter, or in codec space which of
        them each token says (B, T), -1 for none; prompt (B, P, F) and its lengths; noisy speech (B, T, F) and its lengths; what
        else is known of each token (B, T, C). -> (B, T, C)"""
        T, device = tokens.shape[1], tokens.device
        x = self.tokens(tokens) if lower is None else self.tokens(tokens) + lower
        if noisy is not None:
            x = x + self.noisy(self.standardised(noisy[0])) * inside(noisy[1], T)[..., None]
        parts, insides = [], []
        if self.speaker is not None and prompt is not None:
            x = x + self.speaker(*prompt)[:, None].to(x.dtype)
        if text is not None and self.letters is not None:
            x = x + self.letters(self.text(text[0]), *text[1:]).to(x.dtype)
        elif text is not None:
            letters, count, pace = text
            times = torch.arange(letters.shape[1], device=device) * pace[:, None]  # (B, L)
            parts.append(self.text(letters) + sinusoids_at(times, x.shape[2]).to(x.dtype))
            insides.append(inside(count, letters.shape[1]))
        if prompt is not None:
            embedded, count = self.prompt(prompt[0]), prompt[1]
            parts.append(embedded + sinusoids(embedded.shape[1], embedded.shape[2], device).to(embedded.dtype))
            insides.append(inside(count, embedded.shape[1]))
        P = sum(part.shape[1] for part in parts)
        parts.append(x + sinusoids(T, x.shape[2], device).to(x.dtype))
        insides.append(inside(lengths, T))
        x, there = torch.cat(parts, 1), torch.cat(insides, 1)  # (B, P + T, C), (B, P + T)
        at = torch.arange(P + T, device=device)
        # The condition sees itself alone; a token sees the condition and tokens up to its look-ahead.
        mask = (at[None] < P) | ((at[:, None] >= P) & (at[None] <= at[:, None] + self.config.look_ahead))
        mask = (mask[None] & there[:, None]) | torch.eye(P + T, dtype=torch.bool, device=device)
        real = insides[-1][..., None].to(x.dtype)
        for layer in self.layers:
            x = layer(x, mask[:, None], real)
        return self.norm(x[:, P:])


def as_long(noisy: tuple[Tensor, Tensor] | None, T: int) -> tuple[Tensor, Tensor] | None:
    """Noisy speech (B, N, F), cut or padded with zeros to as many as T tokens (B, T, F), and its lengths (B,) as they were."""
    return None if noisy is None else (F.pad(noisy[0][:, :T], (0, 0, 0, T - min(T, noisy[0].shape[1]))), noisy[1])


def inside(lengths: Tensor, size: int) -> Tensor:
    """(B, size): True before each row's length."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def vocoder_loss(predicted: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """L1 + L2 to the true sum of embeddings (paper, section 3.4) over real tokens: (B, T, E), (B, T, E), (B,) -> scalar."""
    difference = (predicted.float() - target.float())[inside(lengths, predicted.shape[1])]
    return difference.abs().mean() + difference.square().mean()


def speech_loss(numbers: Tensor, frames: Tensor, vocoder: Vocoder, lengths: Tensor) -> Tensor:
    """L1 of the standardised envelope (in all frames), aperiodicity and logarithm of the pitch (where there is a voice), and cross-entropy
    of whether there is one: numbers (B, 4 T, 67) as `speech_numbers` gives them, true frames (B, 4 T, 66), lengths (B,) in tokens ->
    scalar."""
    real = inside(FRAMES * lengths, numbers.shape[1])
    true, voiced = frames.float(), (frames[..., F0] > 0) & real
    true = torch.cat([true[..., :F0], true[..., F0:].clamp(min=LOWEST).log()], -1)
    apart = (numbers[..., :VOICED] - (true - vocoder.frame_mean) / vocoder.frame_deviation).abs()
    of_voice = apart[voiced][:, APERIODICITY:].sum(0) / voiced.sum().clamp(min=1)
    voicing = F.binary_cross_entropy_with_logits(numbers[..., VOICED][real], voiced[real].float())
    return apart[real][:, :POINTS].mean() + 0.2 * of_voice[0] + 0.4 * of_voice[1] + 0.3 * voicing
