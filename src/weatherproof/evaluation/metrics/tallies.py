"""Metrics over a stream of batches: what has to be kept of each batch, and no more.

A tally is one metric of one model in one realization: `add(logits, labels, clean)` a batch, then `value()` over so many
`images`. `clean` is what the model answers for the undamaged images, where the metric asks for it.
"""

import re
from collections.abc import Callable

import torch
from torch import Tensor

from weatherproof.errors import InputError, unknown
from weatherproof.evaluation.metrics.ranking import auc, hits


class Share:
    """The share of images of which something is true: two numbers, however many images there are."""

    def __init__(self, judge: Callable[[Tensor, Tensor, Tensor | None], Tensor]) -> None:
        self.judge, self.images = judge, 0
        self.count: Tensor | int = 0

    def add(self, logits: Tensor, labels: Tensor, clean: Tensor | None) -> None:
        verdicts = self.judge(logits, labels, clean)
        self.images += len(verdicts)
        self.count = self.count + verdicts.sum()  # stays on the device: reading it would wait for the device

    def value(self) -> float:
        return float(self.count) / self.images


class Auc:
    """Area under the ROC curve of class 0 by its softmax probability (Contrastive Inversion's COVID study)."""

    def __init__(self) -> None:
        self.scores: list[Tensor] = []
        self.labels: list[Tensor] = []

    def add(self, logits: Tensor, labels: Tensor, clean: Tensor | None) -> None:
        known = labels >= 0
        self.scores.append(logits[known].double().softmax(dim=1)[:, 0].cpu())  # float32 saturates into ties
        self.labels.append(labels[known].cpu())

    def value(self) -> float:
        return auc(torch.cat(self.scores), torch.cat(self.labels), positive=0)

    @property
    def images(self) -> int:
        return sum(map(len, self.labels))


class PerClass:
    """Mean over the classes of the share of right first guesses, each class counting the same (the metric of several
    transfer sets). A class without an image does not count."""

    def __init__(self) -> None:
        self.counts: Tensor | int = 0  # [2, classes], images and those that are right; stays on the device

    def add(self, logits: Tensor, labels: Tensor, clean: Tensor | None) -> None:
        known, classes = labels >= 0, logits.shape[1]
        right, labels = hits(logits[known], labels[known], 1), labels[known]
        parts = (labels, labels[right])
        self.counts = self.counts + torch.stack([part.bincount(minlength=classes) for part in parts])

    def value(self) -> float:
        total, right = torch.as_tensor(self.counts).double().cpu()
        return float((right[total > 0] / total[total > 0]).mean())

    @property
    def images(self) -> int:
        return int(torch.as_tensor(self.counts)[0].sum())


Tally = Share | Auc | PerClass


def tally(metric: str) -> Tally:
    """An empty tally for "top1", "top5", any other "topK", "mean_per_class", "agreement" or "auc".

    Agreement is the share of images for which the model answers the same as for the clean image; it needs no labels.

    Raises:
        InputError: an unknown metric.
    """
    if metric == "agreement":
        return Share(_agrees)
    if metric == "auc":
        return Auc()
    if metric == "mean_per_class":
        return PerClass()
    if found := re.fullmatch(r"top([1-9]\d*)", metric):
        return Share(_among(int(found[1])))
    raise unknown("metric", metric, ("top1", "top5", "mean_per_class", "agreement", "auc"))


def needs_labels(metric: str) -> bool:
    return metric != "agreement"


def _agrees(logits: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
    if clean is None:
        raise InputError("agreement compares with the answer for the clean image, which was not given")
    return logits.argmax(dim=1) == clean


def _among(k: int) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    def judge(logits: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        known = labels >= 0
        return hits(logits[known], labels[known], k)

    return judge
