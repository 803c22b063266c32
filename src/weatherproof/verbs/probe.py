"""Fit a linear readout on a frozen encoder, with many or few labels."""

from pathlib import Path

from weatherproof import operators, views
from weatherproof.data import ImageSet, label_fraction, load_images
from weatherproof.encoders import Encoder, load_encoder, save_encoder
from weatherproof.evaluation import history
from weatherproof.protocols import Operator
from weatherproof.readouts import SCHEDULES, evaluation_views, save_readout
from weatherproof.readouts.probe import Mode
from weatherproof.training import RunFolder
from weatherproof.training.run import refusals_leave_nothing
from weatherproof.verbs.inputs import (
    augmentation,
    device_of,
    require_counts,
    require_embeds,
    require_labels,
    require_one_size,
    require_works,
)
from weatherproof.verbs.measure import Measurement, is_measured, require_pace
from weatherproof.verbs.outcome import Outcome, command, finished, name_of, recipe_of, text_of
from weatherproof.verbs.overlap import overlap


@refusals_leave_nothing()
def probe(
    encoder: str | Path | Encoder,
    images: str | Path | ImageSet,
    *,
    labels: float = 1.0,
    probe_images: int | None = None,
    operator: str | Operator | None = None,
    mode: Mode = "cached",
    augment: str | Operator | None = "none",
    size: int | None = None,
    batch_size: int = 256,
    device: str = "auto",
    workers: int = 2,
    realizations: int = 3,
    test_images: int | None = 2000,
    minutes: float | None = None,
    processes: int = 1,
    out: str | Path = Path("runs/probe"),
    seed: int = 0,
) -> Outcome:
    """Fit a linear classifier on a frozen encoder's embeddings of damaged images, and measure it.

    Args:
        encoder: a run folder, or NAME@WEIGHTS as for harden.
        images: labelled images: a folder with class folders, digits, or NAME:DIR.
        labels: the fraction of labels that may be used, drawn stratified: 0.1, 0.01.
        probe_images: use at most so many of these images, evenly from all classes; by default all, though with 1,000
            for each class more change the accuracy by less than its standard error.
        operator: the damage on the images that it is fitted and measured on. Without: clean images.
        mode: cached (features of several draws of the damage cached once, then L-BFGS); paper (Adam, 10 epochs, a
            fresh draw every epoch; batches of 8 where less than half of the labels are used); or the linear evaluation
            of moco (SGD 30, 100 epochs), pycontrast (60 epochs) or simclr (SGD 0.2, cosine).
        augment: looks at the training images, before the damage; a fresh one every epoch. none: cached features.
            "auto": the crop and flip of moco, pycontrast or simclr, else those of harden.
        size: side in pixels at which the images are read; by default the encoder's own.
        batch_size: images per forward pass.
        device: auto, cpu or cuda.
        workers: processes that decode images when they do not fit into memory.
        realizations: draws of the damage that each measured number is the mean of.
        test_images: measure on at most so many test images.
        minutes: of the measurement: start nothing new after that time; the numbers under damage then rest on fewer
            images and say on how many. The same command goes on from there.
        processes: share the measurement out over so many processes, on their own GPUs where there are several.
        out: the run folder.
        seed: of every random draw.
    """
    recipe = recipe_of("probe", locals())
    require_counts(realizations=realizations, test_images=test_images, batch_size=batch_size, probe_images=probe_images)
    require_pace(minutes, processes)
    operator, where = None if operator is None else operators.parse(operator), device_of(device)
    loaded = load_encoder(encoder, size=size, seed=seed)
    side = size or loaded.preprocessing.size
    train, test = (load_images(images, split, size=side) for split in ("train", "test"))
    require_labels(train, test)
    require_one_size(train, test)
    require_works(operator, train, where)
    require_embeds(loaded, train, where)
    positions = label_fraction(train.labels, labels, seed)
    looks = _looks(mode, augment, train)
    require_works(looks, train, where)
    run = RunFolder.open(out, recipe)
    if is_measured(run):
        return finished(run, "this run is finished already: nothing was done", encoder=loaded)
    name, notes = name_of(encoder), overlap(train, test, test_images)
    measurement = Measurement(
        run, test, operator=operator, trained_on={},
        realizations=realizations, limit=test_images, seed=seed, device=where, workers=workers, batch_size=batch_size,
        notes=notes, minutes=minutes, processes=processes,
    )  # fmt: skip
    readout = measurement.probe(
        name, loaded, train, labels=positions, fraction=labels, most=probe_images, operator=_chain(looks, operator),
        mode=mode, probe_batch_size=128 if labels >= 0.5 else 8,
    )  # fmt: skip
    measurement.readout(readout, {name: loaded})
    save_encoder(loaded, run.path, provenance={"encoder": text_of(encoder), "trained_on": history(encoder, None)})
    fitted_on = None if operator is None else repr(operator)
    save_readout(readout, run.path, provenance={"images": text_of(images), "operator": fitted_on})
    audit = command("audit", run.path, images, operator="RandomMask(0.5)")
    return measurement.finish(encoder=loaded, next_steps=(audit,))


def _looks(mode: Mode, augment: str | Operator | None, images: ImageSet) -> Operator | None:
    """The augmentation, where "auto" is the evaluation's own."""
    if augment == "auto" and mode in SCHEDULES and images.image_size:
        return evaluation_views(mode, min(images.image_size))
    return augmentation(augment, images)


def _chain(first: Operator | None, second: Operator | None) -> Operator | None:
    return views.Chain(first, second) if first is not None and second is not None else first or second
