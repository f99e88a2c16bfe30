"""Orders made of slots: every value is said, and nothing that no order of training has is ordered."""

import numpy as np
import pytest

from lauragpt.data.slu_templates import SluTemplates, template_words

KNOWN = [
    ("orderDrink", {"size": "small", "coffeeDrink": "iced coffee", "milkAmount": "a bit of soy milk"}),
    ("orderDrink", {"size": "twenty ounce", "roast": "dark roast", "sugarAmount": "brown sugar"}),
    ("orderDrink", {"numberOfShots": "double shot", "coffeeDrink": "mocha", "milkAmount": "cream", "sugarAmount": "some sugar"}),
]


@pytest.mark.parametrize("seed", range(20))
def test_every_slot_is_said_and_comes_from_the_orders_known(seed):
    said, intent, slots = SluTemplates(KNOWN).draw(np.random.default_rng(seed))
    assert intent == "orderDrink" and set(slots) in [set(known) for _, known in KNOWN]
    for name, value in slots.items():
        assert value in said and value in {known[name] for _, known in KNOWN if name in known}
    assert said == " ".join(said.split())


def test_values_are_drawn_anew():
    rng, orders = np.random.default_rng(0), SluTemplates(KNOWN)
    drawn = [tuple(sorted(orders.draw(rng)[2].items())) for _ in range(60)]
    assert any(slots not in [tuple(sorted(known.items())) for _, known in KNOWN] for slots in drawn)
    again = np.random.default_rng(0)
    assert drawn == [tuple(sorted(orders.draw(again)[2].items())) for _ in range(60)]


def test_the_cup_comes_before_what_is_put_into_it():
    slots = KNOWN[2][1]
    for seed in range(20):
        said = template_words(slots, np.random.default_rng(seed))
        assert said.index("mocha") < said.index("with") < min(said.index("cream"), said.index("some sugar"))
    assert "coffee" in template_words({"roast": "dark roast"}, np.random.default_rng(0))
