"""The metrics of classifiers by name: what each keeps of a batch's logits, and its value over all that was kept."""

import re
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from weatherproof.errors import unknown
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.engine.trials import Columns
from weatherproof.evaluation.metrics.ranking import auc, hits
from weatherproof.types import Labels, Logits


@runtime_checkable
class Metric(Protocol):
    """One number over images, and the columns that it is made of."""

    @property
    def needs_labels(self) -> bool: ...

    def keep(self, logits: Logits, labels: Labels) -> Columns:
        """What is kept of a batch, a row an image."""

    def value(self, answers: Answers, clean: Answers | None) -> tuple[float, int]:
        """The number, and over how many images it is.

        Args:
            clean: the same model's answers to the undamaged images, for a metric that compares with them.
        """


@dataclass(frozen=True)
class TopK:
    """The share of labelled images whose label is among the first k guesses."""

    k: int
    needs_labels = True

    def keep(self, logits: Logits, labels: Labels) -> Columns:
        return {f"top{self.k}": hits(logits, labels, self.k), "label": labels}

    def value(self, answers: Answers, clean: Answers | None) -> tuple[float, int]:
        known = answers["label"] >= 0
        return _share(answers[f"top{self.k}"][known])


@dataclass(frozen=True)
class PerClass:
    """Mean over the classes of the share of right first guesses, each class counting the same (the metric of several
    transfer sets). A class without an image does not count."""

    needs_labels = True

    def keep(self, logits: Logits, labels: Labels) -> Columns:
        return TopK(1).keep(logits, labels)

    def value(self, answers: Answers, clean: Answers | None) -> tuple[float, int]:
        known = answers["label"] >= 0
        labels, right = answers["label"][known], answers["top1"][known]
        total = labels.bincount()
        found = labels[right].bincount(minlength=len(total)).double()[total > 0] / total[total > 0].double()
        return float(found.mean()), len(labels)


@dataclass(frozen=True)
class Agreement:
    """The share of images for which the first guess is that for the undamaged image."""

    needs_labels = False

    def keep(self, logits: Logits, labels: Labels) -> Columns:
        return {"guess": logits.argmax(dim=1)}

    def value(self, answers: Answers, clean: Answers | None) -> tuple[float, int]:
        assert clean is not None
        before = clean["guess"][torch.searchsorted(clean.place, answers.place)]
        return _share(answers["guess"] == before)


@dataclass(frozen=True)
class Auc:
    """Area under the ROC curve of class 0 by its softmax probability (Contrastive Inversion's COVID study)."""

    needs_labels = True

    def keep(self, logits: Logits, labels: Labels) -> Columns:
        return {"score": logits.double().softmax(dim=1)[:, 0], "label": labels}  # float32 saturates into ties

    def value(self, answers: Answers, clean: Answers | None) -> tuple[float, int]:
        known = answers["label"] >= 0
        return auc(answers["score"][known], answers["label"][known], positive=0), int(known.sum())


def metric_of(name: str) -> Metric:
    """The metric of "top1", "top5", any other "topK", "mean_per_class", "agreement" or "auc".

    Raises:
        InputError: an unknown metric.
    """
    if name in _NAMED:
        return _NAMED[name]
    if found := re.fullmatch(r"top([1-9]\d*)", name):
        return TopK(int(found[1]))
    raise unknown("metric", name, ("top1", "top5", "mean_per_class", "agreement", "auc"))


_NAMED: dict[str, Metric] = {"mean_per_class": PerClass(), "agreement": Agreement(), "auc": Auc()}


def _share(true: Tensor) -> tuple[float, int]:
    return int(true.sum()) / len(true), len(true)
