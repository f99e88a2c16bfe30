"""Numbers as words, by num2words: cardinals, ordinals, years, digits one by one. In: digits as text. Out: lower-case words."""

import re
from functools import lru_cache

from num2words import num2words

LONGEST = 12  # digits; a longer number is a code and is read digit by digit
# Canonical Roman numerals up to 89: later ones are seldom numbers of kings, wars or chapters.
ROMAN = r"(?=[IVXL])(?:XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50}


@lru_cache(4096)
def words(number: int, lang: str, to: str = "cardinal") -> str:
    """A number of at most 12 digits; `to` is num2words' kind: cardinal, ordinal or year."""
    return re.sub(r"[-,\s]+", " ", num2words(number, lang=lang, to=to)).lower()


def digits(text: str, lang: str) -> str:
    """The digits in a text, one by one; everything else is left out."""
    return " ".join(words(int(c), lang) for c in text if c in "0123456789")


def whole(text: str, lang: str, year: bool = False) -> str:
    """A number without a decimal part: a code (leading zero, over 12 digits) digit by digit; `year`: 1100 to 2999 as years are read."""
    if len(text) > LONGEST or (len(text) > 1 and text[0] == "0"):
        return digits(text, lang)
    is_year = year and len(text) == 4 and text[0] in "12"
    return words(int(text), lang, "year" if is_year else "cardinal")


def roman(numeral: str) -> int:
    """The value of a Roman numeral."""
    values = [_ROMAN_VALUES[c] for c in numeral]
    return sum(-v if v < after else v for v, after in zip(values, [*values[1:], 0], strict=True))


def rises(first: str, second: str) -> bool:
    """Whether two numbers with a dash are a range: "3-5", "2020-21"; not "50-50", "6-3", "747-400"."""
    first, second = (re.sub(r"\D.*", "", number.replace(",", "").replace(".", "")) for number in (first, second))
    return int(first) < int(second) or (len(first) == 4 and len(second) == 2)
