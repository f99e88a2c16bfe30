"""A transcript's letters stand at the same times when they are learnt and when they are written, and no other task's do."""

import numpy as np
import pytest
import torch

from lauragpt.checkpoint import CheckpointInfo
from lauragpt.ctc import CtcAligner
from lauragpt.engine import recognise
from lauragpt.engine.decoding import Decoded, log_softmax
from lauragpt.engine.runtime import Runtime
from lauragpt.engine.torch_backend import TorchBackend
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.sequence import layout
from lauragpt.tasks import LANGS
from lauragpt.train.encoding import Recordings
from lauragpt.train.stages import joint
from lauragpt.train.stages.joint import JointStage
from lauragpt.train.text_batches import JointBatch, ReadBatch, time_aligned
from tests.train.conftest import no_update


@pytest.fixture
def stage(make_stage) -> JointStage:
    torch.manual_seed(0)
    model = LauraModel(PRESETS["debug"])
    torch.nn.init.normal_(model.encoder.ctc.weight)  # a head that says something
    return make_stage("joint", model, weights={"asr": 1, "slu": 1, "ser": 1})


def test_the_letters_of_transcripts_are_learnt_when_they_are_spoken(stage, corpus, monkeypatch):
    rng = np.random.default_rng(0)
    made = [stage.batch.example(next(e for e in corpus.train if e.task == task), rng) for task in ("slu", "asr", "ser", "asr")]
    batch = JointBatch([example for example, _ in made], Recordings.of([wave for _, wave in made]), ReadBatch([], []))
    loss, layouts, outputs = stage.model.loss, [], []
    monkeypatch.setattr(stage.model, "loss", lambda rows, frames, **more: layouts.extend(rows) or loss(rows, frames, **more))
    encode = joint.encode_recordings
    monkeypatch.setattr(joint, "encode_recordings", lambda *given: outputs.append(encode(*given)) or outputs[0])
    stage.step(batch, 0, no_update)
    assert [bool(row.said) for row in layouts] == [False, True, False, True]
    for number in (1, 3):
        best = outputs[0].ctc_log_probs[number, : layouts[number].frames].argmax(-1).tolist()
        assert list(layouts[number].said) == CtcAligner.of(corpus.tokenizer, best).times(0, layouts[number].ids[2:-1])
    row, posteriors = stage.batch.reading("asr", "en", "the night", "the night", rng)
    assert row.said and max(row.said) < len(posteriors) and not stage.batch.reading("slu", "en", "the", "the", rng).layout.said


def test_what_is_written_was_as_likely_in_training(stage, corpus, monkeypatch):
    """The engine's logits behind each letter, in the session that it opens to write a transcript, are those of the training's loss."""
    model, tokenizer = stage.model.eval(), stage.tokenizer
    ids = tokenizer.encode("then the night", letters=True)

    def write(session, rows, allowed, eos, drafts):
        logits = np.concatenate([session.logits[:, None], session.extend(np.array([ids] * len(rows)))], 1)[:, :-1]
        found = [log_softmax(row)[np.arange(len(ids)), ids].tolist() for row in logits]
        return [Decoded(ids, log_probs, "eos") for log_probs in found]

    monkeypatch.setattr("lauragpt.engine.runtime.decode", write)
    info = CheckpointInfo("debug", model.codec.hash, LANGS, {}, "", True, False, model.vocabulary)
    runtime = Runtime(TorchBackend(model, torch.device("cpu")), tokenizer, info, beams=1)
    waves = [corpus.waves(example.audio) for example in corpus.dev if example.task == "asr"]
    results = recognise.recognise(runtime, "asr", recognise.cut_all(waves), None)
    assert len(results) == len(waves) == 4
    for wave, result in zip(waves, results, strict=True):
        heard = model.encode(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
        plain = layout(model.vocabulary, "asr", result.lang, ids, int(heard.lengths[0]))
        row = time_aligned(plain, "asr", heard.ctc_log_probs[0].argmax(-1).numpy(), tokenizer)
        assert len(set(row.said)) > 1
        said, behind = (-model.loss([each], heard.embeddings).detach().numpy()[1 : 1 + len(ids)] for each in (row, plain))
        np.testing.assert_allclose(said, result.decoded.log_probs, atol=1e-4)
        assert np.abs(said - behind).max() > 1e-3
