"""The three trainings that all else is made of: harden an encoder, train a classifier, learn from views."""

import copy
import warnings

from torch import nn

from weatherproof import random
from weatherproof.data import ImageSet
from weatherproof.encoders import Encoder
from weatherproof.encoders.adapters import FULL, Adaptation, merged
from weatherproof.errors import InputError, unknown
from weatherproof.methods import (
    Anchor,
    Curriculum,
    FeatureSettings,
    Hardening,
    KeepClean,
    MovingTeacher,
    SimCLR,
    build_labelled,
    check_start,
    feature_settings,
    make_projector,
    teacher_cache,
)
from weatherproof.methods.recipes import SMALL
from weatherproof.objectives import Dense, InputGradient, NTXent
from weatherproof.protocols import Attack, Objective, Operator, Views
from weatherproof.training.looking import looking
from weatherproof.training.loop import fit
from weatherproof.training.plan import Course, Plan
from weatherproof.training.processes import make_fabric
from weatherproof.training.run import RunFolder
from weatherproof.training.watch import Watch

_CACHE = 2**31  # bytes of a teacher's embeddings
_HEAD, _PROJECTOR = 0x68656164, 0x70726F6A  # seeds of the new layers: "head", "proj"


def harden_encoder(
    teacher: Encoder,
    images: ImageSet,
    *,
    operator: Operator,
    objective: Objective,
    plan: Plan,
    augment: Operator | None = None,
    keep: KeepClean | None = None,
    watch: Watch | None = None,
    adapt: Adaptation = FULL,
    dense: Dense | None = None,
    curriculum: Curriculum | None = None,
    run: RunFolder | None = None,
    progress: bool = True,
) -> Encoder:
    """A copy of the teacher that embeds damaged images as the teacher embeds clean ones (Contrastive Inversion).

    Args:
        keep: what of the images stays clean, and what is promised for them; None: the paper's training, which sees
            damaged images alone.
        adapt: what trains: all weights of a copy, or an adapter on weights that the student shares with the teacher.
        dense: what the maps have in the loss, position by position; None: nothing.
        curriculum: how the damage grows; None: it is whole from the beginning.

    Without augmentation the teacher's embeddings never change, so they are computed once (8-28 % of the time saved),
    unless its maps are needed too, or they need more than 2 GiB, which a warning says.
    """
    student = adapt.attach(teacher, seed=plan.seed)
    cache = None
    cached = augment is None and dense is None and plan.epochs > 1 and plan.devices == 1
    if cached and looking() is None and _fits(teacher, images):
        cache = teacher_cache(
            teacher, images, device=make_fabric(plan).device, batch_size=plan.batch_size, workers=plan.workers
        )
    fit(
        Hardening(
            student, teacher, operator, objective, augment, cache, keep=keep, dense=dense,
            side=images.image_size, curriculum=curriculum,
            steps=Course(plan, len(images)).steps,
        ),
        images, plan, run, watch=watch, label="hardening", progress=progress,
    )  # fmt: skip
    return student.eval()


def _fits(teacher: Encoder, images: ImageSet) -> bool:
    """Whether the teacher's embeddings of all images may stay in memory. A line says where not."""
    need = len(images) * teacher.feature_dim * 4
    if need > _CACHE:
        warnings.warn(
            f"the teacher's embeddings would need {need / 2**30:,.1f} GiB, more than the {_CACHE / 2**30:g} GiB that "
            "are kept: they are computed anew in every epoch",
            stacklevel=3,
        )
    return need <= _CACHE


def harden_with_moving_teacher(
    teacher: Encoder,
    images: ImageSet,
    *,
    operator: Operator,
    objective: Objective,
    anchor: Anchor,
    plan: Plan,
    augment: Operator | None = None,
    run: RunFolder | None = None,
    progress: bool = True,
) -> tuple[Encoder, Encoder]:
    """A copy of the teacher, hardened while the teacher's last stage moves towards it, and the teacher as it is then.

    Args:
        teacher: stays as it is.
        anchor: of the moving teacher to the one that is given.

    Raises:
        InputError: a teacher whose stages are not known (`encoders.stages`).
    """
    student, start = merged(teacher), merged(teacher)
    method = MovingTeacher(student, start, operator, objective, anchor, augment)
    fit(method, images, plan, run, label="hardening with a moving teacher", progress=progress)
    moved = method.teacher.moving
    assert isinstance(moved, Encoder)
    return student.eval(), moved.eval()


def train_classifier(
    encoder: Encoder,
    images: ImageSet,
    *,
    plan: Plan,
    method: str = "supervised",
    settings: FeatureSettings | None = None,
    head: str | nn.Linear = "new",
    operator: Operator | None = None,
    augment: Operator | None = None,
    tikhonov: InputGradient | None = None,
    attack: Attack | None = None,
    run: RunFolder | None = None,
    progress: bool = True,
) -> tuple[Encoder, nn.Module]:
    """A copy of the encoder and a linear layer, trained end to end on labels.

    Args:
        method: one of `methods.LABELLED`.
        settings: of feature contrastive learning and its rivals; None: the published ones for such images.
        head: "new", a linear layer with random weights; "own", the encoder's own classifier, which goes on from where
            it is; or a layer of which a copy goes on.
        operator: damage.
        tikhonov: a penalty on the gradients by the pixels, of `methods.PENALISED`.
        attack: what "adversarial" is trained on.

    Raises:
        InputError: no such method, an own classifier that is not there or is for other classes, or a penalty or attack
            that the method does not have.
    """
    trained = encoder.clone()
    top = _head(trained, images, head, plan.seed)
    if settings is None:
        settings = settings_for(method, images, plan.epochs, plan.batch_size)
    check_start(method, settings, plan.epochs)
    per_epoch = Course(plan, len(images)).steps_per_epoch
    learner = build_labelled(
        method, trained, top, settings, start=round(settings.start_epoch * per_epoch),
        ramp=round(settings.ramp_epochs * per_epoch), operator=operator, augment=augment, tikhonov=tikhonov,
        attack=attack,
    )  # fmt: skip
    fit(learner, images, plan, run, label=method, progress=progress)
    return trained.eval(), top.eval()


def settings_for(method: str, images: ImageSet, epochs: float, batch_size: int | None = None) -> FeatureSettings:
    """`methods.feature_settings` for these images."""
    side = min(images.image_size) if images.image_size else SMALL + 1
    return feature_settings(
        method, size=side, channels=images.channels, classes=len(images.classes), epochs=epochs, batch_size=batch_size
    )


def check_own_head(encoder: Encoder, classes: int) -> None:
    """Raise `InputError` unless the encoder has a linear classifier for so many classes."""
    if not isinstance(encoder.head, nn.Linear) or encoder.num_classes != classes:
        has = "none" if encoder.head is None else f"{type(encoder.head).__name__} for {encoder.num_classes}"
        raise InputError(
            f"head own goes on with the linear classifier for {classes} classes that the encoder brings; "
            f"{encoder.name} has {has}"
        )


def _head(encoder: Encoder, images: ImageSet, head: str | nn.Linear, seed: int) -> nn.Module:
    classes = len(images.classes)
    if isinstance(head, nn.Linear):
        return copy.deepcopy(head)
    if head == "own":
        check_own_head(encoder, classes)
        assert encoder.head is not None
        return encoder.head
    if head != "new":
        raise unknown("head", head, ("new", "own"))
    with random.framework_seed(seed, _HEAD):
        return nn.Linear(encoder.feature_dim, classes)


def pretrain_encoder(
    encoder: Encoder,
    images: ImageSet,
    *,
    views: Views,
    plan: Plan,
    temperature: float = 0.5,
    projection: int = 64,
    run: RunFolder | None = None,
    progress: bool = True,
) -> Encoder:
    """The encoder after contrastive learning on two views of each image (SimCLR), the projector thrown away.

    Args:
        temperature: 0.5, as SimCLR on small images (Chen et al. 2020, Appendix B.9).
        projection: output size of the two-layer projector.
    """
    with random.framework_seed(plan.seed, _PROJECTOR):
        projector = make_projector("mlp", encoder.feature_dim, projection)
    method = SimCLR(encoder, views, projector, NTXent(temperature))
    fit(method, images, plan, run, label="learning a teacher", progress=progress)
    return encoder.eval()
