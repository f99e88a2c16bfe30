"""Long texts as sentences, the unit that translation and speech were trained on.

In: a text as written. Out: its sentences in order; nothing of it is lost but the spaces between them.
"""

import re

LONGEST = 240  # characters; a longer sentence is cut at a comma, else between two words
# What ends with a point and ends no sentence: titles, abbreviations, ordinals ("am 3. Mai"), initials.
NO_END = re.compile(r"(?:\b(?:mr|mrs|ms|dr|st|prof|no|vs|etc|e\.g|i\.e|hr|fr|nr|ca|bzw|usw|z\.\s?b|d\.\s?h)|\b\d{1,2}|\b[A-ZÄÖÜ])\.$", re.I)
END = re.compile(r"(?<=[.!?…])[\"'”’»)]*\s+|(?<=[。！？])|\n+")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, each at most 240 characters long."""
    sentences, start = [], 0
    for match in END.finditer(text):
        sentence = text[start : match.end()]
        if "\n" not in match[0] and NO_END.search(text[start : match.start()]):
            continue
        sentences += _short(sentence.strip())
        start = match.end()
    return [sentence for sentence in [*sentences, *_short(text[start:].strip())] if sentence]


def _short(sentence: str) -> list[str]:
    parts = []
    while len(sentence) > LONGEST:
        place = max(sentence.rfind(mark, LONGEST // 3, LONGEST) for mark in ",;:，；：")
        place = place + 1 if place > 0 else sentence.rfind(" ", 1, LONGEST)
        place = place if place > 0 else LONGEST
        parts.append(sentence[:place].strip())
        sentence = sentence[place:].strip()
    return [*parts, sentence]
