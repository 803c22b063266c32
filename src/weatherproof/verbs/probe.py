"""Fit a linear readout on a frozen encoder, with many or few labels."""

from pathlib import Path
from typing import Literal, Unpack

from torch import nn

from weatherproof import operators, views
from weatherproof.data import ImageSet, label_fraction
from weatherproof.evaluation import history
from weatherproof.protocols import Operator
from weatherproof.readouts import SCHEDULES, Adam, Fit, LinearEvaluation, Logistic, evaluation_views, save_model
from weatherproof.training import RunFolder
from weatherproof.verbs.inputs import (
    augmentation,
    pretrained,
    require_embeds,
    require_works,
    training_sets,
)
from weatherproof.verbs.measure import Measurement, measured_outcome
from weatherproof.verbs.options import DamageOptions, feed_of, require_counted, verb
from weatherproof.verbs.outcome import Outcome, command, name_of, recipe_of, text_of, with_origins
from weatherproof.verbs.overlap import overlap

Mode = Literal["cached", "paper", "moco", "pycontrast", "simclr"]


@verb(out=Path("runs/probe"), batch_size=256)
def probe(
    encoder: str | Path | nn.Module,
    images: str | Path | ImageSet,
    *,
    labels: float = 1.0,
    probe_images: int | None = None,
    operator: str | Operator | None = None,
    mode: Mode = "cached",
    augment: str | Operator | None = "none",
    **options: Unpack[DamageOptions],
) -> Outcome:
    """Fit a linear classifier on a frozen encoder's embeddings of damaged images, and measure it.

    Args:
        encoder: a run folder, or NAME@WEIGHTS as for harden.
        images: labelled images: a folder with class folders, digits, or NAME:DIR.
        labels: the fraction of labels that may be used, drawn stratified: 0.1, 0.01.
        probe_images: use at most so many of these images, evenly from all classes; by default all, though with 2,000
            for each class more change the accuracy by less than its standard error.
        operator: the damage on the images that it is fitted and measured on. Without: clean images.
        mode: cached (features of several draws of the damage cached once, then L-BFGS); paper (Adam, 10 epochs, a
            fresh draw every epoch; batches of 8 where less than half of the labels are used); or the linear evaluation
            of moco (SGD 30, 100 epochs), pycontrast (60 epochs) or simclr (SGD 0.2, cosine).
        augment: looks at the training images, before the damage; a fresh one every epoch. none: cached features.
            "auto": the crop and flip of moco, pycontrast or simclr, else those of harden.
    """
    recipe = recipe_of("probe", locals())
    require_counted(options, probe_images=probe_images)
    operator, feed = None if operator is None else operators.parse(operator), feed_of(options)
    where, size, seed = feed["device"], options["size"], options["seed"]
    loaded = pretrained(encoder, size=size, seed=seed)
    train, test, _ = training_sets(
        images, size or loaded.preprocessing.size, augment=None, operator=operator, device=where, labelled=True
    )
    require_embeds(loaded, train, where)
    positions = label_fraction(train.labels, labels, seed)
    looks = _looks(mode, augment, train)
    require_works(looks, train, where)
    run = RunFolder.open(options["out"], with_origins(recipe, loaded, images=(train, test)))
    if known := measured_outcome(run, loaded):
        return known
    name, notes = name_of(encoder), overlap(train, test, options["test_images"])
    trained_on = {name: history(encoder, operator)}
    measurement = Measurement(run, test, options, feed, operator=operator, trained_on=trained_on, notes=notes)
    readout = measurement.probe(
        name, loaded, train, labels=positions, fraction=labels, most=probe_images, operator=_chain(looks, operator),
        fit=_fit_of(mode, labels),
    )  # fmt: skip
    measurement.readout(readout, {name: loaded})
    save_model(
        run.path, loaded, readout, provenance={"encoder": text_of(encoder), "trained_on": history(encoder, None)},
        readout_provenance={"images": text_of(images), "operator": None if operator is None else repr(operator)},
    )  # fmt: skip
    audit = command("audit", run.path, images, operator="RandomMask(0.5)")
    return measurement.finish(encoder=loaded, next_steps=(audit,))


def _fit_of(mode: Mode, labels: float) -> Fit:
    if mode == "cached":
        return Logistic()
    return Adam(batch_size=128 if labels >= 0.5 else 8) if mode == "paper" else LinearEvaluation(mode)


def _looks(mode: Mode, augment: str | Operator | None, images: ImageSet) -> Operator | None:
    """The augmentation, where "auto" is the evaluation's own."""
    if augment == "auto" and mode in SCHEDULES and images.image_size:
        return evaluation_views(mode, min(images.image_size))
    return augmentation(augment, images)


def _chain(first: Operator | None, second: Operator | None) -> Operator | None:
    return views.Chain(first, second) if first is not None and second is not None else first or second
