"""Long texts as sentences, the unit that translation and speech were trained on.

In: a text as written. Out: its sentences in order; nothing of it is lost but the spaces between them.
"""

import re

LONGEST = 240  # characters; a longer sentence is cut at a comma, else between two words
# What ends with a point and ends no sentence: titles, abbreviations, ordinals ("am 3. Mai"), initials.
NO_END = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|st|prof|capt|lt|gen|maj|col|sgt|rev|no|vs|etc|e\.g|i\.e|approx|mt|hr|fr|nr|ca|bzw|usw|evtl|ggf|inkl"
    r"|exkl|zzgl|vgl|bspw|mio|mrd|tsd|z\.\s?b|d\.\s?h)|(?<![\d.,:])\b\d{1,2}|\b[A-ZÄÖÜ])\.$",
    re.I,
)
# What ends no sentence before a number ("Abb. 3", "Jan. 5"), and what ends none before a small letter ("Heinrich VIII. war").
NO_END_BEFORE_NUMBER = re.compile(
    r"(?:\b(?:nos|figs?|pp|vol|ch|sec|eq|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
    r"|art|abs|abb|bd|kap|tab|anm|ziff|tel|max|min|mind)|str)\.$",
    re.I,
)
NO_END_BEFORE_SMALL = re.compile(r"(?:\b(?:\d{1,2}\.\d{1,2}|[IVXL]{2,8}|Chr|[JS]r|Inc|Co|Ltd|Std|Min|Sek|MwSt|Str|St|Ave)|str)\.$")
LONGEST_ABBREVIATION = 24  # characters before a point in which an abbreviation is looked for
END = re.compile(r"(?<=[.!?…])[\"'”’»)]*\s+|(?<=[。！？])|\n+")


def split_sentences(text: str, longest: int = LONGEST) -> list[str]:
    """The sentences of a text, each at most `longest` characters long."""
    sentences, start = [], 0
    for match in END.finditer(text):
        before = text[max(start, match.start() - LONGEST_ABBREVIATION) : match.start()]
        if "\n" not in match[0] and _goes_on(before, text[match.end() : match.end() + 1]):
            continue
        sentences += _short(text[start : match.end()].strip(), longest)
        start = match.end()
    return [sentence for sentence in [*sentences, *_short(text[start:].strip(), longest)] if sentence]


def _goes_on(before: str, following: str) -> bool:
    """Whether the point at the end of `before` ends no sentence, as the next character tells."""
    return bool(
        NO_END.search(before)
        or (following.isdecimal() and NO_END_BEFORE_NUMBER.search(before))
        or (following.islower() and NO_END_BEFORE_SMALL.search(before))
    )


def _short(sentence: str, longest: int) -> list[str]:
    parts = []
    while len(sentence) > longest:
        place = max(sentence.rfind(mark, longest // 3, longest) for mark in ",;:，；：")
        place = place + 1 if place > 0 else sentence.rfind(" ", 1, longest)
        place = place if place > 0 else longest
        parts.append(sentence[:place].strip())
        sentence = sentence[place:].strip()
    return [*parts, sentence]
