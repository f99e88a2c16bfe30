"""A recipe whose encoder begins with published weights: they are there, learn at a rate of their own, and their licence is told."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from transformers import WhisperConfig as TheirConfig
from transformers import WhisperModel

from lauragpt.checkpoint import find_checkpoint
from lauragpt.data.licences import Provenance
from lauragpt.errors import LauraError
from lauragpt.features import FeatureConfig
from lauragpt.model.lauragpt import PRESETS, load_checkpoint
from lauragpt.model.whisper import WhisperConfig
from lauragpt.train import loop
from lauragpt.train.config import load_recipe
from lauragpt.train.precision import precision
from lauragpt.train.run import assemble, provenance_of

DEBUG = Path("recipes/debug.yaml")
THEIRS = TheirConfig(
    d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=64, num_mel_bins=128, max_source_positions=1500,
    decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16, vocab_size=60,
    pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
)  # fmt: skip


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The folder of a random Whisper, and the preset `debug` with an encoder of that kind and other sizes."""
    torch.manual_seed(0)
    WhisperModel(THEIRS).save_pretrained(tmp_path / "small-whisper")
    (tmp_path / "small-whisper" / "LICENSE").write_text("MIT License\n\nCopyright (c) somebody\n")
    encoder = WhisperConfig(width=16, layers=4, heads=1, ffn=16, output=32, heard=(2, 4))
    features = FeatureConfig(kind="whisper", stack=4, skip=4)
    monkeypatch.setitem(PRESETS, "debug", replace(PRESETS["debug"], encoder=encoder, features=features))
    return tmp_path / "small-whisper"


def test_the_encoder_begins_with_them(published):
    model = assemble(load_recipe(DEBUG, [f"encoder.init={published}", "out=none"]))
    state, tensors = model.encoder.state_dict(), load_file(published / "model.safetensors")
    own = {name.removeprefix("encoder."): tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
    del own["embed_positions.weight"]
    assert len(own) > 30 and all(torch.equal(state[name], tensor) for name, tensor in own.items())
    assert len(model.encoder.published) == len(own) and model.config.encoder.heard == (1, 2)
    assert model.config.features.bins == model.encoder.config.bins == 128 and model.encoder.config.input == 4 * 128


def test_they_learn_at_a_share_of_the_rate(published, corpus, make_stage, tmp_path):
    model = assemble(load_recipe(DEBUG, [f"encoder.init={published}", "out=none"]))
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    stage = make_stage("encoder", model, corpus, batch_seconds=4, steps=2, warmup=0, published_lr=0.0, weight_decay=0.0)
    assert loop.run(stage, tmp_path / "encoder", Accelerator(mixed_precision=precision(), cpu=True))
    moved = {name.partition(".")[0] for name, value in model.encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and not moved & {"conv1", "conv2", "layers", "layer_norm"}
    rates = {group["share"]: group["lr"] for group in stage.optimizers["model"].param_groups}
    assert rates[0.0] == 0 < rates[1.0]


def test_their_licence_is_told(published):
    recipe = load_recipe(DEBUG, [f"encoder.init={published}", "out=none"])
    provenance = provenance_of(recipe, [])
    assert provenance.licences == {"small-whisper": "MIT License"} and provenance.commercial is True
    (published / "LICENSE").unlink()
    unknown = Provenance().with_published(published)
    assert unknown.licences == {"small-whisper": "not known"} and unknown.commercial is None


def test_an_encoder_of_another_kind_cannot_begin_with_them(tmp_path):
    with pytest.raises(LauraError, match=r"preset 'debug' has no encoder of Whisper's kind"):
        assemble(load_recipe(DEBUG, [f"encoder.init={tmp_path}", "out=none"]))


def test_parts_of_init_are_taken_by_name():
    recipe = load_recipe(DEBUG.parent / "mini.yaml", ["out=none", 'encoder.init=""'])
    model, fresh = assemble(recipe), assemble(replace(recipe, init_parts=("codec",)))
    shipped = load_checkpoint(find_checkpoint("mini"))
    assert model.codec.hash == fresh.codec.hash == shipped.codec.hash
    assert all(torch.equal(a, b) for a, b in zip(model.vocoder.parameters(), shipped.vocoder.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(fresh.vocoder.parameters(), shipped.vocoder.parameters(), strict=True))
