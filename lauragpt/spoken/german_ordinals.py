"""German ordinals and their endings: "der 2. Mai" is "der zweite mai", "am 2. Mai" is "am zweiten mai", "2. Mai" is "zweiter mai".

In: a match that holds a number with a point, and what stands around it.
Out: the ordinal in its form, or None where the point ends a sentence.
"""

import re

from lauragpt.spoken.common import words_before
from lauragpt.spoken.numbers import words

MONTHS = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()
SHORT_MONTHS = {month[:3]: month for month in MONTHS} | {"Sept": "September", "Jän": "Januar", "Mrz": "März"}
# Nouns that often follow an ordinal, by gender; after other nouns a number with a point is an ordinal only behind an article.
MASCULINE = set(MONTHS) | set(
    """
    Platz Tag Stock Rang Schritt Versuch Band Weltkrieg Geburtstag Spieltag Advent Teil Akt Bezirk Sieg Monat Jahrestag Hochzeitstag
    Preis Gang Satz Kreuzzug Bundestag Stern Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag Juli Vorsitzende Absatz
    Aufzug
    """.split()
)
FEMININE = set(
    """
    Klasse Etage Auflage Woche Runde Stufe Liga Bundesliga Staffel Folge Generation Sinfonie Symphonie Ausgabe Person Hälfte Etappe
    Reihe Mannschaft Republik Minute Stunde Sekunde Schicht Wahl Welt Position Lektion Szene Strophe Ehe
    """.split()
)
NEUTER = set(
    """
    Jahrhundert Jahrhunderts Jahrtausend Jahrtausends Jahr Kapitel Buch Semester Quartal Halbjahr Viertel Mal Spiel Tor Lebensjahr
    Stockwerk Obergeschoss Album Gebot Schuljahr Drittel Reich Rennen Programm Kind
    """.split()
)
_WOMEN = set("Frau Uhr Stadt Nacht Hand Zeit Million Milliarde Zahl Mutter Tochter Schwester Wand Bank Kuh".split())
_MEN = set("Junge Kunde Name Löwe Hase Affe Zeuge Kollege Käse Buchstabe Gedanke".split())
PREPOSITIONS = set(
    "ab an auf aus bei bis für gegen hinter in mit nach neben seit über um unter von vor während wegen zu zwischen trotz".split()
)
_EN_BEFORE = re.compile(r"(?:am|im|vom|zum|zur|beim|de[mns]|(?:ein|kein|mein|dein|sein|ihr|unser|eur|dies|jed|jen|welch)e[mnrs])")
_E_BEFORE = re.compile(r"(?:das|die|(?:ein|kein|mein|dein|sein|ihr|unser|eur|dies|jed|jen|welch)e)")
_BARE_BEFORE = {"ein", "kein", "mein", "dein", "sein", "ihr", "unser", "euer"}
_ENDINGS = {"m": "r", "f": "", "n": "s"}


def gender(noun: str) -> str:
    """m, f or n: by the lists above, else by the noun's ending; m where nothing tells."""
    if noun in FEMININE or noun in _WOMEN or re.search(r"(?:ung|heit|keit|ion|tät|schaft|enz|anz|ik)$", noun):
        return "f"
    if noun in NEUTER or re.search(r"(?:chen|lein|ment|um|haus|jahr|spiel|buch)$", noun) or re.match(r"Ge\w{2,20}[dlrt]e$", noun):
        return "n"
    return "f" if noun.endswith("e") and noun not in MASCULINE | _MEN else "m"


def is_known(noun: str) -> bool:
    return noun in MASCULINE or noun in FEMININE or noun in NEUTER


def ending(match: re.Match, noun: str, sure: bool = False) -> str | None:
    """What an ordinal in front of `noun` adds to its "-te": n, r, s or nothing. None where it is no ordinal; `sure`: it is one anyhow."""
    before, last = ["", "", *words_before(match, 2)][-2:]
    if last == "der" or re.fullmatch(r"(?:dies|jed|jen|welch)er", last):
        return "n" if before in PREPOSITIONS else ""
    if last == "die" and noun.endswith("en") and gender(noun) != "n":
        return "n"
    if _EN_BEFORE.fullmatch(last):
        return "n"
    if _E_BEFORE.fullmatch(last):
        return ""
    if last in _BARE_BEFORE:
        return _ENDINGS[gender(noun)]
    if not sure and not is_known(noun):
        return None
    return "n" if last in PREPOSITIONS else _ENDINGS[gender(noun)]


def ordinal(number: int, end: str = "") -> str:
    return words(number, "de", "ordinal") + end


def say_ordinal(match: re.Match) -> str | None:
    """Groups number, and perhaps joint and other ("3. bis 5. "); the noun is what follows the match."""
    noun = re.match(r"\s{1,3}([A-ZÄÖÜ]?[a-zäöüß]{0,40})", match.string[match.end() : match.end() + 48])
    noun = noun[1] if noun else ""
    noun = SHORT_MONTHS.get(noun, noun)
    end = ending(match, noun)
    if end is None or (not noun and end == "" and words_before(match)[-1] != "der"):
        return None  # "Ruf die 110." ends a sentence, "heute ist der 20." a date
    joint = re.sub(r"\s*[-–—/]\s*", " bis ", match["joint"]) if match["joint"] else ""
    return ordinal(int(match["number"]), end) + (joint + ordinal(int(match["other"]), end) if joint else "")


def date(match: re.Match, day: str, month: int, year: str = "") -> str | None:
    """A date with its month's name and its year in words; None where there is no such day."""
    if not (1 <= int(day) <= 31 and 1 <= month <= 12):
        return None
    name = MONTHS[month - 1]
    return f"{ordinal(int(day), ending(match, name, sure=True) or '')} {name} {year}"
