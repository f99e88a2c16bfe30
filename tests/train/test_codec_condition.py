"""The vocoder's stage with a condition in codec space: it begins at the noisy speech, measures, and learns from what it is given."""

from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.sequence import layout
from lauragpt.source_filter import FRAMES
from lauragpt.train import loop
from lauragpt.train.precision import precision
from lauragpt.train.speech_frames import analysed


@pytest.fixture
def model(corpus):
    torch.manual_seed(0)
    config = PRESETS["debug"]
    model = LauraModel(replace(config, vocoder=replace(config.vocoder, condition="codec")))
    with torch.no_grad():  # untrained, its encoder would hardly hear more than its biases
        for name, parameter in model.codec.encoder.named_parameters():
            parameter.mul_(0 if "bias" in name else 1)
        waves = [torch.from_numpy(corpus.waves(e.audio))[None] for e in corpus.train if e.task == "se"]
        model.codec.quantizer.initialise(torch.cat([model.codec.latents(wave)[0] for wave in waves]))
    return model


def test_vectors_are_measured_once_over_speech_of_training(make_stage, model, corpus):
    stage = make_stage("vocoder", model, weights={"se": 1})
    with torch.no_grad():
        vectors = torch.cat([model.codec.vectors(torch.from_numpy(corpus.waves(e.audio))[None])[0] for e in corpus.train if e.task == "se"])
    standardised = stage.model.vocoder.standardised(vectors)
    assert standardised.mean(0).abs().max() < 0.5 and (standardised.std(0) - 1).abs().max() < 0.5
    with torch.no_grad():
        model.vocoder.mean.add_(1.0)
    measured = model.vocoder.mean.clone()
    assert torch.equal(make_stage("vocoder", model, weights={"se": 1}, seed=1).model.vocoder.mean, measured)


def test_it_begins_with_what_it_is_given(make_stage, model):
    stage = make_stage("vocoder", model, weights={"se": 1})
    group = stage.batch(0).groups[0]
    vectors, lengths = stage.conditions(group, group.tokens, -(-group.clean.samples // model.config.codec.hop))["noisy"]
    given = model.codec.vectors(*group.noisy)
    codes = torch.randint(model.config.audio_size, vectors.shape[:2])
    predicted = model.vocode(codes, lengths, noisy=(vectors, lengths))
    for row, n in enumerate(lengths.tolist()):
        torch.testing.assert_close(predicted[row, :n], given[row, :n], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("task, condition", [("se", "noisy"), ("tts", "prompt")])
def test_after_some_steps_another_condition_and_other_tokens_give_another_sound(make_stage, model, tmp_path, task, condition):
    """No entry is shut: the rest, which is 0 at first, opens with the first step."""
    stage = make_stage("vocoder", model, weights={task: 1}, steps=12, batch_seconds=3, lr=3e-3, dev_batches=1)
    batch = stage.batch(0)
    group = batch.groups[0]
    if task == "se":  # louder noise than there may be
        noise = 0.5 * torch.randn(group.clean.waves.shape, generator=torch.Generator().manual_seed(0))
        group = replace(group, noisy=group.clean._replace(waves=group.clean.waves + noise))
    stage.batch = lambda number, step: replace(batch, groups=[group])
    before = stage.loss(group).item()
    assert loop.run(stage, tmp_path, Accelerator(mixed_precision=precision(), cpu=True))
    loss = stage.loss(group)
    loss.backward()
    vocoder, codec = model.vocoder, model.codec
    entries = {"noisy": [vocoder.noisy, vocoder.gate], "prompt": [vocoder.prompt, vocoder.speaker, vocoder.frames]}[condition]
    assert loss.item() < before and all(p.grad.abs().sum() > 0 for entry in entries for p in entry.parameters())
    assert all(parameter.grad is None for parameter in codec.parameters())
    codes, counts = codec.encode(*group.clean, n_quantizers=1)[:, 0], -(-group.clean.samples // codec.config.hop)
    vectors = codec.vectors(*group.clean)
    for row, n in enumerate(counts.tolist()):
        assert torch.equal(group.tokens[row, :n], codes[row, :n])
        if task == "se":
            torch.testing.assert_close(group.target[row, :n], vectors[row, :n], atol=1e-2, rtol=1e-2)
        else:
            wave = group.clean.waves[row, : group.clean.samples[row]].numpy()
            assert torch.equal(group.target[row, : FRAMES * n], torch.from_numpy(analysed(wave)).half())
    given = stage.conditions(group, codes, counts)
    heard, lengths = given[condition]
    answer = vocoder.speech_numbers if task == "tts" else lambda *tokens, **given: model.vocode(*tokens, **given) / vocoder.scale
    with torch.no_grad():
        said = answer(codes, counts, **given)
        other = answer(codes, counts, **given | {condition: (-heard, lengths)})
        elsewhere = answer((codes + 7) % model.config.audio_size, counts, **given)
    for changed in (other, elsewhere):
        assert (said - changed).abs().mean() > 1e-3


def test_the_loss_is_of_standardised_vectors_of_the_clean_speech(make_stage, model):
    stage = make_stage("vocoder", model, weights={"se": 1}, token_errors=0.0)
    stage.sound_loss = lambda *given: torch.zeros(())
    group = stage.batch(0).groups[0]
    clean, noisy = (model.codec.vectors(*waves) for waves in (group.clean, group.noisy))
    counts = -(-group.clean.samples // model.config.codec.hop)
    real = torch.arange(clean.shape[1]) < counts[:, None]
    difference = ((noisy - clean) / model.vocoder.deviation)[real]
    assert stage.loss(group).item() == pytest.approx((difference.abs().mean() + difference.square().mean()).item(), rel=1e-2)


def test_letters_stand_where_the_speller_finds_them(make_stage, model):
    stage = make_stage("vocoder", model, weights={"tts": 1})
    group = stage.batch(0).groups[0]
    counts = -(-group.clean.samples // model.config.codec.hop)
    ids, lengths, said = stage.conditions(group, group.tokens, counts)["text"]
    assert said.shape == group.tokens.shape and (said < lengths[:, None]).all() and (said.diff(dim=1)[:, : counts.min() - 1] >= 0).all()
    [alone] = model.said(group.tokens[:1, : counts[0]], counts[:1], [ids[0, : lengths[0]].tolist()])
    assert torch.equal(said[0, : counts[0]], alone) and (said[0, counts[0] :] == -1).all()


def test_a_vocoder_that_goes_on_is_not_begun_anew(make_stage, model):
    torch.nn.init.normal_(model.vocoder.output.weight)
    weight = model.vocoder.output.weight.clone()
    assert torch.equal(make_stage("vocoder", model, weights={"se": 1}).model.vocoder.output.weight, weight)


@pytest.mark.parametrize("task", ["se", "tts"])
def test_tokens_may_be_those_that_the_gpt_writes(make_stage, model, task):
    with torch.no_grad():
        model.gpt.embed_tokens.weight.mul_(100)  # it is sure of what it writes
    stage = make_stage("vocoder", model, weights={task: 1}, written_tokens=1.0, token_errors=0.0)
    group = stage.batch(0).groups[0]
    counts = -(-group.clean.samples // model.config.codec.hop)
    assert group.written
    seeds = [torch.Generator().manual_seed(seed) for seed in (0, 0, 1)]
    first, again, other = (stage.written(group, counts, generator) for generator in seeds)
    assert torch.equal(first, again) and first.shape == group.tokens.shape
    real = torch.arange(first.shape[1]) < counts[:, None]
    assert ((first == other) | ~real).float().mean() > 0.9
    assert stage.loss(group).isfinite()
    vocabulary = model.vocabulary
    n, lang = int(counts[0]), group.langs[0]
    if task == "tts":
        ids = group.text.ids[0, : group.text.lengths[0]].tolist()
        row, frames = layout(vocabulary, "tts", lang, vocabulary.audio(group.tokens[0, :n].tolist()), source=ids), None
    else:
        heard = model.encode(group.noisy.waves[:1, : group.noisy.samples[0]], group.noisy.samples[:1])
        row, frames = layout(vocabulary, "se", lang, vocabulary.audio(group.tokens[0, :n].tolist()), int(heard.lengths)), heard.embeddings
    expected = model.output_logits([row], frames)[1:-1, vocabulary.text_size : vocabulary.text_size + vocabulary.audio_size].argmax(-1)
    assert (first[0, :n] == expected).float().mean() > 0.9


def test_a_vocoder_of_features_reads_no_tokens_that_the_gpt_writes(make_stage):
    with pytest.raises(LauraError, match="written_tokens are for a vocoder with `condition: codec`"):
        make_stage("vocoder", LauraModel(PRESETS["debug"]), weights={"se": 1}, written_tokens=0.5)
