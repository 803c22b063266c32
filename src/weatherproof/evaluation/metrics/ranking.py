"""Metrics of classification, as pure functions."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.types import Labels, Logits


def hits(logits: Logits, labels: Labels, k: int) -> Bool[Tensor, "batch"]:
    """Whether the label is among the k largest logits of its row. A class whose logit is -inf or not a number is never
    answered, also where that leaves fewer than k."""
    best = logits.topk(min(k, logits.shape[1]), dim=1)
    return ((best.indices == labels[:, None]) & (best.values > -torch.inf)).any(dim=1)


def top_k(logits: Logits, labels: Labels, k: int = 1) -> float:
    """Share of images whose label is among the k largest logits, in [0, 1]."""
    return hits(logits, labels, k).double().mean().item()


def auc(scores: Float[Tensor, "batch"], labels: Labels, *, positive: int = 1) -> float:
    """Area under the ROC curve of class `positive` against the rest: P(positive scores higher) + P(equal) / 2.

    From midranks r (Mann-Whitney): (sum of r over positives - P (P + 1) / 2) / (P N).

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
    _, group, sizes = torch.unique(scores, return_inverse=True, return_counts=True)
    last = sizes.cumsum(0)  # rank of the last member of each group of equal scores, from 1
    midrank = last.double() - (sizes.double() - 1) / 2
    return (midrank[group][wanted].sum().item() - p * (p + 1) / 2) / (p * n)
