"""Recording -> transcript -> answer: tasks that a checkpoint does better by way of what it writes down (`through` in its config.json).

In: waves (N,). Out: a `Result` each, whose receipt holds the transcript. Both steps are the GPT's.
"""

import math

import numpy as np

from lauragpt.engine.core import Core
from lauragpt.engine.decoding import Decoded, Row, joined
from lauragpt.engine.listening import LIMITS, Piece, cut_all, hear, in_order, results_of, sureness, withhold
from lauragpt.engine.longform import PAUSE, Chunk, batches
from lauragpt.engine.translation import BATCH, sentences_translated, text_of
from lauragpt.result import Result

LONGEST = 240  # letters of a transcript that is understood


def translate_transcripts(core: Core, waves: list[np.ndarray], lang: str, min_confidence: float) -> list[Result]:
    """What is said, written down and then translated piece by piece. What is said in `lang` stays as it was written down."""
    pieces = hear(core, "asr", cut_all(waves, PAUSE), None)
    own = [[piece for piece in pieces if piece.item == item] for item in range(len(waves))]
    said = [in_order(core, "asr", heard, None).text for heard in own]
    foreign = [piece for piece in pieces if piece.text and piece.lang != lang]
    for piece, written in zip(foreign, sentences_translated(core, [piece.text for piece in foreign], lang)):
        piece.decoded, piece.text = joined(written), text_of(core, written, lang)
    for piece in pieces:
        piece.ctc = None  # the times of words that are no longer there
        withhold(core, "s2tt", piece, min_confidence)
    results = [in_order(core, "s2tt", heard, lang) for heard in own]
    for result, transcript in zip(results, said):
        result.receipt["transcript"] = transcript
    return results


def understand_transcripts(core: Core, waves: list[np.ndarray], lang: str | None, min_confidence: float) -> list[Result]:
    """An order is read twice, from the sound and from its transcript, and the surer of both readings stands."""
    pieces = hear(core, "slu", cut_all(waves), lang)
    spoken = [piece for piece in pieces if piece.text]
    heard = hear(core, "asr", [Piece(number, Chunk(0, len(piece.wave)), piece.wave) for number, piece in enumerate(spoken)], lang)
    said = [in_order(core, "asr", [piece for piece in heard if piece.item == number], lang).text for number in range(len(spoken))]
    for piece, decoded in zip(spoken, _orders(core, said, spoken)):
        other = Piece(piece.item, piece.chunk, piece.wave, piece.lang, core.tokenizer.decode(decoded.ids).strip(), decoded)
        if other.text and (sureness(core, "slu", [other]) or 0.0) > (sureness(core, "slu", [piece]) or 0.0):
            piece.text, piece.decoded = other.text, other.decoded
    for piece in pieces:
        withhold(core, "slu", piece, min_confidence)
    results = results_of(core, "slu", pieces, lang, len(waves))
    for item, result in enumerate(results):
        result.receipt["transcript"] = " ".join(text for piece, text in zip(spoken, said) if piece.item == item and text)
    return results


def _orders(core: Core, said: list[str], pieces: list[Piece]) -> list[Decoded]:
    """`[transcript, <slu>, <lang>, order, <eos>]`, a piece a row."""
    ids = [core.tokenizer.encode(text) if len(text) <= LONGEST else [] for text in said]
    written = [Decoded(finish="empty") for _ in ids]
    some = [index for index, row in enumerate(ids) if row]
    for group in batches([len(ids[index]) for index in some], BATCH):
        chosen = [some[place] for place in group]
        session, _ = core.begin(None, [[*ids[index], core.vocabulary.task("slu")] for index in chosen], [pieces[index].lang for index in chosen])
        a_second, more = LIMITS["slu"]
        rows = [Row(maximum=math.ceil(a_second * pieces[index].seconds) + more) for index in chosen]
        for index, decoded in zip(chosen, core.write("slu", session, rows)):
            written[index] = decoded
    return written


LISTEN = {"s2tt": translate_transcripts, "slu": understand_transcripts}
