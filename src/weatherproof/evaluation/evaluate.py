"""Classifiers under damage, in one pass over the data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from weatherproof.data import ImageSet
from weatherproof.errors import InputError
from weatherproof.evaluation.damaged import Draw, ask, draws_of
from weatherproof.evaluation.engine.run import Settings
from weatherproof.evaluation.engine.trials import Columns, Look, answer
from weatherproof.evaluation.metrics.named import metric_columns, metric_of
from weatherproof.evaluation.record import Record, judged_records, protocol_facts
from weatherproof.protocols import Operator
from weatherproof.readouts import require_logits
from weatherproof.types import Images, Keys, Labels, Logits

Text = str | Mapping[str, str] | None  # one for all models, or one for each by name
Number = float | Mapping[str, float] | None


def evaluate(
    classifiers: Mapping[str, Callable[[Images], Logits]],
    images: ImageSet,
    *,
    operator: Operator | None = None,
    realizations: int = 10,
    seed: int = 0,
    metrics: Sequence[str] = ("top1", "top5"),
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    workers: int = 0,
    data: str | None = None,
    readout: Text = None,
    label_fraction: Number = None,
    trained_on: Text = None,
    corruption: str | None = None,
    severity: float | None = None,
) -> list[Record]:
    """Measure classifiers on the same damaged images: mean over `realizations` draws of the operator, standard error
    s / sqrt(realizations) with s the sample standard deviation (Contrastive Inversion: ten draws).

    The data is read once; each batch is damaged once a realization, for all classifiers. Memory holds one part of the
    images, and a few bytes for each answer. An operator that draws nothing runs once.

    Args:
        classifiers: by name, images -> logits; modules are moved to `device` and used in evaluation mode. One with
            `takes_keys` (such as `Restored`) is called with the images' keys too.
        metrics: "top1", "error" (1 - top1), "top5" (any "topK"), "mean_per_class" (top-1, every class counting the
            same), "agreement" (same answer as for the clean image, needs no labels), "auc" (class 0 against the rest),
            "rms_calibration_error", "ece".
        data: what the records call the images; None: their own name.
        readout, label_fraction, trained_on: for the records; one value, or one for each name.
        corruption, severity: for the records.

    Raises:
        InputError: nothing to measure, an unknown metric, no labels where a metric needs them, or a classifier with
            fewer outputs than there are classes or with outputs that are NaN.
    """
    if not classifiers or not metrics or len(images) == 0 or realizations < 1:
        raise InputError(
            f"expected classifiers, images, metrics and realizations >= 1; got {len(classifiers)} classifiers, "
            f"{len(images)} images, metrics {list(metrics)}, realizations={realizations}"
        )
    fixed = all(getattr(classifier, "deterministic", True) for classifier in classifiers.values())
    draws = draws_of(operator, realizations, fixed=fixed)
    clean = [Draw()] if "agreement" in metrics else []
    found = ask(
        classifiers, images, [*clean, *draws], Judged.of(metrics, images),
        Settings(seed=seed, device=device, batch_size=batch_size, workers=workers), measuring(classifiers, operator),
    )  # fmt: skip
    drawn = draws_of(operator, 2, fixed=fixed)[1:]
    facts = protocol_facts(images, operator, (seed,) if drawn else (), data, corruption=corruption, severity=severity)
    about: dict[str, Any] = {"readout": readout, "label_fraction": label_fraction, "trained_on": trained_on}
    answers, before = found[len(clean) :], found[0] if clean else None
    return [
        record
        for name in classifiers
        for record in judged_records(
            name, metrics, [own.of(name) for own in answers], before and before.of(name), seed, facts, **about
        )
    ]


def agreement(classifiers: Mapping[str, Callable[[Images], Logits]], images: ImageSet, **settings: Any) -> list[Record]:
    """How often classifiers answer for the damaged image what they answer for the clean one; labels are not needed.

    Args:
        settings: those of `evaluate`.
    """
    return evaluate(classifiers, images, metrics=("agreement",), **settings)


def measuring(models: Mapping[str, Any], operator: Operator | None) -> str:
    """What is being measured, for whoever waits."""
    return f"measuring {', '.join(models)} {'on clean images' if operator is None else f'under {operator!r}'}"


@dataclass(frozen=True)
class Judged:
    """Keeps of a classifier's logits what metrics need.

    Attributes:
        data: what the images are called.
        highest: of the labels that a metric needs; -1: none does.
    """

    metrics: tuple[str, ...]
    data: str
    highest: int

    @classmethod
    def of(cls, metrics: Sequence[str], images: ImageSet) -> "Judged":
        """Raises `InputError` for an unknown metric, and one that needs labels where there are none."""
        labelled = [name for name in metrics if metric_of(name).needs_labels]
        if labelled and not bool((images.labels >= 0).any()):
            raise InputError(f"{labelled[0]} needs labels, and {images.name!r} has none: use agreement, or embeddings")
        return cls(tuple(metrics), images.name, int(images.labels.max()) if labelled else -1)

    def __call__(self, name: str, model: Callable[..., Logits], images: Images, keys: Keys, look: Look) -> Columns:
        return self.keep(name, answer(model, images, keys), look.labels)

    def keep(self, name: str, logits: Logits, labels: Labels) -> Columns:
        """Raises `InputError` for logits that are NaN, or fewer than there are labels."""
        if logits.shape[1] <= self.highest:
            raise InputError(
                f"{name!r} has {logits.shape[1]} outputs, but {self.data!r} has labels up to {self.highest}: "
                f"give a classifier for these classes"
            )
        require_logits(name, logits)
        return metric_columns(self.metrics, logits, labels)
