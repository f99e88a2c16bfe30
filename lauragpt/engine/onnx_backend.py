"""The backend on ONNX Runtime: CPU, no torch. It computes what engine/backend.py says from the graphs of `laura export`.

Rows lie left-aligned in the cache: slot p of row b holds position p of that row, and slots from `lengths[b]` on are not looked at, so
that a rollback is a smaller number. The cache is kept here and only read by the graph, which hands over what is new.
"""

import os
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from lauragpt.adapters import Adapter
from lauragpt.ctc import LAG, CtcAligner, follow_rows, select_aligners, token_times
from lauragpt.engine.backend import EncoderOutput, TextCondition
from lauragpt.engine.onnx_weights import Graphs
from lauragpt.errors import LauraError, LauraWarning
from lauragpt.features import LISTENER_FEATURES, FeatureConfig, NumpyFeatures, numpy_features
from lauragpt.sequence import PACE, Vocabulary
from lauragpt.source_filter import FRAMES, speech, speech_stream
from lauragpt.streaming import predicted, windowed

ROOM = 64  # slots by which a cache grows
PLACES = 512  # rows * longest that a network takes at once, except for the GPT's steps: more is no quicker, and takes memory


class OnnxSession:
    def __init__(self, backend: "OnnxBackend", rows: list[tuple[np.ndarray, list[int], float]], aligners: list[CtcAligner] | None):
        """rows: a row's frames (T, D), its ids, the pace of what it speaks."""
        self.backend, vocabulary, self.aligners = backend, backend.vocabulary, aligners
        self.lengths = self.begun = np.array([len(frames) + len(ids) for frames, ids, _ in rows])
        self._audio, self._other = np.array([vocabulary.ahead(ids, len(f), pace) for f, ids, pace in rows]).T[..., None]  # (B, 1) each
        self._source = np.arange(len(rows))  # which of the rows it was opened with each is a copy of
        self.cache = np.zeros(backend.cache_shape(len(rows), int(self.lengths.max()) + ROOM), dtype=np.float32)
        self.logits = np.zeros((len(rows), len(backend.table)), dtype=np.float32)
        for part in parts(self.lengths.tolist(), PLACES):
            embeddings = padded([np.concatenate([frames, backend.table[ids]]) for frames, ids, _ in rows[part]])  # (b, S, D)
            times = padded([np.array([*range(len(f)), *vocabulary.times(ids, len(f), pace)], np.float32) for f, ids, pace in rows[part]])
            empty, last = np.zeros_like(self.lengths[part]), self.lengths[part, None] - 1
            logits, new = self._run(embeddings, times, empty, last, np.zeros(backend.cache_shape(len(times)), dtype=np.float32))
            self.cache[:, part, :, : new.shape[3]], self.logits[part] = new, logits[:, 0]

    def _run(self, embeddings: np.ndarray, times: np.ndarray, lengths: np.ndarray, at: np.ndarray, cache: np.ndarray) -> list[np.ndarray]:
        """-> logits (B, m, V), new keys and values (2 * layers, B, H, n, W)"""
        inputs = {"embeddings": embeddings, "times": times, "lengths": lengths, "at": at}
        return self.backend.run("step", inputs | dict(zip(self.backend.cache_names, cache)))

    def extend(self, ids: np.ndarray) -> np.ndarray:
        ids = np.asarray(ids)
        B, n = ids.shape
        positions = self.lengths[:, None] + np.arange(n)
        if self.aligners is None:
            times = (positions + np.where(self.backend.vocabulary.sounds(ids), self._audio, self._other)).astype(np.float32)
        else:
            times = np.array(token_times(self.aligners, (self.lengths - self.begun).tolist(), ids.tolist()), dtype=np.float32)
        logits, new = self._run(self.backend.table[ids], times, self.lengths, np.tile(np.arange(n), (B, 1)), self.cache)
        short = int(self.lengths.max()) + n - self.cache.shape[3]
        if short > 0:
            self.cache = widened(self.cache, short + ROOM)
        self.cache[:, np.arange(B)[:, None], :, positions] = new.transpose(1, 3, 0, 2, 4)
        self.lengths = self.lengths + n
        self.logits = logits[:, -1]
        return logits

    def rollback(self, lengths: np.ndarray) -> None:
        self.lengths = np.array(lengths)

    def select(self, rows: list[int]) -> None:
        source = self._source[rows]
        if np.array_equal(source, self._source):  # beams of one row change places: they share its prompt
            moved = np.flatnonzero(np.arange(len(rows)) != rows)
            if len(moved):
                since, end = int(self.begun[moved].min()), int(self.lengths.max())
                self.cache[:, moved, :, since:end] = self.cache[:, np.asarray(rows)[moved], :, since:end]
        else:
            self.cache = np.take(self.cache, rows, axis=1)  # in order in memory, or each step would copy it
        self._source = source
        self.lengths, self.begun, self.logits = self.lengths[rows], self.begun[rows], self.logits[rows]
        self.aligners = select_aligners(self.aligners, rows)
        self._audio, self._other = self._audio[rows], self._other[rows]


class OnnxBackend:
    name, device = "onnx", "cpu"

    def __init__(
        self, folder: Path, config: dict, vocabulary: Vocabulary, weights: str, threads: int | None = None, adapter: Adapter | None = None
    ):
        """folder, config: of an exported checkpoint; weights: the hash of its weights; threads: of a computation, None for OMP_NUM_THREADS,
        as torch and numpy take it, or all cores; adapter: what is added to the weights. LauraError when a file is missing or was altered,
        and when the checkpoint was trained on the tokens of another codec."""
        model, default = config["model"], os.environ.get("OMP_NUM_THREADS", "")
        self.threads = threads or (int(default) if default.isdigit() and int(default) else cores())
        self.graphs, self.vocabulary = Graphs(folder, self.threads, weights, adapter), vocabulary
        self._opened: dict[str, object] = {}
        self.features = numpy_features(FeatureConfig(**model["features"]))
        self.frame = self.features.config.seconds
        self.condition = NumpyFeatures(FeatureConfig(skip=4))  # the vocoder's features, where it reads such, run at the rate of the tokens
        self.in_codec_space = model["vocoder"].get("condition") == "codec"
        if self.graphs.about["bits"] == 8 and (lacking := lacks_eight_bits(processor())):
            message = f"{folder} has weights of 8 bits, but this processor lacks {lacking}: they run as floats, slower than 32 bits"
            warnings.warn(message, LauraWarning, stacklevel=2)
        self.table = self.graphs.weight("gpt.embed_tokens.weight")  # (V, D)
        self.layers, self.heads, self.head_width = (model["gpt"][key] for key in ("layers", "kv_heads", "head_width"))
        self.cache_names = [f"{kind}{i}" for i in range(self.layers) for kind in ("keys", "values")]
        self.codec_hash, expected = self.graphs.about["codec_hash"], config["codec_hash"]
        if expected != self.codec_hash:
            raise LauraError(
                f"{folder} was trained on the tokens of codec {expected}, but holds codec {self.codec_hash}: "
                "use the codec it was trained with"
            )
        self.embedding = model["vocoder"]["embedding"]
        self.codec_levels = model["codec"]["quantizer"]["n_quantizers"]
        self.codebook_size = model["codec"]["quantizer"]["codebook_size"]
        self.hop = int(np.prod(model["codec"]["strides"]))
        self.listener_features = numpy_features(LISTENER_FEATURES) if model["codec"].get("listener") else None
        self.block, self.margin = model["codec"].get("block", 0), model["codec"].get("margin", 0)
        vocoder = model["vocoder"]
        self.look_ahead = vocoder["layers"] * (vocoder["look_ahead"] + vocoder.get("kernel", 0) // 2)
        if self.in_codec_space:
            self.look_ahead += model["vocoder"]["speller"]["layers"] * (model["vocoder"]["speller"]["kernel"] // 2) + LAG
        self._codebooks: np.ndarray | None = None  # (K, V, E), read when first used

    def run(self, graph: str, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        if graph not in self._opened:
            self._opened[graph] = self.graphs.open(graph)
        return self._opened[graph].run(None, inputs)

    def cache_shape(self, rows: int, slots: int = 0) -> tuple[int, ...]:
        """Of each layer's keys and values in turn."""
        return len(self.cache_names), rows, self.heads, slots, self.head_width

    def encode(self, waves: list[np.ndarray]) -> EncoderOutput:
        features = [self.features(wave) for wave in waves]
        lengths = np.array([len(row) for row in features])
        outputs = [
            self.run("listen", {"features": padded(features[part]), "lengths": lengths[part]}) for part in parts(lengths.tolist(), PLACES)
        ]
        frames, ctc = (padded([row for rows in each for row in rows]) for each in zip(*outputs))
        return EncoderOutput(frames, lengths, ctc)

    def open(
        self,
        encoded: EncoderOutput | None,
        ids: list[list[int]],
        paces: list[float] | None = None,
        aligners: list[CtcAligner] | None = None,
    ) -> OnnxSession:
        if encoded is None:
            frames = [np.zeros((0, self.table.shape[1]), dtype=np.float32)] * len(ids)
        else:
            frames = [row[:length] for row, length in zip(encoded.embeddings, encoded.lengths)]
        return OnnxSession(self, list(zip(frames, ids, paces or [PACE] * len(ids))), aligners)

    def vocode(
        self,
        codes: list[np.ndarray],
        text: list[TextCondition] | None = None,
        prompt: list[np.ndarray | None] | None = None,
        noisy: list[np.ndarray | None] | None = None,
    ) -> list[np.ndarray]:
        waves = []
        for part in parts([len(row) for row in codes], PLACES):
            nothing = [None] * len(codes[part])
            voices, texts = self._prompts(prompt[part] if prompt else nothing), text and text[part]
            if self.in_codec_space and noisy is None:
                waves += [speech(frames) for frames in self._frames(codes[part], texts, voices)]
            else:
                waves += self._sound(*self._predict(codes[part], texts, voices, self._noisy(noisy[part] if noisy else nothing)))
        return waves

    def _predict(self, codes: list, text: list | None, prompt: list[np.ndarray], noisy: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """prompts and noisy speech as the vocoder reads them -> embeddings (B, T, E) and their lengths."""
        inputs = self._spoken(codes, text, prompt)
        lengths = inputs["lengths"]
        inputs["noisy"], inputs["noisy_lengths"] = padded(noisy, int(lengths.max())), np.array([len(row) for row in noisy])
        return self.run("predict", inputs)[0], lengths

    def _frames(self, codes: list, text: list | None, prompt: list[np.ndarray]) -> list[np.ndarray]:
        """Of each row the frames (n, 66) of a source and a filter."""
        inputs = self._spoken(codes, text, prompt)
        return [row[: FRAMES * length] for row, length in zip(self.run("frames", inputs)[0], inputs["lengths"])]

    def _spoken(self, codes: list, text: list | None, prompt: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Tokens, texts and prompts as the graphs take them."""
        lengths = np.array([len(row) for row in codes])
        texts = text or [TextCondition([])] * len(codes)
        inputs = {
            "tokens": padded([np.asarray(row, dtype=np.int64) for row in codes]),
            "lengths": lengths,
            "text": padded([np.array(each.letters, dtype=np.int64) for each in texts]),
            "text_lengths": np.array([len(each.letters) for each in texts]),
        }
        if self.in_codec_space:
            inputs["said"] = self._said(inputs["tokens"], lengths, texts)
        else:
            inputs["paces"] = np.array([each.pace for each in texts], dtype=np.float32)
        return inputs | {"prompt": padded(prompt), "prompt_lengths": np.array([len(row) for row in prompt])}

    def _said(self, tokens: np.ndarray, lengths: np.ndarray, texts: list[TextCondition]) -> np.ndarray:
        """Which of a text's letters each token says (B, T), -1 for none."""
        if not any(each.letters for each in texts):
            return np.full(tokens.shape, -1)
        (spelled,) = self.run("spell", {"tokens": tokens, "lengths": lengths})
        return follow_rows(spelled, lengths, [each.letters for each in texts])

    def vocode_stream(self, codes: Iterable[np.ndarray], text: TextCondition, prompt: np.ndarray | None) -> Iterator[np.ndarray]:
        heard, none = self._prompts([prompt]), self._noisy([None])
        if self.in_codec_space:
            return speech_stream(predicted(codes, lambda all_: self._frames([all_], [text], heard)[0], self.look_ahead, FRAMES))
        return self._sound_stream(predicted(codes, lambda all_: self._predict([all_], [text], heard, none)[0][0], self.look_ahead))

    def _prompts(self, waves: list[np.ndarray | None]) -> list[np.ndarray]:
        """What the vocoder reads of each voice (P, F); nothing of one that is missing or empty."""
        nothing = np.zeros((0, self.condition.config.width), dtype=np.float32)
        return [nothing if wave is None or not len(wave) else self.condition(wave) for wave in waves]

    def _noisy(self, waves: list[np.ndarray | None]) -> list[np.ndarray]:
        """The same of noisy speech (T, F)."""
        if not self.in_codec_space:
            return self._prompts(waves)
        nothing = np.zeros((0, self.embedding), dtype=np.float32)
        return [nothing if wave is None or not len(wave) else self._vectors(wave) for wave in waves]

    def _vectors(self, wave: np.ndarray) -> np.ndarray:
        """The codec encoder's vectors (T, E)."""
        hops = np.pad(wave.astype(np.float32), (0, -len(wave) % self.hop)).reshape(1, -1, self.hop)
        return self.run("vectors", {"hops": hops, "lengths": np.array([len(wave)])})[0][0]

    def _sound(self, embeddings: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
        (waves,) = self.run("sound", {"embeddings": embeddings, "lengths": lengths})
        return [wave[: length * self.hop] for wave, length in zip(waves, lengths)]

    def codec_encode(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        if self.listener_features is not None:  # row after row, block by block, which is slower than a batch
            return [np.concatenate(list(self.codec_encode_stream([wave])), axis=1) for wave in waves]
        frames = [-(-len(wave) // self.hop) for wave in waves]
        padded_waves = padded([np.asarray(wave, dtype=np.float32) for wave in waves], max(frames) * self.hop)
        codes = self._codes(padded_waves, np.array([len(wave) for wave in waves]))
        return [row[:, :count] for row, count in zip(codes, frames)]

    def _codes(self, waves: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """(B, T * hop), (B,) -> (B, K, T)"""
        inputs = {"hops": waves.reshape(len(waves), -1, self.hop), "lengths": lengths}
        if self.listener_features is not None:
            inputs["features"] = padded([self.listener_features(wave[:length]) for wave, length in zip(waves, lengths)])
        return self.run("codes", inputs)[0]

    def codec_decode(self, codes: list[np.ndarray]) -> list[np.ndarray]:
        return self._sound(padded([self._embeddings(row) for row in codes]), np.array([row.shape[1] for row in codes]))

    def _embeddings(self, codes: np.ndarray) -> np.ndarray:
        """(K, T) -> (T, E)"""
        if self._codebooks is None:
            self._codebooks = self.graphs.weight("codec.quantizer.codebooks")
        return sum(self._codebooks[level][row] for level, row in enumerate(codes))

    def codec_encode_stream(self, pieces: Iterable[np.ndarray], quantizers: int | None = None) -> Iterator[np.ndarray]:
        def network(wave: np.ndarray) -> np.ndarray:  # (1, n) -> (1, T, K)
            full_hops = np.pad(wave, ((0, 0), (0, -wave.shape[1] % self.hop)))
            return self._codes(full_hops, np.array([wave.shape[1]])).transpose(0, 2, 1)

        waves = (np.asarray(piece, dtype=np.float32) for piece in pieces)
        around = (self.margin, self.margin) if self.block else self.graphs.about["contexts"]["codes"]
        for codes in windowed(network, waves, around, self.hop, block=self.block):
            yield codes.T[:quantizers]

    def codec_decode_stream(self, pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        return self._sound_stream(self._embeddings(np.asarray(piece)) for piece in pieces)

    def _sound_stream(self, embeddings: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Pieces (n, E) -> pieces of the wave."""

        def network(embeddings: np.ndarray) -> np.ndarray:  # (1, T, E) -> (1, T * hop)
            return self.run("sound", {"embeddings": embeddings, "lengths": np.array([embeddings.shape[1]])})[0]

        return windowed(network, embeddings, self.graphs.about["contexts"]["sound"], out=self.hop)


def processor() -> str:
    """What Linux says of the processor, /proc/cpuinfo; "" on other systems."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def lacks_eight_bits(about: str) -> str:
    """The instructions for products of 8-bit blocks that a processor lacks, by /proc/cpuinfo; "" where it has them, or is not known."""
    for line, needed in (("flags", "avx2"), ("Features", "asimddp")):
        if match := re.search(rf"^{line}\s*:(.*)$", about, re.MULTILINE):
            return "" if needed in match[1].split() else needed
    return ""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parts(lengths: list[int], most: int) -> list[slice]:
    """Rows one after the other in parts of at most `most` places, padding among them; a row that is longer is alone."""
    starts, longest = [0], 0
    for row, length in enumerate(lengths):
        longest = max(longest, length)
        if row > starts[-1] and (row + 1 - starts[-1]) * longest > most:
            starts.append(row)
            longest = length
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(lengths)])]


def padded(rows: list[np.ndarray], size: int | None = None) -> np.ndarray:
    """Rows (n, ...) of uneven length as (B, size, ...), padded with zeros."""
    size = max(len(row) for row in rows) if size is None else size
    result = np.zeros((len(rows), size, *rows[0].shape[1:]), dtype=rows[0].dtype)
    for padded_row, row in zip(result, rows):
        padded_row[: min(size, len(row))] = row[:size]
    return result


def widened(cache: np.ndarray, more: int) -> np.ndarray:
    """(..., S, W) -> (..., S + more, W)"""
    *rest, _, W = cache.shape
    return np.concatenate([cache, np.zeros((*rest, more, W), dtype=cache.dtype)], axis=-2)
