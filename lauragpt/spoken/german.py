"""German rules, in the order in which they are applied: what is read as a whole (addresses, dates, times, money) before its parts."""

import re

from lauragpt.spoken.common import DASH, MINUS, Rule, address_rules, followed_by, rule, table_rule, version_rules, word_before, words_before
from lauragpt.spoken.german_ordinals import MONTHS, SHORT_MONTHS, date, gender, ordinal, say_ordinal
from lauragpt.spoken.german_words import (
    ANYWHERE,
    BEFORE_NAMES,
    BEFORE_NUMBERS,
    COUNTED,
    DAY,
    FEMININE_UNITS,
    HUNDREDTHS,
    JOINED,
    MONEY,
    NUMBERED,
    POWERS,
    RULERS,
    SCALES,
    SIGNS,
    UNIT,
    UNITS,
    WEEKDAYS,
    WOMEN,
)
from lauragpt.spoken.numbers import ROMAN, digits, rises, roman, whole, words

NUMBER = r"(?:\d{1,3}(?:\.\d{3}){1,3}(?![\d])|\d{1,12}(?!\d))(?:,\d{1,30}(?!\d))?"
# One number or a range of two, with its minus: groups minus, low, high.
QUANTITY = rf"(?P<minus>{MINUS})?(?<!\w)(?<!\d[.,])(?:(?P<low>{NUMBER})(?:{DASH}| bis ))?(?P<high>{NUMBER})"
MONTH = rf"(?P<month>{'|'.join(MONTHS)}|(?:{'|'.join(SHORT_MONTHS)})\b\.?)"


def cardinal(number: str, year: bool = False) -> str:
    """A number in German writing: "1.234,5"."""
    integer, _, decimals = number.replace(".", "").partition(",")
    spoken = whole(integer, "de", year and not decimals and "." not in number)
    return f"{spoken} komma {digits(decimals, 'de')}" if decimals else spoken


def counted(number: str, noun: str) -> str:
    """A number before what it counts: 1 becomes the article of its gender."""
    feminine = noun.lower().startswith(FEMININE_UNITS) or noun.endswith(("stunde", "sekunde")) or gender(noun.capitalize()) == "f"
    return ("eine" if feminine else "ein") if number == "1" else cardinal(number)


def quantity(match: re.Match, noun: str) -> str:
    low = f"{cardinal(match['low'])} bis " if match["low"] else ""
    return f"{'minus ' if match['minus'] else ''}{low}{cardinal(match['high']) if low else counted(match['high'], noun)}"


def money(match: re.Match) -> str:
    sign, scale, per = match["sign"], match["scale"], match["per"]
    name, (integer, _, decimals) = MONEY[sign].replace("US-", "u s "), match["high"].partition(",")
    after = f" pro {unit_words(per, None, True) if per in UNITS else per}" if per else ""
    if scale:
        single, many = SCALES.get(scale, (scale.removesuffix("en").removesuffix("n"), scale))
        return f"{quantity(match, single)} {single if match['high'] == '1' else many} {name}{after}"
    if match["low"] or (decimals and len(decimals) != 2) or sign == "¥":
        return f"{quantity(match, name)} {name}{after}"
    hundredths = int(decimals or 0)
    minus = "minus " if match["minus"] else ""
    if integer == "0" and hundredths:
        return f"{minus}{counted(str(hundredths), 'cent')} {HUNDREDTHS.get(sign, 'cent')}{after}"
    return f"{minus}{counted(integer, name)} {name} {words(hundredths, 'de') if hundredths else ''}{after}"


def unit_words(symbol: str, power: str | None, single: bool) -> str:
    singular, _, plural = UNITS[symbol].replace("_", " ").partition("/")
    return POWERS.get((power or "").lstrip("^"), "") + (singular if single else plural or singular)


def measure(match: re.Match) -> str:
    name = unit_words(match["unit"], match["power"], (match["high"] == "1" and not match["low"]) or match["hyphen"] == "-")
    per = f" pro {unit_words(match['per'], match['perpower'], True)}" if match["per"] else ""
    return f"{quantity(match, name)} {name}{per}"


def written_date(match: re.Match) -> str | None:
    """ "15.03.2024", "24.12." """
    year = match["year"] or ""
    return date(match, match["day"], int(match["number"]), whole(year, "de", year=True) if year else "")


def clock(hour: str, minute: str | None) -> str:
    spoken_hour = "ein" if int(hour) == 1 else words(int(hour), "de")
    return f"{spoken_hour} uhr" + (f" {words(int(minute), 'de')}" if minute and int(minute) else "")


def time_range(match: re.Match) -> str:
    """ "8:30-12:00 Uhr" has an hour's word in both halves, "14–16 Uhr" once."""
    first = clock(match[1], match[2]) if match[2] else counted(match[1], "Cent")
    return f"{first} bis {clock(match[3], match[4])}"


def duration(match: re.Match) -> str:
    parts = []
    for number, name in zip(match.groups(), ("stunde", "minute", "sekunde"), strict=True):
        parts.append(f"{counted(str(int(number)), name)} {name}{'' if int(number) == 1 else 'n'}")
    return f"{parts[0]} {parts[1]} und {parts[2]}"


def saint(match: re.Match) -> str | None:
    before = re.search(r"(\w{1,40}) $", match.string[max(0, match.start() - 41) : match.start()])
    return None if before and before[1][0].isupper() and len(before[1]) > 3 else "sankt"  # "Broad St. Station" is no saint


def ruler(match: re.Match) -> str | None:
    name, genitive, number = match[1], match[2], roman(match[3])
    if number == 50:
        return None  # an initial
    woman = name in WOMEN
    if genitive:
        article, end = ("der" if woman else "des"), "n"
    elif {"unter", "von", "mit", "bei", "nach", "seit", "zu"} & set(words_before(match, 2)):
        article, end = ("der" if woman else "dem"), "n"
    else:
        article, end = ("die" if woman else "der"), ""
    return f"{name}{genitive} {article} {ordinal(number, end)}"


def fraction(match: re.Match) -> str | None:
    integer, above, below = match["whole"], int(match["above"]), int(match["below"])
    if not 0 < above < below or below > 1000:
        return f"{words(above, 'de')} {cardinal(match['below'], year=True)}"
    noun = followed_by(match, r" ([A-ZÄÖÜ][a-zäöüß]{1,40})")
    if below == 2:
        if integer:
            return ("ein" if integer == "1" else cardinal(integer)) + "einhalb"
        return {"m": "ein halber", "f": "eine halbe", "n": "ein halbes"}[gender(noun[1])] if noun else "ein halb"
    part = f"{'ein' if above == 1 else words(above, 'de')} {ordinal(below)[:-1].removeprefix('ein' if below in (100, 1000) else '')}el"
    return f"{cardinal(integer)} {part}" if integer else part


def span(match: re.Match) -> str:
    """Two numbers with a dash: a range, or a subtraction where a result follows."""
    if {"nummer", "telefon", "telefonnummer"} & set(words_before(match, 2)) and min(len(match[1]), len(match[2])) > 2:
        return digits(match[0], "de")
    first, second = (cardinal(number, year=True) for number in match.groups())
    if followed_by(match, r" ?="):
        return f"{first} minus {second}"
    return f"{first} {'bis ' if rises(*match.groups()) else ''}{second}"


def plain(match: re.Match) -> str:
    noun = followed_by(match, r" ([A-ZÄÖÜ][a-zäöüß]{1,40})")
    if match["number"] == "1" and noun and not match["minus"] and not COUNTED.search(word_before(match)):
        return counted("1", noun[1])
    return f"{'minus ' if match['minus'] else ''}{cardinal(match['number'], year=True)}"


def joined(number: str) -> str:
    """A number inside a longer word: "dreimal", "einmal"."""
    return "ein" if number == "1" else words(int(number), "de")


_SCALE = r"(?: ?(?P<scale>Mio\.|Mrd\.|Bio\.|Tsd\.|Million(?:en)?|Milliarden?))?"
_PER = r"(?:/(?P<per>[A-Za-z]{1,20})(?!\w))?"
_HOUR, _MINUTE = r"([01]?\d|2[0-4])", r"([0-5]\d)"

# Rules for texts with abbreviations, addresses or Roman numerals.
WORDS: tuple[Rule, ...] = (
    *address_rules("de", SIGNS, "doppelpunkt"),
    rule("street", r"(?<!\w)([A-ZÄÖÜ][a-zäöüß]{1,40})str\.", lambda m: m[1] + "straße"),
    rule("weekdays", rf"\b({DAY})\.?{DASH}({DAY})\b\.?", lambda m: f"{WEEKDAYS[m[1]]} bis {WEEKDAYS[m[2]]}"),
    table_rule("abbreviation", ANYWHERE, before=r"(?<![\w.])", flags=re.I),
    rule("saint", r"(?<!\w)St\. (?=[A-ZÄÖÜ])", saint),
    table_rule("title", BEFORE_NAMES, before=r"(?<!\w)", after=r"(?=\s{1,2}[A-ZÄÖÜ])"),
    table_rule("before numbers", BEFORE_NUMBERS, before=r"(?<![\w#§])", after=r"(?=\s{0,2}\d)"),
    rule("ruler", rf"\b({'|'.join(RULERS)})(s?) ({ROMAN})(?!\w)\.?", ruler),
    rule(
        "ordinal in Roman numerals",
        rf"(?<!\w)({ROMAN})\.(?=\s{{1,2}}(?:Weltkrieg|Jahrhundert|Kapitel|Akt|Band|Teil))",
        lambda m: f"{roman(m[1])}.",
    ),
    rule("numbered", rf"\b({NUMBERED}) ({ROMAN})(?!\w)", lambda m: f"{m[1]} {words(roman(m[2]), 'de')}"),
)
# Rules for texts with digits or signs, after those above.
NUMBERS: tuple[Rule, ...] = (
    # Dates, decades and times.
    rule("dates", r"(?<=\d\.) ?[-–] ?(?=\d{1,2}\. ?\d{1,2}\.)|(?<=\.[12]\d{3}) ?[-–] ?(?=\d{1,2}\. ?\d{1,2}\.)", "bis"),
    rule("date", r"(?<![\w.,])(?P<day>\d{1,2})\. ?(?P<number>\d{1,2})\.(?: ?(?P<year>\d{4}|\d{2})(?![\w,]))?(?!\d)", written_date),
    rule("ISO date", r"(?<![\w-])(?P<year>[12]\d{3})-(?P<number>[01]\d)-(?P<day>[0-3]\d)(?![\w-])", written_date),
    *version_rules("de", "punkt"),
    rule("short month", rf"(?<=\d\. )({'|'.join(SHORT_MONTHS)})\.", lambda m: SHORT_MONTHS[m[1]]),
    rule(
        "ordinal",
        r"(?<![\w.,:])(?P<number>\d{1,3})\.(?:(?P<joint>\s?[-–—/]\s?|\s(?:bis|und|oder)\s)(?P<other>\d{1,3})\.)?(?!\w)",
        say_ordinal,
    ),
    rule("decade", r"(?<![\w.,])(\d{1,4})er(n)?(?:-(?=Jahre))?(?!\w)", lambda m: f"{whole(m[1], 'de', year=True)}er{m[2] or ''}"),
    rule("duration", r"(?<![\w:.])(\d{1,2}):([0-5]\d):([0-5]\d)(?![\w:])", duration),
    rule("time range", rf"(?<![\w:.,])(?:{_HOUR}(?:[:.]{_MINUTE})?)(?:{DASH}| bis ){_HOUR}(?:[:.]{_MINUTE})? Uhr\b", time_range),
    rule("time", rf"(?<![\w:.,]){_HOUR}[:.]{_MINUTE} (?:Uhr|h)\b", lambda m: clock(m[1], m[2])),
    rule("time", rf"(?<![\w:.,]){_HOUR}:{_MINUTE}(?![\w:])", lambda m: clock(m[1], m[2])),
    rule("hour", rf"(?<![\w:.,]){_HOUR} Uhr\b", lambda m: clock(m[1], None)),
    # Telephone numbers.
    rule("telephone", r"(?<![\w.,])\(?0\d{2,5}\)?[ /-]{1,3}\d{2,8}(?:[ -]\d{2,8}){0,4}(?![\w.,]\d)", lambda m: digits(m[0], "de")),
    rule("telephone", r"(?<![\w.,-])\d{3}-\d{4}(?<!00)(?![\w-])", lambda m: digits(m[0], "de")),
    rule("postcode", r"(?<=PLZ )\d{5}(?!\d)", lambda m: digits(m[0], "de")),
    rule(
        "emergency",
        r"(?i:(?<=notruf )|(?<=telefon )|(?<=wähle )|(?<=die )(?=11[02](?!\.\d))|(?<=wählen sie ))\d{3}(?!\w|[.,]\d)",
        lambda m: digits(m[0], "de"),
    ),
    # Money, units, numbers inside words.
    rule("by", r"(?<=[\dmt]) {1,3}[x×] {1,3}(?=\d)|(?<=\d)[x×](?=\d)", "mal"),
    rule(
        "money",
        rf"(?P<minus>{MINUS})?(?P<sign>US\$|[$£€¥]|\b(?:EUR|USD|GBP|CHF)(?= ?\d)) ?"
        rf"(?:(?P<low>{NUMBER}){DASH}[$£€¥]?)?(?P<high>{NUMBER}){_SCALE}{_PER}",
        money,
    ),
    rule("money", rf"{QUANTITY}(?:,[-–])?{_SCALE} ?(?P<sign>[$£€¥]|(?:EUR|USD|GBP|CHF|Euro|Dollar|Franken)(?!\w)){_PER}", money),
    rule(
        "scale",
        rf"{QUANTITY} ?(?P<scale>Mio\.|Mrd\.|Bio\.|Tsd\.)",
        lambda m: f"{quantity(m, SCALES[m['scale']][0])} {SCALES[m['scale']][m['high'] != '1']}",
    ),
    rule(
        "unit",
        rf"{QUANTITY}(?P<hyphen>[ -]?)(?P<unit>{UNIT})(?P<power>\^?[23])?(?![\w'^])(?:/(?P<per>{UNIT})(?P<perpower>\^?[23])?(?!\w))?",
        measure,
    ),
    rule("joined", rf"(?<![\w.,])(\d{{1,6}})-?({JOINED}[a-zäöüß]{{0,6}})(?!\w)", lambda m: joined(m[1]) + m[2]),
    rule("times", r"(?<!\w)(\d{1,6})[x×](?!\w)", lambda m: joined(m[1]) + "mal"),
    # Fractions, ratios, ranges, ordinals.
    rule("score", r"(?<![\w/.,])(\d{1,3},\d{1,3})/(\d{1,4})(?![\w/])", lambda m: f"{cardinal(m[1])} von {cardinal(m[2])}"),
    rule("fraction", r"(?<![\w/.,])(?:(?P<whole>\d{1,4}) )?(?P<above>\d{1,4})[/⁄](?P<below>[1-9]\d{0,3})(?![\w/⁄])", fraction),
    rule("ratio", rf"(?<![\w.,:])({NUMBER}) ?: ?({NUMBER})(?![\w:])", lambda m: f"{cardinal(m[1])} zu {cardinal(m[2])}"),
    rule("code", r"(?<![\w-])\d{1,12}(?:-\d{1,12}){2,8}(?![\w-])", lambda m: digits(m[0], "de")),
    rule("range", rf"(?<![\w.,–-])({NUMBER}){DASH}({NUMBER})(?![\w–-])", span),
    rule("English ordinal", r"(?<![\w.])(\d{1,12})(?:st|nd|rd|th)\b", lambda m: ordinal(int(m[1]))),
    # Signs.
    rule("plus or minus", r"±|\+/-", "plus minus"),
    rule("about", r"~ ?(?=\d)", "etwa"),
    rule("power", r"(?<=\w)\^2(?!\d)", "quadrat"),
    rule("power", r"(?<=\w)\^(?=\d)", "hoch"),
    rule("greater", r"(?<=[\d)]) ?> ?(?=[\w(-])|(?<=\w) > (?=\w)", "größer als"),
    rule("less", r"(?<=[\w)]) ?< ?(?=[\d(-])", "kleiner als"),
    rule("hash", r"(?<![\w#])#(?=[A-Za-z]\w)", "hashtag"),
    rule("at", r"(?<!@)@(?!@)", "at"),
    rule("equals", r"(?<![=<>!])=(?![=<>])", "gleich"),
    rule("plus", r"(?<!\+\+)\+(?!\+\+)", "plus"),
    table_rule(
        "sign", {"&": "und", "×": "mal", "÷": "geteilt durch", "%": "prozent", "$": "dollar", "£": "pfund", "€": "euro", "°": "grad"}
    ),
    # What is left of the numbers.
    rule("spelled", r"(?<![^\W\d_])[A-Z]{1,3}(?=\d)|(?<=\d)[A-Z]{1,3}(?![^\W_])", lambda m: " ".join(m[0])),
    rule("English decimal", r"(?<![\w.,])(\d{1,12})\.(\d{1,2})(?![\w.,])", lambda m: f"{whole(m[1], 'de')} punkt {digits(m[2], 'de')}"),
    rule("number", rf"(?P<minus>{MINUS})?(?<!\d)(?P<number>{NUMBER})", plain),
    rule("digits", r"\d{1,60}", lambda m: digits(m[0], "de")),
)
