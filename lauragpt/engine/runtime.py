"""What every verb stands on: the backend, the vocabulary, the tokenizer and the few steps that all of them share.

In: input frames or ids. Out: an open session behind `<task> <lang>`, masks of the tokens that may be written, and the receipt of an answer.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lauragpt import __version__
from lauragpt.audio import SAMPLE_RATE
from lauragpt.checkpoint import CheckpointInfo
from lauragpt.ctc import CtcAligner
from lauragpt.engine.backend import Backend, EncoderOutput, Session
from lauragpt.engine.beam_search import Beams, search
from lauragpt.engine.decoding import Decoded, Row, choose_one, decode, joined
from lauragpt.errors import LauraError
from lauragpt.samples import is_numbers, is_pair
from lauragpt.sequence import Vocabulary
from lauragpt.tasks import BEAMS, TASKS, check_lang
from lauragpt.text import Tokenizer

BATCH_SAMPLES = 60 * SAMPLE_RATE  # padded audio of a batch where audio is written


@dataclass(frozen=True)
class Runtime:
    """What answering needs: a backend, the tokenizer, the checkpoint's information. LauraError for a number of beams under 1."""

    backend: Backend
    tokenizer: Tokenizer
    info: CheckpointInfo
    beams: int = BEAMS  # hypotheses of beam search where text is written; 1 is greedy decoding
    drafts: bool = True  # greedy decoding checks the CTC head's draft, with the same text in fewer steps; False is for comparison

    def __post_init__(self):
        Beams(self.beams)  # or LauraError

    @cached_property
    def text_mask(self) -> np.ndarray:
        """(V,) bool: text tokens."""
        return np.arange(self.vocabulary.size) < self.vocabulary.text_size

    @cached_property
    def audio_mask(self) -> np.ndarray:
        """(V,) bool: audio tokens."""
        return self.vocabulary.sounds(np.arange(self.vocabulary.size))

    @property
    def vocabulary(self) -> Vocabulary:
        return self.info.vocabulary

    def codes(self, ids: list[int]) -> np.ndarray:
        """Audio tokens as the codec counts them, (T,) from 0."""
        return np.array(ids, dtype=np.int64) - self.vocabulary.text_size

    def check_lang(self, lang: str | None) -> str | None:
        if lang is not None and check_lang(lang) not in self.info.langs:
            langs = ", ".join(self.info.langs)
            raise LauraError(f"{self.info.name} was not trained on {lang!r}: choose one of {langs}, or another checkpoint")
        return lang

    def begin(
        self, encoded: EncoderOutput | None, ids: list[list[int]], langs: list[str | None], aligners: list[CtcAligner] | None = None
    ) -> tuple[Session, list[str]]:
        """Prefill up to and with `<lang>`: the caller's, or for all rows the GPT's own choice where a row has none."""
        if all(langs):
            session = self.backend.open(encoded, [[*row, self.vocabulary.lang(lang)] for row, lang in zip(ids, langs)], aligners=aligners)
            return session, list(langs)
        tokens = [self.vocabulary.lang(lang) for lang in self.info.langs]
        chosen = choose_one(self.backend.open(encoded, ids), tokens)
        # Opened anew with the language, as if the caller had chosen it: the times of audio tokens count from what a session is opened with.
        session = self.backend.open(encoded, [[*row, token] for row, token in zip(ids, chosen)], aligners=aligners)
        return session, [self.info.langs[tokens.index(token)] for token in chosen]

    def write(
        self, task: str, session: Session, rows: list[Row], drafts: list[list[int]] | None = None, beams: int | None = None
    ) -> list[Decoded]:
        """A text for each row of the session. `drafts` (engine/decoding.py) save steps of greedy decoding; `beams` in place of the usual
        number."""
        beams, bonus = self.beams if beams is None else beams, TASKS[task].bonus
        if beams == 1 or bonus is None:
            return decode(session, rows, self.text_mask, self.vocabulary.eos, drafts=drafts if self.drafts else None)
        return search(session, rows, self.text_mask, self.vocabulary.eos, Beams(beams, bonus))

    def counted(
        self, task: str, langs: list[str], read: list[int], decoded: list[Decoded], prompts: list[int] | None = None
    ) -> list[Decoded]:
        """The same, each with its sequence in numbers: task, language, how many `frames` or `letters` (text tokens) it read, audio tokens
        of a voice (`prompt`), tokens it wrote (`output`, without <eos>). read: positions before the output; prompts: audio tokens among
        them."""
        given = "frames" if TASKS[task].input == "audio" else "letters"
        for lang, positions, each, prompt in zip(langs, read, decoded, prompts or [0] * len(decoded)):
            before = {given: positions - prompt - 2} | ({"prompt": prompt} if prompt else {})  # all but <task> <lang>
            each.sequences = [{"task": task, "lang": lang, **before, "output": len(each.ids)}]
        return decoded

    def at_once(self, size: int) -> int:
        """The size of a batch, in samples or tokens, where each row becomes as many as there are beams."""
        return min(size, 2 * size // self.beams)

    def receipt(
        self, seconds_given: float, seconds_read: float, chunks: int, decoded: list[Decoded], seed: int = 0, **more: object
    ) -> dict:
        """How an answer came about: enough to tell whether anything is missing and to get the same answer again."""
        all_of_it = joined(decoded)
        return {
            "seconds_given": round(seconds_given, 3),
            "seconds_read": round(seconds_read, 3),
            "chunks": chunks,
            "finish": all_of_it.finish,
            "guards": all_of_it.guards,
            "seed": seed,
            "beams": self.beams,
            "sequences": all_of_it.sequences,
            **more,
            "model": self.info.name,
            "weights": self.info.weights,
            "backend": self.backend.name,
            "codec_hash": self.info.codec_hash,
            "version": __version__,
        }


def is_many(items: object) -> bool:
    """Whether this is a list of inputs and not one: (samples, rate) and a list of numbers are one recording."""
    return isinstance(items, (list, tuple)) and not is_pair(items) and not is_numbers(items)


def check_texts(text: object) -> list[str]:
    """A text, or a list of them, as a list. LauraError for what is no text."""
    texts = list(text) if isinstance(text, (list, tuple)) else [text]
    for each in texts:
        if not isinstance(each, str):
            raise LauraError(f"a text is a str, but this is {type(each).__name__}: give a text, or a list of texts")
    return texts
