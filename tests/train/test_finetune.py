"""`laura finetune`: the examples of docs/finetune.md at debug size, what is promoted and what is rejected, and mistakes as one line."""

import json
import shlex
from pathlib import Path

import pages
import pytest
import soundfile
import yaml
from typer.testing import CliRunner

from lauragpt.checkpoint import read_config
from lauragpt.cli.app import app
from lauragpt.data.debug_corpus import say
from lauragpt.data.manifest import Example, read_manifest, write_manifest
from lauragpt.engine.api import Laura
from lauragpt.evaluate.report.tables import Row
from lauragpt.evaluate.tally import Score
from lauragpt.tasks import LANGS, TASKS
from lauragpt.train.finetune import preset_of
from lauragpt.train.forgetting import Change

PAGE = pages.ROOT / "docs" / "finetune.md"
SMALL = ["--steps", "2", "--limit", "2", "--batch-seconds", "8", "--tolerance", "1e9"]


def run(*arguments):
    done = CliRunner().invoke(app, ["finetune", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), (done.exception, done.output)
    return done


@pytest.fixture(scope="module")
def teaching(tmp_path_factory):
    return pages.make_tuning(tmp_path_factory.mktemp("teaching"))


@pytest.fixture
def example(teaching, debug_checkpoint, tmp_path, monkeypatch):
    """Runs a command of the page at debug size -> the folder that it wrote, and what it said."""
    for name in ("terms", "french", "rooms"):
        (tmp_path / name).symlink_to(teaching / name)
    monkeypatch.chdir(tmp_path)

    def run_line(start: str):
        line = next(line for line in pages.commands(PAGE) if line.startswith(start))
        done = run(*shlex.split(line)[2:], "--from", debug_checkpoint, *SMALL)
        assert done.exit_code == 0, done.output
        return tmp_path / line.split("-o ")[1].split()[0], done

    return run_line


def changes(folder: Path) -> dict:
    """(task, corpus) -> its row of changes.json."""
    rows = json.loads((folder / "changes.json").read_text())["rows"]
    return {(row["task"], row["data"].split(" ")[0]): row for row in rows}


def test_new_words(example, debug_checkpoint):
    folder, done = example("laura finetune terms/ --task asr")
    assert "by name, audio is file_name, text is transcription, speaker is speaker" in done.stdout.replace("\n", " ")
    assert "split of terms: made by speaker, 2 train and 1 dev" in done.stdout and "used: 6 examples of train, 3 of dev" in done.stdout
    assert f"{folder / 'checkpoint'}: no task fell" in done.stdout and not (folder / "rejected").exists()
    assert changes(folder).keys() == {("asr", "terms"), ("mt", "tatoeba")} and all(row["before"] >= 0 for row in changes(folder).values())
    config = read_config(folder / "checkpoint")
    assert config["corpora"] == {"ljspeech_sentences": "public domain", "tatoeba": "CC BY 2.0 FR", "terms": "CC BY 4.0"}
    assert config["name"] == "debug-terms" and "added" not in config
    weights = yaml.safe_load((folder / "recipe.yaml").read_text())["stages"]["joint"]["weights"]
    assert weights == {"asr/terms": 0.5, "mt/tatoeba": 0.5}
    laura = Laura.load(folder / "checkpoint")
    assert isinstance(laura.transcribe(str(folder.parents[1] / "terms" / "0.wav")).text, str) and set(laura.voices.cards) == {"anna"}


def test_a_new_language(example, debug_checkpoint):
    folder, _ = example("laura finetune french/")
    config = read_config(folder / "checkpoint")
    assert config["added"] == ["fr"] and config["langs"] == [*LANGS] and LANGS[-1] == "fr"
    assert changes(folder)["asr", "sentences"]["before"] is None, "nobody could ask for it before"
    assert [row["targets"] for row in map(json.loads, (folder / "data" / "train.jsonl").read_text().splitlines()) if row["lang"] == "fr"]
    LANGS.remove("fr")  # as in another program
    from lauragpt.tasks import ADDED

    ADDED.clear()
    audio = str(folder.parents[1] / "french" / "0.wav")
    answer = CliRunner().invoke(app, ["transcribe", audio, "--lang", "fr", "--model", str(folder / "checkpoint"), "--format", "json"])
    assert answer.exit_code == 0 and json.loads(answer.stdout)["lang"] == "fr", answer.output


def test_new_labels(example, teaching):
    folder, _ = example("laura finetune rooms/")
    [task] = read_config(folder / "checkpoint")["added"]
    assert task["name"] == "rooms" and task["labels"] == ["hall", "kitchen", "street"]
    assert changes(folder)["rooms", "rooms"]["before"] is None and 0 <= changes(folder)["rooms", "rooms"]["after"] <= 100
    from lauragpt.tasks import ADDED

    del TASKS["rooms"]  # as in another program
    ADDED.clear()
    command = ["ask", "rooms", str(teaching / "rooms" / "hall" / "0.wav"), "--model", str(folder / "checkpoint"), "--format", "json"]
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 0, answer.output
    answer = json.loads(answer.stdout)
    assert answer["text"] in task["labels"] and sum(answer["scores"].values()) == pytest.approx(1, abs=1e-3)


def labelled(folder: Path, corpus: str, emotion: str) -> Path:
    """Recordings whose emotion is always the same: that is learned in a few steps."""
    folder.mkdir()
    made = []
    for number in range(10):
        path, split = folder / f"{number}.wav", "dev" if number >= 7 else "train"
        wave = say("kids are talking"[: 10 + number % 6], 120.0 + 9 * number)
        soundfile.write(path, wave, 16000)
        about = {"audio": str(path), "duration": len(wave) / 16000, "targets": [emotion]}
        made.append(Example(f"ser/{corpus}/{number}", "ser", split, "en", corpus, **about))
    for split in ("train", "dev"):
        write_manifest(folder / f"{split}.jsonl", [example for example in made if example.split == split])
    (folder / "corpora.json").write_text(json.dumps({corpus: {"licence": "mine", "commercial": True}}))
    return folder


def test_what_makes_a_task_fall_is_not_promoted(debug_checkpoint, tmp_path):
    sad, happy = labelled(tmp_path / "sad", "sad", "sad"), labelled(tmp_path / "happy", "happy", "happy")
    fast = ["--steps", 30, "--lr", 2e-2, "--batch-seconds", 8, "--limit", 20]
    first = run(sad, "--from", debug_checkpoint, "-o", tmp_path / "one", "--replay-share", 0, "--tolerance", 1e9, *fast)
    assert first.exit_code == 0, first.output
    assert changes(tmp_path / "one")["ser", "sad"]["after"] == 100

    start, out = tmp_path / "one" / "checkpoint", tmp_path / "two"
    second = run(happy, "--from", start, "-o", out, "--replay", sad, "--replay-share", 0, *fast)
    assert second.exit_code == 1 and changes(out)["ser", "happy"]["after"] == 100 and changes(out)["ser", "sad"]["after"] == 0
    assert "laura: fell by more than 2: ser sad: UA % 100.0 before, 0.000 after" in second.stderr
    assert f"not promoted, since 1 of 2 rows fell: {out / 'rejected'}" in second.stderr
    assert (out / "rejected" / "config.json").exists() and not (out / "checkpoint").exists()
    assert read_config(out / "rejected")["corpora"] == {"happy": "mine", "sad": "mine"}

    again = run("--resume", "-o", out, "--tolerance", 100, "--limit", 20)
    assert again.exit_code == 0 and "joint: done before" in again.stderr
    assert (out / "checkpoint" / "config.json").exists() and not (out / "rejected").exists()


def test_it_goes_on_where_it_was_stopped(debug_checkpoint, teaching, tmp_path):
    given = [teaching / "terms", "--from", debug_checkpoint, "-o", tmp_path / "out", "--lora", 2, *SMALL]
    stopped = run(*given, "--minutes", 1e-6)
    assert stopped.exit_code == 0 and "is not trained to the end: the same command with --resume goes on" in stopped.stderr
    assert not (tmp_path / "out" / "checkpoint").exists()
    refused = run(*given)
    assert refused.exit_code == 1 and "is there already: --resume goes on with it, or name another with -o" in refused.stderr
    done = run(*given, "--resume")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "checkpoint" / "config.json").exists()
    assert yaml.safe_load((tmp_path / "out" / "recipe.yaml").read_text())["stages"]["joint"]["lora"]["rank"] == 2


def test_parts_of_recordings_become_files_and_faults_are_left_out(debug_checkpoint, teaching, tmp_path):
    rows = [json.dumps({"audio": str(teaching / "terms" / f"{n}.wav"), "start": 0.1, "end": 1.5, "text": "the placed", "speaker": n % 3})
            for n in range(9)]  # fmt: skip
    (tmp_path / "talks.jsonl").write_text("\n".join([*rows, json.dumps({"audio": "gone.wav", "text": "lost", "speaker": 1})]) + "\n")
    done = run(tmp_path / "talks.jsonl", "--from", debug_checkpoint, "-o", tmp_path / "out", *SMALL)
    assert done.exit_code == 0 and "1 missing" in done.stdout, done.output
    audio = [Path(example.audio) for example in read_manifest(tmp_path / "out" / "data" / "train.jsonl") if example.audio]
    assert audio and all(path.parent == tmp_path / "out" / "data" / "parts" for path in audio)
    assert soundfile.info(audio[0]).duration == pytest.approx(1.4, abs=0.01)


@pytest.mark.slow
def test_all_tasks_of_prepared_data_are_replayed_and_measured(debug_checkpoint, teaching, prepared, tmp_path):
    done = run(teaching / "terms", "--from", debug_checkpoint, "-o", tmp_path / "out", "--replay", prepared, *SMALL)
    assert done.exit_code == 0, done.output
    weights = yaml.safe_load((tmp_path / "out" / "recipe.yaml").read_text())["stages"]["joint"]["weights"]
    of = {task: sum(weight for key, weight in weights.items() if key.startswith(f"{task}/")) for task in TASKS}
    assert of == pytest.approx({task: 1 / 16 + 0.5 * (task == "asr") for task in TASKS}, abs=1e-3)
    assert {task for task, _ in changes(tmp_path / "out")} == TASKS.keys()


@pytest.mark.parametrize("arguments, status, message", [
    (["{}/none"], 1, "none: no such file or folder"),
    (["{}/terms", "--from", "nowhere"], 1, "no checkpoint 'nowhere'"),
    (["{}/rooms"], 1, "has labels of a task without a name: give it one, as in --task rooms"),
    (["{}/rooms", "--task", "My rooms"], 1, "a name is lower-case letters, digits and _"),
    (["{}/terms", "--task", "slu"], 1, "holds no slu examples"),
    (["{}/terms", "--lang", "french"], 1, "'french' is no language's code"),
    (["{}/terms", "--replay", "{}/rooms"], 1, "holds no train.jsonl: give --replay a folder that"),
    (["{}/terms", "--batch-seconds", "0.5"], 1, "no example of train is left (left out: 9 longer than 0.5 s), so nothing can be learned"),
    (["{}/terms", "--keep", "all"], 2, "'all' is no kind of fault"),
    (["{}/terms", "--replay-share", "1"], 1, "--replay-share 1: give a share of 0"),
    (["{}/terms", "--minutes", "0"], 2, "--minutes 0: give a time above 0"),
    (["{}/terms", "--resume"], 1, "holds no fine-tuning to go on with"),
    (["--resume"], 2, "name the data, or with --resume the folder"),
])  # fmt: skip
def test_mistakes_are_one_line_and_write_nothing(arguments, status, message, teaching, debug_checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = [] if "--from" in arguments else ["--from", debug_checkpoint]
    done = run(*(each.format(teaching, teaching) for each in arguments), *start)
    assert done.exit_code == status, done.output
    assert message in done.stderr and done.stderr.startswith("laura: ") and done.stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_a_language_is_added_only_where_it_is_named(debug_checkpoint, teaching, tmp_path):
    rows = "".join(f"{teaching / 'french' / str(n)}.wav,bonjour,fr-FR\n" for n in range(4))
    (tmp_path / "talks.csv").write_text(f"audio,text,lang\n{rows}")
    done = run(tmp_path / "talks.csv", "--from", debug_checkpoint, "-o", tmp_path / "out")
    assert done.exit_code == 1 and "talks.csv is in fr, and the model knows en, de, zh: --lang fr adds a language" in done.stderr
    assert not (tmp_path / "out").exists()


def row(value: float, metric: str = "WER %", lower: bool = True) -> Row:
    return Row("asr", "talks", 9, 9, metric, Score(value, n=9), lower_is_better=lower)


@pytest.mark.parametrize("before, after, fell", [
    (row(20), row(21.9), False), (row(20), row(22.1), True), (row(20), row(3), False), (None, row(90), False), (row(20), None, True),
    (row(float("nan")), row(5), False), (row(5), row(float("nan")), True), (row(50, "chrF", False), row(47.9, "chrF", False), True),
    (row(0.9, "STOI", False), row(0.87, "STOI", False), True), (row(0.9, "STOI", False), row(0.885, "STOI", False), False),
])  # fmt: skip
def test_what_counts_as_a_fall(before, after, fell):
    assert Change(before, after).fell(2.0) is fell


def test_the_checkpoint_that_ships_has_a_preset():
    assert preset_of("mini") == "mini"
