"""Measure an encoder or classifier under damage."""

import math
from pathlib import Path

from weatherproof import operators
from weatherproof.data import ImageSet, load_images
from weatherproof.encoders import Encoder, load_encoder
from weatherproof.errors import InputError
from weatherproof.protocols import Operator
from weatherproof.readouts import load_readout
from weatherproof.training import RunFolder
from weatherproof.training.run import IGNORED
from weatherproof.verbs.inputs import device_of, has_labels, require_counts, require_one_size, require_works
from weatherproof.verbs.measure import Measurement
from weatherproof.verbs.outcome import Outcome, finished, name_of, recipe_of


def audit(
    model: str | Path | Encoder,
    images: str | Path | ImageSet,
    *,
    operator: str | Operator | None = None,
    teacher: str | Path | Encoder | None = None,
    split: str = "test",
    size: int | None = None,
    batch_size: int = 256,
    device: str = "auto",
    workers: int = 2,
    realizations: int = 3,
    test_images: int | None = None,
    fail_under: list[str] | None = None,
    out: str | Path = Path("runs/audit"),
    seed: int = 0,
) -> Outcome:
    """Measure how an encoder or classifier degrades: clean, under the damage given, and along that damage's levels.

    A model with a classifier (a probe's or train's run folder, or a pretrained network with a head of its own whose
    classes are those of the images) is measured by top-1 and top-5 accuracy; an encoder by what needs no labels, the
    cosine to the teacher's clean embedding and recall@k in an index of them.

    Args:
        model: a run folder, or NAME@WEIGHTS as for harden.
        images: a folder, digits, or NAME:DIR.
        operator: the damage. Without: clean images only.
        teacher: the encoder whose clean embeddings are the target; by default the model's own.
        split: train, test, or all.
        size: side in pixels at which the images are read; by default the encoder's own.
        batch_size: images per forward pass. Memory depends on this, not on the number of images.
        device: auto, cpu or cuda.
        workers: processes that decode images when they do not fit into memory.
        realizations: draws of the damage that each number is the mean of.
        test_images: measure on at most so many images.
        fail_under: METRIC=VALUE (such as top1=0.6): exit status 1 if the model's value under the damage is lower.
        out: the run folder.
        seed: of every random draw.
    """
    recipe = recipe_of("audit", locals())
    require_counts(realizations=realizations, test_images=test_images, batch_size=batch_size)
    limits = [_limit(text) for text in fail_under or ()]
    operator, where = None if operator is None else operators.parse(operator), device_of(device)
    encoder = load_encoder(model, size=size, seed=seed)
    target = encoder if teacher is None else load_encoder(teacher, size=size, seed=seed)
    readout = load_readout(model) if not isinstance(model, Encoder) and Path(model).is_dir() else None
    chosen = load_images(images, split, size=size or encoder.preprocessing.size)
    require_one_size(chosen)
    require_works(operator, chosen, where)
    if readout is not None and has_labels(chosen) and readout.classes != chosen.classes:
        raise InputError(
            f"the classifier in {model} knows {_some(readout.classes)}, the images are {_some(chosen.classes)}: "
            "run probe on these images first"
        )
    run = RunFolder.open(out, recipe, ignore=(*IGNORED, "fail_under"))  # a check does not change the numbers
    if run.finished:
        return _checked(finished(run, "this run is finished already: nothing was done"), limits, operator)
    measurement = Measurement(
        run, chosen, operator=operator, trained_on={}, realizations=realizations, limit=test_images, seed=seed,
        device=where, workers=workers, batch_size=batch_size,
    )  # fmt: skip
    name = name_of(model)
    if readout is not None and has_labels(chosen):
        measurement.readout(readout, {name: encoder})
    measurement.own_head({name: encoder})
    measurement.embeddings({name: encoder}, target)
    return _checked(measurement.finish(encoder=encoder), limits, operator)


def _some(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:3]) + f", ... ({len(classes)} classes)" * (len(classes) > 3)


def _limit(text: str) -> tuple[str, float]:
    metric, _, value = text.partition("=")
    try:
        least = float(value)
    except ValueError:
        least = math.nan
    if not metric or not math.isfinite(least):
        raise InputError(f"--fail-under takes METRIC=VALUE such as top1=0.6, got {text!r}")
    return metric, least


def _checked(outcome: Outcome, limits: list[tuple[str, float]], operator: Operator | None) -> Outcome:
    """The outcome with its checks; status 1 if one fails. The values are those under the operator itself."""
    wanted = None if operator is None else repr(operator)
    for metric, least in limits:
        values = [r["value"] for r in outcome.records if r["metric"] == metric and r["operator"] == wanted]
        if not values:
            known = sorted({str(r["metric"]) for r in outcome.records})
            raise InputError(f"--fail-under {metric}={least:g}: this audit measured {', '.join(known)} only")
        passed = min(values) >= least
        outcome.checks = [
            *outcome.checks,
            {"claim": f"{metric} at least {least:g}", "passed": passed, "detail": f"measured {min(values):.4f}"},
        ]
        outcome.status = outcome.status or int(not passed)
    return outcome
