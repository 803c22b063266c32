"""Classifiers under damage, in one pass over the data."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import ImageSet, batches
from weatherproof.errors import InputError
from weatherproof.evaluation.engine.trials import EVAL_STREAM, answer
from weatherproof.evaluation.metrics.tallies import needs_labels, tally
from weatherproof.evaluation.record import Record, make_record, protocol_facts
from weatherproof.progress import phase
from weatherproof.protocols import Operator
from weatherproof.readouts import evaluating, unmeasurable
from weatherproof.types import Images, Logits

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

    The data is read once; each batch is damaged once a realization, for all classifiers. Memory does not grow with the
    number of images (AUC keeps one number an image). An operator that draws nothing runs once.

    Args:
        classifiers: by name, images -> logits; modules are moved to `device` and used in evaluation mode. One with
            `takes_keys` (such as `Restored`) is called with the images' keys too.
        metrics: "top1", "top5" (any "topK"), "mean_per_class" (top-1, every class counting the same), "agreement" (same
            answer as for the clean image, needs no labels), "auc" (class 0 against the rest).
        data: what the records call the images; None: their own name.
        readout, label_fraction, trained_on: for the records; one value, or one for each name.
        corruption, severity: for the records.

    Raises:
        InputError: nothing to measure, an unknown metric, no labels where a metric needs them, or a classifier with
            fewer outputs than there are classes or with outputs that are NaN.
    """
    _check(classifiers, images, metrics, realizations)
    runs = 1 if _draws_nothing(operator, classifiers) else realizations
    tallies = {(name, metric): [tally(metric) for _ in range(runs)] for name in classifiers for metric in metrics}
    highest = int(images.labels.max()) if any(map(needs_labels, metrics)) else -1
    for classifier in classifiers.values():
        if isinstance(classifier, nn.Module):
            classifier.to(device)
    total = len(images) * (runs + ("agreement" in metrics)) * len(classifiers)
    with evaluating(*classifiers.values()), phase(measuring(classifiers, operator), total, "answers") as meter:
        for batch in batches(images, batch_size, device=device, workers=workers):
            seen = random.keys(seed, batch.index)
            clean: dict[str, Tensor] = {}
            lost: dict[str, Tensor | bool] = dict.fromkeys(classifiers, False)
            if "agreement" in metrics:
                keys = random.fold(seen, EVAL_STREAM)
                for name, classifier in classifiers.items():
                    logits = answer(classifier, batch.images, keys)
                    clean[name], lost[name] = logits.argmax(dim=1), logits.isnan().any()
                    meter.advance(len(batch.index))
            for run in range(runs):
                keys = random.fold(seen, EVAL_STREAM, run)
                damaged = batch.images if operator is None else operator(batch.images, keys)
                for name, classifier in classifiers.items():
                    logits = answer(classifier, damaged, keys)
                    if logits.shape[1] <= highest:
                        raise InputError(
                            f"{name!r} has {logits.shape[1]} outputs, but {images.name!r} has labels up to {highest}: "
                            f"give a classifier for these classes"
                        )
                    lost[name] = logits.isnan().any() | lost[name]
                    for metric in metrics:
                        tallies[name, metric][run].add(logits, batch.labels, clean.get(name))
                    meter.advance(len(batch.index))
            for name, bad in lost.items():  # once a batch: a GPU need not wait for it at every realization
                if bool(bad):
                    raise unmeasurable(name)

    fixed = _draws_nothing(operator, classifiers)
    facts = protocol_facts(images, operator, () if fixed else (seed,), data, corruption=corruption, severity=severity)
    about = {"readout": readout, "label_fraction": label_fraction, "trained_on": trained_on}
    return [
        make_record(metric, [t.value() for t in found], found[0].images, name, seed, facts, **about)
        for (name, metric), found in tallies.items()
    ]


def agreement(classifiers: Mapping[str, Callable[[Images], Logits]], images: ImageSet, **settings: Any) -> list[Record]:
    """How often classifiers answer for the damaged image what they answer for the clean one; labels are not needed.

    Args:
        settings: those of `evaluate`.
    """
    return evaluate(classifiers, images, metrics=("agreement",), **settings)


def severity_curve(
    classifiers: Mapping[str, Callable[[Images], Logits]],
    images: ImageSet,
    operators: Sequence[tuple[float, Operator | None]],
    **settings: Any,
) -> list[Record]:
    """`evaluate` at several levels of damage: one operator each (None: clean), the level as the records' severity.

    Args:
        operators: (level, operator at that level), as from `operators.ladder`.
        settings: those of `evaluate`.
    """
    return [
        record
        for level, operator in operators
        for record in evaluate(classifiers, images, operator=operator, severity=level, **settings)
    ]


def measuring(models: Mapping[str, Any], operator: Operator | None) -> str:
    """What is being measured, for whoever waits."""
    return f"measuring {', '.join(models)} {'on clean images' if operator is None else f'under {operator!r}'}"


def _draws_nothing(operator: Operator | None, classifiers: Mapping[str, Any]) -> bool:
    fixed = operator is None or bool(getattr(operator, "deterministic", False))
    return fixed and all(getattr(classifier, "deterministic", True) for classifier in classifiers.values())


def _check(classifiers: Mapping[str, Any], images: ImageSet, metrics: Sequence[str], realizations: int) -> None:
    if not classifiers or not metrics or len(images) == 0 or realizations < 1:
        raise InputError(
            f"expected classifiers, images, metrics and realizations >= 1; got {len(classifiers)} classifiers, "
            f"{len(images)} images, metrics {list(metrics)}, realizations={realizations}"
        )
    for metric in metrics:
        tally(metric)
        if needs_labels(metric) and not bool((images.labels >= 0).any()):
            raise InputError(f"{metric} needs labels, and {images.name!r} has none: use agreement, or embeddings")
