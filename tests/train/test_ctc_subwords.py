"""The paper's preset in small: a CTC head on 1,024 subwords and frames of 60 ms is trained, exported and asked."""

from dataclasses import replace

import pytest

from lauragpt.audio import load_audio
from lauragpt.ctc_units import FILE, CtcSubwords
from lauragpt.data.corpora import prepare
from lauragpt.data.manifest import Example, read_manifest
from lauragpt.engine.api import Laura
from lauragpt.errors import LauraError
from lauragpt.evaluate.systems import ctc_text
from lauragpt.features import FeatureConfig
from lauragpt.model.lauragpt import PRESETS, load_checkpoint
from lauragpt.text import CtcUnits
from lauragpt.train import state
from lauragpt.train.ctc_units import check_ctc_lengths, choose_ctc_units, save_ctc_units
from lauragpt.train.run import train

RECIPE = """
preset: paper-small
data: {data}
out: {out}
synth_hours: 0
stages:
  encoder: {{steps: 2, batch_seconds: 12, weights: {{asr: 1}}}}
  codec: {{steps: 2, batch_seconds: 2.6, quantize_from: 0}}
  joint: {{steps: 2, batch_seconds: 12, weights: {{asr: 1, slu: 1, mt: 1}}, posterior_bank: {{debug: 0.002}}, pseudo_labels: 4,
    asr_noise: 1, text_injection: 0.5, slu_templates: 1}}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The data, and the recipe's finished folder."""
    root = tmp_path_factory.mktemp("subwords")
    prepare("debug", root / "data")
    large, small = PRESETS["paper-2b"], PRESETS["debug"]
    assert large.encoder.units == 1024 and not large.time_aligned
    preset = replace(
        small, features=large.features, time_aligned=large.time_aligned,
        encoder=replace(
            small.encoder, input=large.features.width, units=large.encoder.units, intermediate_layer=large.encoder.intermediate_layer,
        ),
        gpt=replace(small.gpt, tied=large.gpt.tied, qk_norm=large.gpt.qk_norm, qkv_bias=large.gpt.qkv_bias),
    )  # fmt: skip
    (root / "recipe.yaml").write_text(RECIPE.format(data=root / "data", out=root / "out"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "paper-small", preset)
        train(root / "recipe.yaml")
    return root


def test_every_stage_learns_the_same_subwords(trained):
    for stage in ("encoder", "joint"):
        assert state.steps_done(trained / "out" / stage) == 2
    units = CtcSubwords.load(trained / "out" / FILE)
    assert units.size == 1024 == load_checkpoint(trained / "out" / "export").config.encoder.units
    assert (trained / "out" / "export" / FILE).read_bytes() == (trained / "out" / FILE).read_bytes()


def test_it_transcribes(trained):
    recording = read_manifest(trained / "data" / "dev.jsonl")[0].audio
    laura = Laura.load(trained / "out" / "export", backend="torch")
    assert isinstance(laura.runtime.info.ctc_units, CtcSubwords)
    result = laura.transcribe(recording)
    assert isinstance(result.text, str) and result.receipt["chunks"] == 1


def test_what_the_head_would_write_is_read_by_its_own_units(trained):
    laura = Laura.load(trained / "out" / "export", backend="torch")
    units, head = laura.runtime.info.ctc_units, laura.runtime.backend.model.encoder.ctc
    unit = units.encode("nacht")[0]
    head.weight.data.zero_()
    head.bias.data.zero_()[unit] = 9.0  # the head says one unit in every frame, whatever it hears
    wave = load_audio(read_manifest(trained / "data" / "dev.jsonl")[0].audio)
    assert ctc_text(laura, wave) == units.piece(unit).strip()


def test_units_are_kept_and_of_the_heads_size(trained, tmp_path):
    kept = choose_ctc_units(trained / "out", "", 1024, [], [])
    assert kept.pieces == CtcSubwords.load(trained / "out" / FILE).pieces
    inherited = choose_ctc_units(tmp_path, str(trained / "out" / "export"), 1024, [], [])
    assert inherited.pieces == kept.pieces and not any(tmp_path.iterdir())
    save_ctc_units(inherited, tmp_path)
    assert CtcSubwords.load(tmp_path / FILE).pieces == kept.pieces and [path.name for path in tmp_path.iterdir()] == [FILE]
    letters = choose_ctc_units(tmp_path / "letters", "", CtcUnits.size, [], [])
    save_ctc_units(letters, tmp_path / "letters")
    assert isinstance(letters, CtcUnits) and not (tmp_path / "letters").exists()
    with pytest.raises(LauraError, match="has 1024 CTC units, and the preset's CTC head 512"):
        choose_ctc_units(trained / "out", "", 512, [], [])


def test_more_units_than_frames_are_refused_above_a_thousandth():
    def example(number: int, text: str) -> Example:
        return Example(f"asr/{number}", "asr", "train", "en", "debug", audio="a.wav", duration=1.2, targets=[text])

    fits, long = "twenty letters stand", "twenty one letters do"  # 1.2 s are 20 frames of 60 ms and 30 of 40 ms
    assert len(fits) == 20 and len(long) == 21
    paper, mini = FeatureConfig(skip=6), FeatureConfig(skip=4)
    check_ctc_lengths("encoder", [example(n, fits) for n in range(999)] + [example(999, long)], CtcUnits(), paper)
    with pytest.raises(
        LauraError,
        match=r"encoder: 2 of 1000 transcripts \(0.2%, asr/998 first\) have more CTC units .* of 60 ms.*encoder.units.*features.skip",
    ):
        check_ctc_lengths("encoder", [example(n, fits) for n in range(998)] + [example(998, long), example(999, long)], CtcUnits(), paper)
    check_ctc_lengths("joint", [example(0, long)], CtcUnits(), mini)
    check_ctc_lengths("encoder", [], CtcUnits(), paper)
