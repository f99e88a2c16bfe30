"""Texts as written -> texts in another language, sentence by sentence."""

from lauragpt.engine.chunking import batches
from lauragpt.engine.decoding import Decoded, Row
from lauragpt.engine.runtime import Runtime
from lauragpt.engine.texts import split_sentences
from lauragpt.result import Result, Segment, confidence_of

BATCH = 2048  # padded tokens


def sentences_translated(runtime: Runtime, texts: list[str], to: str) -> list[list[Decoded]]:
    """What is written of each text's sentences: `[source text, <mt>, <lang>, text, <eos>]`, a sentence a row."""
    parts = [(item, runtime.tokenizer.encode(sentence)) for item, text in enumerate(texts) for sentence in split_sentences(text)]
    written: list[Decoded] = [Decoded(finish="empty") for _ in parts]
    for group in batches([len(ids) for _, ids in parts], runtime.at_once(BATCH)):
        session, _ = runtime.begin(None, [[*parts[index][1], runtime.vocabulary.task("mt")] for index in group], [to] * len(group))
        rows = [Row(maximum=2 * len(parts[index][1]) + 24) for index in group]
        for index, decoded in zip(group, runtime.write("mt", session, rows)):
            written[index] = decoded
    return [[decoded for (owner, _), decoded in zip(parts, written) if owner == item] for item in range(len(texts))]


def joined_text(runtime: Runtime, written: list[Decoded], lang: str) -> str:
    return ("" if lang == "zh" else " ").join(filter(None, (runtime.tokenizer.decode(decoded.ids).strip() for decoded in written)))


def translate_texts(runtime: Runtime, texts: list[str], to: str) -> list[Result]:
    results = []
    for text, own in zip(texts, sentences_translated(runtime, texts, to)):
        results.append(
            Result(
                task="mt",
                lang=to,
                text=joined_text(runtime, own, to),
                segments=[Segment(0.0, 0.0, joined_text(runtime, [decoded], to), confidence_of(decoded.log_probs)) for decoded in own],
                confidence=confidence_of([log_prob for decoded in own for log_prob in decoded.log_probs]),
                receipt=runtime.receipt(0.0, 0.0, len(own), own, text=text),
            )
        )
    return results
