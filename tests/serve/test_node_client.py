"""OpenAI's client for Node, as npm has it: what it is answered is what the package answers."""

import base64
import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from servers import CLIPS, http

from lauragpt.audio import decode_audio

CLIENT = "openai@6.49.0"
SPEECH = {"model": "mini", "voice": "slt", "input": "One, two."}


@pytest.fixture(scope="module")
def recording():
    [path] = CLIPS.glob("librispeech-2136*.opus")
    return path


@pytest.fixture(scope="module")
def answers(address, recording, tmp_path_factory):
    """What tests/serve/node_client.mjs prints."""
    folder = tmp_path_factory.mktemp("node")
    shutil.copy(Path(__file__).parent / "node_client.mjs", folder)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--prefix", folder, CLIENT], check=True, cwd=folder)
    done = subprocess.run(["node", "node_client.mjs", address, recording], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def known(laura, recording):
    return laura.transcribe(recording)


@pytest.mark.slow
def test_models(answers):
    assert answers["models"] == ["mini"]
    assert answers["model"]["id"] == "whisper-1" and answers["model"]["owned_by"] == "lauragpt"


@pytest.mark.slow
def test_transcripts(answers, known):
    assert answers["json"]["text"] == answers["fromMemory"]["text"] == answers["text"].rstrip("\n") == known.text
    verbose = answers["verbose"]
    words = [(word.text, word.start, word.end) for segment in known.segments for word in segment.words]
    assert (verbose["text"], verbose["language"], verbose["duration"]) == (known.text, "english", 2.59)
    assert [(word["word"], word["start"], word["end"]) for word in verbose["words"]] == words
    assert [segment["text"] for segment in verbose["segments"]] == [segment.text for segment in known.segments]
    assert answers["headers"]["text"] == known.text and answers["headers"]["ignored"] == "prompt"
    assert json.loads(answers["headers"]["receipt"]) == known.receipt


@pytest.mark.slow
def test_a_transcript_as_events(answers, known):
    *deltas, done = answers["events"]
    assert {delta["type"] for delta in deltas} == {"transcript.text.delta"} and done["type"] == "transcript.text.done"
    assert "".join(delta["delta"] for delta in deltas) == done["text"] == known.text


@pytest.mark.slow
def test_speech(answers, address, laura):
    known = laura.speak(SPEECH["input"], voice="slt").audio
    for name in ("speech", "voiceById"):
        wave = decode_audio(base64.b64decode(answers[name]))
        assert len(wave) == len(known) and np.abs(wave - known.clip(-1, 1)).max() < 2 / 32768
    whole = http.post(f"{address}/v1/audio/speech", json=SPEECH | {"response_format": "pcm", "stream_format": "audio"}).content
    assert base64.b64decode(answers["streamed"]) == whole
    *deltas, done = [json.loads(line.removeprefix("data: ")) for line in answers["speechEvents"].splitlines() if line]
    assert b"".join(base64.b64decode(delta["audio"]) for delta in deltas) == whole and done["type"] == "speech.audio.done"


@pytest.mark.slow
def test_what_is_wrong_becomes_the_clients_own_errors(answers):
    assert answers["noModel"] == {
        "kind": "NotFoundError", "status": 404, "code": "model_not_found", "param": "model", "type": "invalid_request_error",
    }  # fmt: skip
    assert (answers["noVoice"]["kind"], answers["noVoice"]["code"]) == ("NotFoundError", "voice_not_found")
    assert answers["noSound"]["kind"] == "BadRequestError" and answers["noSound"]["type"] == "invalid_request_error"


@pytest.mark.slow
def test_a_client_that_leaves(answers, server, known):
    assert answers["left"] == "AbortError" and answers["after"] == known.text
    while server[1].worker.held:
        time.sleep(0.01)
