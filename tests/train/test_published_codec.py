"""A recipe whose codec begins with Lyra's published weights: they are there, and the encoder stays; their licence is told."""

import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn

from lauragpt.checkpoint import find_checkpoint
from lauragpt.codec import CodecConfig
from lauragpt.codec.discriminator import DiscriminatorConfig
from lauragpt.codec.lyra import LyraConfig, LyraDecoder, LyraEncoder
from lauragpt.codec.quantizer import QuantizerConfig
from lauragpt.errors import LauraError
from lauragpt.features import LISTENER_FEATURES
from lauragpt.model.lauragpt import PRESETS, LauraModel, load_checkpoint, save_checkpoint
from lauragpt.model.whisper import WhisperConfig
from lauragpt.train.config import load_recipe
from lauragpt.train.run import assemble, check_order, provenance_of
from tests.codec.test_lyra_tflite import folder_of, written

DEBUG = "recipes/debug.yaml"
LYRA = LyraConfig(channels=8, dim=8, stack=2)
SIZES = {"width": 32, "layers": 1, "heads": 2, "ffn": 64}


@pytest.fixture
def published(tmp_path, monkeypatch) -> tuple:
    """A folder as Lyra's, random networks that reading it gives, and the preset `debug` with a codec of their size."""
    folder = tmp_path / "lyra"
    folder.mkdir()
    (folder / "LICENSE").write_text("\n                 Apache License\n           Version 2.0, January 2004\n")
    torch.manual_seed(5)
    networks = LyraEncoder(replace(LYRA, stack=1)), LyraDecoder(replace(LYRA, stack=1))
    folder_of(folder, *map(written, networks))
    quantizer = QuantizerConfig(n_quantizers=2, codebook_size=16, dim=16, guide=2, levels=(4, 4), dropout_levels=(1, 2))
    listener = {"kind": "whisper", **SIZES, "output": 2, "heard": ()}
    codec = CodecConfig(architecture="lyra", quantizer=quantizer, lyra=LYRA, listener=listener)
    encoder = WhisperConfig(**SIZES, output=32, heard=(1,))
    debug = replace(PRESETS["debug"], codec=codec, encoder=encoder, features=LISTENER_FEATURES)
    monkeypatch.setitem(PRESETS, "debug", debug)
    return folder, networks


def model_of(folder) -> LauraModel:
    return assemble(load_recipe(DEBUG, [f"codec.init={folder}", "out=none"]))


def test_the_codec_begins_with_them_and_keeps_its_encoder_and_listener(published, corpus, make_stage):
    folder, (encoder, decoder) = published
    model = model_of(folder)
    for ours, theirs in ((model.codec.encoder, encoder), (model.codec.decoder, decoder)):
        assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
    stage = make_stage(
        "codec", model, corpus, init=str(folder), quantize_from=0, kmeans_batches=1, batch_seconds=3, crop_seconds=0.64, adversarial_from=1,
        adversarial_seconds=0.32, spectral_windows=(256,), discriminator=DiscriminatorConfig((256,), channels=2),
    )  # fmt: skip
    before = {key: value.clone() for key, value in model.codec.state_dict().items()}
    for step in range(2):
        losses = stage.step(stage.batch(step), step, updater(stage))
    assert losses["spectral"] > 0 and losses["adversarial"] != 0 and "guide" not in losses
    moved = {key.partition(".")[0] for key, value in model.codec.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"decoder", "quantizer"}
    assert bool(model.codec.quantizer.initialised.all())


def updater(stage):
    def update(name: str, loss: torch.Tensor) -> None:
        stage.optimizers[name].zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([p for group in stage.optimizers[name].param_groups for p in group["params"]], 1.0)
        stage.optimizers[name].step()

    return update


def test_their_licence_is_told(published):
    recipe = load_recipe(DEBUG, [f"codec.init={published[0]}", "out=none"])
    provenance = provenance_of(recipe, [])
    assert provenance.licences == {"lyra": "Apache License"} and provenance.commercial is True


def test_the_listener_comes_before_the_codec(published, tmp_path):
    folder, _ = published
    recipe, model = load_recipe(DEBUG, [f"codec.init={folder}", f"out={tmp_path}"]), model_of(folder)
    with pytest.raises(LauraError, match="encoder.*untrained.*--stage encoder"):
        check_order("listener", model, recipe)
    with pytest.raises(LauraError, match="listener.*untrained.*--stage listener"):
        check_order("codec", model, recipe)


def test_the_codec_of_init_keeps_its_listener(published):
    recipe = load_recipe(DEBUG, [f"codec.init={published[0]}", "out=none"])
    recipe = replace(recipe, init="mini", stages={name: stage for name, stage in recipe.stages.items() if name != "codec"})
    with pytest.raises(LauraError, match="codebooks for its own"):
        check_order("listener", model_of(published[0]), recipe)


def test_a_codec_goes_on_with_the_listener_of_init_alone(published, tmp_path):
    model = model_of(published[0])
    save_checkpoint(model, tmp_path / "whole")
    shutil.copy(find_checkpoint("mini") / "tokenizer.json", tmp_path / "whole")
    recipe = replace(load_recipe(DEBUG, [f"codec.init={published[0]}", f"out={tmp_path}"]), init=str(tmp_path / "whole"))
    check_order("codec", model, recipe)
    for other in (replace(recipe, init_parts=("encoder",)), replace(recipe, init="mini")):
        with pytest.raises(LauraError, match="listener.*untrained"):
            check_order("codec", model, other)


def test_behind_its_stage_the_codec_is_that_of_init(published, tmp_path):
    """Where the stage was not run: a trained one is not what was published, and tokens that are stored are of the trained one."""
    model = model_of(published[0])
    with torch.no_grad():
        for each in (*model.codec.encoder.parameters(), *model.codec.decoder.parameters()):
            each.mul_(1.25)
    save_checkpoint(model, tmp_path / "whole")
    shutil.copy(find_checkpoint("mini") / "tokenizer.json", tmp_path / "whole")
    trained, (encoder, _) = load_checkpoint(tmp_path / "whole").codec, published[1]
    recipe = replace(load_recipe(DEBUG, [f"codec.init={published[0]}", f"out={tmp_path / 'out'}"]), init=str(tmp_path / "whole"))
    for up_to in ("gpt", "joint", None):
        assert assemble(recipe, up_to).codec.hash == trained.hash
    for other, up_to in ((recipe, "codec"), (replace(recipe, init_parts=("encoder",)), "gpt")):
        begun = assemble(other, up_to).codec
        assert all(torch.equal(*pair) for pair in zip(begun.encoder.parameters(), encoder.parameters(), strict=True))
        assert begun.hash != trained.hash


def test_weights_of_other_sizes_are_refused(published, monkeypatch):
    codec = PRESETS["debug"].codec
    other = replace(codec, lyra=replace(codec.lyra, channels=16))
    monkeypatch.setitem(PRESETS, "debug", replace(PRESETS["debug"], codec=other))
    with pytest.raises(LauraError, match="does not hold the layers of Lyra"):
        model_of(published[0])


def test_a_codec_of_another_kind_cannot_begin_with_them(tmp_path):
    with pytest.raises(LauraError, match="preset 'debug' has no codec of Lyra's kind"):
        assemble(load_recipe(DEBUG, [f"codec.init={tmp_path}", "out=none"]))
