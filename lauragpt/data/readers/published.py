"""Published corpora as they are downloaded and unpacked -> rows, by readers of our own; readers/recipes.py has those that lhotse knows.

In: the folder that the corpus's archives make. Out: rows with absolute paths. `more` holds what the tasks ask for: `emotion`, `captions`,
`intent` and `slots`, `translation` and `to` (its language), `noisy`. Rows without a split get one by speaker (splits.py). Each reader says
which layout it reads. LauraError where a list is missing or has other columns.
"""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

from lauragpt.data.readers.rows import SOUNDS, Row, language_of
from lauragpt.errors import LauraError
from lauragpt.tasks import joined_slots


def listed(path: Path, columns: str, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """The rows of a table that has at least these columns."""
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    with needed(path).open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter, quoting=quoting)
        if lost := [name for name in columns.split() if name not in (reader.fieldnames or ())]:
            raise LauraError(f"{path} has no column {lost[0]!r}: its columns are {', '.join(reader.fieldnames or ())}")
        yield from reader


def needed(path: Path) -> Path:
    if not path.exists():
        raise LauraError(f"{path} is missing: unpack the corpus there, as it is published")
    return path


def covost2(folder: Path) -> Iterator[Row]:
    """`LANG/validated.tsv` and `LANG/clips/` of Common Voice 4, and beside them `covost_v2.SOURCE_TARGET.tsv`."""
    lists = sorted(folder.rglob("covost_v2.*_*.tsv"))
    if not lists:
        raise LauraError(f"{folder} holds no covost_v2.SOURCE_TARGET.tsv: put the lists of CoVoST 2 beside Common Voice's validated.tsv")
    for path in lists:
        source, target = path.name.split(".")[1].split("_")
        said = {row["path"]: row for row in listed(path.parent / "validated.tsv", "client_id path sentence", "\t")}
        for row in listed(path, "path translation split", "\t"):
            if row["split"] in ("train", "dev", "test") and row["path"] in said and row["translation"].strip():
                more = {"translation": row["translation"].strip(), "to": language_of(target)}
                about, name = said[row["path"]], row["path"].removesuffix(".mp3")
                audio = str(path.parent / "clips" / f"{name}.mp3")
                yield Row(str(path), audio, f"{name}-{target}", text=about["sentence"], speaker=about["client_id"], split=row["split"],
                          lang=language_of(source), more=more)  # fmt: skip


def slurp(folder: Path) -> Iterator[Row]:
    """`train.jsonl`, `train_synthetic.jsonl`, `devel.jsonl`, `test.jsonl`, and the folders `slurp_real` and `slurp_synth`. Several
    values of one slot are joined by a comma; `entities` keeps them apart."""
    for name, split in (("train", "train"), ("train_synthetic", "train"), ("devel", "dev"), ("test", "test")):
        path = folder / f"{name}.jsonl"
        if name == "train_synthetic" and not path.exists():
            continue
        for line in needed(path).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            words = [token["surface"] for token in row["tokens"]]
            entities = [[each["type"], " ".join(words[at] for at in each["span"])] for each in row["entities"]]
            more = {"intent": row["intent"], "slots": joined_slots(entities), "entities": entities}
            for file, about in row["recordings"].items():
                audio = folder / ("slurp_synth" if name == "train_synthetic" else "slurp_real") / file
                speaker = about.get("usrid") if isinstance(about, dict) else None
                yield Row(str(path), str(audio), Path(file).stem, text=row["sentence"], speaker=speaker, split=split, lang="en", more=more)


def audiocaps(folder: Path) -> Iterator[Row]:
    """`train.csv`, `val.csv`, `test.csv`, and a folder of clips for each, named by `youtube_id` or `audiocap_id`. Clips that YouTube no
    longer has are left out. Captions of one clip stand together."""
    for name, split in (("train", "train"), ("val", "dev"), ("test", "test")):
        path, clips = folder / f"{name}.csv", dict[Path, list[str]]()
        for row in listed(path, "audiocap_id youtube_id caption"):
            named = (folder / name / f"{stem}{ending}" for stem in (row["youtube_id"], row["audiocap_id"]) for ending in (".wav", ".flac"))
            if audio := next((each for each in named if each.exists()), None):
                clips.setdefault(audio, []).append(row["caption"])
        for audio, captions in clips.items():
            yield Row(str(path), str(audio), f"{name}-{audio.stem}", split=split, lang="en", more={"captions": captions})


def clotho(folder: Path) -> Iterator[Row]:
    """`clotho_captions_development.csv` and a folder `development`; so `validation` and `evaluation`. Five captions a sound."""
    for name, split in (("development", "train"), ("validation", "dev"), ("evaluation", "test")):
        path = folder / f"clotho_captions_{name}.csv"
        for row in listed(path, "file_name caption_1 caption_2 caption_3 caption_4 caption_5"):
            captions = [row[f"caption_{number}"] for number in range(1, 6)]
            audio = folder / name / row["file_name"]
            yield Row(str(path), str(audio), f"{name}-{audio.stem}", split=split, lang="en", more={"captions": captions})


MELD_EMOTIONS = {"neutral": "neutral", "joy": "happy", "sadness": "sad", "anger": "angry", "fear": "fearful", "disgust": "disgust",
                 "surprise": "surprised"}  # fmt: skip


def meld(folder: Path) -> Iterator[Row]:
    """`train_sent_emo.csv`, `dev_sent_emo.csv`, `test_sent_emo.csv` and the clips of MELD.Raw, diaN_uttM.mp4 or, extracted, .wav."""
    folders = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
    for split, clips in folders.items():
        path = folder / f"{split}_sent_emo.csv"
        for row in listed(path, "Utterance Speaker Emotion Dialogue_ID Utterance_ID"):
            name = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
            named = [folder / clips / f"{name}{ending}" for ending in (".wav", ".mp4")]
            audio = next((each for each in named if each.exists()), None)
            if audio is None:
                continue  # a few clips were never published
            more = {"emotion": MELD_EMOTIONS[row["Emotion"].strip().lower()]}
            about = {"text": row["Utterance"], "speaker": row["Speaker"]}
            yield Row(str(path), str(audio), f"{split}-{name}", split=split, lang="en", more=more, **about)


IEMOCAP_EMOTIONS = {"neu": "neutral", "hap": "happy", "exc": "happy", "sad": "sad", "ang": "angry", "fea": "fearful", "dis": "disgust",
                    "sur": "surprised"}  # fmt: skip
_JUDGED = re.compile(r"\[[\d.]+ - [\d.]+\]\t(\S+)\t(\w+)\t")
_SAID = re.compile(r"(\S+) \[[^]]*\]: (.*)")


def iemocap(folder: Path) -> Iterator[Row]:
    """`SessionN/sentences/wav`, `SessionN/dialog/EmoEvaluation`, `SessionN/dialog/transcriptions`. Excitement counts as happy; frustration,
    and what the judges did not agree on, is left out. Session 4 is dev and session 5 test, so that no speaker is in two splits."""
    needed(folder / "Session1")
    for session in sorted(folder.glob("Session?")):
        split = {"Session4": "dev", "Session5": "test"}.get(session.name, "train")
        texts = {}
        for path in sorted((session / "dialog" / "transcriptions").glob("[!.]*.txt")):
            lines = path.read_text("utf-8", "replace").splitlines()
            texts |= {found[1]: found[2].strip() for line in lines if (found := _SAID.match(line))}
        for path in sorted((session / "dialog" / "EmoEvaluation").glob("[!.]*.txt")):
            for found in _JUDGED.finditer(path.read_text("utf-8", "replace")):
                name, emotion = found[1], IEMOCAP_EMOTIONS.get(found[2])
                if emotion:
                    dialog, turn = name.rpartition("_")[::2]
                    audio = session / "sentences" / "wav" / dialog / f"{name}.wav"
                    speaker = f"{name[:5]}{turn[0]}"  # the letter in the session's name is who wore the markers
                    yield Row(str(path), str(audio), name, text=texts.get(name), speaker=speaker, split=split, lang="en",
                              more={"emotion": emotion})  # fmt: skip


CREMAD_EMOTIONS = {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
CREMAD_TEXTS = {
    "IEO": "It's eleven o'clock.", "TIE": "That is exactly what happened.", "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.", "TAI": "The airplane is almost full.", "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.", "ITH": "I think I have a doctor's appointment.", "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.", "TSI": "The surface is slick.", "WSI": "We'll stop in a couple of minutes.",
}  # fmt: skip


def cremad(folder: Path) -> Iterator[Row]:
    """`AudioWAV/1001_DFA_ANG_XX.wav`: actor, sentence, emotion, level."""
    for path in sorted(needed(folder / "AudioWAV").glob("*.wav")):
        actor, sentence, emotion, _ = path.stem.split("_")
        text = CREMAD_TEXTS.get(sentence)
        yield Row(str(path), str(path), path.stem, text=text, speaker=actor, lang="en", more={"emotion": CREMAD_EMOTIONS[emotion]})


RAVDESS_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
RAVDESS_TEXTS = ("Kids are talking by the door.", "Dogs are sitting by the door.")


def ravdess(folder: Path) -> Iterator[Row]:
    """`Actor_01/03-01-06-01-02-01-12.wav`: modality, channel, emotion, intensity, statement, repetition, actor. Speech alone is read."""
    paths = sorted(folder.rglob("Actor_*/03-01-*.wav"))
    if not paths:
        raise LauraError(f"{folder} holds no Actor_01/03-01-*.wav: unpack Audio_Speech_Actors_01-24.zip of RAVDESS there")
    for path in paths:
        _, _, emotion, intensity, statement, _, actor = (int(part) for part in path.stem.split("-"))
        more = {"emotion": RAVDESS_EMOTIONS[emotion - 1], "intensity": ("normal", "strong")[intensity - 1]}
        yield Row(str(path), str(path), path.stem, text=RAVDESS_TEXTS[statement - 1], speaker=f"actor{actor:02d}", lang="en", more=more)


VOICEBANK_DEV = ("p226", "p287")  # of the training set, as usual


def voicebank_demand(folder: Path) -> Iterator[Row]:
    """`clean_trainset_28spk_wav`, `noisy_trainset_28spk_wav`, `clean_testset_wav`, `noisy_testset_wav`; texts in `trainset_28spk_txt` and
    `testset_txt` where they are there. Two speakers of the training set are dev."""
    for name, split in (("trainset_28spk", "train"), ("testset", "test")):
        for path in sorted(needed(folder / f"clean_{name}_wav").glob("*.wav")):
            text, speaker = folder / f"{name}_txt" / f"{path.stem}.txt", path.stem.split("_")[0]
            said = text.read_text(encoding="utf-8").strip() if text.exists() else None
            own = "dev" if split == "train" and speaker in VOICEBANK_DEV else split
            noisy = str(needed(folder / f"noisy_{name}_wav" / path.name))
            yield Row(str(path), str(path), path.stem, text=said, speaker=speaker, split=own, lang="en", more={"noisy": noisy})


_FILE_ID = re.compile(r"fileid_(\d+)$")
_TEST = re.compile(r"(?<![a-z])test(?![a-z])", re.IGNORECASE)  # not `latest`


def dns(folder: Path) -> Iterator[Row]:
    """Folders `clean` and `noisy`, as the challenge's scripts make them in `training` and as `test_set/synthetic/no_reverb` has them: files
    of a pair end in the same `fileid_N`. What is below a folder whose name has the word `test` in it is test, the rest train."""
    pairs = [path for path in sorted(folder.rglob("noisy")) if path.is_dir() and (path.parent / "clean").is_dir()]
    if not pairs:
        raise LauraError(f"{folder} holds no folders clean and noisy: give what the scripts of the DNS challenge made, or its test_set")
    for noisy in pairs:
        split = "test" if any(_TEST.search(part) for part in noisy.relative_to(folder.parent).parts) else "train"
        clean = {found[1]: path for path in (noisy.parent / "clean").iterdir() if (found := _FILE_ID.search(path.stem))}
        for path in sorted(noisy.iterdir()):
            found = _FILE_ID.search(path.stem)
            if found and found[1] in clean and path.suffix in SOUNDS:
                name = f"{noisy.parent.relative_to(folder.parent).as_posix()}-{found[1]}"
                yield Row(str(path), str(clean[found[1]]), name, split=split, lang="en", more={"noisy": str(path)})


def gigaspeech(folder: Path) -> Iterator[Row]:
    """`GigaSpeech.json` and the recordings that it names, of which its segments are parts. Tags for punctuation become signs; segments of
    noise and music are left out. lhotse's recipe needs the corpus's own downloader, so it is read here."""
    signs = {"<COMMA>": ",", "<PERIOD>": ".", "<QUESTIONMARK>": "?", "<EXCLAMATIONPOINT>": "!"}
    path = needed(folder / "GigaSpeech.json")
    for audio in json.loads(path.read_text(encoding="utf-8"))["audios"]:
        if not (folder / audio["path"]).exists():
            continue  # a subset was fetched
        for each in audio["segments"]:
            words = each["text_tn"].split()
            if any(word in ("<SIL>", "<MUSIC>", "<NOISE>", "<OTHER>") for word in words):
                continue
            text = " ".join(signs.get(word, word.lower()) for word in words)
            split = next((split for name, split in (("{DEV}", "dev"), ("{TEST}", "test")) if name in each["subsets"]), "train")
            start, seconds = float(each["begin_time"]), float(each["end_time"]) - float(each["begin_time"])
            speaker = None if each["speaker"] == "N/A" else each["speaker"]
            yield Row(str(path), str(folder / audio["path"]), each["sid"], start, seconds, text=re.sub(r" ([,.?!])", r"\1", text),
                      speaker=speaker, split=split, lang="en")  # fmt: skip
