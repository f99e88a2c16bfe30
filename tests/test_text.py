"""The spoken form, the tokenizer and the CTC head's units."""

import pytest

from lauragpt.spoken import normalize
from lauragpt.text import CtcUnits, Tokenizer


@pytest.mark.parametrize(
    ("lang", "written", "spoken"),
    [
        ("en", "Hello, World!", "hello world"),
        ("en", "Don’t stop — 'now'.", "don't stop now"),
        ("en", "Mr. and Mrs. Smith & Dr. No", "mister and missus smith and doctor no"),
        ("en", "I ate 21 apples.", "i ate twenty one apples"),
        ("en", "1,234 people", "one thousand two hundred and thirty four people"),
        ("en", "in 1987", "in nineteen eighty seven"),
        ("en", "the 1st, 2nd, 3rd and 21st", "the first second third and twenty first"),
        ("en", "3.14", "three point one four"),
        ("en", "1500.5", "one thousand five hundred point five"),
        ("en", "50%", "fifty percent"),
        ("en", "007", "zero zero seven"),
        ("en", "", ""),
        ("en", "...", ""),
        ("de", "Größe: ÄÖÜ!", "größe äöü"),
        ("de", "21 Hunde", "einundzwanzig hunde"),
        ("de", "im Jahr 1987", "im jahr neunzehnhundertsiebenundachtzig"),
        ("de", "3,5 %", "drei komma fünf prozent"),
        ("de", "1.234 Leute", "eintausendzweihundertvierunddreißig leute"),
        ("de", "z.B. Dr. Meier & Sohn usw.", "zum beispiel doktor meier und sohn und so weiter"),
        ("zh", "你好，世界！", "你好 世界"),
    ],
)
def test_spoken_form(lang, written, spoken):
    assert normalize(written, lang) == spoken


@pytest.mark.parametrize("text", ["12345678901234567890th", "1,000th", "9" * 5000, "1.2.3.4", "1,2,3", "0", "½ cup", "²"])
@pytest.mark.parametrize("lang", ["en", "de"])
def test_any_number_has_a_spoken_form_that_stays(text, lang):
    spoken = normalize(text, lang)
    assert spoken and not any(c.isdigit() for c in spoken) and normalize(spoken, lang) == spoken


def test_the_tokenizer_gives_any_text_back(tmp_path):
    Tokenizer.train(["the quick brown fox", "der schnelle braune Fuchs", "the quick fox"] * 3, 300).save(tmp_path / "t.json")
    tokenizer = Tokenizer.load(tmp_path / "t.json")
    assert 256 <= tokenizer.size <= 300
    for text in ("the fox", " two  spaces ", "Größe – “ß”", "你好，世界", "🎉👩‍👩‍👧 é e\u0301", "tab\tline\n", "عربى", ""):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text and all(0 <= i < tokenizer.size for i in ids)
    assert len(tokenizer.encode("the quick")) < len("the quick")


def test_ctc_units():
    units = CtcUnits()
    assert units.size == 33 and len(set(units.letters)) == 32
    assert all(0 < unit < units.size for unit in units.encode(units.letters))
    assert units.decode(units.encode("don't fragen über maß")) == "don't fragen über maß"
    assert units.decode(units.encode("hello")) == "helo"  # without a blank between them, repeats are one
    h, e, l1, l2, o = units.encode("hello")
    assert units.decode([0, h, h, 0, e, l1, 0, l2, l2, o, 0, 0]) == "hello"
    assert units.decode(units.encode("Café 你")) == "cafe "
    assert units.encode("") == [] and units.decode([0, 0]) == ""
