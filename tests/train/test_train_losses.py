"""What the stages minimise: cross-entropy of outputs alone, CTC of both heads, the vocoder's condition."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lauragpt.model.encoder import EncoderOutput
from lauragpt.sequence import Layout, times_of
from lauragpt.tasks import TASKS
from lauragpt.train.encoding import encode_recordings
from lauragpt.train.losses import ctc_loss, token_weights
from lauragpt.train.stages.gpt import embed_posteriors
from tests.conftest import loud
from tests.train.conftest import no_update


def test_a_long_answer_does_not_drown_a_short_one():
    rows = [Layout(0, (0,) * 5, (True,) * n + (False,) * (5 - n)) for n in (1, 4, 4)]
    weights = token_weights(rows)
    assert len(weights) == 9 and sum(weights) == pytest.approx(1)
    assert weights[0] == pytest.approx(1 / 5) and sum(weights[1:5]) == pytest.approx(2 / 5)
    weights = token_weights(rows, [5, 1, 2])
    assert weights[0] == pytest.approx(5 / 11) and sum(weights[5:]) == pytest.approx(4 / 11) and sum(weights) == pytest.approx(1)


@torch.no_grad()
def by_hand(model, layouts, frames) -> float:
    """The weighted loss of sequences one by one: each output token behind all that stands before it, nothing else."""
    tasks = {model.vocabulary.task(name) for name in TASKS}
    total, scale, listening = 0.0, 0.0, iter(frames)
    for row in layouts:
        ids = torch.tensor(row.ids)
        x = model.gpt.embed(ids)
        if row.frames:
            x = torch.cat([next(listening)[: row.frames], x])
        task = next(place for place, i in enumerate(row.ids) if i in tasks)
        answer = range(task + 1, len(row.ids))  # <lang>, output, <eos>
        hidden = model.gpt.hidden(x[None], times=torch.tensor([times_of(model.vocabulary, row)]))[0]
        log_probs = model.gpt.logits(hidden).float().log_softmax(-1)
        mean = -np.mean([float(log_probs[row.frames + place - 1, row.ids[place]]) for place in answer])
        total, scale = total + len(answer) ** 0.5 * mean, scale + len(answer) ** 0.5
    return total / scale


def test_the_loss_counts_outputs_alone(make_stage):
    stage = make_stage("gpt", plain_sentences=0.0, weights={"mt": 1, "tts": 1})
    batch = stage.batch(0)
    frames = embed_posteriors(stage.model.eval(), batch)
    assert stage.step(batch, 0, no_update)["loss"] == pytest.approx(by_hand(stage.model, batch.layouts, frames), rel=1e-4)


def test_the_joint_loss_counts_outputs_and_the_transcripts_ctc(make_stage):
    weights = {"asr": 1, "mt": 1, "tts": 1, "se": 1, "aac": 1, "ser": 1}
    stage = make_stage("joint", weights=weights, batch_seconds=14, ctc_weight=0.5, middle_ctc_weight=0.0, spec_augment=False)
    stage.model.eval()
    batch = stage.batch(1)
    output = encode_recordings(stage.model, batch.recordings, augment=False)
    layouts = stage._align([example.layout for example in batch.examples], batch, output)
    reading = list(embed_posteriors(stage.model, batch.read))
    expected = by_hand(stage.model, [*layouts, *batch.read.layouts], [*output.embeddings, *reading])
    transcripts = {row: example.units for row, example in enumerate(batch.examples) if example.units}
    ctc = float(ctc_loss(output, list(transcripts), list(transcripts.values()), 0.0).detach())
    losses = stage.step(batch, 0, no_update)
    assert transcripts and losses["ctc"] == pytest.approx(ctc, rel=1e-5)
    assert losses["loss"] == pytest.approx(expected + 0.5 * ctc, rel=1e-4)


def paths(log_probs: np.ndarray, units: tuple[int, ...]) -> float:
    """log p(units) over every path of frames, by counting them all."""
    T, U = log_probs.shape
    total = 0.0
    for path in np.ndindex(*[U] * T):
        collapsed = tuple(unit for place, unit in enumerate(path) if unit and (not place or path[place - 1] != unit))
        if collapsed == units:
            total += np.exp(sum(log_probs[t, unit] for t, unit in enumerate(path)))
    return float(np.log(total))


def test_ctc_is_that_of_every_path_and_the_middle_layers_counts_its_share():
    torch.manual_seed(0)
    last, middle = (torch.randn(3, 4, 3).log_softmax(-1) for _ in range(2))
    output = EncoderOutput(torch.zeros(3, 4, 1), torch.tensor([4, 3, 4]), last, middle)
    units = [(1, 2), (1, 1)]
    expected = [-(paths(heads[0].numpy(), units[0]) + paths(heads[2].numpy(), units[1])) / 4 for heads in (last, middle)]
    assert float(ctc_loss(output, [0, 2], units, 0.3)) == pytest.approx(expected[0] + 0.3 * expected[1], rel=1e-5)


def test_the_encoder_learns_from_ctc_on_both_layers(make_stage):
    stage = make_stage("encoder", weights={"asr": 1}, spec_augment=False, middle_ctc_weight=0.5)
    batch, losses = stage.batch(0), []
    with torch.no_grad():
        output = encode_recordings(stage.model, batch.recordings, augment=False)
        expected = float(ctc_loss(output, range(len(batch.units)), batch.units, 0.5))
        only_last = float(ctc_loss(output, range(len(batch.units)), batch.units, 0.0))
    stage.step(batch, 0, lambda name, loss: losses.append(loss["ctc"].item()))
    assert losses == [pytest.approx(expected, rel=1e-5)] and expected > 1.2 * only_last


@pytest.mark.parametrize("task, condition", [("se", "noisy"), ("tts", "text"), ("tts", "prompt")])
def test_the_vocoder_learns_from_its_condition(make_stage, task, condition):
    """Another condition gives another loss, and what takes the condition in gets a gradient."""
    stage = make_stage("vocoder", weights={task: 1})
    torch.nn.init.normal_(stage.model.vocoder.output.weight)
    group = stage.batch(2).groups[0]
    given = getattr(group, condition)
    other = given._replace(ids=(given.ids + 7) % 300) if condition == "text" else given._replace(waves=given.waves.flip(1))
    changed = replace(group, **{condition: other})
    with torch.no_grad():
        first, again, second = (stage.loss(g).item() for g in (group, group, changed))
    assert first == again and abs(first - second) > 1e-4 * first  # the same twice, to the last bit
    vocoder = stage.model.vocoder
    stage.loss(group).backward()
    entries = {"noisy": vocoder.noisy, "text": vocoder.text, "prompt": vocoder.prompt}
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in entries[condition].parameters())


def test_wrong_tokens_are_as_many_as_asked_for(make_stage, monkeypatch):
    stage, given = make_stage("vocoder", weights={"se": 1}, token_errors=0.25, batch_seconds=24), []
    vocode = stage.model.vocode
    monkeypatch.setattr(stage.model, "vocode", lambda tokens, lengths, **more: given.append(tokens) or vocode(tokens, lengths, **more))
    group = max(stage.batch(0).groups, key=lambda group: group.clean.waves.numel())
    with torch.no_grad():
        stage.loss(group)
        codes = stage.model.codec.encode(*group.clean)[:, 0]
    assert 0.15 < (given[0] != codes).float().mean() < 0.35


def test_the_vocoder_learns_from_the_sound_of_what_it_predicts_and_the_codec_stays(make_stage):
    stage = make_stage("vocoder", weights={"tts": 1}, spectral_frames=70)
    codec, generator, lengths = stage.model.codec.eval(), torch.Generator().manual_seed(0), torch.tensor([70, 33])
    loud(codec)
    right = torch.randn(2, 70, codec.config.dim)
    clean = codec.decode_embeddings(right, lengths).detach() * (torch.arange(70 * codec.config.hop) < lengths[:, None] * codec.config.hop)
    clean = clean[:, :-10]  # the last frame is seldom whole
    right.requires_grad_(True)
    padded = torch.cat([right[:1], right[1:].where(torch.arange(70)[:, None] < 33, 9.0)])
    embeddings = {"right": right, "wrong": right.roll(1, 2), "padded": padded}
    loss = {name: stage.sound_loss(given, clean, lengths, generator) for name, given in embeddings.items()}
    assert loss["right"] < 0.05 * loss["wrong"] and loss["padded"] == loss["right"]
    loss["wrong"].backward()
    assert right.grad.abs().sum() > 0 and all(parameter.grad is None for parameter in codec.parameters())
