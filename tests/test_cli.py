"""The command line as a person meets it: answers on stdout, one clear line a failure on stderr, exit 0, 1 or 2."""

import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from lauragpt import __version__
from lauragpt.cli import whisper
from lauragpt.cli.app import app


@pytest.fixture
def run(debug_checkpoint):
    def invoke(*arguments, model=debug_checkpoint):
        done = CliRunner().invoke(app, [*map(str, arguments), *(["--model", str(model)] if model else [])])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert "Traceback" not in done.stderr
        return done

    return invoke


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.wav"
    soundfile.write(path, tone(1.0), 16000)
    return path


def tone(seconds, rate=16000):
    rng = np.random.default_rng(0)
    return (0.1 * np.sin(np.arange(int(seconds * rate)) * 440 * 2 * np.pi / rate) + 0.02 * rng.normal(size=int(seconds * rate))).astype(
        np.float32
    )


def _missing(folder):
    return folder / "missing.wav"


def _empty(folder):
    (folder / "empty.wav").touch()
    return folder / "empty.wav"


def _truncated(folder):
    soundfile.write(folder / "whole.wav", tone(1), 16000)
    (folder / "truncated.wav").write_bytes((folder / "whole.wav").read_bytes()[:40])
    return folder / "truncated.wav"


def _not_audio(folder):
    (folder / "letter.wav").write_text("Dear reader,\nthis is no sound.\n" * 50)
    return folder / "letter.wav"


def _brief(folder):
    soundfile.write(folder / "brief.wav", tone(0.01), 16000)
    return folder / "brief.wav"


def _nan(folder):
    soundfile.write(folder / "nan.wav", np.full(16000, np.nan, dtype=np.float32), 16000, subtype="FLOAT")
    return folder / "nan.wav"


def _folder(folder):
    (folder / "folder.wav").mkdir()
    return folder / "folder.wav"


def _dangling(folder):
    (folder / "dangling.wav").symlink_to(folder / "nowhere.wav")
    return folder / "dangling.wav"


def _locked(folder):
    soundfile.write(folder / "locked.wav", tone(1), 16000)
    (folder / "locked.wav").chmod(0)
    if os.access(folder / "locked.wav", os.R_OK):  # root reads everything but a link that leads to itself
        (folder / "locked.wav").unlink()
        (folder / "locked.wav").symlink_to(folder / "locked.wav")
    return folder / "locked.wav"


BAD = {
    _missing: "no such file", _empty: "is empty", _truncated: "cut short", _not_audio: "is not audio", _brief: "10 ms", _nan: "NaN",
    _folder: "is a folder", _dangling: "no such file", _locked: "cannot be read",
}  # fmt: skip


@pytest.mark.parametrize("make, says", BAD.items(), ids=[make.__name__[1:] for make in BAD])
def test_a_bad_file_is_one_line_and_the_others_are_done(run, good, tmp_path, make, says):
    bad = make(tmp_path)
    done = run("emotion", bad, good, "--format", "json")
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1 and says in done.stderr and str(bad) in done.stderr
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == [str(good)]


@pytest.mark.parametrize("rate", [1, 999, 768_001, 2_000_000_000])
def test_a_damaged_rate_does_not_end_the_batch(run, good, tmp_path, rate):
    bad, data = tmp_path / "bad.wav", bytearray(good.read_bytes())
    data[24:28] = struct.pack("<I", rate)
    bad.write_bytes(data)
    done = run("transcribe", bad, good, "--format", "json")
    assert done.exit_code == 1 and [json.loads(line)["file"] for line in done.stdout.splitlines()] == [str(good)]
    assert done.stderr.startswith(f"laura: {bad} is damaged: its header says {rate:,} Hz") and done.stderr.count("\n") == 1


def test_a_recording_that_memory_does_not_hold_does_not_end_the_batch(debug_checkpoint, good, tmp_path):
    large = tmp_path / "large.wav"
    with soundfile.SoundFile(large, "w", 1000, 1, "PCM_U8") as file:
        file.write(np.zeros(50_000_000, np.float32))  # 3.2 GB once it is resampled
    limited = (
        "import resource, sys; from lauragpt.cli.app import app; from lauragpt.engine.api import Laura\n"
        "limit = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize() + (3 << 29)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit)); app(sys.argv[1:])"
    )
    words = ["emotion", str(large), str(good), "--format", "json", "--threads", "1", "--model", str(debug_checkpoint)]
    done = subprocess.run([sys.executable, "-c", limited, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and [json.loads(line)["file"] for line in done.stdout.splitlines()] == [str(good)]
    assert done.stderr == f"laura: {large}: there is not enough memory: give shorter recordings, or fewer at once\n"


def test_a_bad_file_leaves_no_output_behind(run, good, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    assert run("enhance", _truncated(tmp_path), good, "-o", out).exit_code == 1
    assert [path.name for path in out.iterdir()] == ["good.wav"]
    assert run("enhance", _empty(tmp_path), "-o", out / "single.wav").exit_code == 1
    assert run("transcribe", tmp_path / "empty.wav", "-o", out / "answers.txt").exit_code == 1
    assert run("transcribe", good, "-o", out / "answers.txt", model=tmp_path).exit_code == 1
    assert [path.name for path in out.iterdir()] == ["good.wav"]


@pytest.mark.parametrize("rate, channels", [(8000, 1), (48000, 2), (44100, 1)])
def test_any_rate_and_any_number_of_channels_is_read(run, tmp_path, rate, channels):
    path = tmp_path / "sound.wav"
    soundfile.write(path, np.stack([tone(1.0, rate)] * channels, axis=1), rate)
    done = run("transcribe", path, "--format", "json")
    assert done.exit_code == 0 and not done.stderr
    assert json.loads(done.stdout)["receipt"]["seconds_read"] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("verb", ["transcribe", "caption", "emotion", "understand"])
def test_silence_is_answered_with_nothing_and_says_so(run, tmp_path, verb):
    path = tmp_path / "silent.wav"
    soundfile.write(path, np.zeros(32000), 16000)
    done = run(verb, path, "--format", "json")
    row = json.loads(done.stdout)
    assert done.exit_code == 0 and row["text"] == "" and row["receipt"]["finish"] == "empty"
    assert len(done.stderr.splitlines()) == 1 and "no sound" in done.stderr


def test_json_has_the_promised_keys(run, good, tmp_path):
    for verb in ("transcribe", "translate", "caption", "emotion", "understand"):
        row = json.loads(run(verb, good, "--format", "json").stdout)
        assert {"file", "task", "lang", "segments", "receipt", "text"} <= set(row), verb
        assert {"emotion": {"scores"}, "understand": {"intent", "slots"}}.get(verb, set()) <= set(row)
    row = json.loads(run("enhance", good, "-o", tmp_path / "out.flac", "--format", "json").stdout)
    assert row["audio"] == str(tmp_path / "out.flac") and row["file"] == str(good)
    assert soundfile.info(tmp_path / "out.flac").frames == 16000


def test_text_format_is_the_answer_alone_and_names_files_when_there_are_several(run, good, tmp_path):
    other = shutil.copy(good, tmp_path / "other.wav")
    alone = run("emotion", good).stdout.strip()
    assert run("emotion", good, other).stdout.splitlines() == [f"{good}: {alone}", f"{other}: {alone}"]


def test_subtitles_and_answers_go_to_files(run, good, tmp_path):
    other = shutil.copy(good, tmp_path / "other.wav")
    assert run("transcribe", good, "--format", "vtt").stdout.startswith("WEBVTT")
    assert run("transcribe", good, other, "--format", "srt", "-o", tmp_path / "subtitles").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "subtitles").iterdir()) == ["good.srt", "other.srt"]
    done = run("transcribe", good, other, "--format", "json", "-o", tmp_path / "answers.jsonl")
    assert done.stdout == "" and len((tmp_path / "answers.jsonl").read_text().splitlines()) == 2


def test_several_enhanced_files_keep_their_names_and_twins_are_numbered(run, good, tmp_path):
    (tmp_path / "twin").mkdir()
    twin = shutil.copy(good, tmp_path / "twin" / "good.wav")
    assert run("enhance", good, twin, "-o", tmp_path / "clean").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "clean").iterdir()) == ["good-2.wav", "good.wav"]


def test_speak_translate_text_and_chain(run, good, tmp_path):
    said = tmp_path / "said.wav"
    assert run("speak", "Good morning.", "--lang", "en", "-o", said, "--seed", 3).exit_code == 0
    first = said.read_bytes()
    assert run("speak", "Good morning.", "--lang", "en", "-o", said, "--seed", 3).exit_code == 0 and said.read_bytes() == first
    assert run("speak", "Good morning.", "--lang", "en", "-o", said, "--seed", 4).exit_code == 0 and said.read_bytes() != first
    assert run("speak", "Good morning.", "--voice", good, "--voice-text", "a tone", "-o", said).exit_code == 0
    assert run("translate", "--text", "A dog.", "--to", "de").exit_code == 0
    chained = run("chain", "enhance | transcribe | translate:de | speak", good, "-o", tmp_path / "chained.wav", "--format", "json")
    assert chained.exit_code in (0, 1)  # random weights may hear nothing, and then nothing can be said
    assert (chained.exit_code == 0) == (tmp_path / "chained.wav").exists()
    done = run("chain", "enhance | emotion", good, "--format", "json")
    assert json.loads(done.stdout)["receipt"]["chain"] == "enhance | emotion"
    assert done.stderr == f"laura: {good}: enhance: 1.0 s of sound\n"
    transcript = run("transcribe", good).stdout.strip() or "nothing"
    assert run("chain", "translate:de | speak", "--text", "hello", "-o", tmp_path / "typed.wav").exit_code in (0, 1)
    assert run("chain", "translate:de").exit_code == 2
    done = run("chain", "transcribe | translate:de", good)
    assert done.stderr == f"laura: {good}: transcribe: {transcript}\n" and done.stdout.count("\n") == 1


def test_a_text_with_nothing_to_say_does_not_spoil_the_others(run, tmp_path):
    done = run("speak", "Yes.", "...", " ", "No.", "--lang", "en", "-o", tmp_path)
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 2 and "'...' holds nothing to say" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.wav", "4.wav"]


def test_what_verifying_found_is_told(run, good, tmp_path):
    done = run("enhance", good, "-o", tmp_path / "clean.wav", "--verify", "--format", "json")
    assert json.loads(done.stdout)["receipt"]["verify"]["kept_input"] == 1  # random weights change every word
    assert done.stderr == f"laura: {good}: the words changed in 1 of 1 chunks, so the input was kept there\n"
    done = run("speak", "Good morning.", "--lang", "en", "-o", tmp_path / "speech.wav", "--verify", 2, "--format", "json")
    assert "'Good morning.': 0% of it is recognised after 2 tries" in done.stderr


def test_speech_that_failed_is_a_failure(run, tmp_path):
    speech = tmp_path / "speech.wav"
    # a loop, with random weights
    done = run("speak", "Good morning.", "--lang", "en", "-o", speech, "--temperature", 0, "--format", "json")
    reason = json.loads(done.stdout)["receipt"]["failed"]
    assert done.exit_code == 1 and re.fullmatch(r"\d\.\d\d s of sound for 'good morning', where the GPT never ended", reason)
    assert done.stderr == f"laura: 'Good morning.': failed: {reason}; what there is of it is in {speech}\n" and speech.exists()


def test_a_translation_into_the_same_language_is_told(run, good):
    done = run("translate", "--text", "A dog.", "--lang", "en", "--to", "en")
    assert done.exit_code == 0 and done.stdout == "A dog.\n" and "is in 'en' already" in done.stderr and len(done.stderr.splitlines()) == 1


USAGE = [
    (("transcribe", "GOOD", "--lang", "xx"), "unknown language 'xx'"),
    (("translate", "GOOD", "--to", "klingon"), "unknown language 'klingon'"),
    (("translate",), "either recordings or --text"),
    (("translate", "--text", "a", "--format", "srt"), "has no times"),
    (("translate", "--text", "a", "-o", "OUT/a.vtt"), "has no times"),
    (("emotion", "GOOD", "-o", "OUT/a.srt"), "has no times"),
    (("speak", "hello"), "where to write"),
    (("speak", "hello", "-o", "OUT/a.wav", "--lang", "xx"), "unknown language"),
    (("speak", "hello", "-o", "OUT/a.mp3"), "sound is written as"),
    (("speak", "hello", "-o", "OUT/a.wav", "--voice-text", "hi"), "--voice"),
    (("speak", "hello", "-o", "OUT/a.wav", "--voice", "GOOD", "--voice-text", "caf\udce9"), "--voice-text is not UTF-8 after 'caf'"),
    (("speak", "hello", "-o", "GOOD", "--voice", "GOOD"), "is an input and would be overwritten"),
    (("enhance", "GOOD"), "where to write"),
    (("enhance", "GOOD", "-o", "OUT"), "is an input and would be overwritten: name another file, or give --force"),
    (("enhance", "GOOD", "-o", "GOOD"), "is an input and would be overwritten"),
    (("codec", "GOOD", "--codes", "OUT", "-o", "OUT"), "is an input and would be overwritten"),
    (("transcribe", "GOOD", "-o", "GOOD"), "names a sound, but transcribe writes text"),
    (("transcribe", "GOOD", "-o", "OUT/a.srt", "--format", "json"), "--format json contradicts"),
    (("transcribe", "GOOD", "GOOD", "-o", "OUT/a.json"), "name the file a.jsonl"),
    (("transcribe", "GOOD", "-o", "OUT/a.txt", "--output-dir", "OUT"), "leave one of them out"),
    (("transcribe", "GOOD", "--max_line_width", "30"), "is for subtitles: add --format srt or vtt"),
    (("enhance", "GOOD", "-o", "OUT/missing/a.wav"), "does not exist"),
    (("enhance", "GOOD", "-o", "/proc/a.wav"), "cannot be written"),
    (("enhance", "GOOD", "GOOD", "-o", "GOOD"), "need a folder"),
    (("transcribe", "GOOD", "-o", "OUT/missing/a.txt"), "does not exist"),
    (("transcribe", "GOOD", "GOOD", "--format", "srt"), "name a folder"),
    (("speak", "a", "b", "-o", "OUT/x.wav"), "names one file, but there are several answers: name a folder"),
    (("enhance", "GOOD", "GOOD", "-o", "OUT/clean.FLAC"), "names one file"),
    (("transcribe", "GOOD", "GOOD", "-o", "OUT/a.srt"), "names one file"),
    (("codec", "GOOD", "GOOD", "--codes", "OUT/a.safetensors"), "names one file"),
    (("emotion", "GOOD", "--format", "srt"), "emotion has no times, so no srt: choose text or json"),
    (("speak", "hi", "-o", "OUT/a.wav", "--format", "vtt"), "speak answers with sound, so no vtt: choose text or json"),
    (("chain", "enhance | sing", "GOOD", "-o", "OUT/a.wav"), "'sing' is unknown"),
    (("chain", "translate | speak", "GOOD", "-o", "OUT/a.wav"), "needs a language"),
    (("chain", "transcribe | enhance", "GOOD", "-o", "OUT/a.wav"), "takes audio, but gets text"),
    (("chain", "enhance", "GOOD"), "where to write"),
    (("transcribe", "GOOD", "--threads", "0"), "'--threads'"),
    (("transcribe", "GOOD", "--initial_prompt", "Names: Ada"), "--initial-prompt of whisper is absent: the model takes no prompt"),
    (("transcribe", "GOOD", "--vad_filter", "True"), "--vad-filter of whisper is absent: always on"),
    (("transcribe", "GOOD", "--nonsense"), "No such option: --nonsense"),
    (("transcribe", "GOOD", "--format", "pdf"), "'pdf' is not one of"),
    (("speak", "a", "-o", "OUT/a.wav", "--seed", "-1"), "'--seed'"),
]


@pytest.mark.parametrize("arguments, says", USAGE)
def test_wrong_usage_is_told_before_the_model_is_loaded(run, good, tmp_path, arguments, says):
    filled = [str(a).replace("GOOD", str(good)).replace("OUT", str(tmp_path)) for a in arguments]
    before = sorted(tmp_path.rglob("*"))
    done = run(*filled, model="/no/such/checkpoint")  # would fail otherwise
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1 and says in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_mistake_before_any_verb_is_one_line(run):
    for arguments in (("sing",), ("transcribe",), ("--nonsense",)):
        done = run(*arguments, model=None)
        assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1 and "--help" in done.stderr


def test_languages_are_those_of_the_checkpoint(run, good, tmp_path, debug_checkpoint):
    folder = shutil.copytree(debug_checkpoint, tmp_path / "checkpoint")
    _change_config(langs=["en", "de"])(folder)
    done = run("transcribe", good, "--lang", "zh", model=folder)
    assert done.exit_code == 2 and "unknown language 'zh': checkpoint knows en, de" in done.stderr
    chained = run("chain", "translate:zh", good, model=folder)
    assert chained.exit_code == 2 and "checkpoint knows en, de" in chained.stderr
    for verb in ("transcribe", "translate", "speak", "understand"):
        text = CliRunner().invoke(app, [verb, "--help"]).stdout
        assert "en or de" in text and "zh" not in text


def _cut(name):
    def cut(folder):
        (folder / name).write_bytes((folder / name).read_bytes()[:-1000])

    return cut


def _foreign_weights(folder):
    from safetensors.numpy import save_file

    save_file({"bert.embeddings": np.zeros((2, 2), dtype=np.float32)}, folder / "model.safetensors")


def _change_config(**values):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | values))

    return change


BROKEN = {
    "cut weights": _cut("model.safetensors"),
    "cut codec": _cut("codec.safetensors"),
    "foreign weights": _foreign_weights,
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "garbled tokenizer": lambda folder: (folder / "tokenizer.json").write_text("{"),
    "garbled configuration": lambda folder: (folder / "config.json").write_text("not json"),
    "foreign configuration": lambda folder: (folder / "config.json").write_text('{"architectures": ["BertModel"]}'),
    "another codec": _change_config(codec_hash="0123456789abcdef"),
}


@pytest.mark.parametrize("breaks", BROKEN.values(), ids=BROKEN)
def test_a_broken_checkpoint_is_one_line(run, good, tmp_path, debug_checkpoint, breaks):
    folder = tmp_path / "checkpoint"
    shutil.copytree(debug_checkpoint, folder)
    breaks(folder)
    done = run("emotion", good, model=folder)
    assert done.exit_code == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and str(folder) in done.stderr


def test_a_missing_checkpoint_is_one_line(run, good):
    done = run("emotion", good, model="maxi")
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1 and "'maxi'" in done.stderr


def test_help_is_quick_and_has_examples():
    code = (
        "import sys; from lauragpt.cli.app import app; sys.argv = ['laura', '--help']\n"
        "try: app()\nfinally: assert not {'torch', 'onnxruntime', 'numpy', 'soundfile'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "transcribe" in done.stdout, done.stderr
    for verb in "transcribe translate speak enhance caption emotion understand chain prepare synth train export replay eval".split():
        shown = CliRunner().invoke(app, [verb, "-h"]).stdout
        assert f"laura {verb} " in shown and shown.isascii() and shown == CliRunner().invoke(app, [verb, "--help"]).stdout
    assert "slt (en)" in " ".join(CliRunner().invoke(app, ["speak", "--help"]).stdout.split())
    assert CliRunner().invoke(app, ["--version"]).stdout == f"laura {__version__}\n"


def test_options_of_whisper_are_here_or_have_a_reason(run, good, tmp_path):
    shown = CliRunner().invoke(app, ["transcribe", "--help"]).stdout
    assert all(f"{option} " in shown or f"{option}," in shown for option in whisper.PRESENT)
    for option in whisper.ABSENT:
        done = run("transcribe", good, option.replace("-", "_").replace("__", "--"), "1")
        assert done.exit_code == 2 and done.stderr == f"laura: {whisper.reason(option)}\n" and option not in shown
    page = (Path(__file__).parents[1] / "docs" / "coming-from-whisper.md").read_text(encoding="utf-8")
    assert all(table in page for table in whisper.tables().split("\n\n"))
    given = [
        "--language",
        "en",
        "--beam_size",
        1,
        "--threads",
        1,
        "--output_dir",
        tmp_path / "out",
        "--output_format",
        "vtt",
        "--max_line_width",
        20,
    ]
    assert run("transcribe", good, *given).exit_code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.vtt"]


def test_the_suffix_of_the_output_is_its_format(run, good, tmp_path):
    for name, start in (("a.json", "{"), ("a.jsonl", "{"), ("a.vtt", "WEBVTT"), ("a.tsv", "start\tend"), ("a.SRT", ""), ("a.txt", "")):
        done = run("transcribe", good, "-o", tmp_path / name)
        assert done.exit_code == 0 and done.stdout == "" and (tmp_path / name).read_text().startswith(start)
    answer = json.loads((tmp_path / "a.json").read_text())
    assert (tmp_path / "a.txt").read_text() == answer["text"] + "\n" and (tmp_path / "a.jsonl").read_text() == (
        tmp_path / "a.json"
    ).read_text()
    assert run("transcribe", good, good, "-o", f"{tmp_path}/each/", "--format", "json").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "each").iterdir()) == ["good-2.json", "good.json"]


def test_progress_and_timings_are_shown_when_asked_for(run, good):
    done = run("transcribe", good, "--verbose", "--threads", 1)
    lines = done.stderr.splitlines()
    assert "1 threads" in lines[0] and f"laura: {good}: 1 of 1 s" in lines
    assert "debug on torch, cpu" in lines[0] and f"{good}: 1.0 s in 1 chunk, finish " in done.stderr and "1 answer in" in lines[-1]
    assert run("transcribe", good).stderr == ""


def test_codec_shows_keeps_and_decodes(run, good, tmp_path):
    done = run("codec", good, "-n", 2, "-o", tmp_path / "after.wav", "--codes", tmp_path / "good.safetensors")
    assert done.exit_code == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first == f"{good}: 1.00 s, 2 quantizers, 0.50 kbit/s" and len(rest) == 3
    assert soundfile.info(tmp_path / "after.wav").frames == 16000
    again = run("codec", tmp_path / "good.safetensors", "-n", 1, "-o", tmp_path / "first.wav", "--format", "json")
    row = json.loads(again.stdout)
    assert (
        row["quantizers"] == 1
        and row["bits_a_second"] == 250
        and len(row["codes"][0]) == 25
        and row["audio"] == str(tmp_path / "first.wav")
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["after.wav", "first.wav", "good.safetensors", "good.wav"]


def test_codec_goes_on_after_a_bad_input(run, good, tmp_path):
    done = run("codec", _not_audio(tmp_path), good, _missing(tmp_path), "-o", tmp_path / "out")
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.wav"]
    assert run("codec", good, "-n", 9, "-o", tmp_path / "x.wav").exit_code == 1 and not (tmp_path / "x.wav").exists()
    assert run("codec", good, "-n", 0, model=None).exit_code == 2
    assert run("codec", good, "--codes", tmp_path / "x.wav").exit_code == 2
    assert run("codec", good, "-o", tmp_path / "x.mp3").exit_code == 2


def test_an_option_without_its_value_is_not_called_absent(run, tmp_path):
    done = run("speak", "hi", "-o", tmp_path / "a.wav", "--temperature", model=None)
    assert done.exit_code == 2 and done.stderr == "laura: Option '--temperature' requires an argument; see laura speak --help\n"


def test_a_minus_is_stdout(run, good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for more in ((), ("--format", "srt")):
        assert run("transcribe", good, "-o", "-", *more).stdout == run("transcribe", good, *more).stdout
    assert [path.name for path in tmp_path.iterdir()] == ["good.wav"]


def test_a_folder_may_be_named_like_a_file_where_it_exists_or_is_meant(run, good, tmp_path):
    (tmp_path / "old.wav").mkdir()
    for out in (tmp_path / "old.wav", f"{tmp_path}/new.wav/"):
        assert run("enhance", good, good, "-o", out).exit_code == 0 and len(os.listdir(out)) == 2


def test_speech_on_stdout_that_failed_is_a_failure(run):
    words = ["speak", "Good morning.", "--lang", "en", "-o", "-", "--temperature", "0"]  # a loop, with random weights
    done = run(*words)
    assert done.exit_code == 1 and done.stderr.startswith("laura: speech failed: ") and done.stderr.count("\n") == 1


def test_an_unsure_answer_is_left_out_when_asked_so(run, good):
    for verb in ("transcribe", "caption", "emotion", "understand"):
        sure = json.loads(run(verb, good, "--format", "json").stdout)
        unsure = json.loads(run(verb, good, "--format", "json", "--min-confidence", 1).stdout)
        assert unsure["text"] == "" and unsure["receipt"]["rejected"] >= 1 if sure["text"] else "rejected" not in unsure["receipt"]
        assert "rejected" not in sure["receipt"]
    assert run("transcribe", good, "--min-confidence", 2).exit_code == 2


def test_times_as_a_table(run, good):
    lines = run("transcribe", good, "--format", "tsv").stdout.splitlines()
    assert lines[0] == "start\tend\ttext" and all(len(line.split("\t")) == 3 for line in lines)


def test_speech_on_stdout_is_that_of_the_file(run, debug_checkpoint, tmp_path):
    path, words = tmp_path / "speech.wav", ["speak", "Good morning. A dog runs.", "--lang", "en", "--seed", "3", "-o"]
    piped = np.frombuffer(run(*words, "-").stdout_bytes, dtype="<i2")
    assert run(*words, path).exit_code == 0
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == 16000 and len(piped) == len(samples) > 3000
    assert np.abs(piped.astype(int) - samples).max() <= 4
    command = shlex.join([sys.executable, "-m", "lauragpt", *words, "-", "--model", str(debug_checkpoint)])
    stopped = subprocess.run(f"{command} | head -c 100", shell=True, capture_output=True, check=False)
    assert len(stopped.stdout) == 100 and stopped.stderr == b""


def test_answers_are_made_again_from_their_receipts(run, good, tmp_path):
    answers, noisy = tmp_path / "answers.jsonl", tmp_path / "clean.wav"
    lines = [run(verb, good, "--format", "json").stdout for verb in ("transcribe", "emotion", "caption", "understand")]
    lines += [
        run("enhance", good, "-o", noisy, "--format", "json").stdout,
        run("translate", "--text", "A dog.", "--to", "de", "--format", "json").stdout,
    ]
    lines += [run("speak", "Good morning. A dog.", "--lang", "en", "-o", tmp_path / "said.wav", "--seed", 5, "--format", "json").stdout]
    answers.write_text("".join(lines))
    done = run("replay", answers)
    assert done.exit_code == 0 and done.stdout.count("the same") == 7, done.stdout + done.stderr
    changed = [json.loads(line) for line in lines]
    changed[0]["text"], changed[6]["receipt"]["seed"] = "something else", 6
    changed[1]["file"], changed[2]["receipt"]["weights"] = "gone.wav", "another"
    del changed[5]["receipt"]["text"]
    answers.write_text("\n".join(map(json.dumps, changed)))
    done = run("replay", answers)
    assert done.exit_code == 1 and done.stdout.count("the same") == 2
    assert "it was 'something else'" in done.stdout and "sound: " in done.stdout
    assert (
        "gone.wav: the recording" in done.stderr
        and "with weights another" in done.stderr
        and "does not say how it came about (KeyError: 'text')" in done.stderr
    )
    answers.write_text("[]")
    assert run("replay", answers).exit_code == 1 and run("replay", tmp_path / "none.jsonl").exit_code == 1
