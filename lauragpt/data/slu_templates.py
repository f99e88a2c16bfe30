"""Slots of a coffee order -> a sentence that orders it, so that the GPT learns from text alone which words fill each slot.

In: the orders of training, which have no transcripts. Out: (sentence, intent, slots), the slots' values drawn anew.
"""

from collections.abc import Sequence

import numpy as np

BEGIN = (
    "can i get",
    "can i have",
    "could i have",
    "i would like",
    "i'd like",
    "i'll have",
    "give me",
    "get me",
    "may i have",
    "i want",
    "please make me",
    "make me",
)
END = ("", "", "", "please", "thanks", "thank you")


class SluTemplates:
    """Draws orders: the names of the slots from one of `orders` (intent, slots), the value of each from all of them."""

    def __init__(self, orders: Sequence[tuple[str, dict[str, str]]]):
        self.orders = list(orders)
        self.values: dict[str, list[str]] = {}
        for _, slots in self.orders:
            for name, value in slots.items():
                self.values.setdefault(name, []).append(value)

    def draw(self, rng: np.random.Generator) -> tuple[str, str, dict[str, str]]:
        intent, example = self.orders[int(rng.integers(len(self.orders)))]
        slots = {name: self.values[name][int(rng.integers(len(self.values[name])))] for name in example}
        return template_words(slots, rng), intent, slots


def template_words(slots: dict[str, str], rng: np.random.Generator) -> str:
    """A sentence: size, shots and roast stand before the drink in any order, or one of them after it; milk and sugar come last."""
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
