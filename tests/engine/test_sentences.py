"""Sentences: split where they end and nowhere else, short enough, nothing lost."""

import random
import re

from lauragpt.engine.texts import LONGEST, split_sentences


def test_sentences_end_where_a_reader_would_say():
    assert split_sentences("Hello there. How are you?  Fine!") == ["Hello there.", "How are you?", "Fine!"]
    assert split_sentences("Mr. Smith met Dr. Jones at 3. He left.") [0].startswith("Mr. Smith met Dr. Jones")
    assert split_sentences("Am 3. Mai kam er, z. B. mit dem Zug. Gut.") == ["Am 3. Mai kam er, z. B. mit dem Zug.", "Gut."]
    assert split_sentences("你好。你好吗？很好！") == ["你好。", "你好吗？", "很好！"]
    assert split_sentences("A line\nand another\n\n") == ["A line", "and another"]
    assert split_sentences("pi is 3.14 and www.example.org is a site.") == ["pi is 3.14 and www.example.org is a site."]
    assert split_sentences("  \n ") == []


def test_nothing_is_lost_and_nothing_is_too_long():
    rng = random.Random(0)
    for _ in range(200):
        text = "".join(rng.choice(["word ", "a, ", "end. ", "No! ", "x" * 90, "3. ", "\n", "“Quote.” ", "是。"]) for _ in range(rng.randint(0, 60)))
        sentences = split_sentences(text)
        assert re.sub(r"\s", "", "".join(sentences)) == re.sub(r"\s", "", text)
        assert all(0 < len(sentence) <= LONGEST for sentence in sentences)
