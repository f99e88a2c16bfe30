"""What a result looks like as JSON, subtitles and text."""

import json

import numpy as np
import pytest

from lauragpt.result import Result, Segment, confidence_of

ANSWER = Result(
    task="asr", lang="en", text="hello world again",
    segments=[Segment(0.0, 6.5, "hello world", 0.9), Segment(8.5, 12.0, "", None), Segment(3661.25, 3662.0, "again", 0.5)],
    receipt={"seed": np.int64(3), "seconds_given": 12.0},
)  # fmt: skip


def test_json_is_one_line_with_the_promised_keys():
    line = ANSWER.to_json(file="a.wav")
    row = json.loads(line)
    assert "\n" not in line
    assert {"file", "task", "lang", "segments", "receipt", "text"} <= set(row) and "audio" not in row and "scores" not in row
    assert row["segments"][0] == {"start": 0.0, "end": 6.5, "text": "hello world", "confidence": 0.9}
    assert row["receipt"]["seed"] == 3


def test_json_of_audio_names_the_written_file_and_not_the_samples():
    row = json.loads(Result(task="tts", lang="de", audio=np.zeros(8000, dtype=np.float32), audio_path="out.wav").to_json())
    assert row["audio"] == "out.wav" and row["seconds"] == 0.5 and "text" not in row


def test_json_of_emotion_and_understanding():
    row = json.loads(Result(task="ser", lang="en", text="sad", scores={"sad": 0.75, "happy": 0.25}).to_json())
    assert row["scores"] == {"sad": 0.75, "happy": 0.25}
    row = json.loads(Result(task="slu", lang="en", text="order | size = big", intent="order", slots={"size": "big"}).to_json())
    assert row["intent"] == "order" and row["slots"] == {"size": "big"}


def test_json_is_strict():
    with pytest.raises(ValueError):
        Result(task="asr", lang="en", text="", confidence=float("nan")).to_json()


def test_subtitles_leave_out_silence():
    assert ANSWER.to_srt() == "1\n00:00:00,000 --> 00:00:06,500\nhello world\n\n2\n01:01:01,250 --> 01:01:02,000\nagain\n"
    assert ANSWER.to_vtt() == "WEBVTT\n\n00:00:00.000 --> 00:00:06.500\nhello world\n\n01:01:01.250 --> 01:01:02.000\nagain\n"
    assert ANSWER.to_tsv() == "start\tend\ttext\n0\t6500\thello world\n3661250\t3662000\tagain"


def test_confidence_is_the_geometric_mean():
    assert confidence_of([np.log(0.25), 0.0]) == pytest.approx(0.5)
    assert confidence_of([]) is None
