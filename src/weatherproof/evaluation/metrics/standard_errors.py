"""Standard errors: over images, over conditions on the same images, over draws, and by leaving images out."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from weatherproof.evaluation.engine.answers import Answers

GROUPS = 20  # of images, left out one after the other

Weights = Mapping[str, float]


def standard_error(values: Sequence[float]) -> float | None:
    """Sample standard deviation (ddof 1) / sqrt(n), over realizations or trainings; None for a single value, and where
    one of them is no finite number."""
    return (
        statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 and all(map(math.isfinite, values)) else None
    )


def binomial_error(share: float, images: int) -> float | None:
    """Standard error of a share over independent images, sqrt(p (1 - p) / n); None for a single image."""
    return math.sqrt(max(0.0, share * (1 - share)) / images) if images > 1 else None


def cautious_error(share: float, images: int) -> float:
    """The same with one hit and one miss added: never 0."""
    fair = (share * images + 1) / (images + 2)
    return (fair * (1 - fair) / (images + 2)) ** 0.5


def clustered_error(answers: Mapping[str, Answers], weights: Weights) -> float | None:
    """Standard error over images of sum_c w_c p_c, with p_c the accuracy under condition c; None for a single image.

    The same images are answered under all conditions, so it is the image that is independent, not the answer. With
    r_i = sum_c w_c (x_ic - p_c) / n_c over the conditions under which image i was answered, the variance is
    n / (n - 1) sum_i r_i^2. Where all conditions have the same n images that is s^2 / n, with s the sample standard
    deviation of the images' own weighted means.

    Args:
        answers: by condition, with the column "top1".
        weights: by condition, of any sign.
    """
    length = 1 + max(int(answers[name].place.max()) for name in weights)
    residuals = torch.zeros(length, dtype=torch.float64)
    known = torch.zeros(length, dtype=torch.bool)
    for name, weight in weights.items():
        found = answers[name]
        right = found["top1"].double()
        residuals.index_add_(0, found.place, (right - right.mean()) * (weight / len(found)))
        known[found.place] = True
    images = int(known.sum())
    return math.sqrt(images / (images - 1) * residuals.square().sum().item()) if images > 1 else None


class Jackknife:
    """The delete-a-group jackknife (Efron & Tibshirani 1993, section 11.5) of a metric's mean over conditions.

        sqrt((g - 1) / g sum_k (t_k - mean t)^2),  t_k without the images i = k (mod g)

    An image leaves all conditions at once: its answers are not independent. What a condition is worth without a group
    is kept: a suite's conditions count in several means over the same images.

    Args:
        value: the metric, such as a calibration error.
        groups: at most as many as there are images.
    """

    def __init__(self, value: Callable[[Answers], float], groups: int = GROUPS) -> None:
        self.value, self.groups = value, groups
        self._kept: dict[tuple[int, bytes], tuple[Answers, list[float | None]]] = {}

    def error(self, answers: Sequence[Answers]) -> float | None:
        """Standard error of the mean of the metric over these conditions, none of them empty; of conditions `pooled`
        into one, it is the error of all together. None for a single image, and where a value is no number."""
        images = torch.cat([found.place for found in answers]).unique()
        groups = min(self.groups, len(images))
        if groups < 2:
            return None
        left = [self._without_each_group(found, images, groups) for found in answers]
        without = [statistics.fmean(t for own in left if (t := own[k]) is not None) for k in range(groups)]
        mean = statistics.fmean(without)
        error = math.sqrt((groups - 1) / groups * sum((own - mean) ** 2 for own in without))
        return None if math.isnan(error) else error

    def _without_each_group(self, found: Answers, images: Tensor, groups: int) -> list[float | None]:
        """The metric of one condition without each group; None where nothing is left."""
        key = id(found), images.numpy().tobytes()
        if key not in self._kept:
            group = torch.searchsorted(images, found.place) % groups
            parts = (found.at(group != k) for k in range(groups))
            self._kept[key] = found, [self.value(part) if len(part) else None for part in parts]
        return self._kept[key][1]
