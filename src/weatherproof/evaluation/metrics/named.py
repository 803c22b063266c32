"""The metrics of classification by name: what each keeps of a batch's logits, its value over answers, and its error.

A metric is a class and a row of `METRICS`: `evaluate`, suites, attacks, verbs and studies ask for it by its name.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from weatherproof.errors import unknown
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.engine.trials import Columns
from weatherproof.evaluation.metrics.calibration import expected_calibration_error, rms_calibration_error
from weatherproof.evaluation.metrics.ranking import auc, auc_error, hits
from weatherproof.evaluation.metrics.standard_errors import Jackknife, binomial_error
from weatherproof.types import Labels, Logits

LABEL = "label"  # the column of the labels, wherever a metric needs them


@runtime_checkable
class Metric(Protocol):
    """One number over images, and the columns that it is made of."""

    @property
    def needs_labels(self) -> bool:
        """Whether images without a label do not count: the answers given to it are then those with one."""

    def keep(self, logits: Logits, labels: Labels) -> Columns:
        """What is kept of a batch, a row an image, beside the label."""

    def value(self, answers: Answers, clean: Answers | None = None) -> float:
        """The number; NaN where it is none.

        Args:
            answers: what was kept, of at least one image.
            clean: the same model's answers to the undamaged images, for a metric that compares with them.
        """

    def stderr(self, answers: Answers, clean: Answers | None = None) -> float | None:
        """Its standard error over images; None where there is none, as for a single image."""


@dataclass(frozen=True)
class TopK:
    """The share of images whose label is among the first k guesses, or of those whose label is not."""

    k: int
    wrong: bool = False
    needs_labels = True

    @property
    def column(self) -> str:
        return f"top{self.k}"

    def keep(self, logits: Logits, labels: Labels) -> Columns:
        return {self.column: hits(logits, labels, self.k)}

    def value(self, answers: Answers, clean: Answers | None = None) -> float:
        share = int(answers[self.column].sum()) / len(answers)
        return 1 - share if self.wrong else share

    def stderr(self, answers: Answers, clean: Answers | None = None) -> float | None:
        """Binomial."""
        return binomial_error(self.value(answers), len(answers))


@dataclass(frozen=True)
class PerClass:
    """Mean over the classes of the share of right first guesses, each class counting the same (the metric of several
    transfer sets). A class without an image does not count."""

    needs_labels = True

    def keep(self, logits: Logits, labels: Labels) -> Columns:
        return TopK(1).keep(logits, labels)

    def value(self, answers: Answers, clean: Answers | None = None) -> float:
        labels, right = answers[LABEL], answers["top1"]
        total = labels.bincount()
        found = labels[right].bincount(minlength=len(total)).double()[total > 0] / total[total > 0].double()
        return float(found.mean())

    def stderr(self, answers: Answers, clean: Answers | None = None) -> float | None:
        """By the jackknife."""
        return Jackknife(self.value).error([answers])


@dataclass(frozen=True)
class Agreement:
    """The share of images for which the first guess is that for the undamaged image."""

    needs_labels = False

    def keep(self, logits: Logits, labels: Labels) -> Columns:
        return {"guess": logits.argmax(dim=1).int()}

    def value(self, answers: Answers, clean: Answers | None = None) -> float:
        assert clean is not None
        before = clean["guess"][torch.searchsorted(clean.place, answers.place)]
        return int((answers["guess"] == before).sum()) / len(answers)

    def stderr(self, answers: Answers, clean: Answers | None = None) -> float | None:
        """Binomial."""
        return binomial_error(self.value(answers, clean), len(answers))


@dataclass(frozen=True)
class Auc:
    """Area under the ROC curve of class 0 by its softmax probability (Contrastive Inversion's COVID study)."""

    needs_labels = True

    def keep(self, logits: Logits, labels: Labels) -> Columns:
        return {"score": logits.double().softmax(dim=1)[:, 0]}  # float32 saturates into ties

    def value(self, answers: Answers, clean: Answers | None = None) -> float:
        return auc(answers["score"], answers[LABEL].long(), positive=0)

    def stderr(self, answers: Answers, clean: Answers | None = None) -> float | None:
        """That of DeLong et al. 1988."""
        return auc_error(answers["score"], answers[LABEL].long(), positive=0)


@dataclass(frozen=True)
class Calibration:
    """How far confidence, the softmax probability of the first guess, and accuracy are apart."""

    measure: Callable[..., float]
    needs_labels = True

    def keep(self, logits: Logits, labels: Labels) -> Columns:
        logits = logits.float()
        confidence = (logits.max(dim=1).values - logits.logsumexp(dim=1)).exp().clamp(max=1)  # 1 + 1e-7 by rounding
        return {**TopK(1).keep(logits, labels), "confidence": confidence}

    def value(self, answers: Answers, clean: Answers | None = None) -> float:
        confidence = answers["confidence"]
        return math.nan if bool(confidence.isnan().any()) else self.measure(confidence, answers["top1"])

    def stderr(self, answers: Answers, clean: Answers | None = None) -> float | None:
        """By the jackknife."""
        return Jackknife(self.value).error([answers])


METRICS: Mapping[str, Metric] = {
    "top1": TopK(1),
    "error": TopK(1, wrong=True),
    "top5": TopK(5),
    "mean_per_class": PerClass(),
    "agreement": Agreement(),
    "auc": Auc(),
    "rms_calibration_error": Calibration(rms_calibration_error),
    "ece": Calibration(expected_calibration_error),
}


def metric_of(name: str) -> Metric:
    """The metric of a name in `METRICS`, or of any other "topK".

    Raises:
        InputError: an unknown metric.
    """
    if name in METRICS:
        return METRICS[name]
    if match := re.fullmatch(r"top([1-9]\d*)", name):
        return TopK(int(match[1]))
    raise unknown("metric", name, METRICS)


def metric_columns(metrics: Iterable[str], logits: Logits, labels: Labels) -> Columns:
    """What these metrics need of a batch, a row an image."""
    needed = [metric_of(name) for name in metrics]
    columns = {column: rows for metric in needed for column, rows in metric.keep(logits, labels).items()}
    return columns | ({LABEL: labels.int()} if any(metric.needs_labels for metric in needed) else {})


def counted(metric: Metric, answers: Answers) -> Answers:
    """The answers that a metric is over: where it needs labels, those to images that have one."""
    return answers.at(answers[LABEL] >= 0) if metric.needs_labels else answers
