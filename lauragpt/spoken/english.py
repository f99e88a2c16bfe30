"""English rules, in the order in which they are applied: what is read as a whole (addresses, dates, times, money) before its parts."""

import re

from lauragpt.spoken.common import DASH, MINUS, Rule, address_rules, followed_by, rule, table_rule, version_rules, word_before, words_before
from lauragpt.spoken.english_words import (
    ANYWHERE,
    BEFORE_NAMES,
    BEFORE_NUMBERS,
    DECADE_WORDS,
    FRACTIONS,
    MONEY,
    NUMBERED,
    PERIODS,
    POWERS,
    RULERS,
    SCALES,
    SIGNS,
    SPECIAL,
    UNIT,
    UNITS,
)
from lauragpt.spoken.numbers import ROMAN, digits, rises, roman, whole, words

NUMBER = r"(?:\d{1,3}(?:,\d{3}){1,3}(?![\d])|\d{1,12}(?!\d))(?:\.\d{1,30}(?!\d))?"
# One number or a range of two, with its minus: groups minus, low, high.
QUANTITY = rf"(?P<minus>{MINUS})?(?<!\w)(?<!\d[.,])(?:(?P<low>{NUMBER}){DASH})?(?P<high>{NUMBER})"
MONTHS = "January February March April May June July August September October November December".split()
SHORT_MONTHS = {month[:3]: month for month in MONTHS} | {"Sept": "September"}
MONTH = rf"(?P<month>{'|'.join(MONTHS)}|(?:{'|'.join(SHORT_MONTHS)})\b\.?)"
YEAR = r"(?:,? (?P<year>[12]\d{3})(?![\d,]))?"
CLOCK = r"([01]?\d|2[0-4]):([0-5]\d)"
HALF_DAY = r" ?(?P<half>[AaPp])(?:\.[Mm]\.|[Mm](?!\w))"


def cardinal(number: str, year: bool = False) -> str:
    """A number in English writing: "1,234.5"."""
    integer, _, decimals = number.replace(",", "").partition(".")
    spoken = whole(integer, "en", year and not decimals and "," not in number)
    return f"{spoken} point {digits(decimals, 'en')}" if decimals else spoken


def quantity(match: re.Match) -> str:
    low = f"{cardinal(match['low'])} to " if match["low"] else ""
    return f"{'minus ' if match['minus'] else ''}{low}{cardinal(match['high'])}"


def attribute(match: re.Match) -> bool:
    """Whether a measure stands before its noun, and so in the singular: "a 5 km run", "a $50 bill"."""
    return word_before(match) in ("a", "an") and followed_by(match, r" [a-z]{2}") is not None


def one(match: re.Match) -> bool:
    return match["high"] == "1" and not match["low"]


def money(match: re.Match) -> str:
    single, many, cent, cents = MONEY[match["sign"]]
    scale, (integer, _, decimals) = match["scale"], match["high"].partition(".")
    noun = single if attribute(match) or (one(match) and not scale) else many
    after = f" per {unit_words(match['per'], None, True) if match['per'] in UNITS else match['per']}" if match["per"] else ""
    if scale or match["low"] or (decimals and (len(decimals) != 2 or not cent)):
        return f"{quantity(match)} {SCALES[scale.lower()] if scale else ''} {noun}{after}"
    hundredths = int(decimals or 0)
    parts = [f"{cardinal(integer)} {single if integer == '1' else noun}"] if integer != "0" or not hundredths else []
    parts += [f"{words(hundredths, 'en')} {cent if hundredths == 1 else cents}"] if hundredths else []
    return f"{'minus ' if match['minus'] else ''}{' and '.join(parts)}{after}"


def unit_words(symbol: str, power: str | None, single: bool) -> str:
    singular, _, plural = UNITS[symbol].replace("_", " ").partition("/")
    return POWERS.get((power or "").lstrip("^"), "") + (singular if single else plural or singular + "s")


def per_words(symbol: str, power: str | None) -> str:
    if symbol not in UNITS:
        return f" per {symbol}"
    if symbol == "s" and power:
        return f" per second {'squared' if power[-1] == '2' else 'cubed'}"
    return f" per {unit_words(symbol, power, True)}"


def measure(match: re.Match) -> str:
    per = per_words(match["per"], match["perpower"]) if match["per"] else ""
    single = one(match) or attribute(match) or match["hyphen"] == "-"
    return f"{quantity(match)} {unit_words(match['unit'], match['power'], single)}{per}"


def date(match: re.Match) -> str | None:
    found = match.groupdict()
    name = SHORT_MONTHS.get(found["month"].rstrip("."), found["month"])
    if not 1 <= int(found["day"]) <= 31:
        return None
    day, last = words(int(found["day"]), "en", "ordinal"), found.get("last")
    day += f" to {words(int(last), 'en', 'ordinal')}" if last else ""
    year = f" {cardinal(found['year'], year=True)}" if found["year"] else ""
    if match.start("month") < match.start("day"):
        return f"{name} {day}{year}"
    return f"{'' if word_before(match) == 'the' else 'the '}{day} of {name}{year}"


def numeric_date(match: re.Match) -> str | None:
    year, first, second = match["year"], int(match["first"]), int(match["second"])
    day_first = match["mark"] == "." or first > 12
    month, day = (second, first) if day_first else (first, second)
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    spoken = words(day, "en", "ordinal")
    spoken = f"the {spoken} of {MONTHS[month - 1]}" if day_first else f"{MONTHS[month - 1]} {spoken}"
    return f"{spoken} {cardinal(year, year=True)}"


def clock(hour: str, minute: str, half: str | None) -> str:
    if minute == "00":
        if half:
            return words(int(hour), "en")
        return f"{words(int(hour), 'en')} hundred" if int(hour) > 12 else f"{words(int(hour), 'en')} o'clock"
    return f"{words(int(hour), 'en')} {'oh ' if minute[0] == '0' else ''}{words(int(minute), 'en')}"


def time(match: re.Match) -> str:
    half = match["half"]
    return clock(match[1], match[2], half) + (f" {half.lower()} m" if half else "")


def hour_range(match: re.Match) -> str:
    """The first half of "9am-5pm"; the second is a time like any other."""
    half = re.sub(r"[ .]", "", match[2] or "").lower()
    return f"{cardinal(match[1])} {' '.join(half)} to"


def duration(match: re.Match) -> str:
    hours, minutes, seconds = (int(part) for part in match.groups())
    parts = [f"{words(n, 'en')} {name}{'' if n == 1 else 's'}" for n, name in ((hours, "hour"), (minutes, "minute"), (seconds, "second"))]
    return f"{parts[0]} {parts[1]} and {parts[2]}"


def decade(match: re.Match) -> str | None:
    century, tens = match["century"], match["tens"]
    if not century and not match["quote"] and word_before(match) not in DECADE_WORDS:
        return None
    if tens == "00":
        return (
            f"{words(int(century), 'en')} hundreds"
            if century and century[1] != "0"
            else f"{cardinal(century + tens)}s"
            if century
            else None
        )
    plural = words(int(tens), "en")
    plural = plural[:-1] + "ies" if plural.endswith("y") else plural + "s"
    return f"{words(int(century), 'en')} {plural}" if century else plural


def ruler(match: re.Match) -> str | None:
    number = roman(match[2])
    if number == 1 and not followed_by(match, r"[,.;:!?)]|$| of "):
        return None  # "when Mary I ..." is rarely a queen
    if number == 50 or (len(match[2]) == 1 and followed_by(match, r"\. [A-Z]")):
        return None  # an initial
    return f"{match[1]} the {words(number, 'en', 'ordinal')}{match[3] or ''}"


def fraction(match: re.Match) -> str | None:
    integer, above, below = match["whole"], int(match["above"]), int(match["below"])
    if match["above"] + "/" + match["below"] in SPECIAL and not integer:
        return SPECIAL[match["above"] + "/" + match["below"]]
    if above == below or below > 1000:  # "50/50", "issue 3/2024"
        return f"{words(above, 'en')} {cardinal(match['below'], year=True)}"
    if not 0 < above < below:
        return f"{words(above, 'en')} over {words(below, 'en')}"
    ordinal = words(below, "en", "ordinal").removeprefix("one ")
    single, many = FRACTIONS.get(below, (ordinal, ordinal + "s"))
    part = f"{words(above, 'en')} {single if above == 1 else many}"
    if integer:
        return f"{cardinal(integer)} and {f'a {single}' if above == 1 else part}"
    return part


def ratio(match: re.Match) -> str:
    return f"{cardinal(match[1])} to {cardinal(match[2])}"


def span(match: re.Match) -> str:
    """Two numbers with a dash: a range, or a subtraction where a result follows."""
    if {"number", "phone", "telephone", "call"} & set(words_before(match, 2)) and min(len(match[1]), len(match[2])) > 2:
        return digits(match[0], "en")
    first, second = (cardinal(number, year=True) for number in match.groups())
    if followed_by(match, r" ?="):
        return f"{first} minus {second}"
    return f"{first} {'to ' if rises(*match.groups()) else ''}{second}"


def plain(match: re.Match) -> str:
    return f"{'minus ' if match['minus'] else ''}{cardinal(match['number'], year=True)}"


_PREFIX = r"(?P<sign>US\$|A\$|C\$|[$£€¥]|\b(?:USD|EUR|GBP|CHF|JPY)(?= ?\d))"
_SUFFIX = r"(?P<sign>[$£€¥¢]|(?:USD|EUR|GBP|CHF|JPY)(?!\w))"
_SCALE = r"(?: ?(?P<scale>(?i:thousand|million|billion|trillion|mn|bn|tn|[kmb]))(?!\w))?"
_PER = r"(?:/(?P<per>[a-z]{1,12})(?!\w))?"
_US_PHONE = r"(?:\b1[- .])?(?:\(\d{3}\) ?|(?<![\w-])\d{3}[-.])\d{3}[-.]\d{4}(?![\w-])|(?<![\w.-])\d{3}-\d{4}(?<!00)(?![\w-])"

# Rules for texts with abbreviations, addresses or Roman numerals.
WORDS: tuple[Rule, ...] = (
    *address_rules("en", SIGNS, "colon"),
    rule("street", r"\b([A-Z][a-z]{1,30}|\d{1,3}(?:st|nd|rd|th)) St\.(?! [A-Z])", lambda m: f"{m[1]} street"),
    rule("saint", r"(?<!\w)st\.", "saint", re.I),
    rule("avenue", r"(?<=\w) (?:Ave|Av)\.", "avenue"),
    rule("road", r"(?<=[a-z]) Rd\.", "road"),
    rule("junior", r"(?<=\w),? Jr\.", "junior"),
    rule("senior", r"(?<=\w),? Sr\.", "senior"),
    table_rule("abbreviation", ANYWHERE, before=r"(?<![\w.])", flags=re.I),
    table_rule("title", BEFORE_NAMES, before=r"(?<!\w)", after=r"(?=\s{1,2}[A-Z])"),
    table_rule("before numbers", BEFORE_NUMBERS, before=r"(?<![\w#§])", after=r"(?=\s{0,2}(?:\d|(?-i:[IVXL]{2,8}\b)))", flags=re.I),
    rule("ruler", rf"\b({'|'.join(RULERS)}) ({ROMAN})('s)?(?!\w)", ruler),
    rule("ruler", rf"\b((?:King|Queen|Pope|Emperor|Tsar|Prince) [A-Z][a-z]{{1,20}}) ({ROMAN})('s)?(?!\w)", ruler),
    rule("numbered", rf"\b({NUMBERED}) ({ROMAN})(?![\w'])", lambda m: f"{m[1]} {words(roman(m[2]), 'en')}"),
)
# Rules for texts with digits or signs, after those above.
NUMBERS: tuple[Rule, ...] = (
    # Dates, decades and times.
    rule(
        "date",
        rf"(?<![\w]){MONTH} (?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:{DASH}(?P<last>\d{{1,2}})(?:st|nd|rd|th)?)?(?!\d|[.:/]\d|\w){YEAR}",
        date,
    ),
    rule(
        "date",
        rf"(?<![\w.,:/-])(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:{DASH}(?P<last>\d{{1,2}})(?:st|nd|rd|th)?)?(?: of)? {MONTH}(?!\w){YEAR}",
        date,
    ),
    rule("ISO date", r"(?<![\w-])(?P<year>[12]\d{3})(?P<mark>-)(?P<first>[01]\d)-(?P<second>[0-3]\d)(?![\w-])", numeric_date),
    rule(
        "numeric date",
        r"(?<![\w/.])(?P<first>\d{1,2})(?P<mark>[/.-])(?P<second>\d{1,2})(?P=mark)(?P<year>\d{4}|\d{2})(?![\w/])",
        numeric_date,
    ),
    *version_rules("en", "point"),
    rule("decade", r"(?P<quote>')?(?<!\w)(?P<century>1\d|20)?(?P<tens>\d0)'?s\b", decade),
    rule(
        "short year", r"(?<!\w)'(\d)(\d)(?!\w)", lambda m: f"oh {words(int(m[2]), 'en')}" if m[1] == "0" else words(int(m[1] + m[2]), "en")
    ),
    rule("era", r"(?<!\w)(\d{1,4}) (BCE|BC|AD|CE)\b", lambda m: f"{whole(m[1], 'en', year=True)} {' '.join(m[2])}"),
    rule("era", r"\bAD (\d{1,4})\b", lambda m: f"a d {whole(m[1], 'en', year=True)}"),
    rule("duration", r"(?<![\w:.])(\d{1,2}):([0-5]\d):([0-5]\d)(?![\w:])", duration),
    rule("hour range", rf"(?<![\w:.])(\d{{1,2}})( ?[ap]\.?m\.?)?{DASH}(?=\d{{1,2}}(?::\d\d)? ?[ap]\.?m)", hour_range, re.I),
    rule("time", rf"(?<![\w:.])(1[0-2]|0?[1-9])\.([0-5]\d){HALF_DAY}", time),
    rule("time", rf"(?<![\w:.]){CLOCK}(?![\d:])(?:{HALF_DAY})?", time),
    rule("hour", rf"(?<![\w:.])(1[0-2]|0?[1-9]){HALF_DAY}", lambda m: f"{words(int(m[1]), 'en')} {m['half'].lower()} m"),
    rule(
        "time range",
        r"(?<=[a-z]) {1,3}[-–] {1,3}(?=(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\b[ \w]{1,20}o'clock)",
        "to",
    ),
    # Telephone numbers.
    rule("telephone", _US_PHONE, lambda m: digits(m[0], "en")),
    rule("emergency", r"(?i:(?<=call )|(?<=dial )|(?<=called )|(?<=dialed ))\d{3}(?!\w|[.,]\d)", lambda m: digits(m[0], "en")),
    rule("telephone", r"(?<![\w.,])0\d{2,5}[ /-]\d{3,8}(?: \d{2,8}){0,3}(?![\w.,]\d)", lambda m: digits(m[0], "en")),
    # Money, percent, units.
    rule("shillings", r"(?<![\w.])(\d{1,3})s\.? (\d{1,2})d\.", lambda m: f"{cardinal(m[1])} shillings and {cardinal(m[2])} pence"),
    rule("shillings", r"(?<=pounds )(\d{1,2})s\.", lambda m: f"{cardinal(m[1])} shillings"),
    rule("by", r"(?<=[\dmtnd]) {1,3}x {1,3}(?=\d)|(?<=\d)x(?=\d)", "by"),
    rule("money", rf"(?P<minus>{MINUS})?{_PREFIX} ?(?:(?P<low>{NUMBER}){DASH}[$£€¥]?)?(?P<high>{NUMBER}){_SCALE}{_PER}", money),
    rule("money", rf"{QUANTITY}{_SCALE} ?{_SUFFIX}{_PER}", money),
    rule("cents", r"\$\.(\d\d)(?!\d)", lambda m: f"{words(int(m[1]), 'en')} cents"),
    rule("percent", rf"{QUANTITY} ?%", lambda m: f"{quantity(m)} percent"),
    rule("per mille", rf"{QUANTITY} ?‰", lambda m: f"{quantity(m)} per mille"),
    rule(
        "feet and inches",
        r"(?<!\w)([1-9])' ?(\d|1[01])(?:\"|''|″)",
        lambda m: f"{words(int(m[1]), 'en')} foot {words(int(m[2]), 'en')}",
    ),
    rule(
        "unit",
        rf"{QUANTITY}(?P<hyphen>[ -]?)(?P<unit>{UNIT})(?P<power>\^?[23])?(?![\w'^])"
        rf"(?:/(?P<per>{UNIT}|{PERIODS})(?P<perpower>\^?[23])?(?!\w))?",
        measure,
    ),
    # Fractions, ratios, ranges, ordinals.
    rule("score", r"(?<![\w/.,])(\d{1,3}\.\d{1,3})/(\d{1,4})(?![\w/])", lambda m: f"{cardinal(m[1])} out of {cardinal(m[2])}"),
    rule("fraction", r"(?<![\w/.,])(?:(?P<whole>\d{1,4}) )?(?P<above>\d{1,4})[/⁄](?P<below>[1-9]\d{0,3})(?![\w/⁄])", fraction),
    rule("ratio", rf"(?<![\w.,:])({NUMBER}) ?: ?({NUMBER})(?![\w:])", ratio),
    rule("code", r"(?<![\w-])\d{1,12}(?:-\d{1,12}){2,8}(?![\w-])", lambda m: digits(m[0], "en")),
    rule("range", r"(?<=\d(?:st|nd|rd|th))[-–](?=\d{1,4}(?:st|nd|rd|th))", "to"),
    rule("range", rf"(?<![\w.,–-])({NUMBER}){DASH}({NUMBER})(?![\w–-])", span),
    rule(
        "ordinal",
        r"(?<![\w.])(\d{1,3}(?:,\d{3}){1,3}|\d{1,12})(?:st|nd|rd|th)\b",
        lambda m: words(int(m[1].replace(",", "")), "en", "ordinal"),
    ),
    rule("times", r"(?<!\w)(\d{1,6})[x×](?!\w)", lambda m: f"{words(int(m[1]), 'en')} times"),
    # Signs.
    rule("plus or minus", r"±|\+/-", "plus or minus"),
    rule("about", r"~ ?(?=\d)", "about"),
    rule("power", r"(?<=\w)\^2(?!\d)", "squared"),
    rule("power", r"(?<=\w)\^3(?!\d)(?<=[a-zA-Z]\^3)", "cubed"),
    rule("power", r"(?<=\w)\^(?=\d)", "to the power of"),
    rule("greater", r"(?<=[\d)]) ?> ?(?=[\w(-])|(?<=\w) > (?=\w)", "is greater than"),
    rule("less", r"(?<=[\w)]) ?< ?(?=[\d(-])", "is less than"),
    rule("hash", r"(?<![\w#])#(?=[A-Za-z]\w)", "hashtag"),
    rule("at", r"(?<!@)@(?!@)", "at"),
    rule("equals", r"(?<![=<>!])=(?![=<>])", "equals"),
    rule("plus", r"(?<!\+\+)\+(?!\+\+)", "plus"),
    table_rule(
        "sign",
        {"&": "and", "×": "times", "÷": "divided by", "%": "percent", "$": "dollars", "£": "pounds", "€": "euros", "°": "degrees"},
    ),
    # What is left of the numbers.
    rule("spelled", r"(?<![^\W\d_])[A-Z]{1,3}(?=\d)|(?<=\d)[A-Z]{1,3}(?![^\W_])", lambda m: " ".join(m[0])),
    rule("decimal", r"(?<![\w.])\.(\d{1,30})(?![\w.])", lambda m: f"point {digits(m[1], 'en')}"),
    rule("number", rf"(?P<minus>{MINUS})?(?<!\d)(?P<number>{NUMBER})", plain),
    rule("digits", r"\d{1,60}", lambda m: digits(m[0], "en")),
)
