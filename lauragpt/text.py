"""Text <-> ids: the GPT's tokenizer (byte-level BPE) and the CTC head's units (characters), and how far two texts agree.

spoken/ makes the spoken form of a text, which recognition learns to write and `speak` reads.
"""

import unicodedata
from collections.abc import Iterable
from difflib import SequenceMatcher
from pathlib import Path

from tokenizers import Tokenizer as BPE
from tokenizers import decoders, models, pre_tokenizers, trainers

from lauragpt.errors import LauraError
from lauragpt.files import replacing


def agreement(one: str, other: str) -> float:
    """How much of two texts in spoken form is the same, 0 to 1: twice the letters that match, in order, by the letters of both."""
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


def kept_of(before: str, after: str) -> float:
    """The share of the letters of a text, which is not empty, that stand in another too, in order, 0 to 1."""
    return sum(block.size for block in SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()) / len(before)


class Tokenizer:
    """Byte-level BPE over written and spoken text of every language: any string goes through and comes back the same. (A published
    tokenizer may bring it into Unicode's form NFC first.)"""

    def __init__(self, bpe: BPE):
        self._bpe = bpe
        bpe.encode_special_tokens = True  # a text that reads like a special token of a published tokenizer is a text
        self._letters: dict[str, list[int]] = {}

    @classmethod
    def train(cls, texts: Iterable[str], size: int) -> "Tokenizer":
        """A tokenizer of at most `size` units, at least the 256 bytes."""
        bpe = BPE(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), min_frequency=2, show_progress=False
        )
        bpe.train_from_iterator(texts, trainer)
        return cls(bpe)

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """LauraError where the file is missing or damaged."""
        try:
            return cls(BPE.from_file(str(path)))
        except Exception as error:  # the tokenizers library raises bare Exception
            raise LauraError(f"{path} cannot be read ({str(error).splitlines()[0][:120]}): fetch the checkpoint again") from None

    def save(self, path: Path) -> None:
        """Whole or not at all: another process never reads half a file."""
        with replacing(path, "w", encoding="utf-8") as file:
            file.write(self._bpe.to_str(pretty=True))

    def _letter(self, letter: str) -> list[int]:
        if letter not in self._letters:
            self._letters[letter] = self.encode(letter)
        return self._letters[letter]

    @property
    def size(self) -> int:
        return self._bpe.get_vocab_size()

    def encode(self, text: str, letters: bool = False) -> list[int]:
        """Ids of a text. `letters`: a letter (a space, a digit) at a time: longer, and read back by `decode` all the same."""
        if letters:
            return [i for letter in text for i in self._letter(letter)]
        return self._bpe.encode(text).ids

    def decode(self, ids: Iterable[int]) -> str:
        return self._bpe.decode([i for i in ids if i < self.size])


class CtcUnits:
    """The CTC head's units: blank, space, and the letters of the spoken form in English and German."""

    letters = " abcdefghijklmnopqrstuvwxyzäöüß'"
    blank = 0
    size = 1 + len(letters)

    def encode(self, text: str) -> list[int]:
        """Letters outside the set lose their accents, then are dropped."""
        plain = "".join(c if c in self.letters else unicodedata.normalize("NFD", c)[0] for c in text.lower())
        return [1 + self.letters.index(c) for c in plain if c in self.letters]

    def piece(self, unit: int) -> str:
        """A unit's text."""
        return self.letters[unit - 1]

    def decode(self, best: Iterable[int]) -> str:
        """The best unit of every frame as text: repeats and blanks dropped."""
        units, last = [], self.blank
        for unit in best:
            if unit not in (last, self.blank):
                units.append(self.letters[unit - 1])
            last = unit
        return "".join(units)
