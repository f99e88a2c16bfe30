"""The page's files as the server sends them: whole, with rules that let nothing in from elsewhere, open where other paths want a key."""

import base64
import hashlib
import re
from importlib import resources

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from servers import http

from lauragpt.serve.app import make_app
from lauragpt.serve.settings import Settings

FOLDER = resources.files("lauragpt") / "page"
NAMES = sorted(file.name for file in FOLDER.iterdir())


@pytest.mark.parametrize("name", sorted({*NAMES} - {"index.html"}))
def test_files_are_sent_as_they_are(address, name):
    answer = http.get(f"{address}/page/{name}")
    kind = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}[name.rpartition(".")[2]]
    assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
    assert answer.content == (FOLDER / name).read_bytes()
    rules = answer.headers["content-security-policy"]
    assert "default-src 'none'" in rules and "script-src 'self';" in rules and "unsafe" not in rules and "http" not in rules
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_at_the_root_holds_its_style_and_allows_no_other(address):
    """So that it can be painted without a second request."""
    answer, style = http.get(f"{address}/"), (FOLDER / "style.css").read_text(encoding="utf-8")
    frame = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert answer.text == frame.replace('<link rel="stylesheet" href="/page/style.css">', f"<style>{style}</style>") != frame
    assert answer.content == http.get(f"{address}/page/index.html").content and "</style" not in style
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f" style-src 'sha256-{digest}';" in answer.headers["content-security-policy"]


def test_what_has_not_changed_is_not_sent_again(address):
    tag = http.get(f"{address}/page/style.css").headers["etag"]
    again = http.get(f"{address}/page/style.css", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert http.get(f"{address}/page/style.css", headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fapp.py", "%2e%2e%2f__init__.py", "style.css%00"])
def test_no_other_file_is_sent(address, name):
    answer = http.get(f"{address}/page/{name}")
    assert answer.status_code == 404 and answer.json()["error"]["type"] == "invalid_request_error"


def test_all_of_it_is_small_and_nothing_comes_from_elsewhere():
    texts = {name: (FOLDER / name).read_text(encoding="utf-8") for name in NAMES}
    assert sum(len(text.encode()) for text in texts.values()) < 300_000
    for name, text in texts.items():
        addresses = set(re.findall(r"https?://[^\s\"'`)]*", text)) - {"http://www.w3.org/2000/svg", "https://"}
        assert not addresses and "url(" not in text and "@import" not in text, (name, addresses)


def test_the_film_of_it_is_small_and_moves():
    path = FOLDER.parent.parent / "docs" / "images" / "page.gif"
    with Image.open(path) as film:
        assert path.stat().st_size < 2_000_000 and film.n_frames > 10 and film.width >= 640
    assert "docs/images/page.gif" in (FOLDER.parent.parent / "README.md").read_text(encoding="utf-8")


def test_modules_import_what_is_there():
    for name in NAMES:
        for other in re.findall(r"""(?:from "\./|addModule\("/page/|="/page/)([\w.]+)""", (FOLDER / name).read_text(encoding="utf-8")):
            assert other in NAMES, (name, other)


def test_both_languages_say_the_same_things():
    """Each name has a text in both, with the same {places}; each text that is asked for is there."""
    text = (FOLDER / "texts.js").read_text(encoding="utf-8")
    english, german = (
        {key: set(re.findall(r"\{(\w+)\}", value)) for key, value in re.findall(r'"?([\w.]+)"?: "([^"]*)"', block)}
        for block in re.findall(r"^const [A-Z]+ = \{\n(.*?)^\};", text, re.MULTILINE | re.DOTALL)
    )
    assert len(english) > 100 and english == german
    asked = set()
    for name in NAMES:
        source = (FOLDER / name).read_text(encoding="utf-8")
        asked |= set(re.findall(r'\bt\("([\w.]+)"', source)) | set(re.findall(r'data-(?:text|name|placeholder)="(\w+)"', source))
    assert asked <= english.keys()


def test_a_server_with_keys_shows_the_page_to_everybody_and_nothing_else():
    keys = (hashlib.sha256(b"a key of sixteen letters").digest(),)
    client = TestClient(make_app(Settings(keys=keys)))  # not entered, so no model is loaded
    assert client.get("/").status_code == client.get("/page/main.js").status_code == 200
    for path in ("/v1/models", "/page", "/metrics", "/v1/progress/x", "//page/main.js", "/page/../v1/models"):
        assert client.get(path).status_code == 401, path
