"""Layouts written out by hand."""

import pytest

from lauragpt.errors import LauraError
from lauragpt.sequence import PACE, Layout, Vocabulary, layout, text_layout

V = Vocabulary(10, 4)  # text 0-9, audio 10-13, <eos> 14, tasks 15-22, languages 23-25


def test_ids_lie_text_audio_special():
    assert V.size == 26 and V.eos == 14
    assert [V.task(name) for name in ("asr", "s2tt", "mt", "tts", "se", "aac", "ser", "slu")] == list(range(15, 23))
    assert [V.lang(lang) for lang in ("en", "de", "zh")] == [23, 24, 25]
    assert V.audio([0, 3]) == [10, 13]


def test_what_sounds_together_stands_together():
    # three letters of two tokens each, <tts> <en> after them, audio tokens from the start, <eos> where it is
    assert V.times([1, 2, 1, 18, 23, 10, 13, 14], pace=2) == [0, 2, 4, 6, 7, 0, 1, 10]
    # frames 0 1 2, <se> <en>, the audio tokens of the frames, <eos>
    assert V.times((19, 23, 12, 12, 12, 14), frames=3) == [3, 4, 0, 1, 2, 8]
    # what does not sound stands where it is
    assert V.times((1, 2, 17, 24, 4, 14)) == [0, 1, 2, 3, 4, 5]
    assert V.times((15, 23, 7, 14), frames=9) == [9, 10, 11, 12]
    assert V.times(()) == []
    # in training the pace is what the text took
    assert layout(V, "tts", "en", V.audio([1, 2, 3]), source=[9, 8]).pace == 1.5
    assert layout(V, "asr", "en", [7], frames=4).pace == layout(V, "tts", "en", [], source=[]).pace == PACE


@pytest.mark.parametrize("code", [-1, 4])
def test_an_audio_token_out_of_range_is_refused(code):
    with pytest.raises(LauraError, match="0 to 3"):
        V.audio([0, code])


def test_layouts_and_what_the_loss_counts():
    # <asr> <en> text <eos> behind five frames
    assert layout(V, "asr", "en", [7, 8], frames=5) == Layout(5, (15, 23, 7, 8, 14), (False, True, True, True, True))
    # recognition of silence
    assert layout(V, "asr", "de", [], frames=5) == Layout(5, (15, 24, 14), (False, True, True))
    # noisy frames, clean audio tokens
    assert layout(V, "se", "en", V.audio([2, 0]), frames=3) == Layout(3, (19, 23, 12, 10, 14), (False, True, True, True, True))
    # text to text
    assert layout(V, "mt", "de", [4], source=[1, 2]) == Layout(0, (1, 2, 17, 24, 4, 14), (False, False, False, True, True, True))
    # text to audio tokens
    assert layout(V, "tts", "en", V.audio([1]), source=[9]) == Layout(0, (9, 18, 23, 11, 14), (False, False, True, True, True), 1.0)
    # text alone: the language is given
    assert text_layout(V, "en", [1, 2]) == Layout(0, (23, 1, 2, 14), (False, True, True, True))
    assert layout(V, "asr", "en", [7, 8], frames=5).length == 10
