"""The CTC head's units where letters are too many a second: subwords, trained on the transcripts (BPE, arXiv 1508.07909, cut as
sentencepiece cuts).

`CtcSubwords` has the interface of `CtcUnits` (text.py): `size`, `blank`, `encode`, `decode`, `piece`. A checkpoint keeps them in
`ctc_tokenizer.json`; one without that file has letters. At 60 ms a frame, as in the paper's preset, a fifth of LibriSpeech has more letters
than frames, which CTC cannot learn.
"""

import json
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer as BPE
from tokenizers import models, pre_tokenizers, trainers

from lauragpt.errors import LauraError
from lauragpt.text import CtcUnits

FILE = "ctc_tokenizer.json"
SPACE = "▁"  # stands at the beginning of each word, as in sentencepiece
UNUSED = "<unused"


class CtcSubwords:
    """Blank, and subwords of texts in spoken form. A word is cut the same wherever it stands."""

    blank = 0

    def __init__(self, bpe: BPE):
        self._bpe, self.size = bpe, 1 + bpe.get_vocab_size()
        self.pieces = [bpe.id_to_token(index) for index in range(bpe.get_vocab_size())]
        self.letters = frozenset(piece for piece in self.pieces if len(piece) == 1)

    @classmethod
    def train(cls, texts: Iterable[str], size: int) -> "CtcSubwords":
        """Exactly `size` units, the blank among them. Where the texts give fewer, units that never occur fill up, so that the head's
        width stays the preset's. LauraError when there is nothing to learn from."""
        texts = [text for text in texts if text]
        if not texts:
            raise LauraError(
                "the CTC units are learnt from transcripts, and there are none: prepare data for asr, or choose a preset with letters"
            )
        bpe = BPE(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme="always")
        trainer = trainers.BpeTrainer(
            vocab_size=size - 1, initial_alphabet=[SPACE], limit_alphabet=size // 2, min_frequency=2, show_progress=False
        )
        bpe.train_from_iterator(texts, trainer)
        model = json.loads(bpe.to_str())["model"]
        vocabulary = model["vocab"] | {f"{UNUSED} {number}>": number for number in range(len(model["vocab"]), size - 1)}
        bpe.model = models.BPE(vocab=vocabulary, merges=[tuple(pair) for pair in model["merges"]])
        return cls(bpe)

    @classmethod
    def load(cls, path: Path) -> "CtcSubwords":
        try:
            return cls(BPE.from_file(str(path)))
        except Exception as error:  # the tokenizers library raises bare Exception
            raise LauraError(f"{path} cannot be read ({str(error).splitlines()[0][:120]}): fetch the checkpoint again") from None

    def save(self, path: Path) -> None:
        self._bpe.save(str(path))

    def encode(self, text: str) -> list[int]:
        """Letters that training never met lose their accents, then are left out."""
        letters = (c if c in self.letters or c == " " else unicodedata.normalize("NFD", c)[0] for c in text.lower())
        text = " ".join("".join(c for c in letters if c in self.letters or c == " ").split())
        return [1 + index for index in self._bpe.encode(text).ids] if text else []

    def piece(self, unit: int) -> str:
        """A unit's text, a space before the first of a word's."""
        piece = self.pieces[unit - 1]
        return "" if piece.startswith(UNUSED) else piece.replace(SPACE, " ")

    def decode(self, best: Iterable[int]) -> str:
        """The best unit of every frame as text: repeats and blanks dropped."""
        return "".join(map(self.piece, collapsed(best))).strip()


Units = CtcUnits | CtcSubwords


def collapsed(best: Iterable[int], blank: int = 0) -> list[int]:
    """The units of a path of frames, without repeats and blanks."""
    units, last = [], blank
    for unit in best:
        if unit not in (last, blank):
            units.append(unit)
        last = unit
    return units


def load_ctc_units(folder: Path) -> Units:
    """A checkpoint's units: letters where it holds no others. LauraError where the file is damaged."""
    path = Path(folder) / FILE
    return CtcSubwords.load(path) if path.exists() else CtcUnits()
