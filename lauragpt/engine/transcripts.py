"""Recording -> transcript -> answer: tasks that a checkpoint does better by way of what it writes down (`through` in its config.json).

In: waves (N,). Out: a `Result` each, whose receipt holds the transcript. Both steps are the GPT's.
"""

import math

import numpy as np

from lauragpt.engine.core import Core
from lauragpt.engine.decoding import Decoded, Row, joined
from lauragpt.engine.listening import LIMITS, Piece, cut_all, hear, heard_longest, in_order, results_of, sureness, text_of, withhold
from lauragpt.engine.longform import PAUSE, Chunk, batches
from lauragpt.engine.translation import BATCH, joined_text, sentences_translated
from lauragpt.result import Result, confidence_of

LONGEST = 240  # letters of a transcript that is understood


def translate_transcripts(core: Core, waves: list[np.ndarray], lang: str, min_confidence: float) -> list[Result]:
    """What is said, written down and then translated piece by piece. A recording that is in `lang` stays as it was written down. How sure a piece is,
    is how sure its transcript is times how sure the translation."""
    pieces = hear(core, "asr", cut_all(waves, PAUSE), None)
    own = [[piece for piece in pieces if piece.item == item] for item in range(len(waves))]
    langs = [heard_longest(heard) for heard in own]
    said = [text_of(heard, spoken) for heard, spoken in zip(own, langs)]
    for piece in pieces:
        piece.sure = sureness(core, "asr", [piece])
        piece.ctc = None  # the times of words that will no longer be there
    foreign = [piece for piece in pieces if piece.text and langs[piece.item] != lang]
    for piece, written in zip(foreign, sentences_translated(core, [piece.text for piece in foreign], lang)):
        whole, ending = joined(written), joined([piece.decoded, *written])
        piece.sure *= confidence_of(whole.log_probs) or 0.0
        piece.decoded, piece.text = Decoded(whole.ids, whole.log_probs, ending.finish, ending.guards), joined_text(core, written, lang)
    for piece in pieces:
        withhold(core, "s2tt", piece, min_confidence)
    results = [in_order(core, "s2tt", heard, lang) for heard in own]
    for result, transcript, spoken in zip(results, said, langs):
        result.receipt |= {"transcript": transcript, "heard": spoken}
    return results


def understand_transcripts(core: Core, waves: list[np.ndarray], lang: str | None, min_confidence: float) -> list[Result]:
    """An order is read twice, from the sound and from its transcript, and the surer of both readings stands."""
    pieces = hear(core, "slu", cut_all(waves), lang)
    spoken = [piece for piece in pieces if piece.text]
    whole = [Piece(number, Chunk(0, len(piece.wave)), piece.wave) for number, piece in enumerate(spoken)]
    parts_of = {each: hear(core, "asr", [whole[i] for i, piece in enumerate(spoken) if piece.lang == each], each) for each in sorted({p.lang for p in spoken})}
    heard = [[part for part in parts_of[piece.lang] if part.item == number] for number, piece in enumerate(spoken)]
    said = [text_of(parts, piece.lang) for parts, piece in zip(heard, spoken)]
    for piece, parts, decoded in zip(spoken, heard, _orders(core, said, spoken)):
        other = Piece(piece.item, piece.chunk, piece.wave, piece.lang, core.tokenizer.decode(decoded.ids).strip(), decoded)
        if other.text and (sureness(core, "slu", [other]) or 0.0) > (sureness(core, "slu", [piece]) or 0.0):
            ending = joined([*(part.decoded for part in parts), decoded])
            piece.text, piece.decoded = other.text, Decoded(decoded.ids, decoded.log_probs, ending.finish, ending.guards)
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
