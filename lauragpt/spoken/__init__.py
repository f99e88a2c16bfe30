"""The spoken form of a text: what recognition learns to write and what `speak` reads aloud.

In: a text as people write it, and its language. Out: lower-case words with single spaces; no punctuation, no digits, no signs.
Numbers, dates, times, money, units, addresses and abbreviations become the words of an educated speaker, by an ordered table of rules
a language (english.py, german.py; numbers.py and common.py hold what both share). A text without digits, signs, abbreviations with a
point or Roman numerals passes through unchanged but for case and punctuation. tests/spoken/*.tsv shows what each rule does.

Two choices. Acronyms stay one word ("the EU" -> "the eu"), since only a dictionary could tell NASA from USA; capitals beside a digit are
spelled ("MP3" -> "m p three"). Letters keep their accents; the CTC units drop them where they have no letter for them.
"""

import re
import unicodedata

from lauragpt.spoken import english, german

_LANGUAGES = {"en": english, "de": german}
# What rules look for: without it a text has nothing to rewrite. A point behind a letter or a Roman numeral; a digit or a sign.
_ABBREVIATED = re.compile(r"[^\W\d]\.|\d\.\d|\+\d|[@#§]|https?:|\b[IVXL]{1,8}\b")
_COUNTED = re.compile(r"[\d$£€¥¢%‰&@#+=<>×÷±°§^~]")
# Compatibility forms that would change their meaning when Unicode folds them: "1½" into 11/2, "m²" into m2, "™" into letters.
_FOLDED = (
    (re.compile("(?<=[0-9])(?=[¼½¾⅐-⅞])"), " "),
    (re.compile("²"), "^2"), (re.compile("³"), "^3"),
    (re.compile("[™℠®©]"), " "),
)  # fmt: skip


# Chinese has no spaces between words: those that recognisers and corpora write there are passed over.
_HAN = "[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"
_BETWEEN = re.compile(f"(?<={_HAN}) (?={_HAN})")


def normalize(text: str, lang: str = "en") -> str:
    """The spoken form of a text: lower case, words only, single spaces; in English and German, numbers and signs as words.

    Any text has one, perhaps an empty one, and it is its own spoken form. Other languages keep their digits, and
    Chinese has no spaces between its characters.
    """
    language = _LANGUAGES.get(lang)
    if language:
        for pattern, replacement in _FOLDED:
            text = pattern.sub(replacement, text)
    text = unicodedata.normalize("NFKC", text).replace("’", "'")
    if language:
        text = text if text.isascii() else "".join(map(_ascii_digit, text))
        for trigger, rules in ((_ABBREVIATED, language.WORDS), (_COUNTED, language.NUMBERS)):
            if trigger.search(text):
                for rule in rules:
                    text = rule(text)
    words = _words_only(text.lower())
    return _BETWEEN.sub("", words) if lang == "zh" else words


def _ascii_digit(character: str) -> str:
    """Digits of other scripts as 0-9; numerals that are no digit (Roman signs, Ethiopic tens) as a space."""
    if not character.isnumeric() or character.isalpha():
        return character
    digit = unicodedata.digit(character, None)
    return " " if digit is None else str(digit)


def _words_only(text: str) -> str:
    kept = (c if c.isalnum() or c == "'" else " " for c in text)
    words = (word.strip("'") for word in "".join(kept).split())
    return " ".join(word for word in words if word)
