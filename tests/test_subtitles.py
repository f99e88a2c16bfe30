"""Cues: that they fit the screen, keep the words' times, lose no word, and are read by another parser as they were meant."""

import io
import itertools

import numpy as np
import pytest
import webvtt

from lauragpt.errors import LauraError
from lauragpt.result import Result, Segment, Word
from lauragpt.subtitles import MAX_PAUSE, MAX_SECONDS, CueLayout, clock, cues

SIGNS = ["a", "I", "of", "fish", "&", "<b>", "-->", "x<y", "R&D", "Donaudampfschifffahrt", "w" * 100, "straße", "morning,"]


def speech(seed: int, timed: bool, words: int = 120) -> list[Segment]:
    """Segments of random words with random lengths and pauses."""
    rng = np.random.default_rng(seed)
    at, segments = float(rng.uniform(0, 5)), []
    while words > 0:
        found = []
        for _ in range(int(rng.integers(1, 40))):
            end = at + float(rng.uniform(0, 0.8))
            found.append(Word(at, end, str(rng.choice(SIGNS))))
            at = end + float(rng.choice([0, 0.05, 0.3, 2.5], p=[0.4, 0.3, 0.25, 0.05]))
        segments.append(Segment(found[0].start, found[-1].end, " ".join(word.text for word in found), words=found if timed else []))
        words -= len(found)
    return segments


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("layout", [CueLayout(), CueLayout(20, 1), CueLayout(42, 3, max_words_per_line=4), CueLayout(8, 2)])
@pytest.mark.parametrize("seed", range(4))
def test_cues_fit_and_hold_every_word(seed, layout, timed):
    segments = speech(seed, timed)
    found = cues(segments, layout)
    assert "".join("".join(cue.lines) for cue in found).replace(" ", "") == "".join("".join(s.text.split()) for s in segments)
    for before, cue in zip([None, *found], found):
        assert cue.start < cue.end <= cue.start + MAX_SECONDS * 1000 and (before is None or cue.start >= before.end)
        assert 1 <= len(cue.lines) <= layout.max_line_count
        assert all(0 < len(line) <= layout.max_line_width for line in cue.lines)
        assert all(len(line.split()) <= (layout.max_words_per_line or 99) for line in cue.lines)


def test_cues_start_and_end_with_their_words():
    segments = speech(7, timed=True)
    words = [word for segment in segments for word in segment.words]
    starts, ends = ({round(time * 1000) for time in times} for times in ([w.start for w in words], [w.end for w in words]))
    long = {round(w.end * 1000) for w in words if len(w.text) > 42}  # broken over lines, perhaps over cues
    for cue in cues(segments):
        if not any("www" in line for line in cue.lines):
            assert cue.start in starts | long and (cue.end in ends or cue.end == cue.start + 1)


def test_a_cue_is_as_full_as_it_may_be():
    """The first word of a cue would not have fitted into the one before it, as counted by hand."""
    for segment in speech(3, timed=True):
        found = cues([segment])
        for before, cue in itertools.pairwise(found):
            word = cue.lines[0].split()[0]
            full = len(before.lines) == 2 and len(before.lines[1]) + 1 + len(word) > 42
            late = cue.end - before.start > MAX_SECONDS * 1000 - 900
            pause = cue.start - before.end > MAX_PAUSE * 1000
            assert full or late or pause or "www" in word


@pytest.mark.parametrize("timed", [True, False])
def test_another_parser_reads_what_was_written(timed):
    segments = speech(5, timed)
    result, expected = Result("asr", "en", "", segments=segments), cues(segments)
    vtt = webvtt.from_buffer(io.StringIO(result.to_vtt()), format="vtt")
    assert [caption.lines for caption in vtt] == [[escaped(line) for line in cue.lines] for cue in expected]
    assert [(c.start, c.end) for c in vtt] == [(clock(cue.start, "."), clock(cue.end, ".")) for cue in expected]
    assert result.to_vtt().count("-->") == len(expected)
    srt = webvtt.from_buffer(io.StringIO(result.to_srt()), format="srt")
    assert [caption.lines for caption in srt] == [list(cue.lines) for cue in expected]


def escaped(line):
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def test_chinese_has_no_spaces_and_breaks_anywhere():
    found = cues([Segment(0, 10, "你好" * 30)], CueLayout(10, 2), spaced=False)
    assert [len(line) for cue in found for line in cue.lines] == [10] * 6 and found[-1].end == 10_000
    words = [Word(k, k + 0.5, "你好") for k in range(3)]
    assert cues([Segment(0, 3, "你好你好你好", words=words)], spaced=False)[0].lines == ("你好你好你好",)


def test_words_of_another_text_are_not_shown_for_it():
    [cue] = cues([Segment(1.0, 2.0, "one two", words=[Word(1.0, 1.4, "one")])])
    assert cue.lines == ("one two",) and (cue.start, cue.end) == (1000, 2000)


@pytest.mark.parametrize("wrong", [{"max_line_width": 0}, {"max_line_count": 0}, {"max_words_per_line": 0}])
def test_a_layout_that_holds_nothing_is_refused(wrong):
    with pytest.raises(LauraError, match=f"{next(iter(wrong))} is 0: give"):
        CueLayout(**wrong)
