"""Of the possible texts of a request, the one that its recording's CTC frames spell is found."""

from types import SimpleNamespace

import numpy as np
import torch

from lauragpt.data.manifest import Example
from lauragpt.data.slu_templates import template_words
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.text import CtcUnits
from lauragpt.train.pseudo_labels import likeliest_texts

SLOTS = {"size": "small", "coffeeDrink": "mocha", "milkAmount": "soy milk"}


def request(number: int, **extra) -> Example:
    return Example(id=f"slu/{number}", task="slu", split="train", corpus="barista", lang="en", audio=str(number), duration=4.0, extra=extra)


def spoken(text: str) -> torch.Tensor:
    """(T, U) log-probabilities: three frames a letter, a tenth of them confused."""
    rng, rows = np.random.default_rng(0), []
    for unit in CtcUnits().encode(text):
        for heard in (unit, unit if rng.random() < 0.9 else int(rng.integers(1, CtcUnits.size)), CtcUnits.blank):
            rows.append(torch.full((CtcUnits.size,), 0.2 / CtcUnits.size).index_fill(0, torch.tensor(heard), 0.8))
    return torch.stack(rows).log()


def test_the_text_that_the_recording_spells_is_found(monkeypatch):
    texts = {str(n): template_words(SLOTS, np.random.default_rng(100 + n)) for n in range(4)}
    assert len(set(texts.values())) == 4
    model, now = LauraModel(PRESETS["debug"]), []
    monkeypatch.setattr(model, "listen", lambda *_: SimpleNamespace(ctc_log_probs=spoken(texts[now[-1]])[None]))
    monkeypatch.setattr(type(model.features), "forward", lambda *_: (None, torch.tensor([3 * len(texts[now[-1]])])))

    def waves(path: str) -> np.ndarray:
        now.append(path)
        return np.zeros(16000, np.float32)

    requests = [request(n, intent="orderDrink", slots=SLOTS) for n in range(4)]
    others = [request(7, intent="orderDrink", slots=SLOTS, transcript="a small mocha"), request(8)]
    found = likeliest_texts(model, requests + others, waves, CtcUnits(), tries=5000)
    assert set(found) == {e.id for e in requests}
    assert [found[e.id] for e in requests] == [texts[e.audio] for e in requests]


def test_the_same_texts_are_found_again():
    torch.manual_seed(0)
    model, wave = LauraModel(PRESETS["debug"]), np.random.default_rng(0).normal(size=64000).astype(np.float32) / 10
    requests = [request(n, intent="orderDrink", slots=SLOTS) for n in range(2)]
    first = likeliest_texts(model, requests, lambda path: wave, CtcUnits(), tries=30)
    assert first == likeliest_texts(model, requests, lambda path: wave, CtcUnits(), tries=30)
    assert all("mocha" in words and "soy milk" in words for words in first.values())
