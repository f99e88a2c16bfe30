"""The layout of a sequence as pure data: `[input, <task>, <lang>, output, <eos>]` (paper, section 3.2). No network here.

Ids lie as the paper's output matrix (N + M + L): N text tokens, M audio tokens, L special tokens. Audio frames are not ids: a
sequence that listens starts with T' frames of the encoder, and its ids follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lauragpt.errors import LauraError
from lauragpt.tasks import ADDED, BUILT_IN, BUILT_IN_LANGS, TASKS

PACE = 1.8  # audio tokens (40 ms) that a spoken letter takes, about: 14 letters a second


@dataclass(frozen=True)
class Vocabulary:
    text_size: int  # N
    audio_size: int  # M
    parts: int = 1  # frames of the input that are of one time, one behind the other: the codes that stand in a frame's place

    @property
    def special(self) -> tuple[str, ...]:
        names = (*BUILT_IN, *BUILT_IN_LANGS, *(added if isinstance(added, str) else added.name for added in ADDED))
        return ("<eos>", *(f"<{name}>" for name in names))

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

    def sounds(self, i):
        """Whether an id (or a tensor of them) is an audio token."""
        return (i >= self.text_size) & (i < self.text_size + self.audio_size)

    def times(self, ids: Sequence[int], frames: int = 0, pace: float = PACE) -> list[float]:
        """The rotary position of each id behind `frames` frames: its place, except for what sounds, which stands at its time.

        Audio tokens count from 0 as the frames do, and a letter to be spoken stands at `pace` times its place, so that what sounds
        together stands together: an audio token finds its frame, or roughly its letter, where it is itself.
        """
        task, heard = self.task("tts"), frames // self.parts
        spoken = ids.index(task) if task in ids else 0
        past, found = 0, []
        for place, i in enumerate(ids):
            if self.sounds(i):
                found.append(float(past))
                past += 1
            else:
                found.append(heard + (place * pace if place < spoken else place + spoken * (pace - 1)))
        return found

    def frame_times(self, frames: int) -> list[float]:
        """The rotary position of each frame: audio tokens of the output stand at the same ones."""
        return [place / self.parts for place in range(frames)]

    def ahead(self, ids: Sequence[int], frames: int = 0, pace: float = PACE) -> tuple[float, float]:
        """By how much the time of an id that comes next is more than its position: of an audio token, and of any other."""
        position = frames + len(ids)
        sound, other = (self.times([*ids, i], frames, pace)[-1] for i in (self.text_size, self.eos))
        return sound - position, other - position

    def audio(self, codes: Sequence[int]) -> list[int]:
        """Codec tokens, counted from 0, as ids."""
        if any(not 0 <= code < self.audio_size for code in codes):
            raise LauraError(f"an audio token is out of range: 0 to {self.audio_size - 1} are allowed")
        return [self.text_size + int(code) for code in codes]


@dataclass(frozen=True)
class Layout:
    """One sequence: `frames` encoder frames, then `ids`. `targets[i]`: whether ids[i] is an output, which the loss counts. `pace`: audio
    tokens a letter of what is spoken, a wish in use, what it took in training. `said`: when each letter of a transcript is, in frames
    (ctc.py); without it what is written stands behind the frames. `read`: the ids as the GPT reads them, some of them wrong; without it
    as they are."""

    frames: int
    ids: tuple[int, ...]
    targets: tuple[bool, ...]
    pace: float = PACE
    said: tuple[float, ...] = ()
    read: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        return self.frames + len(self.ids)


def layout(vocabulary: Vocabulary, task: str, lang: str, output: Sequence[int], frames: int = 0, source: Sequence[int] = ()) -> Layout:
    """A training example. Input and task ID carry no loss; `<lang>`, the output and `<eos>` do (paper, section 3.2)."""
    asked = (*source, vocabulary.task(task))
    answer = (vocabulary.lang(lang), *output, vocabulary.eos)
    pace = len(output) / len(source) if task == "tts" and source else PACE
    return Layout(frames, (*asked, *answer), (False,) * len(asked) + (True,) * len(answer), pace)


def times_of(vocabulary: Vocabulary, row: Layout) -> list[float]:
    """The rotary position of each frame and id."""
    times = [*vocabulary.frame_times(row.frames), *vocabulary.times(row.ids, row.frames, row.pace)]
    if row.said:
        begun = row.length - 1 - len(row.said)  # behind <task> <lang>, before <eos>
        times[begun:-1] = row.said
    return times


def text_layout(vocabulary: Vocabulary, lang: str, text: Sequence[int]) -> Layout:
    """Text pre-training: `[<lang>, text, <eos>]`, loss on all behind `<lang>`."""
    return Layout(0, (vocabulary.lang(lang), *text, vocabulary.eos), (False,) + (True,) * (len(text) + 1))
