"""A recipe whose GPT begins as a published one: its sizes, its weights and its tokenizer are there, and every stage goes on from there."""

import json
from pathlib import Path

import pytest
import torch
from qwens import qwen_of, save_qwen
from transformers import AutoModelForCausalLM, AutoTokenizer

from lauragpt.checkpoint import read_config
from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS, load_checkpoint
from lauragpt.text import Tokenizer
from lauragpt.train.config import load_recipe
from lauragpt.train.run import assemble, train

DEBUG = Path("recipes/debug.yaml")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return save_qwen(tmp_path_factory.mktemp("qwen") / "small-qwen", qwen_of("qwen2", True))


@torch.no_grad()
def test_the_gpt_begins_with_it(published):
    model = assemble(load_recipe(DEBUG, [f"gpt.init={published}", "out=none"])).eval()
    debug, config = PRESETS["debug"], model.config
    assert (config.text_size, config.vocoder.text_size, config.encoder.output, config.codec) == (320, 320, 64, debug.codec)
    theirs, ids = AutoModelForCausalLM.from_pretrained(published).eval(), torch.randint(320, (2, 20))
    torch.testing.assert_close(model.gpt(model.gpt.embed(ids))[..., :320], theirs(ids).logits, atol=1e-4, rtol=0)


def test_every_stage_goes_on_from_it(published, prepared, tmp_path):
    train(DEBUG, overrides=[f"data={prepared}", f"out={tmp_path}", "voices=[]", f"gpt.init={published}"])
    made, about = load_checkpoint(tmp_path / "export"), read_config(tmp_path / "export")
    begun = assemble(load_recipe(DEBUG, [f"gpt.init={published}", "out=none"]))
    moved = (made.gpt.embed_tokens.weight - begun.gpt.embed_tokens.weight).abs()
    assert made.config == begun.config and 0 < moved.max() < 0.05, "a few steps away from what was published"
    assert about["corpora"]["small-qwen"] == "Apache License"
    ours, theirs = Tokenizer.load(tmp_path / "export" / "tokenizer.json"), AutoTokenizer.from_pretrained(published)
    assert ours.encode("Der quick Fuchs") == theirs.encode("Der quick Fuchs")
    given = [f"init={tmp_path / 'export'}", f"gpt.init={published}"]
    again = assemble(load_recipe(DEBUG, [*given, "init_parts=[codec, vocoder]", "out=none"]))
    assert torch.equal(again.gpt.norm.weight, begun.gpt.norm.weight) and torch.equal(again.vocoder.text.weight, made.vocoder.text.weight)
    further = assemble(load_recipe(DEBUG, [*given, "out=none"])).state_dict()
    assert all(torch.equal(tensor, further[name]) for name, tensor in made.state_dict().items()), "init's weights, of the published sizes"


def test_what_cannot_begin_it_is_told_before_any_step(published, prepared, tmp_path):
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    for folder, words in ((tmp_path / "llama", "a model of type 'llama'"), (tmp_path / "nowhere", "no model as transformers saves it")):
        with pytest.raises(LauraError, match=words):
            train(DEBUG, overrides=[f"data={prepared}", f"out={tmp_path / 'out'}", f"gpt.init={folder}", "voices=[]"])
    assert not (tmp_path / "out").exists()
