"""Licences are inherited from every checkpoint before; what nobody described is unknown, and unknown is not free."""

import json
import shutil

import pytest

from lauragpt.checkpoint import find_checkpoint, read_config
from lauragpt.data.licences import CORPORA, Provenance, described_corpora, record, strictest, text_corpora
from lauragpt.errors import LauraError

OWN = {"calls": {"licence": "my own recordings", "commercial": True}}


def describe(folder, own) -> dict:
    (folder / "corpora.json").write_text(json.dumps(own))
    return described_corpora(folder)


@pytest.fixture
def checkpoint(debug_checkpoint, tmp_path):
    """Writes a checkpoint that says of itself what a provenance has it say."""

    def make(name: str, provenance: Provenance | None):
        folder = tmp_path / name
        shutil.copytree(debug_checkpoint, folder)
        config = json.loads((folder / "config.json").read_text()) | {"name": name}
        if provenance:
            config |= {"corpora": provenance.licences, "commercial": provenance.commercial, "ancestors": provenance.to_dict()["ancestors"]}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "codec.safetensors").write_bytes((folder / "codec.safetensors").read_bytes() + name.encode())  # weights of its own
        return str(folder)

    return make


@pytest.mark.parametrize(("permissions", "wanted"), [([True, True], True), ([True, None], None), ([None, False, True], False), ([], True)])
def test_the_strictest_counts(permissions, wanted):
    assert strictest(permissions) is wanted


def test_a_corpus_of_ones_own_may_be_free(tmp_path):
    own = Provenance.of(["calls"], describe(tmp_path, OWN))
    assert own.commercial is True and own.licences == {"calls": "my own recordings"} and "may be used commercially" in own.use()


def test_an_unknown_corpus_is_not_free(tmp_path):
    unknown = Provenance.of(["librispeech", "calls"], described_corpora(tmp_path))
    assert unknown.commercial is None and unknown.licences["calls"] == "unknown"
    assert "is not known" in unknown.use() and "calls (unknown)" in unknown.use() and "librispeech" not in unknown.use()
    assert "| calls | unknown | this run |" in unknown.table()


def test_what_begins_from_mini_is_not_for_sale(tmp_path):
    mini = read_config(find_checkpoint("mini"))
    child = Provenance.of(["calls"], describe(tmp_path, OWN), init="mini")
    assert child.commercial is False
    assert child.licences == {**mini["corpora"], "calls": "my own recordings"}
    assert "non-commercial use only, because of mini, from which training started" in child.use()
    assert "| calls | my own recordings | this run |" in child.table() and "| ravdess | CC BY-NC-SA 4.0 | mini |" in child.table()


def test_two_checkpoints_later_it_still_is_not(tmp_path, checkpoint):
    described = describe(tmp_path, OWN)
    child = checkpoint("child", Provenance.of(["calls"], described, init="mini"))
    grandchild = Provenance.of(["calls"], described, init=child)
    assert [ancestor.name for ancestor in grandchild.ancestors] == ["child", "mini"]
    assert grandchild.commercial is False and {"esc50", "ravdess", "calls"} <= grandchild.licences.keys()


def test_a_free_ancestor_stays_free_and_a_silent_one_is_unknown(tmp_path, checkpoint):
    described = describe(tmp_path, OWN)
    free = checkpoint("free", Provenance.of(["calls", "librispeech"], described))
    assert Provenance.of(["calls"], described, init=free).commercial is True
    silent = Provenance.of(["calls"], described, init=checkpoint("silent", None))
    assert silent.commercial is None and "silent, from which training started" in silent.use()


def test_a_false_claim_is_not_believed(tmp_path, checkpoint):
    """A checkpoint that names a set that forbids commercial use, and says that it may be sold."""
    folder = checkpoint("claim", Provenance.of(["ravdess"], CORPORA))
    config = json.loads((tmp_path / "claim" / "config.json").read_text())
    (tmp_path / "claim" / "config.json").write_text(json.dumps(config | {"commercial": True}))
    assert Provenance.of([], CORPORA, init=folder).commercial is False
    (tmp_path / "claim" / "config.json").write_text(json.dumps(config | {"ancestors": ["mini"]}))
    with pytest.raises(LauraError, match="ancestors cannot be read"):
        Provenance.of([], CORPORA, init=folder)


def test_runs_into_one_folder_add_up(tmp_path):
    """A stage that began from mini stays in the folder when the next stage is trained without init."""
    described = describe(tmp_path, OWN)
    assert record(tmp_path / "out", Provenance.of(["calls"], described, init="mini")).commercial is False
    whole = record(tmp_path / "out", Provenance.of(["librispeech"], described))
    assert whole.commercial is False and set(whole.corpora) == {"calls", "librispeech"} and len(whole.ancestors) == 1
    assert record(tmp_path / "out", Provenance.of(["librispeech"], described, init="mini")) == whole
    (tmp_path / "out" / "provenance.json").write_text("[]")
    with pytest.raises(LauraError, match="provenance.json cannot be read"):
        record(tmp_path / "out", whole)


def test_texts_count_and_those_of_unknown_origin_are_unknown(tmp_path):
    assert text_corpora(tmp_path) == []
    (tmp_path / "text.en.txt").write_text("one\n")
    assert text_corpora(tmp_path) == ["text.en.txt"]
    (tmp_path / "text.corpora.json").write_text('["books_en"]')
    assert text_corpora(tmp_path) == ["books_en"]
    (tmp_path / "text.corpora.json").write_text("{}")
    with pytest.raises(LauraError, match="must be a list"):
        text_corpora(tmp_path)


@pytest.mark.parametrize(
    ("own", "words"),
    [({"ravdess": {"licence": "mine", "commercial": True}}, "describes ravdess, whose licence is known"),
     ({"calls": {"licence": "mine"}}, "commercial"),
     ({"calls": {"licence": "mine", "commercial": "yes"}}, "true, false or null"),
     ({"calls": {"licence": "mine", "commercial": 0}}, "true, false or null"),
     ({"calls": {"licence": "mine", "commercial": 1}}, "true, false or null"), ([], "holds entries such as")],
)  # fmt: skip
def test_descriptions_that_are_wrong_are_refused(tmp_path, own, words):
    with pytest.raises(LauraError, match=words):
        describe(tmp_path, own)
