"""Fine-tune a whole encoder on labels, and keep it robust."""

from dataclasses import replace
from pathlib import Path
from typing import Literal, Unpack

from torch import nn

from weatherproof import operators
from weatherproof.data import ImageSet, label_fraction, metric_of
from weatherproof.errors import InputError, unknown
from weatherproof.evaluation import history
from weatherproof.evaluation.finetune_search import Search, Setting, split_of, weighted
from weatherproof.objectives import Regularizer, parse_regularizer
from weatherproof.protocols import Operator
from weatherproof.readouts import HEADS, Readout, finetune_encoder, regularizers_of, save_model
from weatherproof.training import Plan, RunFolder
from weatherproof.training.plan import Optimizer
from weatherproof.verbs.inputs import (
    pretrained,
    require_embeds,
    require_twice_differentiable,
    training_sets,
)
from weatherproof.verbs.measure import Measurement, enough_for_a_probe, measured_outcome
from weatherproof.verbs.options import TrainOptions, feed_of, require_counted, verb
from weatherproof.verbs.outcome import Outcome, command, recipe_of, text_of, with_origins
from weatherproof.verbs.overlap import overlap

_DECAY = 5e-4  # robust-models-transfer


@verb(out=Path("runs/finetune"), epochs=30, batch_size=64, schedule="step")
def finetune(
    encoder: str | Path | nn.Module,
    images: str | Path | ImageSet,
    *,
    regularizer: list[str] | None = None,
    weight: float | Literal["auto"] | None = None,
    head: Literal["linear", "mlp"] = "linear",
    labels: float = 1.0,
    operator: str | Operator | None = None,
    augment: str | Operator | None = "auto",
    lr: float | Literal["auto"] = 0.01,
    search_epochs: float | None = None,
    optimizer: Optimizer = "sgd",
    probe_images: int | None = None,
    **options: Unpack[TrainOptions],
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
        epochs: passes over the labelled images; 150 in the protocol that URRL follows.
        batch_size: images per step.
        lr: peak learning rate; or auto: 0.01 or 0.001, chosen on a validation split, a tenth of the training images.
        search_epochs: of the short trainings that choose; by default a fifth of epochs, but at least 200 steps, or all.
        weight_decay: of the optimizer; 5e-4, and 0 with L2SP.
        optimizer: sgd (momentum 0.9), adam, adamw or lars.
        schedule: step (a tenth after each third of the epochs), cosine or constant.
        probe_images: fit the probe of the encoder as it was on at most so many of the labelled images, evenly from all
            classes; by default 2,000 for each class, from where more change its accuracy by less than its standard
            error.
    """
    recipe = recipe_of("finetune", locals())
    require_counted(options, probe_images=probe_images)
    if head not in HEADS:
        raise unknown("head", head, HEADS)
    regularizers = [regularizer] if isinstance(regularizer, str) else regularizer or []
    chosen = weighted([parse_regularizer(given) for given in regularizers], weight)
    decay = _decay(options.get("weight_decay"), chosen)
    operator, feed = None if operator is None else operators.parse(operator), feed_of(options)
    where, size, seed = feed["device"], options["size"], options["seed"]
    start = pretrained(encoder, size=size, seed=seed)
    training, test, augment = training_sets(
        images, size or start.preprocessing.size, augment=augment, operator=operator, device=where, labelled=True
    )
    require_embeds(start, training, where)
    thirds = (options["epochs"] / 3, options["epochs"] * 2 / 3)
    plan = Plan.of(
        options, lr=0.01 if lr == "auto" else lr, weight_decay=decay, optimizer=optimizer,
        milestones=thirds if options["schedule"] == "step" else (),
    )  # fmt: skip
    positions = label_fraction(training.labels, labels, seed)
    searching = "auto" in (lr, weight)
    _check_search(searching, search_epochs)
    if searching:
        split_of(training, positions, seed)
    require_twice_differentiable(start, regularizers_of(chosen).get("tikhonov"), training, where)
    run = RunFolder.open(options["out"], with_origins(recipe, start, images=(training, test)) | {"weight_decay": decay})
    if known := measured_outcome(run, like=start):
        return known
    notes = overlap(training, test, options["test_images"])
    metric = metric_of(images)
    setting = Setting(plan.lr, chosen)
    if searching:
        search = Search(run, start, training, positions, head, augment, plan, metric, feed, search_epochs)
        setting = search.choose(setting, lr=lr == "auto", weight=weight == "auto")
    tuned, top = finetune_encoder(
        start, training, plan=replace(plan, lr=setting.lr), head=head, regularizers=setting.regularizers,
        labels=positions, augment=augment, run=run,
    )  # fmt: skip
    readout = Readout(top.cpu(), training.classes, "end-to-end", label_fraction=labels)
    before = history(encoder, None)
    provenance = {"started_from": text_of(encoder), "trained_on": before, **setting.to_dict()}
    save_model(
        run.path, tuned, readout, provenance=provenance,
        readout_provenance={"images": text_of(images), "operator": None},
    )  # fmt: skip
    also = () if metric == "top1" else (metric,)
    measurement = Measurement(
        run, test, options, feed, operator=operator, trained_on={"frozen": before, "fine-tuned": before}, also=also,
        notes=notes,
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
