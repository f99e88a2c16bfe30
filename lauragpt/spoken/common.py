"""What the rules of both languages share: the rule itself, pieces of patterns, and the rules for addresses and telephone numbers.

A rule rewrites every match of one pattern. Every repeat in a pattern is bounded, so that a text of any length is read in linear time.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from lauragpt.spoken.numbers import digits, whole

DASH = r" ?[-–—] ?"
# A minus stands right before its number and after nothing that it could join ("-5", "(-5)"; not "F-16", "3-5", "--5").
MINUS = r"(?:(?<![\w)\].,%°–-])[-–]|−)"
DOMAINS = "com|org|net|edu|gov|info|io|de|at|ch|eu|uk|fr|dev|ai|app"


@dataclass(frozen=True)
class Rule:
    """Every match of `pattern` becomes the words that `say` answers; None leaves the match as it is written."""

    name: str
    pattern: re.Pattern
    say: Callable[[re.Match], str | None]

    def __call__(self, text: str) -> str:
        return self.pattern.sub(self._spaced, text)

    def _spaced(self, match: re.Match) -> str:
        spoken = self.say(match)
        return match[0] if spoken is None else f" {spoken} "


def rule(name: str, pattern: str, say: Callable[[re.Match], str | None] | str, flags: int = 0) -> Rule:
    """A rule; a `say` that is text is said whatever matched."""
    return Rule(name, re.compile(pattern, flags), (lambda match: say) if isinstance(say, str) else say)


def table_rule(name: str, spoken: dict[str, str], before: str = "", after: str = "", flags: int = 0) -> Rule:
    """One rule for a table of written -> spoken, the longest entry first. A space in an entry may be left out or doubled in the text."""
    entries = sorted(spoken, key=len, reverse=True)
    pattern = "|".join(r"\s{0,2}".join(map(re.escape, entry.split(" "))) for entry in entries)
    keys = {re.sub(r"\s", "", entry).lower() if flags & re.I else re.sub(r"\s", "", entry): entry for entry in entries}

    def say(match: re.Match) -> str:
        key = re.sub(r"\s", "", match[0])
        return spoken[keys[key.lower() if flags & re.I else key]]

    return rule(name, f"{before}(?:{pattern}){after}", say, flags)


def words_before(match: re.Match, count: int = 1) -> list[str]:
    """The last `count` words before a match in lower case, nearest last; shorter at a text's start or after a sentence's end."""
    before = re.split(r"[.!?;:]\s", match.string[max(0, match.start() - 60) : match.start()])[-1]
    return re.findall(r"\w{1,60}", before.lower())[-count:]


def word_before(match: re.Match) -> str:
    """The word before a match in lower case, empty at a text's start."""
    return "".join(words_before(match))


def followed_by(match: re.Match, pattern: str) -> re.Match | None:
    """What follows the match, if the pattern (bounded) matches there."""
    return re.compile(pattern).match(match.string, match.end())


def address_rules(lang: str, signs: dict[str, str], port: str) -> tuple[Rule, ...]:
    """E-mail and web addresses, IP addresses, international telephone numbers. `signs`: how ".", "@", "/", "-", "_" and others are said;
    `port`: the word before a port."""

    def address(text: str) -> str:
        text = re.sub(r"^https?://", "", text)
        host, slash, path = text.partition("/")
        host = re.sub(r"\bwww\b|(?<=\.)[a-z]{2}\b(?!\.[a-z]{3})", lambda m: f" {' '.join(m[0])} " if m[0] != "co" else m[0], host)
        spoken = "".join(f" {signs[c]} " if c in signs else c for c in host + slash + path)
        return re.sub(r"\d{1,12}", lambda m: f" {whole(m[0], lang)} ", spoken)

    def machine(match: re.Match) -> str | None:
        if any(int(part) > 255 for part in match[1].split(".")):
            return None
        spoken = f" {signs['.']} ".join(digits(part, lang) for part in match[1].split("."))
        return f"{spoken} {port} {digits(match[2], lang)}" if match[2] else spoken

    def telephone(match: re.Match) -> str | None:
        found = digits(match[0].replace("(0)", ""), lang)  # the zero in brackets is dialled inside the country only
        return None if len(found.split()) < 7 else ("plus " if match[0][0] == "+" else "") + found

    host = rf"(?:[A-Za-z0-9-]{{1,40}}\.){{1,4}}(?:{DOMAINS})(?![\w-])(?!\.\w)"
    path = r"(?::\d{1,5})?(?:/[\w.~%?=&#/+-]{0,200}[\w/])?"
    return (
        rule("e-mail", rf"(?<![\w.+@-])[\w.+-]{{1,64}}@{host}", lambda m: address(m[0])),
        rule("web", rf"(?<![\w@.-])(?:https?://[\w-]{{1,60}}(?:\.[\w-]{{1,60}}){{0,4}}|(?:www\.)?{host}){path}", lambda m: address(m[0])),
        rule("IP address", r"(?<![\w.])(\d{1,3}(?:\.\d{1,3}){3})(?::(\d{1,5}))?(?!\d|\.\d)", machine),
        rule(
            "international telephone", r"(?<![\w+])\+\d{1,4}[ /.-]{0,2}(?:\(0\) ?)?\(?\d{1,5}\)?(?:[ /.-]\d{2,8}){0,5}(?![\d,])", telephone
        ),
    )


def version_rules(lang: str, point: str) -> tuple[Rule, ...]:
    """Numbers with several points: "v1.2.3", "Python 3.11.4". Dates with points come before."""

    def numbered(match: re.Match) -> str | None:
        if lang == "de" and not match[1] and re.fullmatch(r"\d{1,3}(?:\.\d{3}){1,4}", match[2]):
            return None  # thousands, as Germans group them
        parts = f" {point} ".join(whole(part, lang) for part in match[2].split("."))
        return f"version {parts}" if match[1] else parts

    return (
        rule("version", r"(?<![\w.,])(?:([vV])\.? ?(?=\d{1,6}\.))?(\d{1,6}(?:\.\d{1,6}){2,5})(?![\w]|\.\d)", numbered),
        rule("version", r"(?<![\w.,])([vV])(\d{1,4}(?:\.\d{1,4})?)(?!\w|\.\d)", numbered),
    )
