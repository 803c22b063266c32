"""Numbers over several conditions on the same images, and their standard errors."""

import math
from collections.abc import Mapping

import torch

from weatherproof.evaluation.engine.answers import Answers

Weights = Mapping[str, float]


def accuracy(answers: Answers) -> float:
    """Share of images whose label is the first guess."""
    return answers.top1.double().mean().item()


def binomial_error(share: float, images: int) -> float | None:
    """Standard error of a share over independent images, sqrt(p (1 - p) / n); None for a single image."""
    return math.sqrt(max(0.0, share * (1 - share)) / images) if images > 1 else None


def clustered_error(answers: Mapping[str, Answers], weights: Weights) -> float | None:
    """Standard error over images of sum_c w_c p_c, with p_c the accuracy under condition c; None for a single image.

    The same images are answered under all conditions, so it is the image that is independent, not the answer. With
    r_i = sum_c w_c (x_ic - p_c) / n_c over the conditions under which image i was answered, the variance is
    n / (n - 1) sum_i r_i^2. Where all conditions have the same n images that is s^2 / n, with s the sample standard
    deviation of the images' own weighted means.

    Args:
        answers: by condition.
        weights: by condition, of any sign.
    """
    length = 1 + max(int(answers[name].place.max()) for name in weights)
    residuals = torch.zeros(length, dtype=torch.float64)
    known = torch.zeros(length, dtype=torch.bool)
    for name, weight in weights.items():
        found = answers[name]
        right = found.top1.double()
        residuals.index_add_(0, found.place, (right - right.mean()) * (weight / len(found)))
        known[found.place] = True
    images = int(known.sum())
    return math.sqrt(images / (images - 1) * residuals.square().sum().item()) if images > 1 else None
