"""German vocabulary of the rules: money, units, abbreviations, names. Written form -> spoken form."""

import re

# Currencies, and the words for hundredths other than cent.
MONEY = {
    "US$": "US-Dollar", "$": "Dollar", "£": "Pfund", "€": "Euro", "¥": "Yen", "EUR": "Euro", "USD": "US-Dollar", "GBP": "Pfund",
    "CHF": "Franken", "Euro": "Euro", "Dollar": "Dollar", "Franken": "Franken",
}  # fmt: skip
HUNDREDTHS = {"£": "pence", "GBP": "pence", "CHF": "rappen", "Franken": "rappen"}
SCALES = {
    "Mio.": ("million", "millionen"), "Mrd.": ("milliarde", "milliarden"), "Bio.": ("billion", "billionen"),
    "Tsd.": ("tausend", "tausend"),
}  # fmt: skip
# Units behind a number, symbol:singular/plural; both are the same where one is given.
UNITS = dict(
    entry.split(":")
    for entry in """
    km:kilometer m:meter cm:zentimeter mm:millimeter µm:mikrometer nm:nanometer dm:dezimeter kg:kilogramm g:gramm mg:milligramm
    t:tonne/tonnen l:liter L:liter ml:milliliter cl:zentiliter hl:hektoliter ha:hektar °C:grad_celsius °F:grad_fahrenheit °:grad
    h:stunde/stunden Std.:stunde/stunden Std:stunde/stunden min:minute/minuten Min.:minute/minuten Min:minute/minuten s:sekunde/sekunden
    sek:sekunde/sekunden Sek.:sekunde/sekunden ms:millisekunde/millisekunden kB:kilobyte KB:kilobyte MB:megabyte GB:gigabyte TB:terabyte
    Hz:hertz kHz:kilohertz MHz:megahertz GHz:gigahertz W:watt kW:kilowatt MW:megawatt Wh:wattstunde/wattstunden
    kWh:kilowattstunde/kilowattstunden V:volt kV:kilovolt mA:milliampere mAh:milliamperestunde/milliamperestunden dB:dezibel
    hPa:hektopascal kPa:kilopascal bar:bar kcal:kilokalorie/kilokalorien kJ:kilojoule PS:p_s mph:meile_pro_stunde/meilen_pro_stunde
    Mbit:megabit Gbit:gigabit px:pixel qm:quadratmeter Stk.:stück %:prozent ‰:promille
    """.split()
)  # fmt: skip
UNITS["μm"] = UNITS["µm"]  # the Greek letter, into which Unicode folds the micro sign
UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
POWERS = {"2": "quadrat", "3": "kubik"}
FEMININE_UNITS = ("tonne", "stunde", "minute", "sekunde", "kalorie", "meile")

# Abbreviations: anywhere in any case; before a name; before a number.
ANYWHERE = {
    "z. B.": "zum beispiel", "d. h.": "das heißt", "u. a.": "unter anderem", "usw.": "und so weiter", "usf.": "und so fort",
    "bzw.": "beziehungsweise", "ca.": "circa", "evtl.": "eventuell", "ggf.": "gegebenenfalls", "inkl.": "inklusive",
    "exkl.": "exklusive", "zzgl.": "zuzüglich", "abzgl.": "abzüglich", "vgl.": "vergleiche", "bspw.": "beispielsweise",
    "i. d. R.": "in der regel", "z. T.": "zum teil", "u. U.": "unter umständen", "o. Ä.": "oder ähnliches", "s. o.": "siehe oben",
    "s. u.": "siehe unten", "u. v. m.": "und vieles mehr", "z. Z.": "zur zeit", "z. Zt.": "zur zeit", "v. a.": "vor allem",
    "etc.": "et cetera", "dr.": "doktor", "prof.": "professor", "mwst.": "mehrwertsteuer", "v. Chr.": "vor christus",
    "n. Chr.": "nach christus", "i. A.": "im auftrag", "mind.": "mindestens", "geb.": "geboren", "gest.": "gestorben",
    "tel.": "telefon", "str.": "straße",
}  # fmt: skip
BEFORE_NAMES = {"Hr.": "herr", "Fr.": "frau"}
BEFORE_NUMBERS = {
    "Nr.": "nummer", "No.": "nummer", "S.": "seite", "Bd.": "band", "Kap.": "kapitel", "Abb.": "abbildung", "Abs.": "absatz",
    "Art.": "artikel", "Tab.": "tabelle", "max.": "maximal", "rd.": "rund", "min.": "minimal", "#": "nummer", "§": "paragraf",
    "§§": "paragrafen", "Anm.": "anmerkung", "Ziff.": "ziffer", "Aufl.": "auflage",
}  # fmt: skip
# Names of kings and popes, behind which a Roman numeral is an ordinal.
RULERS = """
    Heinrich Karl Ludwig Friedrich Wilhelm Otto Paul Pius Benedikt Johannes Leo Gregor Clemens Elisabeth Georg Eduard Katharina Peter
    Nikolaus Alexander Philipp Franz Ferdinand Leopold Joseph Maximilian Rudolf Konrad Sixtus Innozenz Urban Napoleon Ramses Albert
    August Jakob Richard Christian Gustav Iwan Maria Margarete Beatrix Juan Carlos Felipe Charles Elizabeth Henry
    """.split()
WOMEN = ("Elisabeth", "Katharina", "Maria", "Margarete", "Beatrix", "Elizabeth")
# What a Roman numeral counts.
NUMBERED = "Kapitel|Band|Teil|Akt|Szene|Buch|Abschnitt|Artikel|Klasse|Stufe|Phase|Typ|Rocky|Fantasy|Apollo|Anhang|Abbildung|Tabelle|Hartz"
# What is one word with the number before it: "21-jährig", "3-mal".
JOINED = (
    r"(?i:jährig|mal|fach|köpfig|stündig|tägig|minütig|monatig|wöchig|stellig|teilig|prozentig|"
    r"stöckig|zeilig|türig|sitzig|bändig|seitig)"
)
# What takes no article in front of a lone 1: "Platz 1", "Nummer 1".
COUNTED = re.compile(
    r"(?:platz|nummer|seite|kapitel|band|teil|zimmer|raum|gruppe|tag|punkt|"
    r"schritt|stufe|linie|klasse|level|zu|und|oder|plus|mal|gleich)$"
)
WEEKDAYS = {day[:2]: day for day in "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag".split()}
DAY = "|".join(WEEKDAYS)
SIGNS = {
    ".": "punkt", "@": "at", "/": "schrägstrich", "-": "minus", "_": "unterstrich", "+": "plus", "=": "gleich", "?": "fragezeichen",
    "&": "und", "#": "raute", "%": "prozent", "~": "tilde", ":": "doppelpunkt",
}  # fmt: skip
