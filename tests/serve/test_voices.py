"""/v1/voices: what ships is listed; what is uploaded needs consent, speaks, and goes when it is deleted."""

import json
import os

import numpy as np
import openai
import pytest
from servers import clip, encoded, http, serving
from typer.testing import CliRunner

from lauragpt.audio import decode_audio
from lauragpt.cli.app import app
from lauragpt.engine.voices import make_voice
from lauragpt.errors import LauraError
from lauragpt.serve.settings import Limits, Settings, make_voices_folder

NIGHT = clip("kathleen")
FORM = {"name": "anna", "consent": "Anna has agreed in writing.", "text": "The night was calm and snowy.", "language": "en"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("voices")


@pytest.fixture(scope="module")
def keeping(folder):
    with serving(Settings(voices=folder, limits=Limits(voices=2))) as (address, _):
        yield address


@pytest.fixture(autouse=True)
def emptied(folder):
    yield
    for path in folder.iterdir():
        path.unlink()


def upload(address, data=NIGHT, **form):
    return http.post(f"{address}/v1/voices", files={"audio_sample": data}, data=FORM | form)


def test_voices_that_ship(address):
    rows = http.get(f"{address}/v1/voices").json()["data"]
    assert [(row["id"], row["language"], row["source"]) for row in rows] == [
        ("kathleen", "en", "shipped"), ("kerstin", "de", "shipped"), ("slt", "en", "shipped"),
    ]  # fmt: skip


def test_a_voice_from_its_upload_to_its_end(keeping, folder, laura):
    client = openai.OpenAI(base_url=f"{keeping}/v1", api_key="none", max_retries=0)
    voice = client.audio.voices.create(audio_sample=("anna.opus", NIGHT), name="anna", consent=FORM["consent"], extra_body={
        "text": FORM["text"], "language": "en"})  # fmt: skip
    assert (voice.name, voice.object, voice.type) == ("anna", "audio.voice", "audio_sample")
    assert sorted(os.listdir(folder)) == [f"{voice.id}.json", f"{voice.id}.wav"]
    card = json.loads((folder / f"{voice.id}.json").read_text())
    assert card["consent"] == FORM["consent"] and card["text"] == FORM["text"] and card["created_at"] == voice.created_at
    assert http.get(f"{keeping}/v1/voices").json()["data"][-1]["id"] == voice.id
    wave = decode_audio((folder / f"{voice.id}.wav").read_bytes())
    known = laura.speak("One, two.", voice=make_voice(laura.runtime.backend, voice.id, wave, FORM["text"], "en"))
    for name in ("anna", voice.id):
        answer = client.audio.speech.with_raw_response.create(model="mini", voice=name, input="One, two.", response_format="wav")
        spoken = decode_audio(answer.content)
        assert len(spoken) == len(known.audio) and np.abs(spoken - known.audio.clip(-1, 1)).max() < 2 / 32768
        assert json.loads(answer.headers["x-laura-receipt"]) == known.receipt
    assert http.delete(f"{keeping}/v1/voices/anna").json() == {"id": voice.id, "object": "audio.voice.deleted", "deleted": True}
    assert os.listdir(folder) == []
    with pytest.raises(openai.NotFoundError):
        client.audio.speech.create(model="mini", voice=voice.id, input="One.")


def test_an_upload_without_a_text_is_transcribed(keeping, folder, laura):
    answer = http.post(f"{keeping}/v1/voices", files={"audio_sample": NIGHT}, data={"name": "anna", "consent": "yes"})
    card = json.loads((folder / f"{answer.json()['id']}.json").read_text())
    assert card["text"] == laura.transcribe(NIGHT).text and card["lang"] == "en"


def test_servers_share_the_folder(keeping, folder):
    with serving(Settings(voices=folder)) as (other, _):
        id = upload(other).json()["id"]
        assert http.get(f"{keeping}/v1/voices").json()["data"][-1]["id"] == id
        assert http.post(f"{keeping}/v1/audio/speech", json={"input": "One.", "voice": "anna"}).status_code == 200
        http.delete(f"{other}/v1/voices/{id}")
        assert http.post(f"{keeping}/v1/audio/speech", json={"input": "One.", "voice": "anna"}).status_code == 404


def test_consent_is_required(keeping, folder):
    for form in ({"name": "anna"}, {"name": "anna", "consent": ""}):
        answer = http.post(f"{keeping}/v1/voices", files={"audio_sample": NIGHT}, data=form)
        assert answer.status_code == 400 and answer.json()["error"]["param"] == "consent"
    assert os.listdir(folder) == []


@pytest.mark.parametrize("name", ["", "../anna", "/etc/anna", "a" * 65, "a\nb", "slt", "alloy", "voice_0123456789abcdef", ".anna", "änna"])
def test_names_that_cannot_be_had(keeping, folder, name):
    answer = upload(keeping, name=name)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "name"
    assert os.listdir(folder) == []


def test_recordings_that_are_no_voice(keeping, folder):
    for data in (encoded(np.zeros(16000)), b"no sound", b""):
        assert upload(keeping, data).status_code == 400
    assert upload(keeping, language="xx").status_code == 400
    assert os.listdir(folder) == []


def test_a_name_is_taken_once_and_there_are_so_many(keeping, folder):
    assert upload(keeping).status_code == 200
    assert upload(keeping).status_code == 400
    assert upload(keeping, name="berta").status_code == 200
    assert upload(keeping, name="clara").status_code == 400
    assert len(os.listdir(folder)) == 4


@pytest.mark.parametrize("name", ["slt", "alloy", "nobody", "..%2f..%2fetc%2fpasswd", "%2e%2e", "voice_0123456789abcdef"])
def test_what_cannot_be_deleted(keeping, name):
    assert http.delete(f"{keeping}/v1/voices/{name}").status_code in (400, 404)


def test_without_a_folder_they_go_with_the_server():
    with serving(Settings()) as (address, service):
        upload(address)
        private = service.voices.folder
        assert len(list(private.iterdir())) == 2 and private.stat().st_mode & 0o777 == 0o700
    assert not private.exists()


@pytest.mark.parametrize("name", ["file", "/proc"])
def test_a_folder_that_cannot_be_written_is_refused(tmp_path, name):
    """/proc is there, and nobody can write into it."""
    (tmp_path / "file").touch()
    done = CliRunner().invoke(app, ["serve", "/no/such/checkpoint", "--voices", str(tmp_path / name)])
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1
    assert f"{tmp_path / name} cannot be written (" in done.stderr and "choose another folder" in done.stderr
    with pytest.raises(LauraError, match="cannot be written"):
        make_voices_folder(tmp_path / name)


def test_the_folder_is_made_for_this_user_alone(tmp_path):
    folder = tmp_path / "new" / "voices"
    for _ in range(2):
        make_voices_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700 and not list(folder.iterdir())
