"""The backend on PyTorch: CPU or CUDA, float32, no gradients.

In: numpy waves and ids. Out: numpy, as engine/backend.py says. Rows lie left-aligned: the cache's slot p of row b holds position p of
that row, so rows of uneven length need no left padding, a rollback is a smaller number, and what lies behind a row's length is
never looked at (a query at position p sees slots 0 .. p) and is overwritten when the row grows.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lauragpt.adapters import Adapter
from lauragpt.ctc import LAG, CtcAligner, select_aligners, token_times
from lauragpt.engine.backend import EncoderOutput, TextCondition
from lauragpt.errors import LauraError
from lauragpt.model.attention import attend_without_plans
from lauragpt.model.gpt import GPTConfig
from lauragpt.model.lauragpt import LauraModel, load_checkpoint
from lauragpt.sequence import PACE
from lauragpt.source_filter import FRAMES, speech, speech_stream
from lauragpt.streaming import predicted

ROOM = 64  # slots: a cache has a multiple of it


def open_torch(
    folder: Path, device: str | None, config: dict, compile: bool = False, threads: int | None = None, adapter: Adapter | None = None
) -> "TorchBackend":
    """A folder's model on a device, with what an `adapter` adds to its weights. `threads`: of a computation on the CPU, which is torch's
    setting for the whole process. LauraError when it is damaged, foreign, or was trained on the tokens of another codec."""
    if threads is not None:
        torch.set_num_threads(threads)
    torch_device = pick_device(device)
    try:
        model = load_checkpoint(folder)
    except LauraError as error:
        raise LauraError(str(error) if str(folder) in str(error) else f"{folder}: {error}") from None
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise LauraError(f"{folder} is not a whole LauraGPT checkpoint ({first}): fetch or export it again") from None
    if adapter is not None:
        adapt(model, adapter, config["model"]["gpt"]["vocabulary"])
    backend = TorchBackend(model, torch_device, compile)
    expected, actual = config.get("codec_hash"), backend.codec_hash
    if expected != actual:
        raise LauraError(
            f"{folder} was trained on the tokens of codec {expected}, but holds codec {actual}: use the codec it was trained with"
        )
    return backend


@torch.no_grad()
def adapt(model: LauraModel, adapter: Adapter, known: int) -> None:
    """Adds an adapter to the weights, and its rows behind the `known` ones of the vocabulary. LauraError where it does not fit."""
    weights = model.state_dict()
    adapter.check_known(set(weights))
    for name in adapter.factors:
        weights[name].copy_(torch.from_numpy(adapter.applied(name, weights[name].numpy())))
    for name, rows in adapter.rows.items():
        weights[name][known : known + len(rows)] = torch.from_numpy(rows)


def pick_device(device: str | None) -> torch.device:
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise LauraError("there is no CUDA device on this machine: leave --device out, or choose cpu")
    chosen = torch.device(device or ("cuda" if there else "cpu"))
    if chosen.type == "cuda":
        attend_without_plans()
    return chosen


class Cache:
    """Keys and values (B, heads, slots, width) of every layer. It grows by half, in steps of ROOM slots, so that shapes seldom change."""

    def __init__(self, config: GPTConfig):
        self.config, self.slots = config, 0
        self.layers: list[tuple[Tensor, ...]] = []

    def reach(self, positions: Tensor, like: Tensor) -> None:
        slots = int(positions.max()) + 1
        if slots <= self.slots:
            return
        more = -(-max(slots, 3 * self.slots // 2) // ROOM) * ROOM - self.slots
        if not self.layers:
            empty = like.new_zeros(len(like), self.config.kv_heads, 0, self.config.head_width)
            self.layers = [(empty, empty)] * self.config.layers
        self.layers = [tuple(torch.nn.functional.pad(each, (0, 0, 0, more)) for each in layer) for layer in self.layers]
        self.slots += more

    def select(self, rows: Tensor) -> None:
        self.layers = [(keys[rows], values[rows]) for keys, values in self.layers]


class TorchSession:
    """Rows in progress. What the GPT needs: `gpt(embeddings (B, n, D), positions (B, n), cache, times (B, n)) -> logits (B, n, V)`."""

    def __init__(self, model: LauraModel, rows: list[tuple[Tensor, list[int], float]], aligners: list[CtcAligner] | None):
        """rows: a row's frames (T, D), its ids, the pace of what it speaks."""
        self.model, self.cache, self.aligners = model, Cache(model.config.gpt), aligners
        vocabulary, device = model.vocabulary, rows[0][0].device
        embeddings = [torch.cat([frames, model.gpt.embed(torch.tensor(ids, device=device))]) for frames, ids, _ in rows]
        heard = [(vocabulary.frame_times(len(frames)), vocabulary.times(ids, len(frames), pace)) for frames, ids, pace in rows]
        times = [torch.tensor([*frames, *written]) for frames, written in heard]
        self._lengths = self._begun = torch.tensor([len(row) for row in embeddings], device=device)
        ahead = torch.tensor([vocabulary.ahead(ids, len(f), pace) for f, ids, pace in rows], device=device)
        self._audio, self._other = ahead[:, :1], ahead[:, 1:]
        padded = pad_sequence(embeddings, batch_first=True)  # (B, S, D)
        B, S, _ = padded.shape
        positions = torch.arange(S, device=device).expand(B, S)
        with torch.inference_mode():
            logits = model.gpt(padded, positions, self.cache, pad_sequence(times, batch_first=True).float().to(device))
        self.logits = _numpy(logits[torch.arange(B, device=device), self._lengths - 1])

    @property
    def lengths(self) -> np.ndarray:
        return self._lengths.cpu().numpy()

    def extend(self, ids: np.ndarray) -> np.ndarray:
        new = torch.as_tensor(np.asarray(ids), dtype=torch.long, device=self._lengths.device)  # (B, n)
        positions = self._lengths[:, None] + torch.arange(new.shape[1], device=new.device)
        if self.aligners is None:
            times = positions + torch.where(self.model.vocabulary.sounds(new), self._audio, self._other)
        else:
            times = torch.tensor(token_times(self.aligners, (self._lengths - self._begun).tolist(), new.tolist()), device=new.device)
        with torch.inference_mode():
            logits = _numpy(self.model.gpt(self.model.gpt.embed(new), positions, self.cache, times.float()))
        self._lengths = self._lengths + new.shape[1]
        self.logits = logits[:, -1]
        return logits

    def rollback(self, lengths: np.ndarray) -> None:
        self._lengths = torch.as_tensor(np.asarray(lengths), dtype=torch.long, device=self._lengths.device)

    @torch.inference_mode()
    def select(self, rows: list[int]) -> None:
        index = torch.tensor(rows, device=self._lengths.device)
        self.cache.select(index)
        self._lengths, self.logits = self._lengths[index], self.logits[rows]
        self._audio, self._other, self._begun = self._audio[index], self._other[index], self._begun[index]
        self.aligners = select_aligners(self.aligners, rows)


class TorchBackend:
    name = "torch"

    def __init__(self, model: LauraModel, device: torch.device, compile: bool = False):
        self.model = model.to(device, torch.float32).eval()
        for layer in self.model.gpt.layers if compile else ():
            layer.compile(dynamic=True)  # batches and caches of all sizes
        self.device, self.threads = device.type, torch.get_num_threads()
        self.frame = model.config.features.seconds
        self.codec_hash = model.codec.hash
        self.codec_levels = model.config.codec.quantizer.n_quantizers
        self.codebook_size = model.config.codec.quantizer.codebook_size
        self.look_ahead = model.vocoder.look_ahead + (model.speller.look_ahead + LAG if model.speller is not None else 0)

    @torch.inference_mode()
    def encode(self, waves: list[np.ndarray]) -> EncoderOutput:
        padded, lengths = self._waves(waves)
        encoded = self.model.encode(padded, lengths)  # embeddings (B, T, D), lengths (B,), ctc_log_probs (B, T, U)
        return EncoderOutput(_numpy(encoded.embeddings), encoded.lengths.cpu().numpy(), _numpy(encoded.ctc_log_probs))

    @torch.inference_mode()
    def open(
        self,
        encoded: EncoderOutput | None,
        ids: list[list[int]],
        paces: list[float] | None = None,
        aligners: list[CtcAligner] | None = None,
    ) -> TorchSession:
        if encoded is None:
            frames = [torch.zeros(0, self.model.config.gpt.width, device=self.device)] * len(ids)
        else:
            frames = [torch.from_numpy(e[:n]).to(self.device) for e, n in zip(encoded.embeddings, encoded.lengths)]
        return TorchSession(self.model, list(zip(frames, ids, paces or [PACE] * len(ids))), aligners)

    @torch.inference_mode()
    def vocode(
        self,
        codes: list[np.ndarray],
        text: list[TextCondition] | None = None,
        prompt: list[np.ndarray | None] | None = None,
        noisy: list[np.ndarray | None] | None = None,
    ) -> list[np.ndarray]:
        if self._as_frames and noisy is None:
            return [speech(frames) for frames in self._frames(codes, text, self._prompt(prompt))]
        embeddings, lengths = self._predict(codes, text, self._prompt(prompt), self._noisy(noisy))
        return self._cut(self.model.codec.decode_embeddings(embeddings, lengths), lengths)

    @property
    def _as_frames(self) -> bool:
        """Whether speech is made of frames of a source and a filter."""
        return self.model.vocoder.frames is not None

    @torch.inference_mode()
    def _predict(self, codes: list, text: list | None, prompt: tuple | None, noisy: tuple | None = None) -> tuple[Tensor, Tensor]:
        """prompt and noisy speech as the vocoder reads them -> embeddings (B, T, E) and their lengths."""
        tokens, lengths = self._padded(codes)
        return self.model.vocode(tokens, lengths, self._text(text, tokens, lengths), prompt, noisy), lengths

    @torch.inference_mode()
    def _frames(self, codes: list, text: list | None, prompt: tuple | None) -> list[np.ndarray]:
        """Of each row the frames (n, 66) of a source and a filter."""
        tokens, lengths = self._padded(codes)
        frames = self.model.vocoder.speech(tokens, lengths, self._text(text, tokens, lengths), prompt)
        return [_numpy(row[: FRAMES * length]) for row, length in zip(frames, lengths.tolist())]

    def _text(self, text: list | None, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """The texts as the vocoder reads them beside tokens (B, T) of which `lengths` (B,) are real."""
        if not text:
            return None
        letters = [each.letters for each in text]
        if self.model.speller is not None:
            return *self._padded(letters), self.model.said(tokens, lengths, letters)
        return *self._padded(letters), torch.tensor([each.pace for each in text], device=self.device)

    def vocode_stream(self, codes: Iterable[np.ndarray], text: TextCondition, prompt: np.ndarray | None) -> Iterator[np.ndarray]:
        heard = self._prompt([prompt])
        if self._as_frames:
            return speech_stream(predicted(codes, lambda all_: self._frames([all_], [text], heard)[0], self.look_ahead, FRAMES))
        embeddings = predicted(codes, lambda all_: self._predict([all_], [text], heard)[0][0], self.look_ahead)
        return (_numpy(wave) for wave in self.model.codec.decode_stream(embeddings))

    @torch.inference_mode()
    def codec_encode(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        codes = self.model.codec.encode(*self._waves(waves))  # (B, K, T)
        hop = self.model.codec.config.hop
        return [row[:, : -(-len(wave) // hop)].cpu().numpy() for row, wave in zip(codes, waves)]

    @torch.inference_mode()
    def codec_decode(self, codes: list[np.ndarray]) -> list[np.ndarray]:
        lengths = torch.tensor([row.shape[1] for row in codes], device=self.device)
        embeddings = [self.model.codec.embed(torch.as_tensor(row, device=self.device)[None])[0] for row in codes]  # rows may differ in K
        return self._cut(self.model.codec.decode_embeddings(pad_sequence(embeddings, batch_first=True), lengths), lengths)

    def codec_encode_stream(self, pieces: Iterable[np.ndarray], quantizers: int | None = None) -> Iterator[np.ndarray]:
        waves = (torch.as_tensor(piece, dtype=torch.float32, device=self.device) for piece in pieces)
        return (codes.cpu().numpy() for codes in self.model.codec.encode_stream(waves, quantizers))

    def codec_decode_stream(self, pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        codes = (torch.as_tensor(piece, dtype=torch.long, device=self.device)[None] for piece in pieces)
        return (_numpy(wave) for wave in self.model.codec.decode_stream(self.model.codec.embed(each)[0] for each in codes))

    def _waves(self, waves: list[np.ndarray]) -> tuple[Tensor, Tensor]:
        """(B, N) float32 and lengths (B,), padded with silence."""
        tensors = [torch.as_tensor(wave, dtype=torch.float32) for wave in waves]
        lengths = torch.tensor([len(wave) for wave in waves], device=self.device)
        return pad_sequence(tensors, batch_first=True).to(self.device), lengths

    @torch.inference_mode()
    def _prompt(self, waves: list[np.ndarray | None] | None) -> tuple[Tensor, Tensor] | None:
        """What the vocoder reads of voices. A row without a wave has length 0."""
        rows = [np.zeros(0, dtype=np.float32) if wave is None else wave for wave in waves or []]
        return self.model.prompt_of(*self._waves(rows)) if any(len(row) for row in rows) else None

    @torch.inference_mode()
    def _noisy(self, waves: list[np.ndarray | None] | None) -> tuple[Tensor, Tensor] | None:
        """The same of noisy speech."""
        rows = [np.zeros(0, dtype=np.float32) if wave is None else wave for wave in waves or []]
        return self.model.noisy_of(*self._waves(rows)) if any(len(row) for row in rows) else None

    def _padded(self, rows: list) -> tuple[Tensor, Tensor]:
        """Uneven rows of ids as (B, T) and lengths (B,)."""
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        return pad_sequence([torch.as_tensor(row, dtype=torch.long) for row in rows], batch_first=True).to(self.device), lengths

    def _cut(self, waves: Tensor, lengths: Tensor) -> list[np.ndarray]:
        hop = self.model.codec.config.hop
        return [_numpy(wave[: length * hop]) for wave, length in zip(waves, lengths.tolist())]


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()
