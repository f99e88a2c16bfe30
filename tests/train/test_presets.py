"""Every preset's shape, in small, goes through every stage for two steps."""

from copy import copy
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from lauragpt.codec import CodecConfig
from lauragpt.model.lauragpt import PRESETS, LauraConfig, LauraModel
from lauragpt.train import loop
from lauragpt.train.ctc_units import choose_ctc_units
from lauragpt.train.precision import precision
from lauragpt.train.stages import STAGES

KEYS = {
    "encoder": {"weights": {"asr": 1}}, "listener": {"weights": {"asr": 1}, "sound_weight": 1.0}, "speller": {},
    "codec": {"quantize_from": 1, "kmeans_batches": 2, "adversarial_from": 1},
    "gpt": {"weights": {"mt": 1, "tts": 1}, "posterior_bank": {"kathleen": 0.001}}, "vocoder": {"weights": {"tts": 1, "se": 1}},
    "joint": {"weights": {"asr": 1, "mt": 1, "tts": 1, "se": 1, "slu": 1}, "slu_templates": 0.2, "text_injection": 0.5, "asr_noise": 0.5},
}  # fmt: skip


def small_codec(codec: CodecConfig) -> CodecConfig:
    guide = codec.quantizer.guide if codec.quantizer.levels else min(4, codec.quantizer.guide)
    quantizer = replace(codec.quantizer, n_quantizers=4, guide=guide, dropout_levels=(1, 2, 4))
    spectral = replace(codec.spectral, channels=16, fine_channels=16, decoder_fine=1, encoder_coarse=1, decoder_coarse=1)
    listener = codec.listener and {**codec.listener, "width": 32, "layers": 2, "heads": 2, "ffn": 64}
    lyra, seanet = replace(codec.lyra, channels=8), replace(codec.seanet, filters=2)
    return replace(codec, quantizer=quantizer, seanet=seanet, spectral=spectral, lyra=lyra, listener=listener)


def small(config: LauraConfig) -> LauraConfig:
    """The preset's parts and what they are made of, with the widths of `debug` and two layers each."""
    debug = PRESETS["debug"]
    sizes = {"width": 32, "layers": 2, "heads": 2, "ffn": 64}
    if config.encoder.kind == "whisper":
        encoder = replace(config.encoder, output=32, heard=(1, 2), **sizes)
    else:
        encoder = replace(config.encoder, kernel=5, output=32, intermediate_layer=min(1, config.encoder.intermediate_layer), **sizes)
    kv_heads = 2 if config.gpt.kv_heads == config.gpt.heads else 1
    gpt = replace(config.gpt, vocabulary=debug.gpt.vocabulary, kv_heads=kv_heads, head_width=16, **sizes)
    vocoder = replace(config.vocoder, text_size=debug.text_size, **sizes)
    return replace(config, text_size=debug.text_size, encoder=encoder, gpt=gpt, vocoder=vocoder, codec=small_codec(config.codec))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_stage_trains(preset, corpus, make_stage, tmp_path):
    torch.manual_seed(0)
    config, accelerator = small(PRESETS[preset]), Accelerator(mixed_precision=precision(), cpu=True)
    model, corpus = LauraModel(config), copy(corpus)
    corpus.units = choose_ctc_units(tmp_path, "", config.encoder.units, corpus.train, corpus.lines)
    unneeded = {"listener" if model.listener is None else "", "speller" if model.speller is None else ""}
    for name in [name for name in STAGES if name in KEYS and name not in unneeded]:
        before = {key: value.clone() for key, value in model.state_dict().items()}
        stage = make_stage(name, model, corpus, batch_seconds=4, steps=2, warmup=0, **KEYS[name])
        assert loop.run(stage, tmp_path / name, accelerator), name
        moved = {key.partition(".")[0] for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
        assert moved == ({"codec"} if name in ("codec", "listener") else set(stage.trained)), name
        assert all(value.isfinite().all() for value in model.state_dict().values() if value.is_floating_point()), name
    assert set(KEYS) == set(STAGES) - {"speaker"}  # which no model has
