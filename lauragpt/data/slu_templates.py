"""Slots of a coffee order -> words that somebody might say, so that the GPT learns from text alone where in what is said each slot stands.

In: the orders of training, which come without their words. Out: (what might be said, intent, slots), the slots' values drawn anew.
"""

from collections.abc import Sequence

import numpy as np

BEGIN = ("can i get", "can i have", "could i have", "i would like", "i'd like", "i'll have", "give me", "get me", "may i have", "i want", "please make me", "make me")
END = ("", "", "", "please", "thanks", "thank you")


class SluTemplates:
    """Orders like those given (intent, slots): which slots stand together is as there, their values come from all of them."""

    def __init__(self, known: Sequence[tuple[str, dict[str, str]]]):
        self.known, values = list(known), {}
        for _, slots in self.known:
            for name, value in slots.items():
                values.setdefault(name, []).append(value)
        self.values: dict[str, list[str]] = values

    def draw(self, rng: np.random.Generator) -> tuple[str, str, dict[str, str]]:
        intent, like = self.known[int(rng.integers(len(self.known)))]
        slots = {name: self.values[name][int(rng.integers(len(self.values[name])))] for name in like}
        return template_words(slots, rng), intent, slots


def template_words(slots: dict[str, str], rng: np.random.Generator) -> str:
    """What is in the cup comes before its name, in any order, or behind it; milk and sugar come last."""
    drink = slots.get("coffeeDrink", "coffee" if "roast" in slots else "")
    parts = [slots[name] for name in ("size", "numberOfShots", "roast") if name in slots]
    rng.shuffle(parts)
    late = [parts.pop()] if len(parts) > 1 and rng.random() < 0.25 else []
    extras = late + [slots[name] for name in ("milkAmount", "sugarAmount") if name in slots]
    if len(extras) > 1 and rng.random() < 0.3:
        extras = extras[::-1]
    words = [str(rng.choice(BEGIN)), str(rng.choice(("a", "a", "a", "an", "one", ""))), *parts, drink]
    if extras:
        words += ["with", f" {rng.choice(('and', 'and', 'with'))} ".join(extras)]
    return " ".join(" ".join([*words, str(rng.choice(END))]).split())
