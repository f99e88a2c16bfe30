"""The encoder of Whisper's kind: transformers' own output, alone and padded in a batch; published checkpoints read as they are saved."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperConfig as TheirConfig
from transformers import WhisperModel

from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS
from lauragpt.model.whisper import Whisper, WhisperConfig, begin_with_whisper, whisper_sizes

SMALL = WhisperConfig(input=40, bins=10, width=32, layers=3, heads=4, ffn=48, output=24, units=7, heard=(1, 3))
THEIRS = TheirConfig(
    d_model=32, encoder_layers=3, encoder_attention_heads=4, encoder_ffn_dim=48, num_mel_bins=10, max_source_positions=40,
    decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16, vocab_size=60, max_target_positions=8,
    pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random Whisper, saved by transformers."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("whisper")
    WhisperModel(THEIRS).save_pretrained(path)
    return path


@pytest.fixture
def encoder(folder):
    torch.manual_seed(1)
    model = Whisper(SMALL)
    begin_with_whisper(model, folder)
    torch.nn.init.normal_(model.output.weight)
    return model.eval()


@torch.no_grad()
def test_the_last_layer_is_transformers(encoder, folder):
    theirs = WhisperModel.from_pretrained(folder).encoder.eval()
    spectra = torch.randn(2, 80, 10)  # 80 frames of 10 ms: all that its 40 positions take
    wanted = theirs(spectra.transpose(1, 2)).last_hidden_state
    layers = encoder.layer_frames(*encoder.embed(spectra.unflatten(1, (-1, 4)).flatten(2), torch.tensor([20, 20])), 1, 3)
    torch.testing.assert_close(encoder.layer_norm(layers[-1]), wanted, atol=1e-5, rtol=1e-4)
    inner = theirs(spectra.transpose(1, 2), output_hidden_states=True).hidden_states
    torch.testing.assert_close(layers[0], inner[1], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_clip_is_the_same_alone_and_in_a_batch(encoder):
    clips = [torch.randn(n, 40) for n in (3, 1, 11)]
    lengths = torch.tensor([3, 1, 11])
    encoder.intermediate.measure(torch.randn(50, 2, 32))
    padding = 7 * (torch.arange(11) >= lengths[:, None])[..., None]  # whatever stands there
    together = encoder(torch.nn.utils.rnn.pad_sequence(clips, batch_first=True) + padding, lengths)
    for row, clip in enumerate(clips):
        alone = encoder(clip[None], lengths[row : row + 1])
        assert alone.embeddings.shape == (1, len(clip), 24) and alone.ctc_log_probs.shape == (1, len(clip), 7)
        torch.testing.assert_close(together.embeddings[row, : len(clip)], alone.embeddings[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.ctc_log_probs[row, : len(clip)], alone.ctc_log_probs[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_gpt_hears_layers_below_the_last(encoder):
    clip, length = torch.randn(1, 12, 40), torch.tensor([12])
    frames = encoder.intermediate_frames(clip, length)
    assert frames.shape == (1, 24, 2, 32)
    plain = encoder(clip, length).embeddings
    encoder.intermediate.measure(frames[0] + 5)  # a constant that all frames share is gone from what the GPT hears
    last = encoder.layer_frames(*encoder.embed(clip, length), 1, 3)[-1]
    heard = encoder(clip, length).embeddings - encoder.output(encoder.head(last, length))
    scaled = (frames[0] - frames[0].mean(0) - 5) / frames[0].std(0)  # (24, 2, 32)
    torch.testing.assert_close(heard[0], encoder.intermediate.linear(scaled.reshape(12, -1)), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(encoder(clip, length).embeddings, plain)
    without = Whisper(replace(SMALL, heard=()))
    assert without.intermediate is None and without(clip, length).embeddings.shape == plain.shape


@torch.no_grad()
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_two_halves_are_the_whole(encoder, depth):
    features, lengths = torch.randn(2, 12, 40), torch.tensor([12, 7])
    encoder.intermediate.measure(torch.randn(50, 2, 32))
    below = encoder.below(features, lengths, depth)
    assert below.shape == (2, 24, 1 + (depth > 1), 32)  # layers 1 and 3 are heard, and the last of them goes on: none stands twice
    halves, whole = encoder.above(below, lengths, depth), encoder(features, lengths)
    for name in ("embeddings", "ctc_log_probs"):
        torch.testing.assert_close(getattr(halves, name)[0], getattr(whole, name)[0])
        torch.testing.assert_close(getattr(halves, name)[1, :7], getattr(whole, name)[1, :7])


@torch.no_grad()
def test_layers_are_dropped_in_training_alone():
    model, clip = Whisper(replace(SMALL, layers=6, drop_layer=0.9)), torch.randn(1, 8, 40)

    def count() -> int:
        return len({model(clip, torch.tensor([8])).ctc_log_probs.sum().item() for _ in range(12)})

    assert model.eval() and count() == 1
    assert model.train() and count() > 1


def test_a_checkpoint_in_several_files_is_the_same(folder, tmp_path, encoder):
    WhisperModel.from_pretrained(folder).save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    again = Whisper(SMALL)
    begin_with_whisper(again, tmp_path)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in encoder.state_dict().items() if name.startswith("layers."))


@pytest.mark.parametrize(("width", "layers", "heads", "bins", "heard"), [
    (384, 4, 6, 80, (1, 2)), (512, 6, 8, 80, (2, 4)), (768, 12, 12, 80, (4, 8)), (1024, 24, 16, 80, (8, 16)), (1280, 32, 20, 80, (10, 21)),
    (1280, 32, 20, 128, (10, 21)),
], ids=["tiny", "base", "small", "medium", "large-v2", "large-v3"])  # fmt: skip
def test_published_sizes(width, layers, heads, bins, heard, tmp_path):
    theirs = TheirConfig(
        d_model=width, encoder_layers=layers, encoder_attention_heads=heads, encoder_ffn_dim=4 * width, num_mel_bins=bins, decoder_layers=1,
        decoder_attention_heads=heads,
    )  # fmt: skip
    theirs.save_pretrained(tmp_path)
    config = whisper_sizes(tmp_path, PRESETS["mini"].encoder)
    assert (config.input, config.heard, config.output) == (4 * bins, heard, PRESETS["mini"].encoder.output)
    with torch.device("meta"):
        ours, published = Whisper(config), WhisperModel(theirs).encoder
    shapes = {name: tensor.shape for name, tensor in published.named_parameters() if name != "embed_positions.weight"}
    assert {name: ours.state_dict()[name].shape for name in shapes} == shapes
    assert len(ours.published) == len(shapes)


def test_other_models_and_damaged_ones_are_told(folder, tmp_path):
    model = Whisper(SMALL)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(LauraError, match=r"has the shape \(32, 10, 3\), and by its config\.json \(48, 10, 3\)"):
        begin_with_whisper(Whisper(replace(SMALL, width=48)), folder)
    with pytest.raises(LauraError, match=r"no model as transformers saves it"):
        whisper_sizes(tmp_path, SMALL)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "wav2vec2"}))
    with pytest.raises(LauraError, match=r"a model of type 'wav2vec2': the encoder begins with one of type whisper alone"):
        whisper_sizes(tmp_path, SMALL)
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layers.1.fc1.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(LauraError, match=r"lacks 1 of its tensors, encoder\.layers\.1\.fc1\.weight first"):
        begin_with_whisper(model, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(LauraError, match=r"no model as transformers saves it"):
        begin_with_whisper(model, tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
