"""`laura eval` from manifests to files: which examples are measured, with what noise, beside which floors; then all of it, for real,
with the debug checkpoint on the recordings that ship with the package."""

import json
import re
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import transformers
from builders import example

from lauragpt.audio import load_audio
from lauragpt.cli.demo import RECORDINGS
from lauragpt.data.captions import CAPTIONS
from lauragpt.data.manifest import write_manifest
from lauragpt.engine.api import Laura
from lauragpt.errors import LauraError
from lauragpt.evaluate import systems
from lauragpt.evaluate.ablation import RecordingBackend, ablation, tokens_right
from lauragpt.evaluate.answers import CEILING, CONDITION, GPT_TOKENS, NOISY, SHUFFLED, TRUE, Answer, AnswerStore, key_of
from lauragpt.evaluate.groups import Bench, check, floor_examples, make_groups, read_split
from lauragpt.evaluate.inputs import noise_of, prompt_of
from lauragpt.evaluate.metrics import MissingPackage
from lauragpt.evaluate.report.tables import Report, Row, add_verdicts
from lauragpt.evaluate.run import evaluate, score
from lauragpt.evaluate.scorers import SCORERS, best_constant
from lauragpt.evaluate.sound_metrics import parallel_map, pocketsphinx_text, sound_quality
from lauragpt.evaluate.systems import checkpoint_key
from lauragpt.evaluate.tally import Score, mean
from lauragpt.tasks import TASKS


def test_every_task_has_a_scorer():
    assert SCORERS.keys() == {*TASKS, "codec"}


def test_a_split_is_its_manifest_and_the_synthetic_ones_beside_it(data):
    found = read_split(data, "dev")
    assert {e.split for e in found} == {"dev"}
    assert {e.task for e in found} == set(TASKS)
    assert sum(e.corpus == "synth-slurp" for e in found) == 1
    assert {e.split for e in floor_examples(data, {"ser", "slu"})} == {"train"}
    assert len(floor_examples(data, {"ser", "slu"})) == 5
    assert floor_examples(data, {"asr"}) == []


def test_a_limit_takes_the_same_examples_whatever_their_order():
    many = [example("asr", n) for n in range(50)] + [example("asr", n, corpus="other") for n in range(3)]
    groups = make_groups(many, 10)
    again = make_groups(many[::-1], 10)
    assert [(g.name, len(g.examples), g.available) for g in groups] == [("other", 3, 3), ("set", 10, 50)]
    assert [{e.id for e in g.examples} for g in groups] == [{e.id for e in g.examples} for g in again]
    larger = {e.id for e in make_groups(many, 20)[1].examples}
    assert {e.id for e in groups[1].examples} < larger  # a larger limit only adds


def test_a_limit_takes_fewer_where_they_are_long_or_make_sound():
    long = [example("asr", n, duration=10.0) for n in range(50)] + [example("se", n, duration=1.0) for n in range(50)]
    long += [example("tts", n, duration=9.0) for n in range(50)]
    assert [len(g.examples) for g in make_groups(long, 20)] == [4, 1, 2] and [len(g.examples) for g in make_groups(long, None)] == [
        50,
        16,
        16,
    ]


def test_directions_of_translation_are_rows_of_their_own():
    pairs = [example("mt", 0, source="a", source_lang="en", lang="de"), example("mt", 1, source="b", source_lang="de", lang="en")]
    assert {g.name for g in make_groups(pairs, None)} == {"set en-de", "set de-en"}


@pytest.mark.parametrize(
    "split, tasks, limit, message",
    [("exam", None, None, "unknown split 'exam'"), ("dev", ["sing"], None, "unknown task 'sing'"), ("dev", None, 0, "limit is 0")],
)
def test_what_cannot_be_asked_is_refused_in_one_line(tmp_path, split, tasks, limit, message):
    with pytest.raises(LauraError, match=message):
        check(tmp_path, split, tasks, limit)


def test_a_folder_without_manifests_is_refused(tmp_path):
    with pytest.raises(LauraError, match="no dev examples"):
        read_split(tmp_path, "dev")
    with pytest.raises(LauraError, match="not a folder"):
        check(tmp_path / "none", "dev", None, None)


def test_noise_depends_on_seed_and_id_alone_and_has_the_promised_level(data):
    examples = read_split(data, "dev")
    clean = load_audio(RECORDINGS / "kathleen-arctic_a0473_1592704836.opus") * 0.3  # low enough that nothing is scaled down
    levels = []
    for number in range(12):
        one = example("se", number, targets=[])
        noisy = noise_of(examples, seed=0)(one, clean)
        assert np.array_equal(noisy, noise_of(examples[::-1], seed=0)(one, clean))
        assert not np.array_equal(noisy, noise_of(examples, seed=1)(one, clean))
        levels.append(10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2)))
    assert min(levels) >= -0.1 and max(levels) <= 10.1 and max(levels) - min(levels) > 2


def test_a_prompt_is_another_recording_of_the_speaker_whatever_else_is_measured():
    recording = str(RECORDINGS / "kathleen-arctic_a0473_1592704836.opus")
    spoken = [example("tts", n, speaker="anna" if n < 3 else f"s{n}", audio=f"{n}.opus", duration=1.0) for n in range(5)]
    spoken[1] = replace(spoken[1], audio=recording)
    spoken[2] = replace(spoken[2], audio=spoken[0].audio)  # the same recording once more is no other
    prompt = prompt_of([*spoken, example("asr", 9)])
    assert np.array_equal(prompt(spoken[0]), load_audio(recording)) and len(prompt_of(spoken, seconds=1.0)(spoken[0])) == 16000
    assert np.array_equal(prompt(spoken[0]), prompt_of(spoken[::-1])(spoken[0])) and np.array_equal(prompt(spoken[0]), prompt(spoken[2]))
    assert prompt(spoken[3]) is None and prompt(replace(spoken[3], speaker="")) is None
    assert prompt(spoken[1]) is None  # the other cannot be read


def test_a_split_without_sounds_is_made_noisy_with_made_noise():
    clean = np.sin(np.arange(8000) / 20).astype(np.float32) * 0.3
    noisy, again, other = (noise_of([], 0)(example("se", number), clean) for number in (0, 0, 1))
    assert np.array_equal(noisy, again) and not np.array_equal(noisy, other)
    assert 0 < 10 * np.log10(np.var(clean) / np.var(noisy - clean)) < 10


def test_the_best_constant_sentence_is_the_best_of_the_training_targets():
    train = [example("mt", n, split="train", lang="de", targets=[text]) for n, text in enumerate(["Ein Mann geht.", "Ein Hund", "xyz"])]
    [group] = make_groups([example("mt", 0, lang="de", source="a", source_lang="en", targets=["Ein Mann rennt."])], None)
    bench = Bench(train)
    assert best_constant(bench, group, [["Ein Mann rennt."]]) == "Ein Mann geht."


def test_an_outside_recogniser_hears_a_real_recording():
    assert "night" in pocketsphinx_text(load_audio(RECORDINGS / "kathleen-arctic_a0473_1592704836.opus"))


def test_work_in_processes_is_the_same_work_in_order():
    clean = load_audio(RECORDINGS / "kathleen-arctic_a0473_1592704836.opus")
    waves = [clean + noise * np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32) for noise in (0.1, 0.01)]
    assert parallel_map(sound_quality, [clean] * 2, waves) == [sound_quality(clean, wave) for wave in waves]
    assert parallel_map(max, [1, 5, 2], [4, 3, 2]) == [4, 5, 2] and parallel_map(len, []) == []


def test_a_missing_package_costs_its_row_and_says_how_to_get_it(monkeypatch):
    def missing(bench, group):
        raise MissingPackage("not measured: jiwer is missing, `pip install jiwer`")

    monkeypatch.setitem(SCORERS, "asr", missing)
    [group] = make_groups([example("asr", 0)], None)
    [row] = score(Bench([]), group)
    assert "pip install jiwer" in "".join(row.cells())


def test_a_report_says_its_split_and_holds_no_nan(tmp_path):
    rows = [Row("asr", "set", 2, 9, "WER %", Score(50.0, 40.0, 60.0, 2), 100.0, "empty text", {"CER %": float("nan")}, 2.0, 8.0, True)]
    report = Report("debug", "dev", 0, rows, ["a note"], {"cut short": ["asr/1"]})
    report.save(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "`dev` chooses" in text and "| 2 of 9 |" in text and "40.0 to 60.0" in text and "0.25" in text and "cut short" in text
    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved["rows"][0]["also"]["CER %"] is None and saved["rows"][0]["real_time_factor"] == 0.25


def test_the_ablation_measures_the_tokens_that_enhance_used():
    """With the checkpoint that ships: an untrained GPT writes one token again and again, and shuffling changes nothing."""
    laura, clean = Laura.load("mini"), load_audio(RECORDINGS / "kathleen-arctic_a0473_1592704836.opus")
    noisy = clean + 0.02 * np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    waves, seconds, right = ablation(laura, clean, noisy, "en")
    assert seconds > 0
    assert list(waves) == [NOISY, CONDITION, SHUFFLED, GPT_TOKENS, TRUE, CEILING]
    assert all(len(wave) == len(clean) for wave in waves.values())
    np.testing.assert_array_equal(waves[GPT_TOKENS], laura.enhance(noisy).audio)
    recording = RecordingBackend(laura.runtime.backend)
    laura.with_backend(recording).enhance(noisy)
    [codes] = recording.calls[0]["codes"]
    shuffled = laura.runtime.backend.vocode([np.random.default_rng(0).permutation(codes)], noisy=[noisy])[0]
    np.testing.assert_allclose(waves[SHUFFLED], shuffled[: len(clean)], atol=1e-5)
    quality = {name: sound_quality(clean, wave)["STOI"] for name, wave in waves.items()}
    assert quality[SHUFFLED] + 0.05 < quality[GPT_TOKENS] < quality[TRUE] < quality[CEILING]  # the GPT's tokens carry the words
    assert 0.1 < right["tokens right"] < 1 and 0.1 < right["teacher-forced"] < 1
    true = laura.runtime.backend.codec_encode([clean])[0][0]
    assert tokens_right(laura, noisy, "en", true, true) == {"tokens right": 1.0, "teacher-forced": right["teacher-forced"]}
    assert tokens_right(laura, noisy, "en", true[:-1], true[1:])["tokens right"] > 0.95
    assert tokens_right(laura, noisy, "en", (true + 512) % 1024, true)["tokens right"] < 0.2


def test_a_recording_that_cannot_be_read_is_named_and_the_others_are_measured(laura, data, tmp_path):
    whole = [e for e in read_split(data, "dev") if e.task == "ser"]
    (tmp_path / "broken.opus").write_bytes(b"OggS")
    broken = example("ser", 99, corpus="ravdess", audio=str(tmp_path / "broken.opus"), duration=1.0, targets=["calm"])
    write_manifest(tmp_path / "dev.jsonl", [*whole, broken])
    report = evaluate(laura, tmp_path, tasks=["ser"], show=False)
    assert [row.n for row in report.rows] == [2]
    assert list(report.failures.values()) == [[broken.id]]


def test_answers_come_back_from_their_file(tmp_path):
    one, answers = example("ser", 0), [Answer("a", text="sad", confidence=0.0, scores={"sad": 0.0}), Answer("b", failure="no sound")]
    AnswerStore(tmp_path).add(one, answers)
    assert AnswerStore(tmp_path).find(one) == {answer.variant: answer for answer in answers}


def test_an_interrupted_evaluation_goes_on_where_it_was(debug_checkpoint, data, tmp_path, monkeypatch):
    whole = evaluate(debug_checkpoint, data, tasks=["asr"], show=False, cache=tmp_path / "whole")
    monkeypatch.setattr(systems, "BATCH", 2)
    real, asked = Laura.ask, []

    def stop_at_the_third(self, task, waves, lang=None):
        asked.append(len(waves))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return real(self, task, waves, lang)

    monkeypatch.setattr(Laura, "ask", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate(debug_checkpoint, data, tasks=["asr"], show=False, cache=tmp_path / "cut")
    [folder] = (tmp_path / "cut").iterdir()
    kept = (folder / "asr.jsonl").read_text().splitlines()
    (folder / "asr.jsonl").write_text("\n".join(kept) + '\n{"key": "cut sho')  # and the last line was cut short
    rest = evaluate(debug_checkpoint, data, tasks=["asr"], show=False, cache=tmp_path / "cut")
    assert 0 < len(kept) < sum(row.n for row in whole.rows) and sum(asked[3:]) == sum(row.n for row in whole.rows) - len(kept)
    assert [row.score for row in rest.rows] == [row.score for row in whole.rows]


def test_another_checkpoint_other_input_and_another_seed_are_asked_anew(debug_checkpoint, data, tmp_path):
    examples = read_split(data, "dev")
    assert len({key_of(e) for e in examples}) == len(examples)
    one = next(e for e in examples if e.task == "asr")
    assert key_of(one) == key_of(replace(one, targets=["other words"])) != key_of(replace(one, lang="de"))
    copy = tmp_path / "debug"
    shutil.copytree(debug_checkpoint, copy)
    before = checkpoint_key(copy, 0)
    assert before == checkpoint_key(debug_checkpoint, 0) != checkpoint_key(copy, 1)
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert checkpoint_key(copy, 0) != before


def test_anyones_answers_are_scored(data, tmp_path):
    """Perfect answers have perfect scores; no model is loaded."""
    lines, speech = [], tmp_path / "speech"
    speech.mkdir()
    for e in read_split(data, "dev"):
        if e.task in ("tts", "se"):
            shutil.copy(e.audio, speech / f"{len(lines)}.opus")
            lines.append({"id": e.id, "audio": f"speech/{len(lines)}.opus"})
        elif e.task == "aac":
            lines.append({"id": e.id, "text": CAPTIONS[e.extra["sound"]][0]})
        else:
            lines.append({"id": e.id, "text": e.targets[0]})
    path = tmp_path / "theirs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = evaluate("no such checkpoint", data, hyp=path, show=False)
    by = {(row.task, row.data): row.score.value for row in report.rows}
    assert {row.task for row in report.rows} == set(TASKS) and report.model == "theirs"
    assert list(report.failures.values()) == [["tts kerstin"]]  # pocketsphinx knows no German, and there is no model to ask
    assert by["asr", "kathleen"] == 0 and ("asr", "kathleen, telephone") not in by
    assert (
        by["asr", "librispeech"] == 0 and by["ser", "ravdess"] == by["slu", "barista"] == by["aac", "esc50"] == by["asr", "nospeech"] == 100
    )
    assert by["mt", "set en-de"] == 100 and by["se", "kathleen: theirs"] > 0.999
    assert by["tts", "kathleen: theirs"] == by["tts", "kathleen: the real recordings"] < 100


@pytest.mark.parametrize(
    "lines, message",
    [
        (['{"id": "asr/x", "text": "a"}', '{"id": "asr/x", "text": "b"}'], ":2: the id 'asr/x' comes a second time"),
        (['{"id": "asr/x", "text": "a"}'], "none of its ids"),
        (['{"id": "asr/x"}'], ":1: a line is"),
        (['{"id": "asr/x", "text": null}'], ":1: a line is"),
        (["[1]"], ":1: a line is"),
        (["{"], ":1: not JSON"),
        ([""], "holds no answers"),
    ],
)
def test_answers_that_make_no_sense_are_refused(data, tmp_path, lines, message):
    path = tmp_path / "theirs.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(LauraError, match=re.escape(message)):
        evaluate(data=data, hyp=path, show=False)
    with pytest.raises(LauraError, match="cannot be read"):
        evaluate(data=data, hyp=tmp_path / "none.jsonl", show=False)


def test_missing_and_foreign_answers_are_named(data, tmp_path):
    known = [e for e in read_split(data, "dev") if e.task == "ser"]
    path = tmp_path / "theirs.jsonl"
    path.write_text(json.dumps({"id": known[0].id, "text": "calm"}) + "\n")
    report = evaluate(data=data, hyp=path, tasks=["ser"], show=False)
    [[reason, names]] = report.failures.items()
    assert report.rows[0].n == 1 and len(names) == len(known) - 1 and reason == "no answer in theirs"
    many = Report("m", "dev", 0)
    for number in range(495):
        many.fail(f"ser/{number}", reason)
    assert many.failure_lines() == ["495 examples: no answer in theirs (ser/0, ser/1, ser/2 ...)"]
    path.write_text(path.read_text() + json.dumps({"id": "ser/unknown", "text": "calm"}) + "\n")
    with pytest.raises(LauraError, match="no example has the id 'ser/unknown'"):
        evaluate(data=data, hyp=path, tasks=["ser"], show=False)


@pytest.mark.slow
def test_a_baseline_is_measured_on_the_same_files(laura, data, tmp_path):
    examples = [e for e in read_split(data, "dev") if e.task == "asr" and e.corpus in ("kathleen", "kerstin", "digits")]
    examples += [replace(e, id="asr/nospeech", corpus="nospeech", targets=[""]) for e in examples if e.corpus == "digits"][:1]
    write_manifest(tmp_path / "dev.jsonl", examples)
    data = tmp_path
    report = evaluate(laura, data, tasks=["asr"], limit=1, baselines=["pocketsphinx"], show=False)
    by = {row.data: row for row in report.rows}
    assert by["kathleen"].also["pocketsphinx WER %"] < 60 and by["kathleen"].also["pocketsphinx x real time"] > 0
    assert "pocketsphinx WER %" not in by["kerstin"].also  # it knows no German
    assert "pocketsphinx stays silent %" in by["nospeech"].also
    with pytest.raises(LauraError, match="unknown recogniser 'x': choose pocketsphinx, whisper:FOLDER"):
        evaluate(laura, data, tasks=["asr"], baselines=["x"], show=False)


@pytest.mark.slow
def test_two_checkpoints_are_compared_example_by_example(laura, debug_checkpoint, data):
    report = evaluate(laura, data, tasks=["asr"], other=debug_checkpoint, show=False)
    assert all(row.verdict.word == "cannot tell" and row.verdict.difference == 0 for row in report.rows)
    assert "cannot tell which is better" in report.markdown()


def test_rows_are_paired_by_id_whatever_their_order():
    def row(values: dict[str, float]) -> Row:
        examples = [example("asr", 0, targets=["x"]) for _ in values]
        for e, name in zip(examples, values):
            e.id = name
        tally = mean(list(values.values()))
        return Row("asr", "set", len(values), len(values), "WER %", tally.score(), tally=tally, examples=examples, lower_is_better=True)

    mine, other = row({f"{n}": n / 30 for n in range(30)}), row({f"{n}": n / 30 + 0.01 + n / 10000 for n in (7, *range(29, 7, -1), 99)})
    add_verdicts([mine], [other])
    assert mine.verdict.word == "better" and mine.verdict.n == 23 and mine.verdict.difference == pytest.approx(-0.01 - 0.0018)


def test_parts_and_the_worst(laura, data):
    examples = [example("asr", n, speaker=f"s{n % 2}", duration=float(n)) for n in range(12)]
    tally = mean([n % 2 for n in range(12)], 100)
    row = Row("asr", "set", 12, 12, "WER %", tally.score(), tally=tally, examples=examples, answers=[Answer()] * 12, lower_is_better=True)
    parts = dict(row.parts())
    assert parts["speaker s0"].value == 0 and parts["speaker s1"].value == 100
    assert [parts[f"{part} third"].n for part in ("shortest", "middle", "longest")] == [4, 4, 4]
    assert all(value == 100 for _, _, value in row.worst(6)) and row.worst(7)[-1][2] == 0


def test_references_that_are_empty_or_in_another_script_are_scored(laura, tmp_path):
    recording = str(RECORDINGS / "digits-4_theo_0.opus")
    texts = {"cyrillic": "привет мир", "chinese": "你好 世界", "empty": "", "signs": "?!"}
    rows = [example("asr", n, corpus=name, audio=recording, duration=0.5, targets=[text]) for n, (name, text) in enumerate(texts.items())]
    write_manifest(
        tmp_path / "dev.jsonl", [*rows, example("asr", 9, corpus="chinese", lang="zh", audio=recording, duration=0.5, targets=["你好世界"])]
    )
    report = evaluate(laura, tmp_path, tasks=["asr"], show=False)
    by = {row.data: row for row in report.rows}
    assert by["cyrillic"].metric == "WER %" and by["cyrillic"].score.value > 0
    assert by["empty"].metric == "stays silent %" and not np.isfinite(by["signs"].score.value)
    assert {row.metric for row in report.rows if row.data == "chinese"} <= {"WER %", "CER %"}
    report.save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "report.json").read_text())["rows"]


def test_a_reference_that_is_missing_is_named_with_its_line(laura, tmp_path):
    recording = str(RECORDINGS / "digits-4_theo_0.opus")
    good = {
        "id": "asr/a",
        "task": "asr",
        "split": "dev",
        "lang": "en",
        "corpus": "a",
        "audio": recording,
        "duration": 0.5,
        "targets": ["four"],
    }
    (tmp_path / "dev.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(good | {"id": "asr/b", "targets": []}) + "\n")
    with pytest.raises(LauraError, match="dev.jsonl, line 2: field 'targets'"):
        evaluate(laura, tmp_path, show=False)
    (tmp_path / "dev.jsonl").write_text((json.dumps(good) + "\n") * 2)
    with pytest.raises(LauraError, match="asr/a"):
        evaluate(laura, tmp_path, show=False)


def test_any_recogniser_of_transformers_is_a_baseline(laura, data, tmp_path):
    """A tiny one with random weights, from a folder and without a network: what it writes is nonsense, but it is what it writes."""
    letters = {letter: n for n, letter in enumerate(["<pad>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz'"])}
    (tmp_path / "vocab.json").write_text(json.dumps(letters))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(
        tmp_path / "vocab.json", pad_token="<pad>", unk_token="<unk>", bos_token=None, eos_token=None
    )
    config = transformers.Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        conv_dim=(16, 16), conv_stride=(8, 40), conv_kernel=(16, 80),
        num_feat_extract_layers=2, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, vocab_size=len(letters),
    )  # fmt: skip
    transformers.set_seed(0)
    transformers.Wav2Vec2ForCTC(config).save_pretrained(tmp_path / "tiny")
    transformers.Wav2Vec2Processor(transformers.Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(tmp_path / "tiny")
    report = evaluate(laura, data, tasks=["asr"], limit=1, baselines=[f"transformers:{tmp_path / 'tiny'}"], show=False)
    by = {row.data: row for row in report.rows}
    assert by["kathleen"].also["transformers:tiny WER %"] > 0 and by["kerstin"].also["transformers:tiny x real time"] > 0
    with pytest.raises(LauraError, match="none is not a folder"):
        evaluate(laura, data, tasks=["asr"], baselines=[f"transformers:{tmp_path / 'none'}"], show=False)


def test_speech_that_ended_at_once_is_heard_as_nothing(laura, data, monkeypatch):
    real = Laura.speak
    monkeypatch.setattr(Laura, "speak", lambda self, *given, **more: [replace(r, audio=r.audio[:640]) for r in real(self, *given, **more)])
    report = evaluate(laura, data, tasks=["tts"], limit=1, show=False)
    rows = [row for row in report.rows if "voice" in row.data]
    assert rows and all(row.score.value == 100 and row.also["words heard right %"] == 0 for row in rows)


def test_an_answer_of_the_wrong_kind_is_named_and_the_others_are_scored(data, tmp_path):
    rows = [e for e in read_split(data, "dev") if e.task in ("ser", "tts")]
    path = tmp_path / "theirs.jsonl"
    lines = [
        {"id": e.id, "text": "calm"} if n else {"id": e.id, "audio": "x.wav"} for n, e in enumerate(sorted(rows, key=lambda e: e.task))
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = evaluate(data=data, hyp=path, show=False)
    assert [row.task for row in report.rows] == ["ser"] and any('needs "text"' in reason for reason in report.failures)
    assert any('needs "audio"' in reason for reason in report.failures)


def test_a_recogniser_that_is_missing_costs_its_rows_alone(laura, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    report = evaluate(laura, data, tasks=["tts", "ser"], limit=1, baselines=["pocketsphinx"], show=False)
    by = {(row.task, row.data.partition(":")[0]): row for row in report.rows}
    assert "pip install pocketsphinx" in "".join(by["tts", "kathleen"].cells()) and by["ser", "ravdess"].n == 1
    assert any("pip install pocketsphinx" in reason for reason in report.failures)
