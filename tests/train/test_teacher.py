"""The codec's teacher: a middle layer's frames, at the codec's rate, the same for a crop as for the whole."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.train.teacher import Teacher


def test_its_frames_vary_as_a_latent_may_and_are_cut_where_they_are_asked_for(corpus):
    torch.manual_seed(0)
    teacher = Teacher(LauraModel(PRESETS["debug"]), corpus)
    spoken = [e.audio for e in corpus.train if e.task == "tts"]
    every = torch.cat([teacher(audio, 0, len(teacher.frames(audio))) for audio in spoken])
    codec = PRESETS["debug"].codec
    assert every.shape[1] == codec.quantizer.guide and every.mean(0).abs().max() < 1
    assert float(every.var(0).sum()) == pytest.approx(codec.dim, rel=0.3)
    assert torch.linalg.matrix_rank(every - every.mean(0)) == codec.quantizer.guide  # no number says what another says
    whole, frames = teacher(spoken[0], 0, 30), len(teacher.frames(spoken[0]))
    assert torch.equal(teacher(spoken[0], 7, 12), whole[7:19])
    assert torch.equal(teacher(spoken[0], frames - 1, 3), teacher(spoken[0], frames - 1, 1).expand(3, -1))  # the last frame is repeated
    again = Teacher(LauraModel(PRESETS["debug"]).requires_grad_(False), corpus)
    again.model.load_state_dict(teacher.model.state_dict())
    assert torch.equal(Teacher(again.model, corpus)(spoken[1], 0, 9), teacher(spoken[1], 0, 9))


def test_a_slower_encoder_is_read_at_the_codecs_rate(corpus):
    """At 60 ms an encoder's frame, of the paper, two in three of the codec's 40 ms frames have one of their own."""
    debug = PRESETS["debug"]
    teacher = Teacher(LauraModel(replace(debug, features=replace(debug.features, skip=6))), corpus, count=2)
    audio = next(e.audio for e in corpus.train if e.task == "tts")
    frames = teacher(audio, 0, 9)
    same = [bool(torch.equal(a, b)) for a, b in pairwise(frames)]
    assert same == [True, False, False, True, False, False, True, False]
