"""The whole model: its loss against a plain loop, gradients everywhere, its checkpoint, and the size of the paper's preset."""

import json

import pytest
import torch
import torch.nn.functional as F

from lauragpt.checkpoint import FILES, find_checkpoint
from lauragpt.engine.api import Laura
from lauragpt.errors import LauraError
from lauragpt.model.attention import attend_without_plans
from lauragpt.model.conformer import Conformer
from lauragpt.model.gpt import GPT
from lauragpt.model.lauragpt import PRESETS, LauraConfig, LauraModel, load_checkpoint, save_checkpoint
from lauragpt.model.vocoder import Vocoder
from lauragpt.sequence import layout, text_layout

SECONDS = (0.4, 0.9, 0.6)


@pytest.fixture()
def model() -> LauraModel:
    torch.manual_seed(0)
    return LauraModel(PRESETS["debug"])


def heard_of(model: LauraModel):
    samples = torch.tensor([int(16000 * seconds) for seconds in SECONDS])
    waves = torch.zeros(len(samples), int(samples.max()))
    for row, n in enumerate(samples.tolist()):
        waves[row, :n] = 0.1 * torch.randn(n)
    return model.encode(waves, samples)


def mixed(model: LauraModel, lengths: list[int]) -> list:
    """Text and audio in, text and audio out, long and short, in one batch."""
    v = model.vocabulary
    return [
        layout(v, "asr", "en", [5, 6, 7, 8], frames=lengths[0]),
        layout(v, "mt", "de", [9, 3], source=[1, 2, 3]),
        layout(v, "se", "en", v.audio([1, 2, 3]), frames=lengths[1]),
        text_layout(v, "zh", [11, 12, 13, 14]),
        layout(v, "tts", "en", v.audio([3, 0, 1, 2]), source=[4, 5]),
        layout(v, "ser", "en", [], frames=lengths[2]),
    ]


@torch.no_grad()
def test_loss_is_a_plain_loop(model):
    model.eval()
    heard = heard_of(model)
    layouts, clip, wanted = mixed(model, heard.lengths.tolist()), 0, []
    for row in layouts:
        given = model.gpt.embed(torch.tensor(row.ids))
        if row.frames:
            given = torch.cat([heard.embeddings[clip, : heard.lengths[clip]], given])
            clip += 1
        times = torch.tensor([[*range(row.frames), *model.vocabulary.times(row.ids, row.frames, row.pace)]])
        log_probs = model.gpt(given[None], times=times)[0].log_softmax(-1)
        first_id = len(given) - len(row.ids)
        wanted += [-log_probs[first_id + i - 1, token] for i, token in enumerate(row.ids) if row.targets[i]]
    for apart in (0, 4):
        torch.testing.assert_close(model.loss(layouts, heard.embeddings, apart), torch.stack(wanted), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_what_is_spelled_is_added_to_what_is_heard(model):
    model.eval()
    heard = heard_of(model)
    spoken = heard.embeddings - model.embed_posteriors(heard.ctc_log_probs.exp())
    for row, n in enumerate(heard.lengths):  # read from text alone, the same matrix is used frame by frame
        alone = model.embed_posteriors(heard.ctc_log_probs[row : row + 1, :n].exp())
        torch.testing.assert_close(heard.embeddings[row, :n], spoken[row, :n] + alone[0], atol=1e-5, rtol=1e-5)
    moved = model.embed_posteriors(torch.eye(33)[None].roll(1, 1))[0, 4]
    assert not torch.allclose(model.embed_posteriors(torch.eye(33)[None])[0, 3], moved)  # position counts


def test_attention_without_plans_leaves_cudnn_out():
    before = torch.backends.cuda.cudnn_sdp_enabled()
    try:
        torch.backends.cuda.enable_cudnn_sdp(True)
        attend_without_plans()
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


@torch.no_grad()
def test_loss_without_frames(model):
    v = model.vocabulary
    rows = [text_layout(v, "en", [1, 2, 3]), layout(v, "mt", "en", [4], source=[5, 6])]
    loss = model.eval().loss(rows, None)
    assert loss.shape == (4 + 3,)
    torch.testing.assert_close(loss, torch.cat([model.loss([row], None) for row in rows]), atol=1e-4, rtol=1e-4)


def test_one_mixed_batch_reaches_every_tensor(model):
    model.train()
    heard = heard_of(model)
    ctc = sum(
        F.ctc_loss(log_probs.transpose(0, 1), torch.tensor([[1, 2]] * len(SECONDS)), heard.lengths, torch.tensor([2] * len(SECONDS)))
        for log_probs in (heard.ctc_log_probs, heard.middle_log_probs)
    )
    (model.loss(mixed(model, heard.lengths.tolist()), heard.embeddings).mean() + ctc).backward()
    parts = ("encoder", "posterior_embedding", "gpt")
    parameters = [(f"{part}.{name}", p) for part in parts for name, p in getattr(model, part).named_parameters()]
    assert not [name for name, p in parameters if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]


@torch.no_grad()
def test_a_checkpoint_comes_back(model, tmp_path):
    save_checkpoint(model, tmp_path / "made", name="trial", langs=["en"])
    again = load_checkpoint(tmp_path / "made")
    assert again.config == model.config and not again.training
    state = again.state_dict()
    for name, tensor in model.state_dict().items():
        wanted = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(state[name], wanted), name
    written = json.loads((tmp_path / "made" / "config.json").read_text())
    assert written["name"] == "trial" and written["codec_hash"] == again.codec.hash
    assert not list((tmp_path / "made").glob("*.part"))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_configuration_comes_back(preset):
    config = PRESETS[preset]
    assert LauraConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("foreign", [{"architectures": ["Qwen2ForCausalLM"]}, {"format": "lauragpt-0"}, []])
def test_a_foreign_configuration_is_refused(foreign, model, tmp_path):
    save_checkpoint(model, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(foreign))
    with pytest.raises(LauraError, match="not a LauraGPT checkpoint"):
        load_checkpoint(tmp_path)


def test_the_codec_has_a_file_of_its_own_that_training_the_rest_leaves_as_it_is(model, tmp_path):
    save_checkpoint(model, tmp_path / "before")
    changed = load_checkpoint(tmp_path / "before")
    with torch.no_grad():
        changed.gpt.embed_tokens.weight.add_(1.0)
    save_checkpoint(changed, tmp_path / "after")
    same = {name: (tmp_path / "before" / name).read_bytes() == (tmp_path / "after" / name).read_bytes() for name in FILES}
    assert same == {"model.safetensors": False, "codec.safetensors": True}
    assert not list(tmp_path.rglob("*.part"))
    (tmp_path / "after" / "tokenizer.json").write_text("{}")
    (tmp_path / "after" / "codec.safetensors").unlink()
    with pytest.raises(LauraError, match="lacks codec.safetensors, as those of earlier versions"):
        find_checkpoint(tmp_path / "after")


def test_the_tokens_of_another_codec_are_refused(debug_checkpoint, tmp_path):
    assert Laura.load(debug_checkpoint, "cpu")
    for name in (*FILES, "tokenizer.json"):
        (tmp_path / name).write_bytes((debug_checkpoint / name).read_bytes())
    config = json.loads((debug_checkpoint / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"codec_hash": "0" * len(config["codec_hash"])}))
    with pytest.raises(LauraError, match="codec"):
        Laura.load(tmp_path, "cpu")


def test_the_papers_preset_has_the_papers_size():
    config = PRESETS["paper-2b"]
    with torch.device("meta"):
        parts = Conformer(config.encoder), GPT(config.gpt), Vocoder(config.vocoder)
    encoder, gpt, _ = parts
    assert len(encoder.layers) == 32 and (len(gpt.layers), gpt.embed_tokens.weight.shape[1]) == (24, 2048)
    assert gpt.embed_tokens.weight.shape[0] == config.vocabulary.size
    assert 1.8e9 < sum(p.numel() for part in parts for p in part.parameters()) < 2.4e9
