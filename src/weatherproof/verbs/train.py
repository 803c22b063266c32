"""Train a classifier from labels: feature contrastive learning, and its rivals."""

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Unpack

import torch
from torch import nn

from weatherproof import attacks, operators, random
from weatherproof.data import ImageSet, batches, label_fraction
from weatherproof.encoders import Encoder
from weatherproof.errors import InputError, unknown
from weatherproof.evaluation import history
from weatherproof.evaluation.class_sets import WORD, ClassFit, class_fit, head_of, head_of_readout
from weatherproof.methods import (
    FCL,
    LABELLED,
    SECOND_TERM,
    USES,
    FeatureSettings,
    check_k,
    check_parts,
    check_start,
    training_damage,
)
from weatherproof.objectives import InputGradient
from weatherproof.protocols import Attack, Operator
from weatherproof.readouts import Readout, load_readout, save_model
from weatherproof.training import Plan, RunFolder, check_own_head, settings_for, train_classifier
from weatherproof.training.plan import Optimizer
from weatherproof.verbs.inputs import (
    from_nothing,
    penalty_of,
    require_attack_works,
    require_embeds,
    require_twice_differentiable,
    training_sets,
)
from weatherproof.verbs.measure import Measurement, measured_outcome
from weatherproof.verbs.options import TrainOptions, feed_of, require_counted, verb
from weatherproof.verbs.outcome import Outcome, recipe_of, text_of, with_origins
from weatherproof.verbs.overlap import overlap
from weatherproof.verbs.utility_pictures import save_utility_pictures

_OWN_DAMAGE = {"augmix": "AugMix views", "adversarial": "attacks"}
_RIGHT_ANGLE = 1.0  # of the cosine distance; the paper states no margin
_ATTACK = "PGD(L2(0.5), steps=7, step_size=0.1)"  # URRL's rival; "Adversarial Examples Are Not Bugs"


@verb(out=Path("runs/train"), epochs=25, batch_size=64, schedule="cosine", weight_decay=0.0)
def train(
    method: str,
    images: str | Path | ImageSet,
    *,
    encoder: str | Path | nn.Module = "resnet20",
    head: Literal["new", "own"] = "new",
    operator: str | Operator | None = None,
    k: int | None = None,
    sigma: float | None = None,
    temperature: float | None = None,
    objective: Literal["softmax", "margin"] = "softmax",
    margin: float | None = None,
    layer: str | None = None,
    loss: Literal["cross-entropy", "squared-error", "hinge"] | None = None,
    weight: float | None = None,
    start_epoch: float | None = None,
    ramp_epochs: float | None = None,
    tikhonov: float | str | InputGradient | None = None,
    attack: str | Attack | None = None,
    labels: float = 1.0,
    augment: str | Operator | None = "auto",
    lr: float = 1e-3,
    optimizer: Optimizer = "adam",
    classes_match: bool = False,
    **options: Unpack[TrainOptions],
) -> Outcome:
    """Train an encoder and a linear classifier end to end on labels: feature contrastive learning (fcl), which makes
    the embedding ignore noise on pixels that the answer does not need and heed those that it does; or a rival.

    Args:
        method: supervised (cross-entropy), fcl, xe-gaussian, cl-gaussian, patch-gaussian, patch-gaussian-fcl, augmix
            (two AugMix views whose answers are to agree), or adversarial (attacked images).
        images: labelled images: a folder with class folders, digits, or NAME:DIR.
        encoder: where it starts: a native NAME (random weights), a library's, such as timm:NAME (pretrained;
            timm:NAME@random is not), NAME@WEIGHTS, or a run folder.
        head: new, a linear layer with random weights, or own, the classifier that the pretrained network or the run
            folder brings, which goes on.
        operator: the damage that it is trained and measured on; not with augmix and adversarial. Without: clean images.
        k: elements (pixels times channels) of most, and of least, utility that fcl perturbs; k, sigma, temperature,
            weight, start_epoch and ramp_epochs by default as published for images of this size.
        sigma: standard deviation of the noise on them, or on the whole image, in pixel units (0 to 1).
        temperature: of the contrast.
        objective: the contrast of fcl: softmax, or margin, which keeps negatives `margin` away.
        margin: the cosine distance of objective margin, above 0 and at most 2; by default 1, a right angle.
        layer: what fcl compares, where not the embedding: output (the logits), or a stage of the encoder, as 1, 2, ...
        loss: what fcl minimises and takes the utility of; by default cross-entropy.
        weight: lambda, which multiplies the second term's sum over a batch: it counts for more in larger batches. By
            default an image counts for as much as in the paper's batches of 1,024 (not stated for small grey images).
        start_epoch: until then cross-entropy alone; by default the published share of the epochs.
        ramp_epochs: over which the second term then rises to its weight.
        tikhonov: lambda of a penalty on the gradients by the pixels, or its text, such as InputGradient(0.1, "exact");
            of supervised and patch-gaussian.
        attack: what adversarial is trained on; by default PGD(L2(0.5), steps=7, step_size=0.1).
        labels: the fraction of labels that may be used, drawn stratified. `epochs` are passes over those images.
        augment: crops and flips before the damage; "auto" and "none" as for harden.
        epochs: passes over the labelled images.
        batch_size: images per step.
        lr: peak learning rate.
        optimizer: adam, adamw, sgd (momentum 0.9) or lars.
        classes_match: with head own, you say that the classes of the classifier are those of the images, in the same
            order, where their names do not show it.
    """
    recipe = recipe_of("train", locals())
    require_counted(options)
    if method not in LABELLED:
        raise unknown("training with labels", method, LABELLED)
    if method in _OWN_DAMAGE and operator is not None:
        raise InputError(
            f"{method} learns from clean images and {_OWN_DAMAGE[method]} of them: leave operator out; to measure under"
            " damage, give it to audit"
        )
    penalty, attack = penalty_of(tikhonov), _attack(method, attack)
    check_parts(method, penalty, attack)
    operator, feed = None if operator is None else operators.parse(operator), feed_of(options)
    where, size, seed = feed["device"], options["size"], options["seed"]
    start = from_nothing(encoder, size=size, seed=seed)
    training, test, augment = training_sets(
        images, size or start.preprocessing.size, augment=augment, operator=operator, device=where, labelled=True
    )
    require_embeds(start, training, where)
    require_twice_differentiable(start, penalty, training, where)
    if attack is not None:
        _require_attack(attack, start, training, where)
    if classes_match and head != "own":
        raise InputError(f"{WORD} is about the classifier that goes on: give --head own, or leave it out")
    goes_on = _own_head(start, encoder, training, classes_match) if head == "own" else None
    settings = _settings(
        method, training, options["epochs"], options["batch_size"],
        {
            "k": k, "sigma": sigma, "temperature": temperature, "weight": weight, "start_epoch": start_epoch,
            "ramp_epochs": ramp_epochs, "margin": _margin(objective, margin, temperature), "layer": layer, "loss": loss,
        },
    )  # fmt: skip
    labelled = training.subset(label_fraction(training.labels, labels, seed))
    plan = Plan.of(options, lr=lr, optimizer=optimizer)
    attacked = {} if attack is None else {"attack": repr(attack)}
    recipe = with_origins(recipe, start, images=(training, test))
    run = RunFolder.open(options["out"], recipe | settings.used(method) | attacked)
    if known := measured_outcome(run, like=start):
        return known
    notes = overlap(training, test, options["test_images"])
    trained, top = train_classifier(
        start, labelled, plan=plan, method=method, settings=settings, head=goes_on or "new", operator=operator,
        augment=augment, tikhonov=penalty, attack=attack, run=run,
    )  # fmt: skip
    readout = Readout(top.cpu(), training.classes, "end-to-end", label_fraction=labels)
    trained_on = training_damage(method, settings, operator, attack)
    save_model(
        run.path, trained, readout,
        provenance={"started_from": text_of(encoder), "trained_on": history(encoder, trained_on)},
        readout_provenance={"images": text_of(images), "operator": trained_on},
    )  # fmt: skip
    measurement = Measurement(
        run, test, options, feed, operator=operator,
        trained_on=None if trained_on is None else {method: trained_on}, notes=notes,
    )  # fmt: skip
    measurement.readout(readout, {method: trained})
    if operator is None:
        before = {"start": (start, goes_on)} if goes_on is not None else {}
        save_utility_pictures(
            run.path, before | {method: (trained, readout.head)}, measurement.images,
            k=_marked_elements(method, settings, test), sigma=settings.sigma, **feed,
        )  # fmt: skip
    return measurement.finish(encoder=trained, next_steps=(f"weatherproof compare {run.path} OTHER_RUN",))


def _require_attack(attack: Attack, start: Encoder, images: ImageSet, device: torch.device) -> None:
    """Raise `InputError` where the attack cannot be done on the encoder with a new classifier."""
    with random.framework_seed(0):
        model = nn.Sequential(start.clone(), nn.Linear(start.feature_dim, len(images.classes))).to(device)
    require_attack_works(attack, model, next(batches(images, 2, device=device)))


def _own_head(start: Encoder, encoder: str | Path | nn.Module, images: ImageSet, classes_match: bool) -> nn.Linear:
    """The classifier that goes on, its outputs in the order of the images' classes: of a run folder its readout, else
    the pretrained network's. Raises `InputError` where there is none whose classes are known to be the images'."""
    readout = load_readout(encoder) if isinstance(encoder, str | Path) and Path(encoder).is_dir() else None
    if readout is not None and isinstance(readout.head, nn.Linear) and not readout.unit_length:
        same = classes_match and len(readout.classes) == len(images.classes)
        fit = class_fit(head_of_readout(readout), images, classes_match=same)
        if fit.believed and fit.among is None:
            return _in_order(readout.head, fit)
    check_own_head(start, len(images.classes))
    assert isinstance(start.head, nn.Linear)
    fit = class_fit(head_of(start), images, classes_match=classes_match)
    if not fit.believed:
        raise InputError(f"head own goes on with a classifier of the images' classes: {fit.why}")
    return _in_order(start.head, fit)


def _in_order(head: nn.Linear, fit: ClassFit) -> nn.Linear:
    """The layer with its outputs in the order of the images' classes."""
    if fit.order is None:
        return head
    ordered, rows = copy.deepcopy(head), list(fit.order)
    ordered.weight.data = head.weight.data[rows]
    if head.bias is not None:
        ordered.bias.data = head.bias.data[rows]
    return ordered


def _margin(objective: str, margin: float | None, temperature: float | None) -> float | None:
    """Gamma of the contrast by a margin; None: by softmax."""
    if objective == "softmax":
        if margin is not None:
            raise InputError("margin is of the objective margin: give --objective margin, or leave margin out")
        return None
    if temperature is not None:
        raise InputError("objective margin has no temperature: leave it out, or take objective softmax")
    return _RIGHT_ANGLE if margin is None else margin


def _settings(
    method: str, images: ImageSet, epochs: float, batch_size: int, given: Mapping[str, Any]
) -> FeatureSettings:
    """The published settings for such images, but for those that are given."""
    given_settings = {name: value for name, value in given.items() if value is not None}
    uses = USES.get(method, ())
    strangers = [name for name in given_settings if name not in uses]
    if strangers:
        takes = f"it takes {', '.join(uses)}" if uses else "it takes none of these settings"
        raise InputError(f"{method} has no {strangers[0]}: {takes}")
    settings = replace(settings_for(method, images, epochs, batch_size), **given_settings)
    check_start(method, settings, epochs)
    if method in SECOND_TERM:  # what they cannot be made of is said before there is a run folder
        settings.partner(method), settings.objective(method)
    if method in FCL and images.image_size is not None:
        check_k(settings.k, (images.channels, *images.image_size))
    return settings


def _marked_elements(method: str, settings: FeatureSettings, images: ImageSet) -> int:
    """How many elements the page marks on either side: those of the training, or as many as it could have had."""
    assert images.image_size is not None  # `require_one_size`
    elements = images.channels * math.prod(images.image_size)
    return settings.k if method in FCL else min(settings.k, elements // 2)


def _attack(method: str, attack: str | Attack | None) -> Attack | None:
    if attack is None:
        return attacks.parse(_ATTACK) if method == "adversarial" else None
    return attacks.parse(attack) if isinstance(attack, str) else attack
