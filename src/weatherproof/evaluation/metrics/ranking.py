"""Who comes first: labels among logits, positives among scores, and how two orders agree."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.ranks import fractional_ranks, share_above
from weatherproof.types import Labels, Logits


def hits(logits: Logits, labels: Labels, k: int) -> Bool[Tensor, "batch"]:
    """Whether the label is among the k largest logits of its row. A class whose logit is -inf or not a number is never
    answered, also where that leaves fewer than k."""
    best = logits.topk(min(k, logits.shape[1]), dim=1)
    return ((best.indices == labels[:, None]) & (best.values > -torch.inf)).any(dim=1)


def auc(scores: Float[Tensor, "batch"], labels: Labels, *, positive: int = 1) -> float:
    """Area under the ROC curve of class `positive` against the rest: P(positive scores higher) + P(equal) / 2.

    Args:
        scores: higher means rather `positive`.
        positive: the class that is sought; Contrastive Inversion's COVID study takes class 0.

    Raises:
        InputError: no positive or no negative, where it is not defined, or a score that is not a number.
    """
    wanted = labels == positive
    p, n = int(wanted.sum()), int((~wanted).sum())
    if p == 0 or n == 0:
        raise InputError(f"AUC needs images of class {positive} and of others, got {p} and {n}")
    if bool(scores.isnan().any()):
        raise InputError("AUC needs scores that are numbers, got NaN")
    return share_above(scores[wanted], scores[~wanted])


def auc_error(scores: Float[Tensor, "batch"], labels: Labels, *, positive: int = 1) -> float | None:
    """Standard error of `auc` over images (DeLong, DeLong & Clarke-Pearson 1988): sqrt(s_P^2 / P + s_N^2 / N), with s_P
    the sample standard deviation of P(the positive scores higher than a negative) over positives, s_N likewise.

    Returns:
        None for a single positive or a single negative.
    """
    sides = scores[labels == positive].double(), scores[labels != positive].double()
    if min(map(len, sides)) < 2:
        return None
    variance = 0.0
    for own, other in (sides, sides[::-1]):
        beaten = fractional_ranks(torch.cat([own, other])[None])[0, : len(own)] - fractional_ranks(own[None])[0]
        variance += (beaten / len(other)).var().item() / len(own)
    return variance**0.5


def rank_correlation(first: Float[Tensor, "rows n"], second: Float[Tensor, "rows n"]) -> Float[Tensor, "rows"]:
    """Spearman's rho of every pair of rows: the linear correlation of their `fractional_ranks`, -1 to 1, in float64.

    NaN for a row whose values are all the same, on either side.
    """
    sides = [fractional_ranks(values) for values in (first, second)]
    units = [ranks - ranks.mean(dim=1, keepdim=True) for ranks in sides]
    return (units[0] * units[1]).sum(dim=1) / (units[0].norm(dim=1) * units[1].norm(dim=1))
