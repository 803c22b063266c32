"""How embeddings lie on the unit sphere: near for one image, spread out over all of them."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from weatherproof.errors import InputError
from weatherproof.types import Embeddings

_ROWS = 2048  # of a block of pairs: 32 MB of distances in float64, however many images there are


def alignment(first: Embeddings, second: Float[Tensor, "batch_2 features"], alpha: float = 2.0) -> float:
    """L_align = mean over images of ||f(x) - f(y)||^alpha, x and y two views of one image (Wang & Isola 2020, 4.1).

    Embeddings are scaled to unit length first. 0, the least, where all views of an image have the same embedding; at
    most 2^alpha. It says little without `uniformity`: an encoder that gives all images one embedding has 0 too.

    Raises:
        InputError: no images, or sides of unlike shapes.
    """
    if first.shape != second.shape or len(first) == 0:
        raise InputError(
            f"alignment needs two views of the same images, at least one; got {list(first.shape)} and "
            f"{list(second.shape)}"
        )
    return (_unit(first) - _unit(second)).norm(dim=1).pow(alpha).mean().item()


def uniformity(embeddings: Embeddings, t: float = 2.0) -> float:
    """L_uniform = log of the mean over pairs of images of exp(-t ||f(x) - f(y)||^2) (Wang & Isola 2020, 4.1).

    Embeddings are scaled to unit length first. All pairs of two different rows are in the mean, none is sampled. 0
    where all embeddings are one point; the lower, the more evenly they fill the sphere: about -2 t, that is -4, for
    many directions that are independent of each other, and for those that no number is negative in (as after a ReLU) it
    stays well above.

    Raises:
        InputError: fewer than two images.
    """
    if len(embeddings) < 2:
        raise InputError(f"uniformity needs at least two embeddings, got {len(embeddings)}")
    units, n = _unit(embeddings), len(embeddings)
    total = units.new_zeros(())
    blocks = units.split(_ROWS)
    for i, rows in enumerate(blocks):
        total += 2 * torch.triu(_potential(rows, rows, t), diagonal=1).sum()
        for others in blocks[i + 1 :]:
            total += 2 * _potential(rows, others, t).sum()
    return math.log(total.item() / (n * (n - 1)))


def effective_rank(embeddings: Embeddings) -> float:
    """exp of the entropy of s_k / sum_j s_j, s the singular values of the unit embeddings (Roy & Vetterli 2007), not
    centred: 1 where all embeddings are one point, at most the number of features.

    Raises:
        InputError: no embeddings.
    """
    if len(embeddings) == 0:
        raise InputError("the effective rank needs embeddings, got none")
    values = torch.linalg.svdvals(_unit(embeddings))
    shares = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return torch.special.entr(shares).sum().exp().item()


def embedding_deviation(embeddings: Embeddings) -> float:
    """sqrt(D) / D sum_f std(u_f) of unit embeddings u with D features: 0 where all are one point, 1 at most, where they
    lie evenly around the origin (the measure of collapse of SimSiam, Chen & He 2021).

    Raises:
        InputError: no embeddings.
    """
    if len(embeddings) == 0:
        raise InputError("the deviation of embeddings needs some, got none")
    deviations: Tensor = _unit(embeddings).std(dim=0, correction=0)
    return deviations.mean().item() * math.sqrt(embeddings.shape[1])


def _potential(rows: Tensor, others: Tensor, t: float) -> Tensor:
    """exp(-t ||a - b||^2) of all pairs of unit vectors, whose squared distance is 2 - 2 <a, b>."""
    return (rows @ others.T).mul_(2).sub_(2).clamp_(max=0).mul_(t).exp_()


def _unit(embeddings: Tensor) -> Tensor:
    return normalize(embeddings.double(), dim=1)
