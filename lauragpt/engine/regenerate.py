"""A span of speech spoken again: the audio tokens before and behind it stay, those in it are drawn with another seed, as many as there
were.

In: what `speak` made, and from when to when: `[prompt text, text, <tts>, <lang>, prompt audio tokens, tokens before the span | new ones]`.
Out: a `Result` of the same length, all of it vocoded again, since the vocoder hears a token's neighbours.
"""

import math
from dataclasses import replace

from lauragpt.engine.chunking import HOP, TOKENS_PER_SECOND, batches
from lauragpt.engine.decoding import Decoded, Options, Row, decode
from lauragpt.engine.runtime import BATCH_SAMPLES, Runtime
from lauragpt.engine.synthesise import Speech, Utterance, prompt_codes, prompt_of, result_of
from lauragpt.engine.voices import Voice
from lauragpt.errors import LauraError
from lauragpt.result import AudioResult, Segment


def regenerate(runtime: Runtime, speech: AudioResult, start: float, end: float, voice: Voice | None, options: Options) -> AudioResult:
    """`speech` with the tokens from `start` to `end` (seconds) drawn anew. LauraError where it holds none there."""
    options = replace(options, loop=None)  # the span keeps its length
    spans = [span_of(segment, start, end) for segment in speech.segments]
    if not any(first < last for first, last in spans):
        lasts = speech.segments[-1].end if speech.segments else 0.0
        raise LauraError(f"there is no audio token from {start:g} to {end:g} s: the speech lasts {lasts:.2f} s")
    utterances = [Utterance(0, number, segment.text, speech.lang, voice) for number, segment in enumerate(speech.segments)]
    decoded = [_written(runtime, *each, options) for each in zip(utterances, speech.segments, spans)]
    waves: dict = {}
    for group in batches([len(each.ids) * HOP for each in decoded], BATCH_SAMPLES):
        conditions = [prompt_of(runtime, utterances[index])[1] for index in group]
        codes, prompts = [runtime.codes(decoded[index].ids) for index in group], [voice.wave if voice else None] * len(group)
        waves |= dict(zip(group, runtime.backend.vocode(codes, text=conditions, prompt=prompts)))
    return result_of(runtime, [Speech(utterance, decoded[n], waves[n]) for n, utterance in enumerate(utterances)], options)


def span_of(segment: Segment, start: float, end: float) -> tuple[int, int]:
    """(first, behind the last) of a sentence's tokens whose middle lies between two times; equal where none does."""
    first, last = (min(max(round((at - segment.start) * TOKENS_PER_SECOND), 0), len(segment.codes)) for at in (start, end))
    return first, last


def _written(runtime: Runtime, utterance: Utterance, segment: Segment, span: tuple[int, int], options: Options) -> Decoded:
    """A sentence's tokens, those of the span anew."""
    ids, log_probs = runtime.vocabulary.audio(segment.codes), [math.log(max(share, 1e-9)) for share in segment.probabilities]
    written, (first, last) = Decoded(ids, log_probs, finish="eos"), span
    if first < last:
        prompt, condition = prompt_of(runtime, utterance)
        session = runtime.backend.open(None, [[*prompt, *ids[:first]]], [condition.pace])
        # The draws of a token are those of its place: with its first seed it comes again.
        rows, read = [Row(maximum=last - first, minimum=last - first, key=utterance.number, begun=first)], session.lengths.tolist()
        drawn = decode(session, rows, runtime.audio_mask, runtime.vocabulary.eos, options)
        [new] = runtime.counted("tts", [utterance.lang], read, drawn, [len(prompt_codes(utterance)) + first])
        ids[first:last], log_probs[first:last], written.sequences = new.ids, new.log_probs, new.sequences
    return written
