"""Fine-tune a whole encoder on labels, and keep it robust."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from weatherproof import operators
from weatherproof.data import ImageSet, label_fraction, metric_of
from weatherproof.encoders import Encoder, load_encoder, save_encoder
from weatherproof.errors import InputError, unknown
from weatherproof.evaluation import history
from weatherproof.evaluation.finetune_search import Search, Setting, split_of, weighted
from weatherproof.objectives import Regularizer, parse_regularizer
from weatherproof.protocols import Operator
from weatherproof.readouts import HEADS, Readout, finetune_encoder, regularizers_of, save_readout
from weatherproof.training import Plan, RunFolder
from weatherproof.training.plan import Optimizer, Precision, Schedule
from weatherproof.training.run import refusals_leave_nothing
from weatherproof.verbs.inputs import (
    device_of,
    require_counts,
    require_embeds,
    require_twice_differentiable,
    training_sets,
)
from weatherproof.verbs.measure import Measurement, enough_for_a_probe, is_measured, require_pace
from weatherproof.verbs.outcome import Outcome, command, finished, recipe_of, text_of
from weatherproof.verbs.overlap import overlap

_DECAY = 5e-4  # robust-models-transfer


@refusals_leave_nothing()
def finetune(
    encoder: str | Path | Encoder,
    images: str | Path | ImageSet,
    *,
    regularizer: list[str] | None = None,
    weight: float | Literal["auto"] | None = None,
    head: Literal["linear", "mlp"] = "linear",
    labels: float = 1.0,
    operator: str | Operator | None = None,
    augment: str | Operator | None = "auto",
    size: int | None = None,
    epochs: float = 30,
    batch_size: int = 64,
    lr: float | Literal["auto"] = 0.01,
    search_epochs: float | None = None,
    weight_decay: float | None = None,
    optimizer: Optimizer = "sgd",
    schedule: Schedule = "step",
    warmup_epochs: float = 0.0,
    accumulate: int = 1,
    precision: Precision = "32-true",
    device: str = "auto",
    devices: int = 1,
    workers: int = 2,
    checkpoint_seconds: float = 30.0,
    tensorboard: bool = False,
    probe_images: int | None = None,
    realizations: int = 3,
    test_images: int | None = 2000,
    minutes: float | None = None,
    processes: int = 1,
    out: str | Path = Path("runs/finetune"),
    seed: int = 0,
) -> Outcome:
    """Fine-tune a whole encoder with a new classifier on labels, and measure both beside the encoder as it was. A
    regularizer can keep what made the encoder robust (URRL).

    Args:
        encoder: a run folder, or NAME@WEIGHTS as for harden.
        images: labelled images: a folder with class folders, digits, or NAME:DIR. The twelve transfer sets (dtd:DIR,
            pets:DIR, flowers:DIR, ...) are measured by their own metric.
        regularizer: SimilarityMatrix(1.0) keeps which images are alike, L2SP(0.01, 0.01) keeps the weights near where
            they start (in place of weight decay), InputGradient(0.1, "gradients") keeps the loss calm where pixels
            change. Without: plain fine-tuning.
        weight: of the only regularizer, instead of what its text says; or auto: chosen on a validation split.
        head: linear or mlp (one hidden layer).
        labels: the fraction of labels that may be used, drawn stratified. `epochs` are passes over those images.
        operator: a damage that all are measured under, beside clean images. They are not trained on it.
        augment: crops and flips; "auto" and "none" as for harden.
        size: side in pixels at which the images are read; by default the encoder's own.
        epochs: passes over the labelled images; 150 in the protocol that URRL follows.
        batch_size: images per step.
        lr: peak learning rate; or auto: 0.01 or 0.001, chosen on a validation split, a tenth of the training images.
        search_epochs: of the short trainings that choose; by default a fifth of epochs, but at least 200 steps, or all.
        weight_decay: of the optimizer; 5e-4, and 0 with L2SP.
        optimizer: sgd (momentum 0.9), adam, adamw or lars.
        schedule: step (a tenth after each third of the epochs), cosine or constant.
        warmup_epochs: linear rise of the learning rate at the start.
        accumulate: batches whose gradients make one step.
        precision: 32-true, bf16-mixed or 16-mixed.
        device: auto, cpu or cuda.
        devices: processes, each with its share of every batch.
        workers: processes that decode images when they do not fit into memory.
        checkpoint_seconds: at most this much work is lost to a kill; the same command goes on from there.
        tensorboard: also write TensorBoard event files.
        probe_images: fit the probe of the encoder as it was on at most so many of the labelled images, evenly from all
            classes; by default 2,000 for each class, from where more change its accuracy by less than its standard
            error.
        realizations: draws of the damage that each measured number is the mean of.
        test_images: measure on at most so many test images.
        minutes: of the measurement: start nothing new after that time; the numbers under damage then rest on fewer
            images and say on how many. The same command goes on from there.
        processes: share the measurement out over so many processes, on their own GPUs where there are several.
        out: the run folder.
        seed: of every random draw.
    """
    recipe = recipe_of("finetune", locals())
    require_counts(realizations=realizations, test_images=test_images, batch_size=batch_size, probe_images=probe_images)
    require_pace(minutes, processes)
    if head not in HEADS:
        raise unknown("head", head, HEADS)
    asked = [regularizer] if isinstance(regularizer, str) else regularizer or []
    chosen = weighted([parse_regularizer(given) for given in asked], weight)
    decay = _decay(weight_decay, chosen)
    operator, where = None if operator is None else operators.parse(operator), device_of(device)
    start = load_encoder(encoder, size=size, seed=seed)
    training, test, augment = training_sets(
        images, size or start.preprocessing.size, augment=augment, operator=operator, device=where, labelled=True
    )
    require_embeds(start, training, where)
    plan = Plan(
        epochs=epochs, batch_size=batch_size, lr=0.01 if lr == "auto" else lr, weight_decay=decay, schedule=schedule,
        milestones=(epochs / 3, epochs * 2 / 3) if schedule == "step" else (), optimizer=optimizer,
        warmup_epochs=warmup_epochs, accumulate=accumulate, precision=precision, device=device, devices=devices,
        workers=workers, checkpoint_seconds=checkpoint_seconds, seed=seed, tensorboard=tensorboard,
    )  # fmt: skip
    positions = label_fraction(training.labels, labels, seed)
    searching = "auto" in (lr, weight)
    _check_search(searching, search_epochs)
    if searching:
        split_of(training, positions, seed)
    require_twice_differentiable(start, regularizers_of(chosen).get("tikhonov"), training, where)
    run = RunFolder.open(out, recipe | {"weight_decay": decay})
    if is_measured(run):
        return finished(run, "this run is finished already: nothing was done", encoder=load_encoder(str(run.path)))
    notes = overlap(training, test, test_images)
    reading: dict[str, Any] = {"device": where, "workers": workers, "batch_size": batch_size, "seed": seed}
    metric = metric_of(images)
    setting = Setting(plan.lr, chosen)
    if searching:
        search = Search(run, start, training, positions, head, augment, plan, metric, reading, search_epochs)
        setting = search.choose(setting, lr=lr == "auto", weight=weight == "auto")
    tuned, top = finetune_encoder(
        start, training, plan=replace(plan, lr=setting.lr), head=head, regularizers=setting.regularizers,
        labels=positions, augment=augment, run=run,
    )  # fmt: skip
    readout = Readout(top.cpu(), training.classes, "end-to-end", label_fraction=labels)
    provenance = {"started_from": text_of(encoder), "trained_on": history(encoder, None), **setting.to_dict()}
    save_encoder(tuned, run.path, provenance=provenance)
    save_readout(readout, run.path, provenance={"images": text_of(images), "operator": None})
    measurement = Measurement(
        run, test, operator=operator, trained_on={}, realizations=realizations, limit=test_images,
        also=() if metric == "top1" else (metric,), notes=notes, minutes=minutes, processes=processes, **reading,
    )  # fmt: skip
    most = enough_for_a_probe(training) if probe_images is None else probe_images
    probe = measurement.probe("frozen", start, training, labels=positions, fraction=labels, most=most)
    measurement.readout(probe, {"frozen": start})
    measurement.readout(readout, {"fine-tuned": tuned})
    return measurement.finish(
        encoder=tuned,
        next_steps=(
            command("audit", run.path, images, suite="common-15", out=f"{run.path}-audit"),
            f"weatherproof compare {run.path} OTHER_RUN",
        ),
    )


def _check_search(searching: bool, epochs: float | None) -> None:
    if epochs is not None and not searching:
        raise InputError("search-epochs belongs to the search: give --lr auto or --weight auto, or leave it out")
    if epochs is not None and not 0 < epochs < float("inf"):
        raise InputError(f"search_epochs must be a positive number, got {epochs:g}")


def _decay(given: float | None, regularizers: tuple[Regularizer, ...]) -> float:
    """The weight decay; none beside L2-SP, which takes its place. Raises `InputError` where both are asked for."""
    chosen = regularizers_of(regularizers, given or 0.0)
    if given is not None:
        return given
    return 0.0 if "sp" in chosen else _DECAY
