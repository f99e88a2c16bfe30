"""The benchmark runs as its README says and its report is whole. No time is ever looked at: a test must not depend on the machine."""

import json
import math
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from lauragpt.sequence import Layout

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture()
def speed(monkeypatch):
    """The module; its folder is on the path, also of the processes that it starts."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import speed

    return speed


@pytest.fixture(scope="module")
def ran(debug_checkpoint, tmp_path_factory):
    """The command as a person types it: (process, the folder it wrote)."""
    out = tmp_path_factory.mktemp("speed") / "new" / "folder"
    command = [sys.executable, str(BENCHMARKS / "speed.py"), "--quick", "--checkpoint", str(debug_checkpoint), "--out", str(out)]
    return subprocess.run(command, check=False, capture_output=True, text=True), out


@pytest.fixture(scope="module")
def report(ran):
    process, out = ran
    assert process.returncode == 0, process.stderr
    return json.loads((out / "speed.json").read_text(encoding="utf-8"))


def positive(value) -> bool:
    return isinstance(value, float) and math.isfinite(value) and value > 0


@pytest.mark.slow
def test_every_verb_is_measured_alone_and_in_a_batch(report):
    verbs = ["transcribe", "translate speech", "translate text", "speak", "enhance", "caption", "emotion", "understand"]
    assert [(row["verb"], row["batch"]) for row in report["verbs"]] == [(verb, batch) for verb in verbs for batch in (1, 8)]
    for alone, together in zip(report["verbs"][::2], report["verbs"][1::2], strict=True):
        assert alone["speed_up"] == 1 and alone["audio_seconds"] == together["audio_seconds"]  # the same work, and the same answers
        for row in (alone, together):
            assert positive(row["seconds"]) and positive(row["speed_up"])
            assert row["seconds_a_call"] == pytest.approx(row["seconds"] * row["batch"] / 8)
            if row["verb"] == "translate text":
                assert row["audio_seconds"] is None and row["real_time_factor"] is None
            else:
                assert row["real_time_factor"] == pytest.approx(row["seconds"] / row["audio_seconds"])
            if row["verb"] not in ("translate text", "speak"):
                assert row["audio_seconds"] == 8  # eight of a second


@pytest.mark.slow
def test_growth_has_every_length_with_memory_and_the_baseline(report):
    assert [(row["verb"], row["audio_seconds"]) for row in report["growth"]] == [(v, s) for v in ("transcribe", "enhance") for s in (1, 2)]
    for row in report["growth"]:
        assert positive(row["seconds"]) and row["real_time_factor"] == pytest.approx(row["seconds"] / row["audio_seconds"])
        assert row["peak_mib"] >= row["loaded_mib"] > 1
        if row["verb"] == "transcribe":
            assert row["times_peer"] == pytest.approx(row["seconds"] / row["peer_seconds"])
        else:
            assert row["peer_seconds"] is None and row["times_peer"] is None


@pytest.mark.slow
def test_the_report_says_where_it_was_measured(report):
    import torch

    assert report["checkpoint"] == "debug" and report["quick"] is True and report["notes"] == []
    where = report["machine"]
    assert where["cpu"] and where["cores"] >= 1 and where["threads"] >= 1 and where["device"]
    assert where["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0] and set(where["packages"]) >= {
        "lauragpt",
        "pocketsphinx",
    }


@pytest.mark.slow
def test_the_table_and_the_plot_hold_what_the_report_holds(ran, report):
    process, out = ran
    assert sorted(path.name for path in out.iterdir()) == ["speed.json", "speed.md", "speed.png"]
    assert (out / "speed.png").read_bytes().startswith(PNG)
    text = (out / "speed.md").read_text(encoding="utf-8")
    assert report["machine"]["cpu"] in text and "threads" in text and "the quick form" in text
    rows = [line for line in text.splitlines() if line.startswith(("| transcribe |", "| enhance |"))]
    assert len(rows) == 8  # both verbs stand in both tables
    assert "Growth with length" in process.stdout and str(out) in process.stdout


def test_material_is_real_sound_of_the_asked_length_and_the_same_each_time(speed):
    for kind in ("speech", "noisy speech", "sound", "voice", "order"):
        waves = speed.material(kind, 1.5, 8)
        assert [wave.shape for wave in waves] == [(24000,)] * 8 and all(np.isfinite(wave).all() for wave in waves)
        assert any(np.abs(wave).max() > 0.01 for wave in waves)
        np.testing.assert_array_equal(waves, speed.material(kind, 1.5, 8))
    clean, noisy = speed.recordings()["speech"], speed.recordings()["noisy speech"]
    assert len(clean) == len(noisy) and not np.array_equal(clean, noisy)
    np.testing.assert_array_equal(speed.material("speech", 100, 1)[0][len(clean) : 2 * len(clean)], clean)  # repeated without a gap
    assert len(speed.material("text", 0, 8)) == 8


def test_the_median_counts_and_the_warm_up_does_not(speed, monkeypatch):
    clock = iter([0.0, 5.0, 10.0, 11.0, 20.0, 22.0])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    calls = []
    assert speed.timed(3, True, calls.append, "x") == (2.0, None) and calls == ["x"] * 4


@pytest.mark.slow
def test_a_missing_baseline_says_how_to_get_it_and_the_rest_goes_on(speed, debug_checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    baseline, notes = speed.open_baseline(), []
    assert "pip install pocketsphinx" in baseline
    rows = speed.measure_growth(str(debug_checkpoint), speed.Plan(1.0, (1,), 1), baseline, lambda name: None, notes)
    assert [row["verb"] for row in rows] == ["transcribe", "enhance"] and not notes
    assert rows[0]["times_peer"] == baseline and rows[0]["peer_seconds"] is None and rows[1]["times_peer"] is None
    assert all(positive(row["seconds"]) for row in rows)


def test_without_matplotlib_there_is_a_note_and_no_plot(speed, debug_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(speed, "measure_verbs", lambda *given: [])
    monkeypatch.setattr(speed, "measure_growth", lambda *given: [])
    report = speed.benchmark(str(debug_checkpoint), tmp_path, quick=True)
    assert "pip install matplotlib" in report["notes"][0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["speed.json", "speed.md"]


def test_a_verb_that_cannot_be_asked_is_a_note_and_the_others_are_measured(speed, debug_checkpoint, monkeypatch):
    laura, notes = speed.Laura.load(debug_checkpoint), []

    def refuse(*given, **named):
        raise speed.LauraError("no captions today")

    monkeypatch.setattr(laura, "caption", refuse)
    monkeypatch.setattr(speed, "VERBS", {verb: speed.VERBS[verb] for verb in ("caption", "emotion")})
    rows = speed.measure_verbs(laura, speed.QUICK, lambda name: None, notes)
    assert {row["verb"] for row in rows} == {"emotion"} and len(notes) == 2 and "no captions today" in notes[0]


@pytest.mark.parametrize("wrong", ["checkpoint", "out"])
def test_what_is_wrong_is_one_line_and_nothing_is_measured(speed, debug_checkpoint, tmp_path, capsys, monkeypatch, wrong):
    monkeypatch.setattr(speed, "measure_verbs", lambda *given: pytest.fail("it measured"))
    (tmp_path / "file").write_text("")
    checkpoint = "no-such-model" if wrong == "checkpoint" else str(debug_checkpoint)
    out = tmp_path / "file" / "under" if wrong == "out" else tmp_path / "out"
    assert speed.main(["--quick", "--checkpoint", checkpoint, "--out", str(out)]) == 1
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and told.err.startswith("speed: ")
    assert ("no checkpoint 'no-such-model'" if wrong == "checkpoint" else "choose another --out") in told.err


def test_a_process_that_is_killed_is_a_note_and_the_next_verb_is_measured(speed, monkeypatch):
    class Pool:
        def __init__(self, *given):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *given):
            pass

        def submit(self, grow, checkpoint, verb, length, runs, warm):
            future = Future()
            if verb == "transcribe" and length > 60:
                future.set_exception(speed.BrokenProcessPool())
            else:
                future.set_result((length / 10, 200.0, 100.0))
            return future

    monkeypatch.setattr(speed, "ProcessPoolExecutor", Pool)
    notes = []
    rows = speed.measure_growth("any", speed.FULL, "no baseline", lambda name: None, notes)
    assert [row["audio_seconds"] for row in rows] == [1, 5, 20, 60, 1, 5, 20, 60, 300, 600, 1800, 3600]
    assert [row["runs"] for row in rows if row["audio_seconds"] > 60] == [1] * 4
    assert len(notes) == 1 and "transcribe was not measured from 300 s on" in notes[0]


def test_growth_is_fitted_beyond_one_chunk(speed):
    rows = [
        {"verb": "enhance", "audio_seconds": n, "seconds": 0.01 * n**1.5 + 5 * (n < 20), "peak_mib": 100.0 + n} for n in (1, 20, 200, 2000)
    ]
    assert speed.growth(rows) == ["enhance, 20 to 2000 s: time grows as the length to the power 1.50, memory from 120 to 2100 MiB"]
    assert speed.growth(rows[:3]) == []


@pytest.mark.slow
def test_recognition_is_measured_beside_others(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "recognition.py"), "--quick", "--out", str(tmp_path)]
    process = subprocess.run(command, check=False, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    report = json.loads((tmp_path / "recognition.json").read_text(encoding="utf-8"))
    missing = [note for note in report["notes"] if "CTranslate2" in note and "pip install ctranslate2" in note]
    names = {"mini", "mini, 1 beam", "Whisper tiny, transformers", "pocketsphinx"} | (
        set() if missing else {"Whisper tiny, CTranslate2, 8 bits"}
    )
    assert {row["recogniser"] for row in report["rows"]} == names and report["notes"] == missing
    for row in report["rows"]:
        assert (
            row["real time factor"] == pytest.approx(row["seconds"] / row["recordings"])
            and row["recordings"] == 2
            and row["from"] <= row["times lauragpt"] <= row["to"]
        )
        assert row["times lauragpt"] == 1 or row["recogniser"] != "mini"
    assert "| pocketsphinx |" in (tmp_path / "recognition.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_codec_is_measured_beside_encodec_of_its_size(debug_checkpoint, tmp_path):
    command = [sys.executable, str(BENCHMARKS / "codec.py"), "--quick", "--checkpoint", str(debug_checkpoint), "--out", str(tmp_path)]
    process = subprocess.run(command, check=False, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    report = json.loads((tmp_path / "codec.json").read_text(encoding="utf-8"))
    mine, seanet, encodec = report["rows"]
    assert mine["codec"].endswith(", seanet") and encodec["codec"].startswith("EncodecModel") and not report["notes"]
    assert seanet["parameters M"] == pytest.approx(encodec["parameters M"], rel=0.1)
    assert encodec["encode to EnCodec's"] == encodec["decode to EnCodec's"] == 1
    for row in (mine, seanet):
        assert all(positive(row[f"{side} {what}"]) for side in ("encode", "decode") for what in ("real time factor", "to EnCodec's"))
    assert "| EncodecModel (transformers) |" in (tmp_path / "codec.md").read_text(encoding="utf-8") and "EncodecModel" in process.stdout
    blocked = tmp_path / "file"
    blocked.write_text("")
    process = subprocess.run([*command[:-1], str(blocked)], check=False, capture_output=True, text=True)
    assert process.returncode == 1 and process.stderr.startswith("codec: ") and process.stderr.count("\n") == 1


def quick_report(name: str, checkpoint: Path, out: Path) -> tuple[dict, str]:
    """What a benchmark writes as JSON of a rehearsal, and what it prints."""
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick", "--checkpoint", str(checkpoint), "--out", str(out)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((out / f"{name}.json").read_text(encoding="utf-8")), done.stdout


@pytest.mark.slow
def test_decoding_is_measured_beside_generate(debug_checkpoint, tmp_path):
    report, _ = quick_report("decoding", debug_checkpoint, tmp_path)
    who = ["ONNX Runtime, 32 bits", "ONNX Runtime, 8 bits", "torch", "transformers generate"]
    assert [(row["batch"], row["runs on"]) for row in report["rows"]] == [(batch, name) for batch in (1, 2) for name in who] * 2
    assert all(positive(row["tokens a second"]) and positive(row["times generate"]) for row in report["rows"])
    assert "LauraTTS-sized" in (tmp_path / "decoding.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_training_is_measured_beside_the_trainer(debug_checkpoint, tmp_path):
    report, printed = quick_report("train", debug_checkpoint, tmp_path)
    ours, theirs = report["rows"]
    assert (ours["trainer"], theirs["trainer"]) == ("laura train", "transformers Trainer") and theirs["times Trainer"] == 1
    assert ours["times Trainer"] == pytest.approx(ours["tokens a second"] / theirs["tokens a second"])  # of one run
    assert positive(ours["tokens a second"]) and 0 <= ours["waiting %"] < 100 and theirs["waiting %"] is None
    steps, peaks = [row["step"] for row in report["memory"]], [row["peak MiB"] for row in report["memory"]]
    assert steps == list(range(2, 21, 2)) and peaks == sorted(peaks) and peaks[0] > 50
    assert peaks[-1] - peaks[0] < 150, "each batch has another shape, of which oneDNN keeps no more than some"
    assert "| laura train |" in (tmp_path / "train.md").read_text(encoding="utf-8") and "transformers Trainer" in printed


@pytest.fixture
def train(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import train

    return train


def test_steps_are_counted_behind_the_first_few(train):
    watch = train.Watch()
    watch.began, watch.tokens, watch.waits = [0.0, 9.0, 18.0, 20.0, 21.0, 24.0], [7, 7, 7, 30, 50, 1000], [5.0, 5.0, 5.0, 5.0, 0.25, 0.75]
    assert watch.rate == (30 + 50) / 4 and watch.waiting == 25


def test_the_trainer_is_handed_what_our_loss_counts(train):
    rows = [Layout(0, (4, 5, 6), (False, True, True)), Layout(0, (7, 8), (False, True))]
    batch = train.padded(train.ReadBatch(rows, []))
    assert batch["input_ids"].tolist() == [[4, 5, 6], [7, 8, 0]] and batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[-100, 5, 6], [-100, 8, -100]] and train.tokens_of(train.ReadBatch(rows, [])) == 5


@pytest.mark.slow
def test_a_server_is_asked_by_many_clients(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "serve.py"), "--quick", "--requests", "20", "--clients", "3", "--out", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "serve.json").read_text(encoding="utf-8"))
    assert [(row["clients"], row["requests"]) for row in report["requests"]] == [(1, 10), (3, 20)]
    for row in report["requests"]:
        assert row["right"] == row["requests"] and row["lost"] == row["another's"] == row["wrong"] == 0
        assert positive(row["a second"]) and 0 < row["p50 s"] <= row["p95 s"]
    assert report["batches"]["not equal"] == 0
    one, many, several = report["batches"]["rows"]
    assert one["jobs a call"] == one["times one"] == 1 and 1 <= many["jobs a call"] <= 3 and 1 <= several["jobs a call"] <= 3
    assert (one["processes"], many["processes"]) == (1, 1) and several["processes"] > 1
    assert all(positive(row["processor ms a recording"]) and row["recordings"] == 8 for row in (one, many, several))
    assert all(positive(row["median ms"]) for row in report["single"] if row["what"] != "what HTTP adds") and len(report["single"]) == 5
    assert positive(report["memory"]["warm"]) and positive(report["memory"]["end"]) and not report["notes"]
    assert "MiB at the end" in (tmp_path / "serve.md").read_text(encoding="utf-8") and "first byte of streamed speech" in done.stdout


@pytest.mark.slow
def test_the_page_is_measured_in_a_browser(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "page.py"), "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = {row["what"]: row for row in json.loads((tmp_path / "page.json").read_text(encoding="utf-8"))["rows"]}
    assert all(positive(row["median"]) and row["from"] <= row["median"] <= row["to"] for row in rows.values())
    assert rows["first words, s"]["to"] <= rows["all words, s"]["to"] and rows["first words by all words"]["to"] <= 1
    loaded = rows["with all it loads, kB"]
    assert loaded["from"] == loaded["to"] < loaded["goal"] == 300 and loaded["to"] <= rows["all files of the page, kB"]["to"] < 300
    assert "first paint, ms" in (tmp_path / "page.md").read_text(encoding="utf-8") and "first paint, ms" in done.stdout


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import serve

    return serve


@pytest.mark.parametrize("wrong", [["--requests", "9"], ["--clients", "1"]])
def test_so_few_requests_say_nothing(serve, tmp_path, capsys, wrong):
    assert serve.main([*wrong, "--out", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and "at least 10 and 2" in told.err


def test_answers_that_are_lost_wrong_or_somebody_elses_are_told_apart(serve):
    cases = [serve.Case(path, "", b"", known, json.loads) for path, known in (("/a", "one"), ("/a", "two"), ("/b", "three"), ("/b", 1))]
    verdicts = [cases[0].verdict(body, cases) for body in (b'"one"', b'"two"', b'"three"', None)]
    assert verdicts == ["right", "another's", "wrong", "lost"] and cases[3].verdict(b"true", cases) == "wrong"
    row = serve.counted(2, [(cases[0], b'"one"', 0.5), (cases[1], b'"one"', 1.5), (cases[1], None, 1.0)], 2.0, cases)
    assert (row["right"], row["lost"], row["another's"], row["wrong"]) == (1, 1, 1, 0) and row["a second"] == 1.5 and row["p50 s"] == 1
    sounds = [serve.Case("/s", "", b"", np.full(4, level, np.float32), lambda body: np.frombuffer(body, np.float32)) for level in (0, 0.5)]
    near = np.full(4, 0.5 + 1 / 32768, np.float32)
    assert [sounds[1].verdict(body, sounds) for body in (near.tobytes(), bytes(16), near[:3].tobytes())] == ["right", "another's", "wrong"]


def test_a_server_that_does_not_start_is_one_line(serve):
    with pytest.raises(serve.LauraError, match="no checkpoint 'nothing'"), serve.started("nothing"):
        pass


def test_requests_that_get_no_answer_are_lost(serve):
    """Nobody listens; then somebody who hangs up."""
    import socket
    import threading

    case = serve.Case("/", "text/plain", b"", None, bytes)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()

        def hang_up():
            for _ in range(4):
                listener.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert [body for _, body, _ in serve.load(address, [case] * 4, 1)] == [None] * 4
        thread.join()
    assert [body for _, body, _ in serve.load(address, [case] * 4, 2)] == [None] * 4
