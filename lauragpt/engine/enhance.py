"""Noisy recordings -> clean ones, exactly as long: `[noisy frames, <se>, <lang>, audio tokens]`, ceil(n / 640) of them, no more and no
fewer.

In: waves (N,) at 16 kHz of any length, cut into chunks that overlap. The GPT writes a chunk's audio tokens; the vocoder makes sound of
them under the noisy chunk; neighbours fade into each other. Out: a `Result` a wave, with audio (N,).
"""

from dataclasses import dataclass, replace

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.engine.chunking import HOP, Chunk, batches, cut_all, is_silent
from lauragpt.engine.decoding import Decoded, Options, Row, decode
from lauragpt.engine.progress import Meter, Progress
from lauragpt.engine.recognise import listen
from lauragpt.engine.runtime import BATCH_SAMPLES, Runtime
from lauragpt.result import AudioResult, Segment, confidence_of
from lauragpt.text import kept_of

SAME_WORDS = 0.95  # share of the letters of a chunk's transcript that must be recognised after cleaning, or `verify` keeps the input
OVERLAP = 10 * HOP  # samples of the next chunk that a chunk is cleaned with: there one fades into the other


@dataclass(frozen=True, eq=False)
class NoisyChunk:
    """A chunk as it is cleaned, with the beginning of the next one."""

    chunk: Chunk
    wave: np.ndarray  # (n + overlap,)
    lead: int = 0  # samples that the chunk before reaches into this one


@dataclass(frozen=True, eq=False)
class CleanChunk:
    """What the GPT wrote of a chunk. Its sound is in the recording's already: to keep both would take twice the memory."""

    chunk: Chunk
    lang: str | None = None  # None: nothing sounds in it, and it stays silent
    decoded: Decoded | None = None
    agreement: float | None = None  # of `verify`: share of the words' letters that are still there


def enhance(
    runtime: Runtime,
    waves: list[np.ndarray],
    lang: str | None = None,
    options: Options = Options(loop=None),
    verify: bool = False,
    progress: Progress | None = None,
) -> list[AudioResult]:
    """Each wave (N,) cleaned, exactly as long as it was. Chunks without sound stay silent. `verify`: a chunk in which the model recognises
    other words afterwards stays as it was; the receipt says how much agreed, chunk by chunk."""
    chunks = cut_all(waves)
    audio = [np.zeros(len(wave), dtype=np.float32) for wave in waves]
    clean = {chunk: CleanChunk(chunk) for chunk in chunks}
    noisy = overlapped(waves, [chunk for chunk in chunks if not is_silent(chunk.wave)])
    meter = Meter(progress, sum(chunk.seconds for chunk in chunks))
    meter.add(meter.total - sum(each.chunk.seconds for each in noisy))
    for group in batches([len(each.wave) for each in noisy], BATCH_SAMPLES):
        batch = [noisy[index] for index in group]
        for each, (result, sound) in zip(batch, _clean_batch(runtime, batch, lang, options, verify)):
            span = each.chunk.span
            clean[each.chunk] = result
            audio[each.chunk.item][span.start : span.start + len(sound)] += fade(sound, each.lead, len(sound) - (span.end - span.start))
        meter.add(sum(each.chunk.seconds for each in batch))
    return [
        _result(runtime, [clean[chunk] for chunk in chunks if chunk.item == item], wave, audio[item], lang, options, verify)
        for item, wave in enumerate(waves)
    ]


def overlapped(waves: list[np.ndarray], chunks: list[Chunk]) -> list[NoisyChunk]:
    """Chunks, in order, each with the beginning of its neighbour, where that is among them."""
    result: list[NoisyChunk] = []
    lead = 0
    for chunk, following in zip(chunks, [*chunks[1:], None]):
        end = chunk.span.end
        if following is not None and following.item == chunk.item and following.span.start == end:
            end = min(end + OVERLAP, following.span.end)
        result.append(NoisyChunk(chunk, waves[chunk.item][chunk.span.start : end], lead))
        lead = end - chunk.span.end
    return result


def _clean_batch(
    runtime: Runtime, batch: list[NoisyChunk], lang: str | None, options: Options, verify: bool
) -> list[tuple[CleanChunk, np.ndarray]]:
    """Each chunk's tokens, and its sound, as long as its noisy wave."""
    waves = [each.wave for each in batch]
    encoded = runtime.backend.encode(waves)
    session, langs = runtime.begin(encoded, [[runtime.vocabulary.task("se")]] * len(batch), [lang] * len(batch))
    counts = [-(-len(wave) // HOP) for wave in waves]
    rows = [Row(maximum=count, minimum=count, key=each.chunk.number) for count, each in zip(counts, batch)]
    read = session.lengths.tolist()
    decoded = runtime.counted("se", langs, read, decode(session, rows, runtime.audio_mask, runtime.vocabulary.eos, options))
    sounds = runtime.backend.vocode([runtime.codes(each.ids) for each in decoded], noisy=waves)
    results = [CleanChunk(each.chunk, chosen, tokens) for each, chosen, tokens in zip(batch, langs, decoded)]
    sounds = [sound[: len(wave)] for sound, wave in zip(sounds, waves)]
    if not verify:
        return list(zip(results, sounds))
    agreements = agreement_of(runtime, waves, sounds)
    return [
        (replace(result, agreement=agreement), sound if agreement >= SAME_WORDS else wave)
        for result, agreement, sound, wave in zip(results, agreements, sounds, waves)
    ]


def agreement_of(runtime: Runtime, waves: list[np.ndarray], sounds: list[np.ndarray]) -> list[float]:
    """The share of each wave's words, by letters, that the model still recognises in its cleaned sound; 1 where there were none."""
    agreements = []
    for before, sound in zip(listen(runtime, "asr", waves), sounds):
        after = listen(runtime, "asr", [sound], before.lang)[0].text if before.text else ""
        agreements.append(kept_of(before.text, after) if before.text else 1.0)
    return agreements


def fade(part: np.ndarray, before: int, behind: int) -> np.ndarray:
    """(n,) that rises over its first `before` samples and falls over its last `behind`, where its neighbours fall and rise."""
    faded = part.astype(np.float32)  # a copy
    faded[:before] *= _rise(before)
    faded[len(part) - behind :] *= 1 - _rise(behind)
    return faded


def _rise(samples: int) -> np.ndarray:
    return (np.arange(samples, dtype=np.float32) + 0.5) / samples


def _result(
    runtime: Runtime, chunks: list[CleanChunk], wave: np.ndarray, audio: np.ndarray, lang: str | None, options: Options, verify: bool
) -> AudioResult:
    seconds = len(audio) / SAMPLE_RATE
    decoded = [each.decoded or Decoded(finish="empty") for each in chunks]
    more: dict = {}
    if verify:
        agreements = [each.agreement for each in chunks if each.agreement is not None]
        more["verify"] = {
            "agreement": [round(agreement, 3) for agreement in agreements],
            "kept_input": sum(agreement < SAME_WORDS for agreement in agreements),
        }
    if is_silent(audio) and not is_silent(wave):
        more["failed"] = "the cleaned recording is silent, though the recording is not"
    return AudioResult(
        task="se",
        lang=lang or next((each.lang for each in chunks if each.lang), runtime.info.langs[0]),
        audio=audio,
        segments=[
            Segment(each.chunk.start, each.chunk.end, "", confidence_of(tokens.log_probs)) for each, tokens in zip(chunks, decoded)
        ],
        confidence=confidence_of([log_prob for tokens in decoded for log_prob in tokens.log_probs]),
        receipt=runtime.receipt(seconds, seconds, len(chunks), decoded, options.seed, **more),
    )
