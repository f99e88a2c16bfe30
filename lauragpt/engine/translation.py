"""Texts -> texts in another language; and recordings, by way of what the GPT writes down of them.

In: texts as written, or waves (N,). Out: a `Result` each. A text is translated sentence by sentence, a recording piece by piece as it was heard.
"""

import numpy as np

from lauragpt.engine.core import Core
from lauragpt.engine.decoding import Decoded, Row, joined
from lauragpt.engine.listening import Piece, cut_all, hear, in_order, withhold
from lauragpt.engine.longform import PAUSE, batches
from lauragpt.engine.texts import split_sentences
from lauragpt.result import Result, Segment, confidence_of

BATCH = 2048  # padded tokens


def _translated(core: Core, texts: list[str], to: str) -> list[list[Decoded]]:
    """What is written of each text's sentences: `[source text, <mt>, <lang>, text, <eos>]`, a sentence a row."""
    parts = [(item, core.tokenizer.encode(sentence)) for item, text in enumerate(texts) for sentence in split_sentences(text)]
    written: list[Decoded] = [Decoded(finish="empty") for _ in parts]
    for group in batches([len(ids) for _, ids in parts], BATCH):
        session, _ = core.begin(None, [[*parts[index][1], core.vocabulary.task("mt")] for index in group], [to] * len(group))
        rows = [Row(maximum=2 * len(parts[index][1]) + 24) for index in group]
        for index, decoded in zip(group, core.write("mt", session, rows)):
            written[index] = decoded
    return [[decoded for (owner, _), decoded in zip(parts, written) if owner == item] for item in range(len(texts))]


def _text(core: Core, written: list[Decoded], lang: str) -> str:
    return ("" if lang == "zh" else " ").join(filter(None, (core.tokenizer.decode(decoded.ids).strip() for decoded in written)))


def translate_texts(core: Core, texts: list[str], to: str) -> list[Result]:
    results = []
    for text, own in zip(texts, _translated(core, texts, to)):
        results.append(
            Result(
                task="mt",
                lang=to,
                text=_text(core, own, to),
                segments=[Segment(0.0, 0.0, _text(core, [decoded], to), confidence_of(decoded.log_probs)) for decoded in own],
                confidence=confidence_of([log_prob for decoded in own for log_prob in decoded.log_probs]),
                receipt=core.receipt(0.0, 0.0, len(own), own, text=text),
            )
        )
    return results


def translate_transcripts(core: Core, waves: list[np.ndarray], to: str, min_confidence: float) -> list[Result]:
    """What is said, written down and then translated; the receipt holds the transcript. What is said in the language `to` stays as it was written down."""
    pieces = hear(core, "asr", cut_all(waves, PAUSE), None)
    own = [[piece for piece in pieces if piece.item == item] for item in range(len(waves))]
    said = [in_order(core, "asr", heard, None).text for heard in own]
    foreign = [piece for piece in pieces if piece.text and piece.lang != to]
    for piece, written in zip(foreign, _translated(core, [piece.text for piece in foreign], to)):
        piece.decoded, piece.text = joined(written), _text(core, written, to)
    for piece in pieces:
        piece.ctc = None  # the times of words that are no longer there
        withhold(core, "s2tt", piece, min_confidence)
    results = [in_order(core, "s2tt", heard, to) for heard in own]
    for result, transcript in zip(results, said):
        result.receipt["transcript"] = transcript
    return results
