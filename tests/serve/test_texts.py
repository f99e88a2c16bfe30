"""/v1/text/translations: the answers are those of the package."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import http

TEXT = "A man is riding a bicycle through the snow."


def ask(address, **body):
    return http.post(f"{address}/v1/text/translations", json=body)


def test_a_text(address, laura):
    known = laura.translate(text=TEXT, to="de", lang="en")
    answer = ask(address, input=TEXT, to="de", language="en")
    assert answer.json() == {"text": known.text} and json.loads(answer.headers["x-laura-receipt"]) == known.receipt
    row = ask(address, input=TEXT, to="de", response_format="verbose_json").json()
    assert row["text"] == laura.translate(text=TEXT, to="de").text and row["segments"] and row["receipt"]["text"] == TEXT
    assert ask(address, input=TEXT, to="de", response_format="text").text == f"{known.text}\n"


def test_many_at_once_are_what_each_is_alone(address, laura):
    texts = [f"{number} children play with a dog." for number in ("Two", "Three", "Ten")]
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda text: ask(address, input=text, to="de").json()["text"], texts))
    assert answers == [laura.translate(text=text, to="de").text for text in texts]


@pytest.mark.parametrize("body", [
    {}, {"input": 3}, {"input": TEXT, "to": "xx"}, {"input": TEXT, "to": "../de"}, {"input": "x" * 5000}, {"input": TEXT, "language": "1"},
    {"input": TEXT, "response_format": "srt"},
], ids=str)  # fmt: skip
def test_what_is_wrong(address, body):
    answer = ask(address, **body)
    assert answer.status_code == 400 and "\n" not in answer.json()["error"]["message"]


def test_half_a_letter(address):
    body, kind = b'{"input": "one \\ud800 two"}', {"content-type": "application/json"}
    answer = http.post(f"{address}/v1/text/translations", content=body, headers=kind)
    assert answer.status_code == 400 and "Unicode" in answer.json()["error"]["message"]
