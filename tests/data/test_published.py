"""Published corpora, each on a small copy of its published layout."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from lauragpt.cli.app import app
from lauragpt.data.licences import CORPORA
from lauragpt.data.loader import decode
from lauragpt.data.manifest import read_manifest
from lauragpt.data.published import PUBLISHED, prepare_published
from lauragpt.errors import LauraError
from lauragpt.evaluate.metrics import cer
from lauragpt.spoken import normalize


def sound(path: Path, seconds: float = 0.5, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(len(path.name)).normal(size=int(16000 * seconds)) / 20, 16000, **how)
    return path


def table(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def librispeech(folder):
    for part, speaker in (("train-clean-100", "19"), ("dev-clean", "84"), ("test-other", "367")):
        sound(folder / part / speaker / "198" / f"{speaker}-198-0000.flac")
        table(folder / part / speaker / "198" / f"{speaker}-198.trans.txt", f"{speaker}-198-0000 NORTHANGER ABBEY {speaker}\n")


def libritts(folder):
    for part, speaker in (("train-clean-100", "19"), ("dev-clean", "84"), ("test-clean", "121")):
        name, inner = f"{speaker}_198_000000_000000", folder / part / speaker / "198"
        sound(inner / f"{name}.wav")
        table(inner / f"{speaker}_198.trans.tsv", f"{name}\tMr. Allen, {speaker}!\tMister Allen, {speaker}!\n")
        table(inner / f"{speaker}_198.book.tsv", f"{name}\tMr. Allen\tMister Allen\t0\t1.0\t12.5\n")
    table(folder / "SPEAKERS.txt", "; ID |SEX| SUBSET |MINUTES| NAME\n19 | F | train-clean-100 | 25.19 | Kara\n")


def aishell(folder):
    lines = []
    for split, speaker in (("train", "S0002"), ("dev", "S0724"), ("test", "S0764")):
        name = f"BAC009{speaker}W0122"
        sound(folder / "data_aishell" / "wav" / split / speaker / f"{name}.wav")
        lines.append(f"{name} 而 对 楼市 成交 抑制 {'一二三'[len(lines)]}\n")
    table(folder / "data_aishell" / "transcript" / "aishell_transcript_v0.8.txt", "".join(lines))


def aishell2(folder):
    for part, speaker in (("data", "C0001"), ("dev", "D0012"), ("test", "T0012")):
        inner = folder / "AISHELL-2" / "iOS" / part
        sound(inner / "wav" / speaker / f"I{speaker}W0001.wav")
        table(inner / "trans.txt", f"I{speaker}W0001\t厨房用品{'一二三'['CDT'.index(speaker[0])]}\n")


def gigaspeech(folder):
    sound(folder / "audio" / "podcast" / "P0000" / "POD0000000001.opus", 3.0, format="OGG", subtype="OPUS")
    segments = [
        ("S0000001", 0.0, 1.0, "AS THEY'RE LEAVING <COMMA> CAN KASH PULL ZAHRA ASIDE <QUESTIONMARK>", ["{XL}", "{L}"]),
        ("S0000002", 1.0, 2.0, "YES <PERIOD>", ["{DEV}"]), ("S0000003", 2.0, 3.0, "<MUSIC>", ["{XL}"]),
    ]  # fmt: skip
    audio = {
        "aid": "POD0000000001", "path": "audio/podcast/P0000/POD0000000001.opus", "duration": 3.0, "sample_rate": 16000, "channels": 1,
        "segments": [
            {"sid": f"POD0000000001_{name}", "begin_time": start, "end_time": end, "text_tn": text, "subsets": sets, "speaker": "N/A"}
            for name, start, end, text, sets in segments
        ],
    }  # fmt: skip
    missing = audio | {"aid": "YOU1", "path": "audio/youtube/YOU1.opus"}
    table(folder / "GigaSpeech.json", json.dumps({"dataset": "GigaSpeech", "audios": [audio, missing]}))


def wenetspeech(folder):
    audios = []
    for number, subsets in enumerate((["L", "M", "S"], ["DEV"], ["TEST_NET"], ["TEST_MEETING"])):
        path = f"audio/train/youtube/B00000/Y{number}.opus"
        sound(folder / path, 2.0, format="OGG", subtype="OPUS")
        text = f"怎么样{'一二三四'[number]}"
        segment = {"sid": f"Y{number}_S00000", "begin_time": 0.5, "end_time": 1.5, "text": text, "subsets": subsets}
        audios.append({"aid": f"Y{number}", "path": path, "duration": 2.0, "segments": [segment | {"confidence": 1.0}]})
    table(folder / "WenetSpeech.json", json.dumps({"audios": audios}))


def clips(folder, names):
    for name in names:
        sound(folder / "clips" / f"{name}.mp3", format="MP3")


def commonvoice(folder):
    clips(folder / "de", ("cv1", "cv2", "cv3"))
    columns = "client_id path sentence up_votes down_votes age gender accents variant locale segment".split()
    for split, name in (("train", "cv1"), ("dev", "cv2"), ("test", "cv3")):
        cells = [f"speaker-{name}", f"{name}.mp3", f'Er sagte: "{name[-1]} Hunde.', "2", "0", "", "", "", "", "de", ""]
        table(folder / "de" / f"{split}.tsv", "\t".join(columns) + "\n" + "\t".join(cells) + "\n")


def covost2(folder):
    clips(folder / "de", ("cv1", "cv2", "cv3"))
    said = "".join(f"speaker-{n}\tcv{n}.mp3\tGuten Morgen {n}.\t2\t0\n" for n in (1, 2, 3))
    table(folder / "de" / "validated.tsv", "client_id\tpath\tsentence\tup_votes\tdown_votes\n" + said)
    rows = "".join(f'cv{n}.mp3\t"Good morning {n}.\t{split}\n' for n, split in ((1, "train"), (2, "dev"), (3, "test"), (9, "train")))
    table(folder / "de" / "covost_v2.de_en.tsv", "path\ttranslation\tsplit\n" + rows)


def slurp(folder):
    for number, (name, kind) in enumerate((("train", "real"), ("train_synthetic", "synth"), ("devel", "real"), ("test", "real"))):
        words = ["wake", "me", "up", "at", ("five", "six", "seven", "eight")[number], "am"]
        file = f"audio-{number}-headset.flac"
        sound(folder / f"slurp_{kind}" / file)
        row = {
            "slurp_id": number, "sentence": " ".join(words), "sentence_annotation": "", "intent": "alarm_set", "action": "set",
            "scenario": "alarm", "tokens": [{"surface": word, "id": at, "lemma": word, "pos": "NN"} for at, word in enumerate(words)],
            "entities": [{"span": [4, 5], "type": "time"}],
            "recordings": {file: {"wer": 0.0, "ent_wer": 0.0, "status": "correct", "usrid": f"FO-{number}"}},
        }  # fmt: skip
        table(folder / f"{name}.jsonl", json.dumps(row) + "\n")


def audiocaps(folder):
    for split, captions in (("train", 1), ("val", 5), ("test", 5)):
        sound(folder / split / "Y1vCYiVvZ7VE.wav")
        rows = [[str(number), "Y1vCYiVvZ7VE", "30", f"A dog, barking {split} {number}"] for number in range(captions)]
        rows.append(["99", "gone", "10", "A clip that is gone"])
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["audiocap_id", "youtube_id", "start_time", "caption"], *rows])


def clotho(folder):
    for part in ("development", "validation", "evaluation"):
        sound(folder / part / "Distorted AM Radio noise.wav")
        with (folder / f"clotho_captions_{part}.csv").open("w", newline="") as file:
            names = ["file_name", *(f"caption_{number}" for number in range(1, 6))]
            rows = [["Distorted AM Radio noise.wav", *(f"A radio hums, {number}." for number in range(1, 6))]]
            csv.writer(file).writerows([names, *rows])


def meld(folder):
    names = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
    parts = (("train", "train_splits"), ("dev", "dev_splits_complete"), ("test", "output_repeated_splits_test"))
    for number, (split, clips) in enumerate(parts):
        sound(folder / clips / "dia0_utt0.wav")
        times = '8,21,"00:16:16,059","00:16:21,731"'
        rows = f'1,"Oh, it is {"one two three".split()[number]}!",Joey,joy,positive,0,0,{times}\n2,Gone,Ross,anger,negative,7,7,{times}\n'
        table(folder / f"{split}_sent_emo.csv", names + rows)


def iemocap(folder):
    for session in (1, 4, 5):
        dialog, inner = f"Ses0{session}F_impro01", folder / f"Session{session}"
        turns = [("F000", "neu"), ("M000", "exc"), ("F001", "xxx"), ("M001", "fru")]
        lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
        for turn, emotion in turns:
            sound(inner / "sentences" / "wav" / dialog / f"{dialog}_{turn}.wav")
            lines += [f"[6.2901 - 8.2357]\t{dialog}_{turn}\t{emotion}\t[2.5000, 2.5000, 2.5000]", "C-E2:\tNeutral;\t()", ""]
        table(inner / "dialog" / "EmoEvaluation" / f"{dialog}.txt", "\n".join(lines))
        table(inner / "dialog" / "EmoEvaluation" / f"._{dialog}.txt", "\0")
        said = "".join(f"{dialog}_{turn} [006.2901-008.2357]: Excuse me, {session}.\n" for turn, _ in turns)
        table(inner / "dialog" / "transcriptions" / f"{dialog}.txt", said)


def cremad(folder):
    for actor in range(1001, 1011):
        sound(folder / "AudioWAV" / f"{actor}_DFA_ANG_XX.wav")


def ravdess(folder):
    for actor in range(1, 11):
        sound(folder / f"Actor_{actor:02d}" / f"03-01-06-01-02-01-{actor:02d}.wav")


def voicebank(folder):
    for part, names in (("trainset_28spk", ("p226_001", "p228_001")), ("testset", ("p232_001",))):
        for name in names:
            for kind in ("clean", "noisy"):
                sound(folder / f"{kind}_{part}_wav" / f"{name}.wav")
            table(folder / f"{part}_txt" / f"{name}.txt", f"Please call Stella, {name[:4]}.\n")


def dns(folder):
    for inner, speech in (("training", "book_00000_chp_0009_reader_06709_0"), ("test_set/synthetic/no_reverb", "clnsp1_train_69005")):
        for number in (0, 1):
            sound(folder / inner / "noisy" / f"{speech}_snr1_tl-26_fileid_{number}.wav")
            sound(folder / inner / "clean" / f"clean_fileid_{number}.wav")


# corpus -> what makes its copy, and of each split the numbers of examples by task
SPEECH = {"asr": 1, "tts": 1, "se": 1}
COPIES = {
    "librispeech": (librispeech, [SPEECH] * 3),
    "libritts": (libritts, [SPEECH] * 3),
    "aishell": (aishell, [SPEECH] * 3),
    "aishell2": (aishell2, [SPEECH] * 3),
    "gigaspeech": (gigaspeech, [{"asr": 1}, {"asr": 1}, {}]),
    "wenetspeech": (wenetspeech, [{"asr": 1}, {"asr": 1}, {"asr": 2}]),
    "commonvoice": (commonvoice, [{"asr": 1}] * 3),
    "covost2": (covost2, [{"asr": 1, "s2tt": 1}] * 3),
    "slurp-speech": (slurp, [{"asr": 2, "slu": 2}, {"asr": 1, "slu": 1}, {"asr": 1, "slu": 1}]),
    "audiocaps": (audiocaps, [{"aac": 1}] * 3),
    "clotho": (clotho, [{"aac": 1}] * 3),
    "meld": (meld, [{"asr": 1, "ser": 1}] * 3),
    "iemocap": (iemocap, [{"asr": 2, "ser": 2}] * 3),
    "crema-d": (cremad, [{"asr": 9, "ser": 9}, {"asr": 1, "ser": 1}, {}]),
    "ravdess": (ravdess, [{"asr": 9, "ser": 9}, {"asr": 1, "ser": 1}, {}]),
    "voicebank-demand": (voicebank, [SPEECH] * 3),
    "dns": (dns, [{"se": 2}, {}, {"se": 2}]),
}
# What an example of train says: task -> its answer
SAYS = {
    "librispeech": ("asr", ["northanger abbey nineteen"]),
    "libritts": ("asr", ["mister allen nineteen"]),
    "aishell": ("asr", ["而对楼市成交抑制一"]),
    "aishell2": ("asr", ["厨房用品一"]),
    "gigaspeech": ("asr", ["as they're leaving can kash pull zahra aside"]),
    "wenetspeech": ("asr", ["怎么样一"]),
    "commonvoice": ("asr", ["er sagte eine hunde"]),
    "covost2": ("s2tt", ['"Good morning 1.']),
    "slurp-speech": ("slu", ["alarm_set | time = five am"]),
    "audiocaps": ("aac", ["A dog, barking train 0"]),
    "clotho": ("aac", [f"A radio hums, {number}." for number in range(1, 6)]),
    "meld": ("ser", ["happy"]),
    "iemocap": ("ser", ["neutral"]),
    "crema-d": ("ser", ["angry"]),
    "ravdess": ("ser", ["fearful"]),
}


def test_every_corpus_has_a_copy_and_a_licence():
    assert COPIES.keys() == PUBLISHED.keys() and PUBLISHED.keys() <= CORPORA.keys()


# lhotse's recipe of Common Voice starts a process for each split, which takes seconds
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name == "commonvoice" else name for name in COPIES])
def test_a_copy_becomes_examples(name, tmp_path):
    make, counts = COPIES[name]
    make(tmp_path / "corpus")
    made = prepare_published(name, tmp_path / "corpus", tmp_path / "data")
    examples = {split: read_manifest(tmp_path / "data" / f"{split}.jsonl") for split in ("train", "dev", "test")}
    for split, wanted in zip(examples, counts):
        tasks = [example.task for example in examples[split]]
        assert {task: tasks.count(task) for task in set(tasks)} == wanted, split
        assert {task: count for task, count in made[split].items() if not task.startswith("text.")} == wanted
        for example in examples[split]:
            assert example.corpus == name
            assert len(decode(example.audio)) == pytest.approx(16000 * example.duration, abs=1700)  # an MP3 has padding
            assert example.noisy is None or len(decode(example.noisy)) == 8000
    speakers = [{e.speaker for e in examples[split] if e.speaker} for split in ("train", "dev", "test")]
    assert name == "meld" or not (speakers[0] & speakers[1] or speakers[0] & speakers[2])  # MELD's actors are in all splits
    if name in SAYS:
        task, answer = SAYS[name]
        assert next(e for e in examples["train"] if e.task == task).targets == answer
    if name in ("voicebank-demand", "dns"):
        pair = next(e for e in examples["test"] if e.task == "se")
        assert "clean" in Path(pair.audio).parent.name and "noisy" in Path(pair.noisy).parent.name


def test_the_command(tmp_path):
    aishell(tmp_path / "corpus")
    result = CliRunner().invoke(app, ["prepare", "aishell", str(tmp_path / "corpus"), str(tmp_path / "data")])
    assert result.exit_code == 0, result.output
    assert "train: asr 1, se 1, text.zh 1, tts 1" in result.output
    assert (tmp_path / "data" / "text.zh.txt").read_text(encoding="utf-8") == "而对楼市成交抑制一\n"
    assert json.loads((tmp_path / "data" / "text.corpora.json").read_text()) == ["aishell"]


@pytest.mark.parametrize("name", COPIES)
def test_a_folder_of_another_layout_is_refused_in_one_line(name, tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(LauraError) as error:
        prepare_published(name, tmp_path / "other", tmp_path / "data")
    assert str(tmp_path / "other") in str(error.value) and "\n" not in str(error.value) and not (tmp_path / "data").exists()


def test_what_is_missing_or_unknown_is_said(tmp_path):
    with pytest.raises(LauraError, match="there is no corpus 'librispeach': choose one of librispeech"):
        prepare_published("librispeach", tmp_path, tmp_path / "data")
    voicebank(tmp_path / "corpus")
    (tmp_path / "corpus" / "noisy_testset_wav" / "p232_001.wav").unlink()
    with pytest.raises(LauraError, match=r"noisy_testset_wav/p232_001\.wav is missing"):
        prepare_published("voicebank-demand", tmp_path / "corpus", tmp_path / "data")
    clotho(tmp_path / "clotho")
    table(tmp_path / "clotho" / "clotho_captions_validation.csv", "file_name,caption\n")
    with pytest.raises(LauraError, match="has no column 'caption_1': its columns are file_name, caption"):
        prepare_published("clotho", tmp_path / "clotho", tmp_path / "data")


def test_values_of_one_slot_are_joined_and_kept_apart(tmp_path):
    slurp(tmp_path)
    path = tmp_path / "train.jsonl"
    row = json.loads(path.read_text())
    path.write_text(json.dumps(row | {"entities": [{"span": [4], "type": "time"}, {"span": [5], "type": "time"}]}) + "\n")
    prepare_published("slurp-speech", tmp_path, tmp_path / "data")
    example = next(e for e in read_manifest(tmp_path / "data" / "train.jsonl") if e.targets == ["alarm_set | time = five, am"])
    assert example.extra["entities"] == [["time", "five"], ["time", "am"]]


@pytest.mark.parametrize("name, split", [("latest", "train"), ("contests", "train"), ("DNS_test-2", "test"), ("test", "test")])
def test_test_is_a_whole_word_in_the_names_of_dns(name, split, tmp_path):
    for kind in ("noisy", "clean"):
        sound(tmp_path / "dns" / name / kind / f"{kind}_fileid_1.wav")
    made = prepare_published("dns", tmp_path / "dns", tmp_path / "data")
    assert {part for part, counts in made.items() if counts["se"]} == {split}


def test_chinese_is_written_without_spaces_and_counted_by_characters():
    assert normalize("你好， 世界！ ＡＢＣ 第 3 次", "zh") == "你好世界 abc 第 3 次"
    assert normalize(normalize("而 对 楼市", "zh"), "zh") == "而对楼市"
    assert cer([["而对楼市"]], ["而 对 楼 是"], "zh").total == pytest.approx(25.0)
