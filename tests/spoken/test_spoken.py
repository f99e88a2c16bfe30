"""The spoken form: two tables of written and spoken text, and what holds for every text."""

import random
import re
from pathlib import Path

import pytest

from lauragpt.spoken import english, german, normalize

TABLES = {lang: Path(__file__).parent / f"{lang}.tsv" for lang in ("en", "de")}
# 3.11 moved the parser of patterns; it tells how often each part of a pattern may repeat.
try:
    from re import _constants as constants
    from re import _parser as parser
except ImportError:
    import sre_constants as constants
    import sre_parse as parser


def cases(lang: str) -> list[tuple[str, str]]:
    lines = TABLES[lang].read_text(encoding="utf-8").splitlines()
    return [tuple(line.split("\t")) for line in lines if not line.startswith("# ")]


CASES = [(lang, *case) for lang in TABLES for case in cases(lang)]
PIECES = [*"0123456789" * 3, *".,:;-–—/()'\"+=<>^×÷±°%‰$£€¥¢&@#§~!? \t\n"]
PIECES += ["½", "²", "™", "٣", "Ⅷ", "፲", "①", "😀", "é", "ß", "İ", "\u0301", "\u200d", "\udc80"]
PIECES += " am | der | the | Mai |May |Uhr| pm|kg|km/h|°C|Mio.| Nr.|St.|VIII|Henry |Karl |z. B.|e.g.|er|st|th|s|x|www.|.com".split("|")
PIECES += "https://|USD|A|1990|00|555-|+49 ".split("|")


@pytest.mark.parametrize(("lang", "written", "spoken"), CASES, ids=[f"{lang}: {written}" for lang, written, _ in CASES])
def test_written_text_is_spoken_as_a_reader_would(lang, written, spoken):
    assert normalize(written, lang) == spoken


def test_the_tables_hold_what_they_promise():
    for lang in TABLES:
        written = [case[0] for case in cases(lang)]
        assert len(written) >= 150 and len(set(written)) == len(written)


@pytest.mark.parametrize("lang", ["en", "de"])
def test_any_text_has_a_spoken_form_of_words_that_stays(lang):
    rng = random.Random(lang)
    for _ in range(1500):
        text = "".join(rng.choice(PIECES) if rng.random() < 0.9 else chr(rng.randrange(0x110000)) for _ in range(rng.randint(1, 30)))
        spoken = normalize(text, lang)
        assert all(c.isalpha() or c in "' " for c in spoken), (text, spoken)
        assert spoken == " ".join(spoken.split()) == normalize(spoken, lang), (text, spoken)


@pytest.mark.parametrize("lang", ["en", "de"])
def test_plain_words_change_in_case_and_punctuation_only(lang):
    rng = random.Random(0)
    words = "the Der house Haus don't über Straße USA café may Mai no st mr dr usw m s kg uhr april i l x".split()
    for _ in range(500):
        text = " ".join(rng.choice(words) + rng.choice(["", "", ",", "!", "?", ";", " –", ":"]) for _ in range(rng.randint(1, 12)))
        assert normalize(text, lang) == " ".join(re.sub("[^\\w' ]", " ", text).lower().split())


def test_other_languages_keep_their_digits():
    assert normalize("你好，世界！3 个", "zh") == "你好世界 3 个"


@pytest.mark.parametrize(
    "rule", [r for language in (english, german) for r in (*language.WORDS, *language.NUMBERS)], ids=lambda rule: rule.name
)
def test_every_repeat_is_bounded_so_that_time_is_linear(rule):
    def steps(pattern) -> int:
        """How many characters a match can span at most."""
        total = 0
        for operation, argument in pattern:
            if operation in (constants.MAX_REPEAT, constants.MIN_REPEAT):
                assert argument[1] <= 200, f"{rule.pattern.pattern} repeats without a bound"
                total += argument[1] * steps(argument[2])
            elif operation is constants.SUBPATTERN:
                total += steps(argument[-1])
            elif operation is constants.BRANCH:
                total += max(map(steps, argument[1]))
            else:
                total += 1
        return total

    assert steps(parser.parse(rule.pattern.pattern, rule.pattern.flags)) < 1000


@pytest.mark.parametrize(
    "piece",
    ["9", "1.", "1,", "a.", "-", "3-", "1/", "a@", "12:30 ", "The 2. of May cost $3.50, i.e. 5 kg. ", "z. B. am 2. Mai um 14:30 Uhr. "],
)
@pytest.mark.parametrize("lang", ["en", "de"])
def test_a_long_text_is_read_to_its_end(lang, piece):
    assert normalize("start " + piece * (200_000 // len(piece)) + " end", lang).startswith("start")


def test_a_megabyte_equals_its_parts():
    line = "On 3 May 2024 at 3:05 pm Dr. Smith paid $3.50 for 5 kg of salt & pepper.\n"
    assert normalize(line * (1_000_000 // len(line)), "en") == " ".join([normalize(line, "en")] * (1_000_000 // len(line)))
