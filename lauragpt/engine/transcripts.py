"""Recording -> transcript -> translation, where a checkpoint translates speech better by way of what it writes down (`through` in its config.json).

In: waves (N,). Out: a `Result` each, whose receipt holds the transcript. Both steps are the GPT's.
"""

import numpy as np

from lauragpt.engine.chunking import PAUSE
from lauragpt.engine.decoding import Decoded, joined
from lauragpt.engine.recognise import answer_confidence, check_confidence, cut_all, hear, heard_longest, in_order, reject, text_of
from lauragpt.engine.runtime import Runtime
from lauragpt.engine.translate import joined_text, sentences_translated
from lauragpt.result import Result, confidence_of


def translate_transcripts(runtime: Runtime, waves: list[np.ndarray], lang: str, min_confidence: float) -> list[Result]:
    """What is said, written down and then translated piece by piece. A recording that is in `lang` stays as it was written down. How sure a piece is,
    is how sure its transcript is times how sure the translation. LauraError for a confidence that is none."""
    check_confidence(min_confidence)
    pieces = hear(runtime, "asr", cut_all(waves, PAUSE), None)
    own = [[piece for piece in pieces if piece.item == item] for item in range(len(waves))]
    langs = [heard_longest(heard) for heard in own]
    said = [text_of(heard, spoken) for heard, spoken in zip(own, langs)]
    for piece in pieces:
        piece.sure = answer_confidence(runtime, "asr", [piece])
        piece.ctc = None  # the times of words that will no longer be there
    foreign = [piece for piece in pieces if piece.text and langs[piece.item] != lang]
    for piece, written in zip(foreign, sentences_translated(runtime, [as_written(piece.text) for piece in foreign], lang)):
        whole, ending = joined(written), joined([piece.decoded, *written])
        piece.sure *= confidence_of(whole.log_probs) or 0.0
        piece.decoded, piece.text = Decoded(whole.ids, whole.log_probs, ending.finish, ending.guards), joined_text(runtime, written, lang)
    for piece in pieces:
        reject(runtime, "s2tt", piece, min_confidence)
    results = [in_order(runtime, "s2tt", heard, lang) for heard in own]
    for result, transcript, spoken in zip(results, said, langs):
        result.receipt |= {"transcript": transcript, "heard": spoken}
    return results


def as_written(said: str) -> str:
    """A transcript with a capital and a full stop, as texts have them that are translated: read so, it comes out as a sentence, and better."""
    return said[:1].upper() + said[1:] + "."
