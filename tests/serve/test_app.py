"""What is there beside the verbs: health, models, errors in OpenAI's shape, the description of the API."""

import socket

import openai
import pytest
from fastapi.testclient import TestClient
from servers import clip, http

from lauragpt import __version__
from lauragpt.errors import LauraError
from lauragpt.serve.app import make_app
from lauragpt.serve.settings import Settings

CLIP = clip("digits-4")


def test_health_and_ready(address):
    assert http.get(f"{address}/health").json() == {"status": "ok", "version": __version__}
    assert http.get(f"{address}/ready").json() == {"status": "ready", "model": "mini"}


def test_a_server_whose_model_is_not_loaded_is_not_ready(monkeypatch):
    from lauragpt.serve.service import Service

    def fail(self):
        raise LauraError("damaged")

    monkeypatch.setattr(Service, "_load", fail)
    with TestClient(make_app(Settings()), base_url="http://127.0.0.1") as client:
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503
        answer = client.post("/v1/audio/transcriptions", files={"file": CLIP})
        assert answer.status_code == 503 and answer.json()["error"]["type"] == "server_error"


def test_models(client):
    [model] = client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("mini", "model", "lauragpt") and model.created > 1_500_000_000
    assert client.models.retrieve("whisper-1").id == "whisper-1"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-9")
    assert caught.value.code == "model_not_found" and caught.value.type == "invalid_request_error" and caught.value.param == "model"


WRONG = [
    ({"model": "gpt-9"}, 404, "model"),
    ({"language": "xx"}, 400, None),
    ({"language": "../en"}, 400, None),
    ({"response_format": "diarized_json"}, 400, "response_format"),
    ({"temperature": 7}, 400, "temperature"),
    ({"timestamp_granularities[]": "word"}, 400, "timestamp_granularities"),
    ({"timestamp_granularities[]": "letter", "response_format": "verbose_json"}, 400, "timestamp_granularities"),
    ({"stream": "perhaps"}, 400, "stream"),
    ({"min_confidence": 2}, 400, "min_confidence"),
]


@pytest.mark.parametrize("form, status, param", WRONG, ids=lambda value: str(value))
def test_fields_that_are_wrong(address, form, status, param):
    answer = http.post(f"{address}/v1/audio/transcriptions", files={"file": CLIP}, data=form)
    error = answer.json()["error"]
    assert answer.status_code == status and error["param"] == param and error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"} and "\n" not in error["message"] and "Traceback" not in error["message"]


@pytest.mark.parametrize("body", [
    {"data": {"model": "mini"}}, {"files": {"recording": CLIP}}, {"data": {"file": "talk.wav"}}, {"content": b"--x\r\n"},
    {"content": b"no form", "headers": {"content-type": "multipart/form-data; boundary=x"}},
    {"content": b"", "headers": {"content-type": "multipart/form-data"}},
    {"files": [("file", CLIP), ("file", CLIP)]}, {"files": {"file": b""}}, {"files": {"file": b"not sound"}},
    {"files": {"file": CLIP}, "data": {f"field{n}": "1" for n in range(60)}}, {"files": {"file": CLIP}, "data": {"prompt": "x" * 100_000}},
])  # fmt: skip
def test_bodies_that_are_no_form_with_a_recording(address, body):
    answer = http.post(f"{address}/v1/audio/transcriptions", **body)
    assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error"


def test_a_path_that_is_not_there(address):
    for answer in (http.get(f"{address}/v1/nothing"), http.get(f"{address}/v1/audio/transcriptions"), http.post(f"{address}/health")):
        assert answer.status_code in (404, 405) and answer.json()["error"]["type"] == "invalid_request_error"


def test_what_nobody_foresaw_is_told_without_its_words(monkeypatch, caplog):
    """The message of an exception may hold what a client said."""
    from lauragpt.serve.service import Service

    async def fail(*_):
        raise ValueError("a secret sentence")

    monkeypatch.setattr(Service, "answer", fail)
    with TestClient(make_app(Settings()), base_url="http://127.0.0.1") as client:
        answer = client.post("/v1/audio/transcriptions", files={"file": CLIP})
    assert answer.status_code == 500 and answer.json()["error"]["code"] == "internal_error"
    assert "ValueError at" in caplog.text and "secret" not in caplog.text + answer.text


def test_the_description_of_the_api(address):
    paths = http.get(f"{address}/openapi.json").json()["paths"]
    body = paths["/v1/audio/transcriptions"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert body["required"] == ["file"] and {"language", "response_format", "stream"} <= body["properties"].keys()


def test_there_is_no_such_checkpoint():
    with pytest.raises(LauraError, match="no checkpoint 'nothing'"):
        make_app(Settings("nothing"))


def test_methods_that_nobody_knows_are_counted_as_one(server):
    """Else a client could make as many numbers as it can think of words."""
    address, service = server
    for number in range(3):
        assert http.request(f"WORD{number}", f"{address}/health").status_code == 405
    page = service.metrics.page().decode()
    assert 'method="(other)"' in page and "WORD" not in page


def raw(address: str, head: str, body: bytes = b"") -> bytes:
    """The beginning of the answer to bytes as they are."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode("latin-1") + body)
        return client.recv(1000).split(b"\r\n")[0]


@pytest.mark.parametrize("headers", ["Host: [\r\n", "Host: a]\r\n", "Host: 127.0.0.1\r\nOrigin: http://[\r\n", "Host: \xff\r\n"])
def test_hosts_and_origins_that_are_no_addresses(address, headers):
    assert raw(address, f"GET /v1/models HTTP/1.1\r\n{headers}").split()[1] in (b"400", b"403")


HALF = b'{"input": "one \\ud800 two", "voice": "slt"}'


@pytest.mark.parametrize("charset", ["idna", "punycode", "unicode_escape", "utf-16", "hex", "nothing"])
def test_charsets_of_forms(address, charset):
    body = (b'--x\r\nContent-Disposition: form-data; name="language"\r\n\r\n\\ud800\xff.\r\n'
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + CLIP + b"\r\n--x--\r\n")  # fmt: skip
    kind = f"Content-Type: multipart/form-data; boundary=x; charset={charset}\r\n"
    status = raw(address, f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}", body)
    assert status.split()[1] == b"400"


def test_half_a_letter(address):
    kind = "Content-Type: application/json\r\n"
    assert raw(address, f"POST /v1/audio/speech HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}", HALF).split()[1] == b"400"
