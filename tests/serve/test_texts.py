"""/v1/text/translations, /v1/text/chains: the answers are those of the package."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from servers import http

from lauragpt.audio import decode_audio

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


def test_chains(address, laura):
    def chain(steps, **body):
        return http.post(f"{address}/v1/text/chains", json={"input": TEXT, "steps": steps} | body)

    known = laura.chain("translate:de | speak", text=TEXT, seed=2)
    spoken = chain("translate:de | speak", seed=2)
    assert np.abs(decode_audio(spoken.content) - known.audio.clip(-1, 1)).max() < 2 / 32768
    receipt = json.loads(spoken.headers["x-laura-receipt"])
    assert receipt == known.receipt and receipt["input"] == TEXT
    assert receipt["steps"][0]["text"] == receipt["text"] == laura.translate(text=TEXT, to="de").text
    assert chain("translate:de").json() == {"text": receipt["text"]}
    for body in ({"steps": "enhance"}, {"steps": "speak", "response_format": "json"}, {"steps": "speak", "input": "?!"}, {"input": None}):
        assert chain(**{"steps": "speak"} | body).status_code == 400, body


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
