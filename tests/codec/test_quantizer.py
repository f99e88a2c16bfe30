"""The quantizer against a plain numpy loop, and the defects of public codecs that it must not have."""

import numpy as np
import pytest
import torch

from lauragpt.codec.finite_scalar import code_of
from lauragpt.codec.quantizer import QuantizerConfig, ResidualQuantizer, kmeans
from lauragpt.errors import LauraError

SMALL = QuantizerConfig(n_quantizers=4, codebook_size=16, dim=8, dropout_levels=(1, 2, 4))


def clustered(n_points: int, dim: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(24, dim, generator=generator)
    chosen = torch.randint(24, (n_points,), generator=generator)
    return centres[chosen] + 0.2 * torch.randn(n_points, dim, generator=generator)


def started(config: QuantizerConfig = SMALL) -> ResidualQuantizer:
    quantizer = ResidualQuantizer(config)
    quantizer.initialise(clustered(600, config.dim, seed=1))
    return quantizer


def numpy_rvq(latents: np.ndarray, codebooks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One point and one level at a time."""
    B, T, _ = latents.shape
    codes, total = np.zeros((B, len(codebooks), T), int), np.zeros_like(latents)
    for b in range(B):
        for t in range(T):
            residual = latents[b, t].copy()
            for k, codebook in enumerate(codebooks):
                codes[b, k, t] = np.argmin(((residual - codebook) ** 2).sum(1))
                residual -= codebook[codes[b, k, t]]
                total[b, t] += codebook[codes[b, k, t]]
    return codes, total


def test_equals_a_plain_loop():
    quantizer = started()
    latents = clustered(3 * 11, 8, seed=2).view(3, 11, 8)
    codes, total = numpy_rvq(latents.double().numpy(), quantizer.codebooks.double().numpy())
    output = quantizer(latents)
    np.testing.assert_array_equal(output.codes.numpy(), codes)
    np.testing.assert_allclose(output.embeddings.numpy(), total, atol=1e-5)
    np.testing.assert_array_equal(quantizer.encode(latents).numpy(), codes)
    np.testing.assert_allclose(quantizer.embed(torch.tensor(codes)).numpy(), total, atol=1e-5)


def test_each_level_lowers_the_error():
    quantizer, latents = started(), clustered(600, 8, seed=1)[None]
    errors = [float((quantizer.embed(quantizer.encode(latents, n)) - latents).square().mean()) for n in range(1, 5)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.5 * errors[0]


def test_commitment_gradient_reaches_every_level():
    """Of the k-th commitment |r_k - e_k|^2 the gradient at the latents is 2 (r_k - e_k) / size, for every k."""
    quantizer = started()
    latents = clustered(20, 8, seed=3).view(2, 10, 8).requires_grad_()
    output = quantizer(latents)
    total = torch.zeros_like(latents)
    for level in range(4):
        total = total + quantizer.codebooks[level][output.codes[:, level]]
        (gradient,) = torch.autograd.grad(output.commitment[level], latents, retain_graph=True)
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradient, 2 * (latents - total).detach() / latents.numel())


def test_gradient_passes_straight_through():
    quantizer = started()
    latents = clustered(20, 8, seed=3).view(2, 10, 8).requires_grad_()
    weights = torch.randn(2, 10, 8)
    (quantizer(latents, 2).embeddings * weights).sum().backward()
    torch.testing.assert_close(latents.grad, weights)


def test_dropout_includes_the_first_level_alone():
    quantizer = ResidualQuantizer(QuantizerConfig(codebook_size=4, dim=2))
    drawn = quantizer.draw_levels(6000, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {1, 2, 4, 8, 16, 32}
    assert abs(float((drawn == 1).float().mean()) - 1 / 3) < 0.03
    assert abs(float((drawn == 16).float().mean()) - 2 / 15) < 0.03


def test_rows_with_their_own_levels_equal_rows_alone():
    quantizer, latents = started(), clustered(40, 8, seed=4).view(4, 10, 8)
    levels = torch.tensor([4, 1, 2, 1])
    together = quantizer(latents, levels)
    for row, level in enumerate(levels.tolist()):
        alone = quantizer(latents[row : row + 1], level)
        torch.testing.assert_close(together.embeddings[row], alone.embeddings[0])
        assert torch.equal(together.codes[row, :level], alone.codes[0])
        assert (together.codes[row, level:] == -1).all()


def test_codebooks_move_only_when_told():
    quantizer = started()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer.train()
    quantizer(clustered(40, 8, seed=5)[None])
    for name, value in quantizer.state_dict().items():
        assert torch.equal(value, before[name]), name
    quantizer(clustered(40, 8, seed=5)[None], update=True)
    assert not torch.equal(quantizer.codebooks, before["codebooks"])


def test_moving_average_equals_sums_over_counts():
    """The usual bookkeeping, a moving sum and a moving count kept apart, gives the same codebook."""
    quantizer = started(QuantizerConfig(n_quantizers=1, codebook_size=16, dim=8, decay=0.9, drift=0.0, dead_threshold=0.0))
    counts = quantizer.counts[0].double().clone()
    sums = counts[:, None] * quantizer.codebooks[0].double()
    for step in range(20):
        points = clustered(50, 8, seed=10 + step)
        index = quantizer.search(points, 0)
        for code in range(16):
            mine = points[index == code].double()
            counts[code] = 0.9 * counts[code] + 0.1 * len(mine)
            sums[code] = 0.9 * sums[code] + 0.1 * mine.sum(0)
        quantizer(points[None], update=True)
        torch.testing.assert_close(quantizer.counts[0].double(), counts, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(quantizer.codebooks[0].double(), sums / counts[:, None], rtol=1e-4, atol=1e-4)


def test_revived_codes_survive_the_step():
    quantizer, points = started(), clustered(200, 8, seed=6)
    quantizer.codebooks[0, 3] = 1000.0  # out of everyone's reach
    quantizer.counts[0, 3] = 1e-6
    quantizer(points[None], 1, update=True)
    revived = quantizer.codebooks[0, 3]
    assert (revived == points).all(1).any(), "a dead code becomes one of the batch's points, and is still it after the step"
    assert 3 in quantizer.search(points, 0)
    quantizer(clustered(200, 8, seed=7)[None], 1, update=True)
    assert quantizer.codebooks[0, 3].abs().max() < 10
    assert quantizer.counts[0, 3] > 1


def test_small_batches_do_not_kill_codes():
    """Fewer frames than codes in a step, evenly used over steps: no code may be called dead."""
    config = QuantizerConfig(n_quantizers=1, codebook_size=64, dim=8)
    quantizer = ResidualQuantizer(config)
    data = clustered(4000, 8, seed=8)
    quantizer.initialise(data)
    for step in range(30):  # settle
        quantizer(data[torch.randperm(4000, generator=torch.Generator().manual_seed(step))[:256]][None], update=True)
    before = quantizer.codebooks[0].clone()
    for step in range(20):
        quantizer(data[torch.randperm(4000, generator=torch.Generator().manual_seed(99 + step))[:32]][None], update=True)
    jumped = ((quantizer.codebooks[0] - before).norm(dim=1) > before.norm(dim=1)).sum()
    assert jumped <= 2


def test_kmeans_finds_clusters_and_is_repeatable():
    points = clustered(2000, 8, seed=9)
    first, second = (kmeans(points, 64, 10, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.cdist(points, first).min(1).values.square().mean() < 0.1 * 8  # the noise within a cluster is 0.04 a dim


@pytest.mark.parametrize("n_points", [1, 5])
def test_kmeans_with_fewer_points_than_codes(n_points):
    centres = kmeans(clustered(5, 8, seed=0)[:n_points], 16, 3, torch.Generator().manual_seed(0))
    assert centres.shape == (16, 8) and torch.isfinite(centres).all()


LEVELS = QuantizerConfig(n_quantizers=3, codebook_size=16, dim=4, guide=2, levels=(4, 4))


def leveled(points: int = 2000) -> tuple[ResidualQuantizer, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, points, LEVELS.dim + LEVELS.guide, generator=generator)
    quantizer = ResidualQuantizer(LEVELS)
    quantizer.initialise(latents[0])
    return quantizer, latents


def test_levels_alone_are_the_first_code_and_its_embedding_is_the_mean_of_its_latents():
    quantizer, latents = leveled()
    codes = quantizer.encode(latents)
    assert torch.equal(codes[:, 0], code_of(latents[..., LEVELS.dim :], LEVELS.levels)) and len(codes[0, 0].unique()) == 16
    louder = latents.clone()
    louder[..., : LEVELS.dim] *= 5
    assert torch.equal(quantizer.encode(louder)[:, 0], codes[:, 0])
    for code in range(16):
        torch.testing.assert_close(quantizer.codebooks[0, code], latents[0, codes[0, 0] == code][:, : LEVELS.dim].mean(0))
    assert torch.equal(quantizer(latents).codes, codes)
    assert quantizer.guides is None


def test_a_first_code_that_nobody_uses_keeps_its_meaning():
    quantizer, latents = leveled()
    latents[..., LEVELS.dim :] = 0.0  # one code for all
    before = quantizer.codebooks[0].clone()
    for _ in range(100):
        quantizer(latents, update=True)
    moved = (quantizer.codebooks[0] - before).norm(dim=1)
    used = int(quantizer.encode(latents)[0, 0, 0])
    torch.testing.assert_close(quantizer.codebooks[0, used], latents[0, :, : LEVELS.dim].mean(0), atol=1e-2, rtol=0)
    assert int((moved > 0).sum()) == 16  # all shift with the mean, and none jumps onto a point
    others = torch.arange(16) != used
    assert float((quantizer.codebooks[0] - before)[others].std(0).max()) < 1e-4


def test_levels_that_do_not_fit_are_refused():
    with pytest.raises(LauraError, match="2 levels that make 16 codes.*guide of 3.*1024 codes"):
        QuantizerConfig(guide=3, levels=(4, 4))
