"""Plasma: the clouds of the corruption "fog" (Hendrycks & Dietterich 2019; Fournier, Fussell & Carpenter 1982)."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from weatherproof import random
from weatherproof.types import Keys

FIRST = 100.0  # the reference's first wobble w; a level's noise is uniform on (-w^2, w^2)
COARSE = 16  # up to this side one matrix product is faster than level by level (a product's cost grows with side^4)


def side(height: int, width: int) -> int:
    """The side of the map for an image: the next power of two, 32 (CIFAR) or more; 256 for ImageNet's 224."""
    return max(32, 1 << (max(height, width) - 1).bit_length())


def plasma(keys: Keys, side: int, decay: float, device: torch.device | str) -> Float[Tensor, "batch side side"]:
    """One map in [0, 1] per image, by diamond-square on a torus, scaled to its own minimum 0 and maximum 1.

    From M[0, 0] = 0 and w = 100, each level halves the distance between the known points: (a) squares: the centre of
    each cell = the mean of its four corners + w U(-w, w); (b) diamonds: the middle of each edge = the mean of its four
    neighbours (two corners, two centres) + w U(-w, w); then w /= decay. Each point has one draw.

    Args:
        side: a power of two, 32 or more.
        decay: by what the wobble is divided from level to level; small is rough.
    """
    noise = random.uniforms(keys, (side * side - 1,), device).mul_(2).sub_(1)
    basis = _basis(decay, str(device)).expand(len(noise), -1, -1)
    # One product for each image: of one for the batch, the last digits would depend on the batch.
    grid = torch.bmm(noise[:, None, : COARSE**2 - 1], basis).view(-1, COARSE, COARSE)
    known, wobble = COARSE, FIRST / decay ** (COARSE.bit_length() - 1)
    while known < side:
        fresh = noise[:, known**2 - 1 : 4 * known**2 - 1].view(-1, 3, known, known)
        grid = _refine(grid, fresh.mul_(wobble**2))
        known, wobble = 2 * known, wobble / decay
    grid -= grid.amin((1, 2), keepdim=True)
    return grid.div_(grid.amax((1, 2), keepdim=True))


def _refine(
    grid: Float[Tensor, "batch known known"], noise: Float[Tensor, "batch 3 known known"]
) -> Float[Tensor, "batch fine fine"]:
    """One level: the points between the known ones. The noise is added to, and lost."""
    batch, known = len(grid), grid.shape[-1]
    centres, across, down = noise.unbind(1)  # (2i+1, 2j+1), (2i, 2j+1) and (2i+1, 2j), where (2i, 2j) is known
    beside = torch.roll(grid, -1, 2).add_(grid)
    beneath = torch.roll(grid, -1, 1).add_(grid)
    centres.add_(beside, alpha=0.25).add_(torch.roll(beside, -1, 1), alpha=0.25)
    across.add_(beside.add_(centres).add_(torch.roll(centres, 1, 1)), alpha=0.25)
    down.add_(beneath.add_(centres).add_(torch.roll(centres, 1, 2)), alpha=0.25)
    fine = grid.new_empty(batch, known, 2, known, 2)
    fine[:, :, 0, :, 0], fine[:, :, 1, :, 1] = grid, centres
    fine[:, :, 0, :, 1], fine[:, :, 1, :, 0] = across, down
    return fine.view(batch, 2 * known, 2 * known)


@lru_cache(maxsize=16)
def _basis(decay: float, device: str) -> Float[Tensor, "draws points"]:
    """What each draw of the first levels adds to each of the COARSE x COARSE points: a map is linear in its draws."""
    draws = COARSE**2 - 1
    noise = torch.eye(draws, dtype=torch.float64)
    grid = torch.zeros(draws, 1, 1, dtype=torch.float64)
    known, wobble = 1, FIRST
    while known < COARSE:
        fresh = noise[:, known**2 - 1 : 4 * known**2 - 1].reshape(-1, 3, known, known)
        grid = _refine(grid, fresh * wobble**2)
        known, wobble = 2 * known, wobble / decay
    return grid.view(draws, COARSE**2).float().to(device)
