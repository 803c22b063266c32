"""Robust where it may be, sensitive where it must ("Balancing Robustness and Sensitivity using Feature Contrastive
Learning", definition 4).

Of image i, z_i is the embedding, z+_i the one after noise on elements that its loss hardly needs, z-_i the one after
noise on those that it needs most; dist = 1 - cos. Positive: (z_i, z+_i). Negatives N_i: (z_i, z-_i), and (z_i, z_j) for
every other image j.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from weatherproof.errors import InputError, unknown
from weatherproof.objectives.embeddings import check_temperature, unit_rows
from weatherproof.objectives.log_sums import log_sums
from weatherproof.spec import component
from weatherproof.types import Embeddings

Reduction = Literal["sum", "mean"]
Rows = Bool[Tensor, "batch"]
_WIDEST = 2.0  # the largest cosine distance


def feature_contrast(
    anchor: Embeddings, low: Embeddings, high: Embeddings | None = None, keep: Rows | None = None,
    temperature: float = 0.1,
) -> Float[Tensor, "batch"]:  # fmt: skip
    """-log( e^{k(z, z+)} / ( e^{k(z, z+)} + sum over N_i of e^k ) ) of every row, with k = cos / temperature (eq. 5).

    Args:
        anchor: z.
        low: z+.
        high: z-; None: the other images are the only negatives (the paper's rival CL+Gaussian).
        keep: the rows whose (z, z-) counts; None: all.

    Raises:
        InputError: a batch of one, which has no other image.
    """
    check_temperature(temperature)
    _check_rows(anchor)
    with unit_rows(*_present(anchor, low, high)) as (z, near, *rest):
        positive = (z * near).sum(dim=1) / temperature
        negatives = log_sums(z / temperature**0.5)
        for far in rest:
            own = (z * far).sum(dim=1) / temperature
            if keep is not None:
                own = own.masked_fill(~keep, float("-inf"))
            negatives = torch.logaddexp(negatives, own)
        return F.softplus(negatives - positive)


def feature_contrast_margin(
    anchor: Embeddings, low: Embeddings, high: Embeddings | None = None, keep: Rows | None = None, *, margin: float
) -> Float[Tensor, "batch"]:
    """dist(z, z+)^2 + sum over N_i of max(0, margin - dist)^2 of every row (eq. 4).

    The square stands outside the maximum, as in the contrastive loss that the paper refers to (Chopra et al. 2005).

    Args:
        anchor, low, high, keep: as for `feature_contrast`.
        margin: gamma, in (0, 2], in units of the cosine distance.
    """
    _check_margin(margin)
    _check_rows(anchor)
    with unit_rows(*_present(anchor, low, high)) as (z, near, *rest):
        loss = (1 - (z * near).sum(dim=1)).square()
        others = (margin - 1 + z @ z.T).clamp(min=0).square()
        loss = loss + others.sum(dim=1) - others.diagonal()
        for far in rest:
            own = (margin - 1 + (z * far).sum(dim=1)).clamp(min=0).square()
            loss = loss + (own if keep is None else own * keep)
        return loss


@component
class FeatureContrast:
    """`feature_contrast` of a batch.

    Args:
        temperature: 0.1 for synthetic MNIST and CIFAR-100, 2 for CIFAR-10, 0.5 for ImageNet (Appendix B).
        reduction: "sum" over the batch, as algorithm 1, or "mean". The paper's weights (1e-4 at a batch of 1,024) are
            for the sum.
    """

    temperature: float = 0.1
    reduction: Reduction = "sum"

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        _check_reduction(self.reduction)

    def __call__(
        self, anchor: Embeddings, low: Embeddings, high: Embeddings | None = None, keep: Rows | None = None
    ) -> Float[Tensor, ""]:
        return _reduced(feature_contrast(anchor, low, high, keep, self.temperature), self.reduction)


@component
class FeatureContrastMargin:
    """`feature_contrast_margin` of a batch.

    Args:
        margin: gamma; the paper names none.
        reduction: as for `FeatureContrast`.
    """

    margin: float
    reduction: Reduction = "sum"

    def __post_init__(self) -> None:
        _check_margin(self.margin)
        _check_reduction(self.reduction)

    def __call__(
        self, anchor: Embeddings, low: Embeddings, high: Embeddings | None = None, keep: Rows | None = None
    ) -> Float[Tensor, ""]:
        return _reduced(feature_contrast_margin(anchor, low, high, keep, margin=self.margin), self.reduction)


def _present(*embeddings: Embeddings | None) -> list[Embeddings]:
    return [rows for rows in embeddings if rows is not None]


def _reduced(rows: Float[Tensor, "batch"], reduction: Reduction) -> Float[Tensor, ""]:
    return rows.sum() if reduction == "sum" else rows.mean()


def _check_rows(anchor: Embeddings) -> None:
    if len(anchor) < 2:
        raise InputError(f"the other images of a batch are negatives: a batch of at least 2, got {len(anchor)}")


def _check_margin(margin: float) -> None:
    if not 0 < margin <= _WIDEST:
        raise InputError(f"margin is a cosine distance, above 0 and at most {_WIDEST:g}; got {margin!r}")


def _check_reduction(reduction: str) -> None:
    if reduction not in get_args(Reduction):
        raise unknown("reduction", reduction, get_args(Reduction))
