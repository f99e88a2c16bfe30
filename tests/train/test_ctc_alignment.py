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
from lauragpt.text import Tokenizer
from lauragpt.train.config import StageConfig
from lauragpt.train.corpus import Corpus
from lauragpt.train.model_stage import pad
from lauragpt.train.run import read_data
from lauragpt.train.stages.joint import JointStage


@pytest.fixture
def stage(prepared) -> JointStage:
    torch.manual_seed(0)
    train, dev = read_data(prepared)
    corpus = Corpus(train, dev, prepared, Tokenizer.train(["the night was calm and then"], PRESETS["debug"].text_size))
    model = LauraModel(PRESETS["debug"])
    torch.nn.init.normal_(model.encoder.ctc.weight)  # a head that says something
    return JointStage(model, corpus, StageConfig(batch_seconds=8, weights={"asr": 1, "slu": 1, "ser": 1}))


def test_the_letters_of_transcripts_are_learnt_when_they_are_said(stage, monkeypatch):
    rows = [stage.row(next(e for e in stage.corpus.train if e.task == task), stage.rng(0)) for task in ("slu", "asr", "ser", "asr")]
    batch = {"rows": rows, "waves": pad([row["wave"] for row in rows]), "layouts": [], "posteriors": []}
    loss, seen, heard = stage.model.loss, [], []
    monkeypatch.setattr(stage.model, "loss", lambda layouts, frames: seen.extend(layouts) or loss(layouts, frames))
    listen = stage.hear
    monkeypatch.setattr(stage, "hear", lambda *waves: heard.append(listen(*waves)) or heard[0])
    stage.step(batch, lambda name, loss: None)
    assert [bool(row.said) for row in seen] == [False, True, False, True]
    for number in (1, 3):
        best = heard[0].ctc_log_probs[number, : seen[number].frames].argmax(-1).tolist()
        assert list(seen[number].said) == CtcAligner.of(stage.corpus.tokenizer, best).times(0, seen[number].ids[2:-1])
    spelled, frames = stage.reading("asr", "en", "the night", "the night", np.random.default_rng(0))
    assert spelled.said and max(spelled.said) < len(frames) and not stage.reading("slu", "en", "the", "the", np.random.default_rng(0))[0].said


def test_what_is_written_was_as_likely_in_training(stage, monkeypatch):
    """The engine's logits behind each letter, in the session that it opens to write a transcript, are those of the training's loss."""
    model, tokenizer = stage.model.eval(), stage.corpus.tokenizer
    ids = tokenizer.encode("then the night", letters=True)

    def write(session, rows, allowed, eos, drafts):
        logits = np.concatenate([session.logits[:, None], session.extend(np.array([ids] * len(rows)))], 1)[:, :-1]
        found = [log_softmax(row)[np.arange(len(ids)), ids].tolist() for row in logits]
        return [Decoded(ids, log_probs, "eos") for log_probs in found]

    monkeypatch.setattr("lauragpt.engine.runtime.decode", write)
    info = CheckpointInfo("debug", model.codec.hash, LANGS, {}, "", True, (), model.vocabulary)
    runtime = Runtime(TorchBackend(model, torch.device("cpu")), tokenizer, info, beams=1)
    waves = [stage.corpus.waves(example.audio) for example in stage.corpus.dev if example.task == "asr"]
    pieces = recognise.hear(runtime, "asr", recognise.cut_all(waves), None)
    assert len(pieces) == len(waves) == 4
    for wave, piece in zip(waves, pieces, strict=True):
        heard = model.encode(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
        plain = layout(model.vocabulary, "asr", piece.lang, ids, int(heard.lengths[0]))
        row = stage.align_letters(plain, "asr", heard.ctc_log_probs[0].argmax(-1).numpy())
        assert len(set(row.said)) > 1
        said, behind = (-model.loss([each], heard.embeddings).detach().numpy()[1 : 1 + len(ids)] for each in (row, plain))
        np.testing.assert_allclose(said, piece.decoded.log_probs, atol=1e-4)
        assert np.abs(said - behind).max() > 1e-3
