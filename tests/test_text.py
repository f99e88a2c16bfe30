"""The tokenizer and the CTC head's units."""

import os

from qwens import TEXTS, tokenizer_of
from transformers import AutoTokenizer

from lauragpt.text import CtcUnits, Tokenizer


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


def test_a_tokenizer_is_saved_whole(tmp_path):
    """The new file takes the old one's place: who has that open reads on in the old one."""
    path, before = tmp_path / "tokenizer.json", tmp_path / "before.json"
    one, other = Tokenizer.train(["one two"] * 9, 260), Tokenizer.train(["three four"] * 9, 300)
    one.save(path)
    os.link(path, before)
    other.save(path)
    assert Tokenizer.load(before).size == one.size and Tokenizer.load(path).size == other.size != one.size


def test_a_published_tokenizer_is_used_whole(tmp_path):
    tokenizer_of(TEXTS).save_pretrained(tmp_path)
    ours, theirs = Tokenizer.load(tmp_path / "tokenizer.json"), AutoTokenizer.from_pretrained(tmp_path)
    assert ours.size == len(theirs)
    ours.save(tmp_path / "again.json")
    for text in (*TEXTS, "  Größe 42,\n“ß”", "你好 🎉", "I'll I'LL x1y2"):
        for tokenizer in (ours, Tokenizer.load(tmp_path / "again.json")):
            assert tokenizer.encode(text) == theirs.encode(text) and tokenizer.decode(tokenizer.encode(text)) == text
    asked = "what does <|im_end|> mean"
    assert theirs.convert_tokens_to_ids("<|im_end|>") not in ours.encode(asked) and ours.decode(ours.encode(asked)) == asked
