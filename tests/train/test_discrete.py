"""The GPT reads recordings as the codec's codes: what they are, where they stand, training, answers, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from accelerate import Accelerator

from lauragpt.data.manifest import Example
from lauragpt.data.sounds import SoundFacts
from lauragpt.data.spans import load_span
from lauragpt.doctor.hearing import hear
from lauragpt.engine.api import Laura
from lauragpt.engine.backend import EncoderOutput
from lauragpt.engine.onnx_export import export_graphs
from lauragpt.engine.torch_backend import TorchBackend
from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS, LauraConfig, LauraModel, with_changes
from lauragpt.sequence import layout, times_of
from lauragpt.train.config import load_recipe
from lauragpt.train.precision import precision
from lauragpt.train.run import begin_run, read_data, train
from lauragpt.train.workload import count_batch, draw, stage_modules

CODES = {"encoder": {"kind": "codes"}, "posteriors": False, "time_aligned": False}
JOINT = {"phrases": 0, "spec_augment": False, "weights": {"asr": 1, "se": 1}}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return LauraModel(with_changes(PRESETS["debug"], CODES)).eval()


@pytest.fixture(scope="module")
def waves():
    return 0.3 * torch.randn(2, 16000, generator=torch.Generator().manual_seed(1)), torch.tensor([16000, 9001])


def test_the_gpt_reads_four_codes_of_each_frame_by_rows_of_their_own(model, waves):
    features, lengths = model.features(*waves)
    codes = model.codec.encode(*waves, 4)
    by_hand = [[1024 * level + int(codes[0, level, t]) for t in range(25) for level in range(4)]]
    assert features[0].tolist() == by_hand[0] and lengths.tolist() == [4 * 25, 4 * 15]
    assert [model.config.features.length(int(n)) for n in waves[1]] == lengths.tolist() and model.config.features.seconds == 0.01
    heard = model.encode(*waves)
    assert torch.equal(heard.embeddings[0], model.encoder.table.weight[by_hand[0]]) and heard.ctc_log_probs.shape == (2, 100, 0)


def test_padding_and_batch_change_no_code(model, waves):
    together, alone = model.encode(*waves), model.encode(waves[0][1:, :9001], waves[1][1:])
    assert torch.equal(together.embeddings[1, : int(alone.lengths[0])], alone.embeddings[0])


def test_a_code_that_is_another_changes_what_is_predicted(model, waves):
    features, lengths = model.features(*waves)
    row = layout(model.vocabulary, "asr", "en", [3, 4], int(lengths[0]))
    logits = model.output_logits([row], model.listen(features[:1], lengths[:1]).embeddings)
    for place in (0, 1, 50, 99):
        other = features[:1].clone()
        other[0, place] = place % 4 * 1024 + (other[0, place] + 1) % 1024
        assert (model.output_logits([row], model.listen(other, lengths[:1]).embeddings) - logits).abs().amax(1).min() > 1e-7
    padded = torch.nn.functional.pad(features[:1], (0, 20), value=7)
    rows = [row, layout(model.vocabulary, "asr", "en", [], int(lengths[1]))]
    more = model.listen(torch.cat([padded, torch.nn.functional.pad(features[1:], (0, 20))]), lengths)
    torch.testing.assert_close(model.output_logits(rows, more.embeddings)[: len(logits)], logits, atol=1e-5, rtol=1e-4)


def test_codes_of_a_frame_stand_at_its_time(model):
    """Two frames of four codes, <se> <en>, an audio token for each frame, <eos>; and a transcript behind them."""
    vocabulary = model.vocabulary
    heard = [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75]
    assert times_of(vocabulary, layout(vocabulary, "se", "en", vocabulary.audio([5, 6]), 8)) == [*heard, 2, 3, 0, 1, 6]
    assert times_of(vocabulary, layout(vocabulary, "asr", "en", [7], 8)) == [*heard, 2, 3, 4, 5]


def test_step_by_step_it_predicts_what_training_predicts(model, waves):
    output = model.vocabulary.audio([5, 900, 17])
    heard, row = model.encode(*waves), layout(model.vocabulary, "se", "en", output, 60)
    expected = model.output_logits([row], heard.embeddings[1:, :60])
    backend = TorchBackend(model, torch.device("cpu"))
    frames = EncoderOutput(*(part[1:].detach().numpy() for part in (heard.embeddings, heard.lengths, heard.ctc_log_probs)))
    session = backend.open(frames, [[model.vocabulary.task("se"), model.vocabulary.lang("en")]])
    steps = [session.logits, *(session.extend(np.array([[i]]))[:, 0] for i in output)]
    np.testing.assert_allclose(np.concatenate(steps), expected[1:].detach().numpy(), atol=1e-4)


def test_steps_of_joint_training_learn_the_codes_that_are_heard(model, make_stage):
    torch.manual_seed(0)
    model = LauraModel(model.config)
    stage = make_stage("joint", model, batch_seconds=4, **JOINT)
    batch, losses = stage.batch(0), []
    assert not batch.read.layouts and all(example.units is None for example in batch.examples)
    heard = {i for wave in batch.recordings.split(torch.device("cpu")) for i in features_of(model, wave)}

    def update(name: str, parts: dict) -> None:
        assert parts.keys() == {"tokens"}
        stage.optimizers[name].zero_grad()
        parts["tokens"].backward()
        assert set(model.encoder.table.weight.grad.abs().sum(1).nonzero().flatten().tolist()) == heard
        for group in stage.optimizers[name].param_groups:
            group["lr"] = 3e-3
        stage.optimizers[name].step()

    stage.modules.train()
    for step in range(6):
        losses.append(float(stage.step(batch, step, update)["loss"]))
    assert losses[-1] < losses[0] - 0.3 and not any(p.grad is not None for p in model.codec.parameters())


def features_of(model: LauraModel, wave: torch.Tensor) -> list[int]:
    return model.features(wave[None].float() / 32767, torch.tensor([len(wave)]))[0][0].tolist()


def recipe_with(folder, init, data, **changes) -> dict:
    recipe = {"preset": "debug", "model": CODES, "init": str(init), "init_parts": ["codec", "vocoder"], "voices": []}
    stages = {"joint": {"steps": 2, "batch_seconds": 4, "warmup": 1, "dev_batches": 1} | JOINT}
    return recipe | {"data": str(data), "out": str(folder), "stages": stages} | changes


def test_from_a_recipe_to_answers(debug_checkpoint, prepared, tmp_path):
    path = tmp_path / "codes.yaml"
    path.write_text(yaml.safe_dump(recipe_with(tmp_path / "out", debug_checkpoint, prepared)))
    train(path)
    folder = tmp_path / "out" / "export"
    config = LauraConfig.from_dict(json.loads((folder / "config.json").read_text())["model"])
    assert config.discrete and config == with_changes(PRESETS["debug"], CODES)
    laura, wave = Laura.load(folder), load_span(str(prepared / "dev-0.wav"))
    [heard] = laura.transcribe([wave], lang="en")
    assert heard.receipt["sequences"][0]["frames"] == 4 * -(-len(wave) // 640) and all(not each.words for each in heard.segments)
    assert laura.enhance(wave).audio.shape == wave.shape
    with pytest.raises(LauraError, match="torch alone"):
        export_graphs(folder)
    spoken = Example("asr/a", "asr", "dev", "en", "kathleen", str(prepared / "dev-0.wav"), len(wave) / 16000, targets=["he paid"])
    with pytest.raises(LauraError, match=f"^{laura.runtime.info.name} reads the codec's codes and has no CTC head .*: choose another"):
        hear(laura.runtime, [spoken], {spoken.audio: SoundFacts(seconds=spoken.duration, loudest=0.2)})


def test_transcripts_may_have_more_letters_than_there_are_codes(debug_checkpoint, prepared, tmp_path):
    path = tmp_path / "codes.yaml"
    path.write_text(yaml.safe_dump(recipe_with(tmp_path / "out", debug_checkpoint, prepared)))
    cuda = torch.cuda.is_available()
    accelerator = Accelerator(mixed_precision=precision(cuda), cpu=not cuda)  # as training makes it: a process has one kind
    train_examples, dev = read_data(prepared)
    fast = [replace(example, targets=[10 * target for target in example.targets]) for example in train_examples]
    assert begin_run(load_recipe(path), ["joint"], fast, dev, accelerator).train == fast
    plain = load_recipe(path, ["model={}"])
    with pytest.raises(LauraError, match="more CTC units than"):
        begin_run(plain, ["joint"], fast, dev, accelerator)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"encoder": {"kind": "codes"}}}, "set both to false"),
        ({"model": CODES | {"encoder": {"kind": "codes", "quantizers": 5}}}, "quantizers is 5, and the codec has 4: give 1 to 4"),
        ({"stages": {"encoder": {}}}, "stages.encoder: .*leave the stage out"),
        ({"stages": {"joint": JOINT | {"phrases": 0.5}}}, "joint.phrases: .*set it to 0"),
        ({"stages": {"joint": JOINT | {"spec_augment": True}}}, "joint.spec_augment: .*or false"),
        ({"stages": {"joint": JOINT | {"posterior_bank": {"kathleen": 0.1}}}}, "joint.posterior_bank: .*needs: leave it out"),
        ({"model": {"features": {"kind": "codes"}}}, "features.kind is codes, and encoder.kind is conformer: set that to codes too"),
        ({"stages": {"gpt": {"phrases": 0.5}}}, "plain_sentences to 1"),
        ({"stages": {"gpt": {"phrases": 0, "weights": {"ser": 1}}}}, "leave ser out"),
    ],
)  # fmt: skip
def test_what_codes_cannot_do_is_said_before_any_step(debug_checkpoint, prepared, tmp_path, changes, words):
    path = tmp_path / "codes.yaml"
    path.write_text(yaml.safe_dump(recipe_with(tmp_path / "out", debug_checkpoint, prepared, **changes)))
    with pytest.raises(LauraError, match=words) as raised:
        train(path)
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()


def test_its_plan_counts_the_gpt_alone(make_stage, corpus):
    """Six operations a weight and token, at least, of which most are codes."""
    with torch.device("meta"):
        model = LauraModel(with_changes(PRESETS["debug"], CODES))
    config = make_stage("joint", LauraModel(model.config), **JOINT).config
    batch, _ = draw("joint", model, config, corpus.train)
    found = count_batch("joint", model, stage_modules("joint", model, config), config, batch, bf16=False, fused=True)
    weights = sum(p.numel() for p in model.gpt.layers.parameters())
    assert 50 * batch.heard <= batch.frames / 2 <= 51 * batch.heard + 16
    assert 6 * weights * batch.frames < found.flops < 30 * weights * (batch.frames + batch.text + batch.audio)
