"""Residual vector quantizer: latents (B, T, D) -> codes (B, K, T) and the sum of their embeddings (B, T, D).

Each level quantizes what the levels before it left over. Codebooks are no parameters: they follow the data by an exponential
moving average, start from k-means and replace codes that nobody uses. They move only where `update=True` is given (the
generator's turn), after which the revived codes are final for that step.

The first level, whose codes the GPT writes, may be guided: latents then carry G numbers more, which the codec's encoder or its listener
makes and only the choice of the first code sees beside the latent. They say which phone a frame belongs to, so that frames of one phone
share a code, while the embedding of that code is still the mean of its frames' latents, and the other levels quantize the rest of the
latent. (SpeechTokenizer, arXiv 2308.16692, and Mimi, arXiv 2410.00037, change the first embedding itself, which costs more sound quality.)
With `levels`, these G numbers alone are the first code (finite_scalar.py).

B batch, T frames, D width, G width of the guide, K levels (codebooks), V codes a level, P points (frames of all rows, flattened).
"""

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from lauragpt.codec.finite_scalar import code_of
from lauragpt.errors import LauraError


@dataclass(frozen=True)
class QuantizerConfig:
    """`dropout_levels` and `first_only` make the structured dropout: a row trains with `first_only` chance on the first level
    alone (the one that the GPT writes), else on a number of levels drawn evenly from the others. LauraError where levels do not fit."""

    n_quantizers: int = 32
    codebook_size: int = 1024
    dim: int = 128
    guide: int = 0  # numbers behind a latent that only the first level's choice sees
    levels: tuple[int, ...] = ()  # of each of these numbers, together codebook_size codes; empty where k-means finds the first codes
    decay: float = 0.97  # of the moving average, a step; at the usual 0.99 with little commitment the codes fall behind the encoder
    # and a tenth of them does all the work
    drift: float = 0.2  # share of the points' mean error by which a whole codebook shifts a step: a young encoder moves all of its
    # latents together, and codes that nobody chose this time must come along or they are lost
    dropout_levels: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    first_only: float = 1 / 3
    dead_threshold: float = 2.0  # a code is dead below this many uses in 16 frames a code (so an eighth of an even share):
    kmeans_iterations: int = 10  # relative, since a small batch has fewer frames than codes and a plain count would kill all
    seed: int = 0

    def __post_init__(self):
        if any(level < 3 for level in self.levels):
            raise LauraError(f"quantizer: {min(self.levels)} levels of a number leave training no slope: give each 3 or more")
        if self.levels and (math.prod(self.levels) != self.codebook_size or len(self.levels) != self.guide):
            raise LauraError(
                f"quantizer: {len(self.levels)} levels that make {math.prod(self.levels)} codes do not fit a guide of {self.guide} numbers "
                f"and {self.codebook_size} codes: choose levels whose product is codebook_size, as many as guide says"
            )


@dataclass
class QuantizerOutput:
    embeddings: Tensor  # (B, T, D): straight-through sum of the chosen embeddings
    codes: Tensor  # (B, K, T) int64; a row's unused levels hold -1
    commitment: Tensor  # (K,): a level's mean square of residual - embedding over the rows that use it


class ResidualQuantizer(nn.Module):
    def __init__(self, config: QuantizerConfig):
        super().__init__()
        self.config = config
        K, V, D = config.n_quantizers, config.codebook_size, config.dim
        generator = torch.Generator().manual_seed(config.seed)
        self.register_buffer("codebooks", torch.randn(K, V, D, generator=generator) * D**-0.5)
        guided = config.guide and not config.levels
        self.register_buffer("guides", torch.zeros(V, config.guide) if guided else None)  # the rest of the first level's codes
        # Moving average of the uses of a code in a step. The moving sum of points is counts * codebooks, so it needs no buffer.
        self.register_buffer("counts", torch.zeros(K, V))
        self.register_buffer("initialised", torch.zeros(K, dtype=torch.bool))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, latents: Tensor, levels: Tensor | int | None = None, update: bool = False) -> QuantizerOutput:
        """latents (B, T, D + G); `levels`: how many quantizers, one number or one a row (B,). The gradient of every level's
        commitment reaches the latents: only the embeddings that are subtracted are constants."""
        with torch.autocast(latents.device.type, enabled=False):
            latents, guide = self.split(latents.float())
            B, T, D = latents.shape
            K = self.config.n_quantizers
            levels = torch.full((B,), K if levels is None else levels) if not isinstance(levels, Tensor) else levels.cpu()
            depth = int(all_reduce(levels.max(), dist.ReduceOp.MAX)) if update else int(levels.max())
            if update and not bool(self.initialised[:depth].all()):
                self.initialise(torch.cat([latents, guide], -1).detach().flatten(0, 1), depth)
            total = torch.zeros_like(latents)
            codes = latents.new_full((B, depth, T), -1, dtype=torch.int64)
            commitment, chosen_by = [], []
            for level in range(depth):
                rows = (levels > level).nonzero(as_tuple=True)[0].to(latents.device)
                residual = latents[rows] - total[rows]
                points = residual.detach().reshape(-1, D)
                if level == 0 and self.config.guide:
                    points = torch.cat([points, guide[rows].detach().flatten(0, 1)], -1)
                index = self.search(points, level)
                chosen = F.embedding(index, self.codebooks[level]).view_as(residual)
                commitment.append((residual - chosen).square().sum() / max(residual.numel(), 1))  # other processes may have the rows
                total = total.index_add(0, rows, chosen)
                codes[rows, level] = index.view(len(rows), T)
                chosen_by.append((points, index))
            if update:
                self._follow(chosen_by)
                self.updates += 1
            embeddings = latents + (total - latents).detach()
            return QuantizerOutput(embeddings, codes, torch.stack(commitment))

    def split(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """(..., D + G) -> (..., D), (..., G)"""
        return latents[..., : self.config.dim], latents[..., self.config.dim :]

    def codebook(self, level: int) -> Tensor:
        """What a level's points are compared with: (V, D), of a guided first level (V, D + G)."""
        return torch.cat([self.codebooks[0], self.guides], -1) if level == 0 and self.guides is not None else self.codebooks[level]

    def search(self, points: Tensor, level: int) -> Tensor:
        """points (P, D), of a guided first level (P, D + G) -> index (P,) of the nearest code of a level."""
        if level == 0 and self.config.levels:
            return code_of(self.split(points)[1], self.config.levels)
        codebook = self.codebook(level)
        # |p - c|^2 without |p|^2, which is the same for all codes
        return torch.addmm(codebook.square().sum(1), points, codebook.t(), alpha=-2).argmin(1)

    def encode(self, latents: Tensor, n_quantizers: int | None = None) -> Tensor:
        """latents (B, T, D + G) -> codes (B, K, T)."""
        with torch.autocast(latents.device.type, enabled=False):
            B, T, _ = latents.shape
            points, codes = latents.float().flatten(0, 1), []
            residual, _ = self.split(points)
            for level in range(n_quantizers or self.config.n_quantizers):
                index = self.search(points if level == 0 else residual, level)
                residual = residual - F.embedding(index, self.codebooks[level])
                codes.append(index.view(B, T))
            return torch.stack(codes, dim=1)

    def embed(self, codes: Tensor) -> Tensor:
        """codes (B, K, T) -> sum of their embeddings (B, T, D); K may be fewer than the quantizer has."""
        return sum(F.embedding(codes[:, level], self.codebooks[level]) for level in range(codes.shape[1]))

    def draw_levels(self, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
        """Structured dropout: how many levels each row trains with, (B,)."""
        config = self.config
        deeper = [n for n in config.dropout_levels if 1 < n <= config.n_quantizers] or [config.n_quantizers]
        drawn = torch.tensor(deeper)[torch.randint(len(deeper), (batch_size,), generator=generator)]
        alone = torch.rand(batch_size, generator=generator) < config.first_only
        return torch.where(alone & (1 in config.dropout_levels), 1, drawn)

    def _generator(self, level: int) -> torch.Generator:
        """Draws are a function of (seed, updates made, level): a resumed run draws the same, and so does every process."""
        return torch.Generator().manual_seed((self.config.seed * 1_000_003 + int(self.updates)) * 1009 + level)

    @torch.no_grad()
    def initialise(self, points: Tensor, depth: int | None = None, batches: int = 1) -> None:
        """k-means, level after level, of latents (P, D + G): those of the first batch, or, given by hand, of several."""
        n_points = float(all_reduce(torch.tensor(float(len(points)), device=points.device)))
        for level in range(depth or self.config.n_quantizers):
            if not self.initialised[level]:
                if level == 0 and self.config.levels:
                    codebook = means_of(self.split(points)[0], self.search(points, 0), self.config.codebook_size)
                else:
                    codebook = kmeans(points, self.config.codebook_size, self.config.kmeans_iterations, self._generator(level))
                self._keep(level, broadcast(codebook))
                self.counts[level] = n_points / (batches * self.config.codebook_size)
                self.initialised[level] = True
            points = self.split(points)[0] - F.embedding(self.search(points, level), self.codebooks[level])

    def _keep(self, level: int, codebook: Tensor) -> None:
        """(V, D), of a guided first level (V, D + G)"""
        codes, guides = self.split(codebook)
        self.codebooks[level] = codes
        if guides.shape[1]:
            self.guides.copy_(guides)

    @torch.no_grad()
    def _follow(self, chosen_by: list[tuple[Tensor, Tensor]]) -> None:
        """Moves the codes of each level towards the mean of the points (P, D or D + G) that chose them (P,), then revives the dead."""
        V, processes = self.config.codebook_size, world_size()
        # What all processes have in common of every level goes as one message: each costs a millisecond, whatever its size.
        sums = self.codebooks.new_zeros(len(chosen_by), V, self.config.dim + self.config.guide + 1)  # the last column counts
        sizes = self.codebooks.new_zeros(len(chosen_by), processes)
        for level, (points, index) in enumerate(chosen_by):
            sums[level, :, : points.shape[1]].index_add_(0, index, points)
            sums[level, :, -1] = torch.bincount(index, minlength=V)
            sizes[level, dist.get_rank() if processes > 1 else 0] = len(points)
        if processes > 1:
            together = all_reduce(torch.cat([sums.flatten(), sizes.flatten()]))
            sums, sizes = together[: sums.numel()].view_as(sums), together[sums.numel() :].view_as(sizes)
        for level, (points, _) in enumerate(chosen_by):
            codebook = self.codebook(level)  # a view, or where it is guided a copy: what moves is kept
            self._move(codebook, self.counts[level], sums[level, :, : codebook.shape[1]], sums[level, :, -1])
            if level or not self.config.levels:  # a code of which levels decide stands for what it stands for
                self._revive(codebook, self.counts[level], points, level, int(sizes[level].argmax()))
            self._keep(level, codebook)

    def _move(self, codebook: Tensor, counts: Tensor, sums: Tensor, uses: Tensor) -> None:
        """By the sums (V, D) and the number (V,) of the points that chose each code in this step."""
        config = self.config
        codebook.add_((sums.sum(0) - uses @ codebook) / uses.sum().clamp(min=1), alpha=config.drift)
        counts.mul_(config.decay).add_(uses, alpha=1 - config.decay)
        weight = (1 - config.decay) / counts.clamp(min=1e-8)
        codebook.addcmul_(weight[:, None], sums - uses[:, None] * codebook)

    def _revive(self, codebook: Tensor, counts: Tensor, points: Tensor, level: int, richest: int) -> None:
        """Puts codes that nobody uses on points of the process that has most, the same ones everywhere."""
        config = self.config
        dead = counts * (16 * config.codebook_size) < config.dead_threshold * counts.sum()
        if not bool(dead.any()):
            return
        if not len(points):  # this process has no rows at this level
            points = torch.zeros_like(codebook[:1])
        drawn = torch.randint(len(points), (config.codebook_size,), generator=self._generator(level)).to(points.device)
        candidates = broadcast(points[drawn], richest)
        codebook[dead] = candidates[dead]
        counts[dead] = counts.mean()  # an even share, so that it lives long enough to be found


def means_of(points: Tensor, codes: Tensor, n_codes: int) -> Tensor:
    """points (P, D) that have codes (P,) -> the mean of each code's points (V, D), and of all of them where a code has none."""
    uses = torch.bincount(codes, minlength=n_codes).to(points.dtype)[:, None]
    means = torch.zeros(n_codes, points.shape[1], device=points.device).index_add_(0, codes, points) / uses.clamp(min=1)
    return torch.where(uses > 0, means, points.mean(0))


def kmeans(points: Tensor, n_codes: int, iterations: int, generator: torch.Generator) -> Tensor:
    """points (P, D) -> centres (V, D). With fewer points than codes, points repeat with a little noise."""
    P = len(points)
    if n_codes <= P:
        centres = points[torch.randperm(P, generator=generator)[:n_codes].to(points.device)].clone()
    else:
        centres = points[torch.randint(P, (n_codes,), generator=generator).to(points.device)]
        noise = torch.randn(centres.shape, generator=generator).to(points.device)
        return centres + 0.1 * noise * points.std(0, correction=0)
    for _ in range(iterations):
        index = torch.addmm(centres.square().sum(1), points, centres.t(), alpha=-2).argmin(1)
        uses = torch.bincount(index, minlength=n_codes).to(points.dtype)[:, None]
        means = torch.zeros_like(centres).index_add_(0, index, points) / uses.clamp(min=1)
        centres = torch.where(uses > 0, means, centres)
    return centres


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def all_reduce(x: Tensor, operation: "dist.ReduceOp | None" = None) -> Tensor:
    """Sum over processes unless told otherwise; in place."""
    if world_size() > 1:
        dist.all_reduce(x, operation or dist.ReduceOp.SUM)
    return x


def broadcast(x: Tensor, source: int = 0) -> Tensor:
    """Every process gets the source's."""
    if world_size() > 1:
        x = x.contiguous()
        dist.broadcast(x, src=source)
    return x
