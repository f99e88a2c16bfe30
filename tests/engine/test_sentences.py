"""Sentences: split where they end and nowhere else, short enough, nothing lost."""

import random
import re

import pytest

from lauragpt.engine.sentences import LONGEST, split_sentences


def test_sentences_end_where_a_reader_would_say():
    assert split_sentences("Hello there. How are you?  Fine!") == ["Hello there.", "How are you?", "Fine!"]
    assert split_sentences("Mr. Smith met Dr. Jones at 3. He left.")[0].startswith("Mr. Smith met Dr. Jones")
    assert split_sentences("Am 3. Mai kam er, z. B. mit dem Zug. Gut.") == ["Am 3. Mai kam er, z. B. mit dem Zug.", "Gut."]
    assert split_sentences("你好。你好吗？很好！") == ["你好。", "你好吗？", "很好！"]
    assert split_sentences("A line\nand another\n\n") == ["A line", "and another"]
    assert split_sentences("pi is 3.14 and www.example.org is a site.") == ["pi is 3.14 and www.example.org is a site."]
    assert split_sentences("  \n ") == []


@pytest.mark.parametrize(
    "sentence",
    [
        "Am 2. Mai kam er.",
        "Es war der 15.03.2024.",
        "Am 24.12. war es so weit.",
        "Vom 3. bis 5. Mai war ich da.",
        "Die Adresse ist 192.168.0.1.",
        "Er mag z. B. Obst, d. h. Birnen.",
        "Sie kam, u. a. Samstag, i. d. R. Sonntag.",
        "Nr. 5 lebt.",
        "Etwa 3.14 ist es.",
        "Es kostet ca. 5 Mio. Euro.",
        "Siehe vgl. Abb. 3 und Art. 5 Abs. 2 hier.",
        "Das Haus Hauptstr. 5 ist hier.",
        "Heinrich VIII. war König.",
        "Es war 44 v. Chr. in Rom.",
        "Capt. Kirk met Maj. Gen. Walker.",
        "Jan. 5 is fine.",
        "No. 5 is alive.",
        "See fig. 3 and pp. 3 to five.",
        "The Baker St. house is old.",
        "Visit example.org or 192.168.0.1 or v1.2.3 now.",
        "It was 3.14 at 3:05 p.m. on Monday.",
    ],
)
def test_a_point_inside_a_number_or_an_abbreviation_ends_no_sentence(sentence):
    assert split_sentences(f"{sentence} Good. So it is.") == [sentence, "Good.", "So it is."]


def test_long_runs_of_abbreviations_are_read_in_one_pass():
    text = "z. B. " * 50_000  # rescanning the sentence at every point would take 10^10 steps
    assert all(len(sentence) <= LONGEST for sentence in split_sentences(text))


def test_nothing_is_lost_and_nothing_is_too_long():
    rng = random.Random(0)
    for _ in range(200):
        text = "".join(
            rng.choice(["word ", "a, ", "end. ", "No! ", "x" * 90, "3. ", "\n", "“Quote.” ", "是。"]) for _ in range(rng.randint(0, 60))
        )
        sentences = split_sentences(text)
        assert re.sub(r"\s", "", "".join(sentences)) == re.sub(r"\s", "", text)
        assert all(0 < len(sentence) <= LONGEST for sentence in sentences)
