"""Train a classifier from labels: the supervised rival."""

from pathlib import Path
from typing import Literal

from weatherproof import operators
from weatherproof.data import ImageSet, label_fraction, load_images
from weatherproof.encoders import Encoder, load_encoder, save_encoder
from weatherproof.errors import InputError
from weatherproof.evaluation import history
from weatherproof.protocols import Operator
from weatherproof.readouts import Readout, save_readout
from weatherproof.training import Plan, RunFolder, train_classifier
from weatherproof.training.plan import Precision, Schedule
from weatherproof.verbs.inputs import (
    augmentation,
    device_of,
    require_counts,
    require_labels,
    require_one_size,
    require_works,
)
from weatherproof.verbs.measure import Measurement
from weatherproof.verbs.outcome import Outcome, finished, recipe_of, text_of
from weatherproof.views import AugMix


def train(
    method: Literal["supervised", "augmix"],
    images: str | Path | ImageSet,
    *,
    encoder: str | Path | Encoder = "resnet20",
    operator: str | Operator | None = None,
    labels: float = 1.0,
    augment: str | Operator | None = "auto",
    size: int | None = None,
    epochs: float = 25,
    batch_size: int = 64,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    schedule: Schedule = "cosine",
    warmup_epochs: float = 0.0,
    accumulate: int = 1,
    precision: Precision = "32-true",
    device: str = "auto",
    devices: int = 1,
    workers: int = 2,
    checkpoint_seconds: float = 30.0,
    tensorboard: bool = False,
    realizations: int = 3,
    test_images: int | None = 2000,
    out: str | Path = Path("runs/train"),
    seed: int = 0,
) -> Outcome:
    """Train an encoder and a linear classifier end to end on labelled, damaged images: the rival that needs labels.

    Args:
        method: supervised (cross-entropy), or augmix (clean images, and two AugMix views whose answers are to agree).
        images: labelled images: a folder with class folders, digits, or NAME:DIR.
        encoder: where it starts: NAME@WEIGHTS, a run folder, or a bare NAME (random weights).
        operator: the damage that it is trained and measured on; not with augmix. Without: clean images.
        labels: the fraction of labels that may be used, drawn stratified. `epochs` are passes over those images.
        augment: crops and flips before the damage; "auto" and "none" as for harden.
        size: side in pixels at which the images are read; by default the encoder's own.
        epochs: passes over the labelled images.
        batch_size: images per step.
        lr: peak learning rate of Adam.
        weight_decay: of Adam.
        schedule: cosine, constant or as_run.
        warmup_epochs: linear rise of the learning rate at the start.
        accumulate: batches whose gradients make one step.
        precision: 32-true, bf16-mixed or 16-mixed.
        device: auto, cpu or cuda.
        devices: processes, each with its share of every batch.
        workers: processes that decode images when they do not fit into memory.
        checkpoint_seconds: at most this much work is lost to a kill; the same command goes on from there.
        tensorboard: also write TensorBoard event files.
        realizations: draws of the damage that each measured number is the mean of.
        test_images: measure on at most so many test images.
        out: the run folder.
        seed: of every random draw.
    """
    recipe = recipe_of("train", locals())
    require_counts(realizations=realizations, test_images=test_images, batch_size=batch_size)
    if method == "augmix" and operator is not None:
        raise InputError(
            "augmix learns from clean images and AugMix views of them: leave operator out; to measure under damage, "
            "give it to audit"
        )
    views = AugMix() if method == "augmix" else None
    operator, where = None if operator is None else operators.parse(operator), device_of(device)
    start = load_encoder(encoder, size=size, seed=seed)
    side = size or start.preprocessing.size
    training, test = (load_images(images, split, size=side) for split in ("train", "test"))
    require_labels(training, test)
    require_one_size(training, test)
    augment = augmentation(augment, training)
    require_works(augment, training, where)
    require_works(operator, training, where)
    labelled = training.subset(label_fraction(training.labels, labels, seed))
    plan = Plan(
        epochs=epochs, batch_size=batch_size, lr=lr, weight_decay=weight_decay, schedule=schedule,
        warmup_epochs=warmup_epochs, accumulate=accumulate, precision=precision, device=device, devices=devices,
        workers=workers, checkpoint_seconds=checkpoint_seconds, seed=seed, tensorboard=tensorboard,
    )  # fmt: skip
    run = RunFolder.open(out, recipe)
    if run.finished:
        return finished(run, "this run is finished already: nothing was done", encoder=load_encoder(str(run.path)))
    trained, head = train_classifier(
        start, labelled, plan=plan, operator=operator, augment=augment, views=views, run=run
    )
    readout = Readout(head.cpu(), training.classes, "end-to-end", label_fraction=labels)
    trained_on = None if operator is None and views is None else repr(operator or views)
    save_encoder(
        trained,
        run.path,
        provenance={"started_from": text_of(encoder), "trained_on": history(encoder, operator or views)},
    )
    save_readout(readout, run.path, provenance={"images": text_of(images), "operator": trained_on})
    measurement = Measurement(
        run, test, operator=operator, trained_on={} if trained_on is None else {method: trained_on},
        realizations=realizations, limit=test_images, seed=seed, device=where, workers=workers, batch_size=batch_size,
    )  # fmt: skip
    measurement.readout(readout, {method: trained})
    return measurement.finish(encoder=trained, next_steps=(f"weatherproof compare {run.path} OTHER_RUN",))
