"""The codec's training step: it learns, the turns keep apart, processes agree."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from lauragpt.codec import CODEC_PRESETS, Codec, CodecConfig
from lauragpt.codec.discriminator import DiscriminatorConfig
from lauragpt.codec.quantizer import QuantizerConfig, ResidualQuantizer
from lauragpt.codec.spectral import SpectralConfig
from lauragpt.data.manifest import Example
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.train.batches import CodecBatch
from lauragpt.train.corpus import Corpus
from lauragpt.train.stages.codec import CodecStage, CodecStageConfig

CODEC = replace(
    CODEC_PRESETS["mini"],
    quantizer=QuantizerConfig(n_quantizers=4, codebook_size=32, dim=16, dropout_levels=(1, 2, 4)),
    spectral=SpectralConfig(channels=32, fine_channels=32, decoder_fine=1, encoder_coarse=1, decoder_coarse=1),
)
SMALL = CodecStageConfig(
    discriminator=DiscriminatorConfig((512,), channels=4), lr=3e-3, spectral_windows=(256,), quantize_from=10, adversarial_from=10**9
)


def codec_stage(config: CodecStageConfig, batch, codec: CodecConfig = CODEC) -> CodecStage:
    """A stage whose batches are made by formulas; with a guide, its teacher is these formulas as well."""
    model = LauraModel(replace(PRESETS["debug"], codec=replace(codec, quantizer=replace(codec.quantizer, guide=0))))
    model.codec = Codec.from_config(codec)
    speech = Example("tts/none", "tts", "train", "en", "none", "none.wav", 2.0)  # which nobody reads
    stage = CodecStage(model, Corpus([speech], [], Path(), None), config)
    stage.batch = batch
    return stage


def updater(stage: CodecStage, log: list | None = None):
    def update(name: str, loss: torch.Tensor) -> None:
        optimizer = stage.optimizers[name]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if log is not None:
            log.append(name)

    return update


def tones(seed: int) -> torch.Tensor:
    """(4, 12800): tones of random pitch."""
    generator = torch.Generator().manual_seed(seed)
    pitch = 200 + 600 * torch.rand(4, 1, generator=generator)
    return 0.3 * torch.sin(2 * torch.pi * pitch * torch.arange(12800) / 16000)


def batch_of(step: int) -> CodecBatch:
    return CodecBatch(tones(step), number=step)


@pytest.mark.parametrize("half", [False, True])
def test_it_learns(half):
    torch.manual_seed(0)
    stage = codec_stage(SMALL, batch_of)
    logs = []
    for step in range(60):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logs.append(stage.step(batch_of(step), step, updater(stage)))
    assert logs[-1]["spectral"] < 0.5 * logs[0]["spectral"]
    assert "usage" not in logs[0] and logs[-1]["usage"] > 0.3 and logs[-1]["perplexity"] > 2
    assert bool(stage.codec.quantizer.initialised.all())


def test_only_the_generators_turn_moves_codebooks_and_each_optimizer_its_own():
    torch.manual_seed(0)
    stage = codec_stage(replace(SMALL, adversarial_from=0, quantize_from=0), batch_of)
    seen = []

    def update(name: str, loss: torch.Tensor) -> None:
        state = {k: v.clone() for k, v in stage.modules.state_dict().items()}
        updater(stage)(name, loss)
        changed = {k for k, v in stage.modules.state_dict().items() if not torch.equal(v, state[k])}
        seen.append((name, changed, stage.codec.quantizer.codebooks.clone()))

    for step in range(2):
        metrics = stage.step(batch_of(step), step, update)
    assert [name for name, _, _ in seen] == ["generator", "discriminator"] * 2
    for name, changed, _ in seen:
        owner = "codec." if name == "generator" else "discriminator."
        assert changed and all(key.startswith(owner) for key in changed)
    assert torch.equal(seen[2][2], seen[3][2]) and not torch.equal(seen[0][2], seen[2][2])
    assert {"adversarial", "matching", "discriminator"} <= metrics.keys()


def test_codebooks_begin_with_the_batch_of_their_step_and_those_to_come():
    """Whose number is not that of the step, where there are several processes."""
    asked = []
    stage = codec_stage(replace(SMALL, quantize_from=0, kmeans_batches=3), lambda number: asked.append(number) or batch_of(number))
    stage.step(batch_of(40), 5, updater(stage))
    assert asked == [40, 41, 42] and bool(stage.codec.quantizer.initialised.all())


def test_the_same_seed_and_step_give_the_same_run():
    weights = []
    for _ in range(2):
        torch.manual_seed(0)
        stage = codec_stage(SMALL, batch_of)
        for step in range(14):
            stage.step(batch_of(step), step, updater(stage))
        weights.append(stage.codec.hash)
    assert weights[0] == weights[1]


def test_the_first_codes_follow_what_the_guide_learns():
    """Of two tones at once, the teacher tells the softer one's pitch: frames of one first code then agree in it, and the sound is as
    good."""

    def batch(step: int) -> CodecBatch:
        generator = torch.Generator().manual_seed(step)
        pitch, loud = 200 + 600 * torch.rand(4, 1, generator=generator), 2000 + 2000 * torch.rand(4, 1, generator=generator)
        time = 2 * torch.pi * torch.arange(12800) / 16000
        target = 16**0.5 * torch.cat([(pitch - 500) / 173, (loud - 3000) * 0], dim=1)  # of variance 16, the latents' width
        return CodecBatch(0.05 * torch.sin(pitch * time) + 0.3 * torch.sin(loud * time), target[:, None].expand(-1, 20, -1), step)

    def spread(codec) -> float:
        """The share of the pitch's variance within the frames of a code."""
        pitch = torch.cat([batch(1000 + n).guide[..., 0].flatten() for n in range(20)])
        with torch.no_grad():
            codes = torch.cat([codec.encode(batch(1000 + n).waves, n_quantizers=1)[:, 0].flatten() for n in range(20)])
        within = sum(((pitch[codes == code] - pitch[codes == code].mean()) ** 2).sum() for code in codes.unique())
        return float(within / ((pitch - pitch.mean()) ** 2).sum())

    found, sound = [], []
    for width in (0, 2):
        torch.manual_seed(0)
        codec = replace(CODEC, quantizer=replace(CODEC.quantizer, guide=width))
        stage = codec_stage(replace(SMALL, quantize_from=60), batch, codec)
        logs = [stage.step(batch(step), step, updater(stage)) for step in range(150)]
        found.append(spread(stage.codec.eval()))
        sound.append(sum(log["spectral"] for log in logs[-20:]) / 20)
    assert found[1] < 0.6 * found[0] and sound[1] < 1.2 * sound[0]


def test_trained_codebooks_go_on_from_the_first_step():
    """What starts from a trained codec never passes its latents on unquantized, which would leave the codebooks behind."""
    torch.manual_seed(0)
    stage = codec_stage(replace(SMALL, quantize_from=0), batch_of)
    stage.step(batch_of(0), 0, updater(stage))
    again = codec_stage(replace(SMALL, quantize_from=300), batch_of)
    again.codec.load_state_dict(stage.codec.state_dict())
    before = again.codec.quantizer.codebooks.clone()
    assert "usage" in again.step(batch_of(1), 0, updater(again))
    moved = (again.codec.quantizer.codebooks - before).abs().amax((1, 2))
    assert 0 < moved[0] < 2  # followed, and not begun anew


def test_gain_never_clips():
    stage = codec_stage(SMALL, batch_of)
    loud = torch.ones(8, 100) * 0.9
    gained = stage._gain(loud, torch.Generator().manual_seed(0))
    assert gained.abs().max() < 1 and len(gained[:, 0].unique()) > 4
    silent = torch.zeros(1, 100)
    assert torch.equal(stage._gain(silent, torch.Generator().manual_seed(0)), silent)


def test_validate_measures():
    stage = codec_stage(replace(SMALL, quantize_from=0), batch_of)
    stage.step(batch_of(0), 0, updater(stage))
    stage.codec.eval()
    scores = stage.measure([tones(1)[0], tones(2)[1, :9000]], n_quantizers=1)
    assert scores["mel_distance"] > 0


def points_of(rank: int, step: int, width: int = 0) -> torch.Tensor:
    return torch.randn(4, 5 + rank, 8 + width, generator=torch.Generator().manual_seed(10 * step + rank)) + rank


def common_start() -> ResidualQuantizer:
    quantizer = ResidualQuantizer(QuantizerConfig(n_quantizers=2, codebook_size=8, dim=8, dead_threshold=0.0))
    quantizer.initialised.fill_(True)
    quantizer.counts.fill_(1.0)
    return quantizer


def quantize_apart(rank: int, folder: str) -> None:
    """One of two processes: a quantizer from k-means on, with other depths in each process, and one from a common start."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.set_num_threads(1)
    fresh = ResidualQuantizer(QuantizerConfig(n_quantizers=4, codebook_size=16, dim=8, guide=3, dropout_levels=(1, 2, 4)))
    for step in range(12):
        # One of the processes often has no row at a level.
        levels = None if step == 0 else torch.tensor([1, 1, 1, 1] if (step + rank) % 2 else [4, 2, 1, 1])
        fresh(points_of(rank, step, 3), levels, update=True)
    started = common_start()
    for step in range(3):
        started(points_of(rank, step), update=True)
    torch.save([fresh.state_dict(), started.state_dict()], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_keep_the_codebooks_of_one_with_both_batches(tmp_path):
    mp.spawn(quantize_apart, args=(str(tmp_path),), nprocs=2)
    (first, started), (second, _) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert torch.isfinite(first["codebooks"]).all() and first["guides"].abs().min() > 0
    alone = common_start()
    for step in range(3):
        alone(torch.cat([points_of(rank, step).flatten(0, 1) for rank in range(2)])[None], update=True)
    torch.testing.assert_close(started["codebooks"], alone.codebooks, atol=1e-5, rtol=1e-4)
