"""The layout of a sequence as pure data: `[input, <task>, <lang>, output, <eos>]` (paper, section 3.2). No network here.

Ids lie as the paper's output matrix (N + M + L): N text tokens, M audio tokens, L special tokens. Audio frames are not ids: a
sequence that listens starts with T' frames of the encoder, and its ids follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lauragpt.errors import LauraError
from lauragpt.tasks import LANGS, TASKS

LETTER = 1.8  # audio tokens (40 ms) a spoken letter lasts, about: 14 letters a second


@dataclass(frozen=True)
class Vocabulary:
    text_size: int  # N
    audio_size: int  # M

    @property
    def special(self) -> tuple[str, ...]:
        return ("<eos>", *(task.token for task in TASKS.values()), *(f"<{lang}>" for lang in LANGS))

    @property
    def size(self) -> int:
        return self.text_size + self.audio_size + len(self.special)

    def _special(self, token: str) -> int:
        return self.text_size + self.audio_size + self.special.index(token)

    @property
    def eos(self) -> int:
        return self._special("<eos>")

    def task(self, name: str) -> int:
        return self._special(TASKS[name].token)

    def lang(self, lang: str) -> int:
        return self._special(f"<{lang}>")

    def times(self, ids: Sequence[int]) -> list[float]:
        """When each id of a sequence sounds, in audio tokens from the start of the sound; -1 for what does not sound.

        An audio token sounds after those before it. A letter to be spoken sounds at `LETTER` times its place, roughly: the GPT starts
        from there when it learns which letter an audio token belongs to.
        """
        spoken = ids.index(self.task("tts")) if self.task("tts") in ids else 0
        first, past = self.text_size, 0
        found = []
        for place, i in enumerate(ids):
            if first <= i < first + self.audio_size:
                found.append(float(past))
                past += 1
            else:
                found.append(place * LETTER if place < spoken else -1.0)
        return found

    def audio(self, codes: Sequence[int]) -> list[int]:
        """Codec tokens, counted from 0, as ids."""
        if any(not 0 <= code < self.audio_size for code in codes):
            raise LauraError(f"an audio token is out of range: 0 to {self.audio_size - 1} are allowed")
        return [self.text_size + int(code) for code in codes]


@dataclass(frozen=True)
class Layout:
    """One sequence: `frames` encoder frames, then `ids`. `targets[i]`: whether ids[i] is an output, which the loss counts."""

    frames: int
    ids: tuple[int, ...]
    targets: tuple[bool, ...]

    @property
    def length(self) -> int:
        return self.frames + len(self.ids)


def layout(vocabulary: Vocabulary, task: str, lang: str, output: Sequence[int], frames: int = 0, source: Sequence[int] = ()) -> Layout:
    """A training example. Input and task ID carry no loss; `<lang>`, the output and `<eos>` do (paper, section 3.2)."""
    asked = (*source, vocabulary.task(task))
    answer = (vocabulary.lang(lang), *output, vocabulary.eos)
    return Layout(frames, (*asked, *answer), (False,) * len(asked) + (True,) * len(answer))


def text_layout(vocabulary: Vocabulary, lang: str, text: Sequence[int]) -> Layout:
    """Text pre-training: `[<lang>, text, <eos>]`, loss on all behind `<lang>`."""
    return Layout(0, (vocabulary.lang(lang), *text, vocabulary.eos), (False,) + (True,) * (len(text) + 1))
