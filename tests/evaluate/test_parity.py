"""Both backends on the same recordings and texts: equal where they are, reported where they are not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lauragpt.audio import save_audio
from lauragpt.checkpoint import find_checkpoint
from lauragpt.cli.app import app
from lauragpt.data.manifest import Example, write_manifest
from lauragpt.engine.api import Laura
from lauragpt.evaluate import parity as module
from lauragpt.evaluate.parity import ComparingBackend, Count, Parity, compare, largest, parity


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A dev set with an example a task, on made sounds."""
    folder = tmp_path_factory.mktemp("data")
    time = np.arange(20000) / 16000
    save_audio(folder / "a.wav", (0.2 * np.sin(2 * np.pi * (200 + 150 * time) * time) * np.sin(9 * time) ** 2).astype(np.float32))
    recording = {"corpus": "made", "split": "dev", "audio": str(folder / "a.wav"), "duration": 1.25, "lang": "en"}
    text = {"source": "A dog runs.", "source_lang": "en"}
    write_manifest(folder / "dev.jsonl", [
        Example(id="asr/1", task="asr", targets=["a"], **recording), Example(id="aac/1", task="aac", targets=["a"], **recording),
        Example(id="ser/1", task="ser", targets=["sad"], **recording), Example(id="slu/1", task="slu", targets=["a"], **recording),
        Example(id="se/1", task="se", noisy=str(folder / "a.wav"), **recording), Example(id="tts/1", task="tts", **recording, **text),
        Example(id="mt/1", task="mt", corpus="made", split="dev", lang="de", targets=["Ein Hund."], **text),
    ])  # fmt: skip
    return folder


def test_what_ships_computes_what_torch_does(data):
    found = parity(find_checkpoint("mini"), data, show=False)
    assert found.holds and set(found.rows) == {"asr", "aac", "ser", "slu", "se", "tts", "mt"}
    assert all(count.tokens > 0 and count.other == 0 and 0 < count.logits < 1e-2 for count in found.rows.values())
    assert 0 < found.rows["tts"].sound < 1e-3 and found.rows["tts"].codes == 32 and 0 < found.rows["se"].sound < 1e-3


def test_every_token_that_is_written_is_compared():
    """One by one and several at once, through rollback and rows dropped: as many as were read, and one that differs in the last alone
    is told."""
    laura, other = (Laura.load("mini", backend=name) for name in ("onnx", "torch"))
    comparing, start = ComparingBackend(laura.runtime.backend, other.runtime.backend), laura.runtime.vocabulary.task("mt")
    session = comparing.open(None, [[5, 6, start], [7, start]])
    for token in range(3):
        session.extend(np.array([[token], [9]]))
    session.rollback(session.lengths - 1)
    session.extend(np.array([[4, 5], [6, 7]]))
    session.select([1])
    session.extend(np.array([[8]]))
    assert comparing.count.tokens == 2 + 6 + 4  # the last is still to be compared
    comparing.flush()
    assert comparing.count.tokens == 13 and comparing.count.other == 0 and comparing.count.holds
    session.extend(np.array([[8]]))
    session.pending[-1][1][0, 0, 3] += 50.0
    comparing.flush()
    assert comparing.count.tokens == 14 and comparing.count.other == 1


def test_another_model_is_reported(data, monkeypatch, capsys):
    class Altered(Laura):
        @classmethod
        def load(cls, folder, device=None, backend=None, **more):
            laura = Laura.load(folder, device, backend, **more)
            if backend == "torch":
                with torch.no_grad():
                    weight = laura.runtime.backend.model.gpt.embed_tokens.weight
                    weight.copy_(weight.roll(1, 0))  # every token is its neighbour
            return laura

    monkeypatch.setattr(module, "Laura", Altered)
    found = parity(find_checkpoint("mini"), data, tasks=["asr", "mt"], show=False)
    assert not found.holds and sum(count.other for count in found.rows.values()) > 0
    found.print()
    assert "It does not hold" in capsys.readouterr().out


def test_near_and_other_tokens_are_told_apart():
    theirs = np.array([[3.0, 2.0, 1.0], [2.0, 2.0 - 5e-4, 1.0], [2.0, 1.5, 1.0]])
    count = Count()
    compare(np.array([[3.1, 2.0, 1.0], [2.0, 2.0 + 1e-5, 1.0], [2.0, 2.1, 1.0]]), theirs, count)
    assert (count.tokens, count.near, count.other) == (3, 1, 1) and count.logits == pytest.approx(0.6)
    far = Count()
    compare(np.array([[1.9, 2.0, 2.5]]), theirs[1:2], far)  # torch's two best are near each other, but it is neither of them
    assert (far.near, far.other) == (0, 1)


def test_nothing_and_no_numbers_do_not_hold():
    assert not Count().holds and not Parity().holds and Count(tokens=1).holds
    count = Count()
    compare(np.array([[np.nan, 1.0]]), np.array([[1.0, 0.0]]), count)
    assert count.logits == np.inf and not count.holds
    assert largest(np.array([np.nan]), np.zeros(1)) == largest(np.zeros(2), np.zeros(1)) == np.inf and largest(np.ones(2), np.zeros(2)) == 1


@pytest.mark.parametrize("holds", [True, False])
def test_export_says_whether_it_holds(data, monkeypatch, holds):
    monkeypatch.setattr("lauragpt.engine.onnx_export.export_graphs", lambda folder, bits: folder / "onnx")  # mini ships exported
    monkeypatch.setattr(Parity, "holds", property(lambda self: holds))
    done = CliRunner().invoke(app, ["export", "mini", "--check", str(data), "--limit", "30"])
    assert done.exit_code == (0 if holds else 1) and ("It holds" if holds else "It does not hold") in done.stdout and "slu" in done.stdout


def test_export_checks(data, tmp_path, debug_checkpoint):
    done = CliRunner().invoke(app, ["export", str(debug_checkpoint), "--check", str(tmp_path / "none")])
    assert done.exit_code == 1 and "is not a folder" in done.stderr and not (debug_checkpoint / "onnx").exists()
