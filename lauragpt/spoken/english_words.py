"""English vocabulary of the rules: money, units, abbreviations, names. Written form -> spoken form."""

import re

# Singular, plural, and the words for hundredths.
MONEY = {
    "US$": ("u s dollar", "u s dollars", "cent", "cents"), "A$": ("australian dollar", "australian dollars", "cent", "cents"),
    "C$": ("canadian dollar", "canadian dollars", "cent", "cents"), "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"), "€": ("euro", "euros", "cent", "cents"), "¥": ("yen", "yen", "", ""),
    "¢": ("cent", "cents", "", ""), "USD": ("u s dollar", "u s dollars", "cent", "cents"), "EUR": ("euro", "euros", "cent", "cents"),
    "GBP": ("pound", "pounds", "penny", "pence"), "CHF": ("swiss franc", "swiss francs", "centime", "centimes"),
    "JPY": ("yen", "yen", "", ""),
}  # fmt: skip
SCALES = {"k": "thousand", "m": "million", "mn": "million", "bn": "billion", "b": "billion", "tn": "trillion"}
SCALES |= {word: word for word in ("thousand", "million", "billion", "trillion")}
# Units behind a number, symbol:singular/plural; the plural has an s where it is not given.
UNITS = dict(
    entry.split(":")
    for entry in """
    km:kilometer m:meter cm:centimeter mm:millimeter µm:micrometer nm:nanometer mi:mile yd:yard ft:foot/feet in.:inch/inches kg:kilogram
    g:gram mg:milligram lb:pound lbs:pound oz:ounce t:ton l:liter L:liter ml:milliliter mL:milliliter cl:centiliter ha:hectare
    °C:degree_celsius/degrees_celsius °F:degree_fahrenheit/degrees_fahrenheit °:degree h:hour hr:hour hrs:hour min:minute mins:minute
    sec:second secs:second s:second ms:millisecond kB:kilobyte KB:kilobyte MB:megabyte GB:gigabyte TB:terabyte Hz:hertz/hertz
    kHz:kilohertz/kilohertz MHz:megahertz/megahertz GHz:gigahertz/gigahertz W:watt kW:kilowatt MW:megawatt Wh:watt_hour
    kWh:kilowatt_hour V:volt kV:kilovolt mA:milliampere mAh:milliampere_hour dB:decibel hPa:hectopascal kPa:kilopascal bar:bar
    kcal:kilocalorie kJ:kilojoule mph:mile_per_hour/miles_per_hour kph:kilometer_per_hour/kilometers_per_hour
    kmh:kilometer_per_hour/kilometers_per_hour mbps:megabit_per_second/megabits_per_second Mbps:megabit_per_second/megabits_per_second
    Mbit:megabit Gbit:gigabit rpm:revolution_per_minute/revolutions_per_minute fps:frame_per_second/frames_per_second px:pixel
    sqm:square_meter
    """.split()
)  # fmt: skip
UNITS["μm"] = UNITS["µm"]  # the Greek letter, into which Unicode folds the micro sign
UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
PERIODS = "day|week|month|year|night|hour|minute|second|person"
POWERS = {"2": "square ", "3": "cubic "}
FRACTIONS = {2: ("half", "halves"), 4: ("quarter", "quarters")}
SPECIAL = {"24/7": "twenty four seven", "9/11": "nine eleven"}

# Abbreviations: anywhere in any case; before a name; before a number.
ANYWHERE = {
    "e.g.": "for example", "i.e.": "that is", "etc.": "et cetera", "mr.": "mister", "mrs.": "missus", "dr.": "doctor", "vs.": "versus",
    "prof.": "professor", "approx.": "approximately", "mt.": "mount", "blvd.": "boulevard", "dept.": "department",
}  # fmt: skip
BEFORE_NAMES = {
    "Capt.": "captain", "Lt.": "lieutenant", "Gen.": "general", "Col.": "colonel", "Sgt.": "sergeant", "Maj.": "major",
    "Rev.": "reverend", "Sen.": "senator", "Gov.": "governor", "Rep.": "representative",
}  # fmt: skip
BEFORE_NUMBERS = {
    "no.": "number", "nos.": "numbers", "p.": "page", "pp.": "pages", "vol.": "volume", "fig.": "figure", "figs.": "figures",
    "ch.": "chapter", "sec.": "section", "eq.": "equation", "ver.": "version", "#": "number", "§": "section", "§§": "sections",
}  # fmt: skip
# Names of kings and popes, behind which a Roman numeral is an ordinal.
RULERS = """
    Elizabeth Henry George Edward William James Charles Richard Louis Philip Catherine Mary Frederick Alexander Nicholas Peter Paul Pius
    Benedict John Leo Gregory Clement Innocent Urban Francis Ferdinand Leopold Wilhelm Napoleon Ramses Ramesses Otto Alfonso Juan Carlos
    Margaret Gustav Haakon Christian Olaf Ivan Constantine Ptolemy Xerxes Darius Cleopatra Beatrix
    """.split()
# What a Roman numeral counts.
NUMBERED = "|".join(
    """
    War Chapter Part Act Scene Volume Book Section Article Title Phase Type Class Level Stage Bowl Rocky Fantasy Apollo Appendix
    Figure Table Canto Psalm Episode Group Unit Mark Schedule Division Region Category
    """.split()
)
DECADE_WORDS = set("the a early late mid in my your his her its our their".split())
SIGNS = {
    ".": "dot", "@": "at", "/": "slash", "-": "dash", "_": "underscore", "+": "plus", "=": "equals", "?": "question mark", "&": "and",
    "#": "hash", "%": "percent", "~": "tilde", ":": "colon",
}  # fmt: skip
