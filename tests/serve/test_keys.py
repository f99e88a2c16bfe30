"""Who may use a server: keys, and pages that a browser has open."""

import openai
import pytest
from servers import clip, http, serving

from lauragpt.errors import LauraError
from lauragpt.serve.keys import is_known, read_keys
from lauragpt.serve.settings import Settings

KEYS = ["first-key-of-the-file", "second-key-of-the-file"]
CLIP = clip("digits-4")


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys.txt"
    path.write_text(f"# for the kitchen\n{KEYS[0]}\n\n  {KEYS[1]}  \n")
    with serving(Settings(keys=read_keys(path))) as (address, _):
        yield address


def test_each_key_opens(keyed):
    for key in KEYS:
        client = openai.OpenAI(base_url=f"{keyed}/v1", api_key=key, max_retries=0)
        assert client.audio.transcriptions.create(model="mini", file=("four.opus", CLIP)).text == "four"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong-key-of-the-file", f"Basic {KEYS[0]}", KEYS[0], f"Bearer {KEYS[0]}x"])
def test_nothing_else_does(keyed, header):
    headers = {} if header is None else {"Authorization": header}
    for path in ("/v1/models", "/metrics", "/openapi.json", "/nothing"):
        answer = http.get(keyed + path, headers=headers)
        assert answer.status_code == 401 and answer.json()["error"]["code"] == "invalid_api_key"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{keyed}/v1", api_key="wrong-key-of-the-file", max_retries=0).models.list()
    assert http.get(f"{keyed}/health", headers=headers).status_code == http.get(f"{keyed}/ready", headers=headers).status_code == 200


def test_every_key_is_compared_to_its_end(monkeypatch):
    """With the comparison that takes the same time wherever two differ, and with all keys, whichever fits."""
    import hashlib
    import hmac

    seen, compare = [], hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: seen.append((one, other)) or compare(one, other))
    known = tuple(hashlib.sha256(key.encode()).digest() for key in KEYS)
    assert is_known(known, f"Bearer {KEYS[0]}") and not is_known(known, "Bearer x")
    assert len(seen) == 4 and {len(each) for pair in seen for each in pair} == {32}


NO_KEYS = [(None, "No such file"), ("# none\n", "no key"), ("short\n", "less than 16"), (b"\xff" * 20, "not UTF-8")]


@pytest.mark.parametrize("content, reason", NO_KEYS)
def test_files_without_usable_keys(tmp_path, content, reason):
    path = tmp_path / "keys.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LauraError, match=reason):
        read_keys(path)


def test_pages_of_other_origins_may_not_use_a_server_on_this_machine(address):
    """A browser sends a form anywhere without asking, and a host name may point here: neither is answered."""
    url = f"{address}/v1/audio/transcriptions"
    for headers in ({"Origin": "https://example.com"}, {"Host": "example.com"}, {"Host": "example.com", "Origin": "http://example.com"}):
        answer = http.post(url, files={"file": CLIP}, headers=headers)
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "forbidden"
    port = address.rpartition(":")[2]
    for headers in ({"Origin": address}, {"Host": f"localhost:{port}"}, {"Host": f"[::1]:{port}"}):
        assert http.post(url, files={"file": CLIP}, headers=headers).json()["text"] == "four"


def test_a_socket_shows_its_key_as_a_protocol(keyed):
    """A browser can send a WebSocket no other header."""
    import base64
    import json

    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    def protocols(key):
        return ["laura", f"laura.key.{base64.urlsafe_b64encode(key.encode()).decode().rstrip('=')}"]

    url = keyed.replace("http", "ws") + "/v1/audio/stream"
    with connect(url, subprotocols=protocols(KEYS[1]), open_timeout=None) as socket:
        assert socket.subprotocol == "laura"
        socket.send(bytes(32000))
        socket.send('{"type": "end"}')
        assert [json.loads(message)["type"] for message in socket][-1] == "transcript.done"
    for wrong in (protocols("wrong-key-of-the-file"), ["laura"], ["laura.key.%%%"], ["xlaura.key.YQ"], ["laura.key.A"], ["laura.key._w"]):
        with pytest.raises(InvalidStatus, match="401"):
            connect(url, subprotocols=wrong, open_timeout=None)
