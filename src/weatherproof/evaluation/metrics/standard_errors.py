"""Standard errors of calibration errors, over images."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean

import torch

from weatherproof.evaluation.engine.answers import Answers

GROUPS = 20  # of images, left out one after the other


def jackknife_error(
    error: Callable[..., float], answers: Sequence[Answers], *, pooled: bool = False, groups: int = GROUPS
) -> float | None:
    """Standard error of the mean of a calibration error over conditions, by the delete-a-group jackknife (Efron &
    Tibshirani 1993, section 11.5).

        sqrt((g - 1) / g sum_k (t_k - mean t)^2),  t_k without the images i = k (mod g)

    An image leaves all conditions at once: its answers are not independent.

    Args:
        error: (confidence, correct) -> a number, such as `rms_calibration_error`.
        answers: by condition, none of them empty.
        pooled: of the error of all answers together, instead of the mean over conditions.
        groups: at most as many as there are images.

    Returns:
        None for a single image, and where a confidence is no number.
    """
    images = torch.cat([found.place for found in answers]).unique()
    groups = min(groups, len(images))
    confidence, correct = ([getattr(found, name) for found in answers] for name in ("confidence", "top1"))
    group = [torch.searchsorted(images, found.place) % groups for found in answers]
    if groups < 2 or any(bool(sure.isnan().any()) for sure in confidence):
        return None
    if pooled:
        confidence, correct, group = ([torch.cat(parts)] for parts in (confidence, correct, group))
    without = []
    for k in range(groups):
        kept = [own != k for own in group]
        left = [error(c[k], r[k]) for c, r, k in zip(confidence, correct, kept, strict=True) if bool(k.any())]
        without.append(fmean(left))
    mean = fmean(without)
    return math.sqrt((groups - 1) / groups * sum((value - mean) ** 2 for value in without))
