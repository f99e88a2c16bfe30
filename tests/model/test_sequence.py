"""Layouts written out by hand."""

import pytest

from lauragpt.errors import LauraError
from lauragpt.model.sequence import Layout, Vocabulary, layout, text_layout

V = Vocabulary(10, 4)  # text 0-9, audio 10-13, <eos> 14, tasks 15-22, languages 23-25


def test_ids_lie_text_audio_special():
    assert V.size == 26 and V.eos == 14
    assert [V.task(name) for name in ("asr", "s2tt", "mt", "tts", "se", "aac", "ser", "slu")] == list(range(15, 23))
    assert [V.lang(lang) for lang in ("en", "de", "zh")] == [23, 24, 25]
    assert V.audio([0, 3]) == [10, 13]


def test_audio_tokens_and_letters_to_be_spoken_have_a_time():
    # three letters, <tts> <en>, two audio tokens, <eos>
    assert V.times([1, 2, 1, 18, 23, 10, 13, 14]) == pytest.approx([0, 1.8, 3.6, -1, -1, 0, 1, -1])
    # <se> <en>, audio tokens; nothing that sounds; nothing at all
    assert V.times((19, 23, 12, 12, 14)) == [-1, -1, 0, 1, -1]
    assert V.times((1, 2, 17, 24, 4, 14)) == [-1] * 6
    assert V.times(()) == []


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
    assert layout(V, "tts", "en", V.audio([1]), source=[9]) == Layout(0, (9, 18, 23, 11, 14), (False, False, True, True, True))
    # text alone: the language is given
    assert text_layout(V, "en", [1, 2]) == Layout(0, (23, 1, 2, 14), (False, True, True, True))
    assert layout(V, "asr", "en", [7, 8], frames=5).length == 10
