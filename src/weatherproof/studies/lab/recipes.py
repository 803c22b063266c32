"""How encoders come about, as components: each names what it starts from, which is a recipe again, its images, its
settings and its seed. Damages, views and augmentations stand in them as text."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from weatherproof import methods, objectives, operators, random, views
from weatherproof.data import ImageSet, batches, held_out, label_fraction
from weatherproof.encoders import Encoder, fit_gauge, load_encoder
from weatherproof.encoders.gate import gated
from weatherproof.encoders.gate_fit import fit_gate
from weatherproof.encoders.taps import stages
from weatherproof.errors import InputError
from weatherproof.methods import Anchor, Curriculum, KeepClean
from weatherproof.methods.layers import NO_PENALTY, LayerwiseSimCLR, layer_projectors
from weatherproof.objectives import Dense, InputGradient, NTXent
from weatherproof.protocols import Operator, Views
from weatherproof.readouts import UnitLength
from weatherproof.spec import component
from weatherproof.studies.lab.sets import CHECK, Images, located
from weatherproof.studies.lab.store import Recipe, Store, Trained
from weatherproof.training import Plan, RunFolder, fit, harden_encoder, harden_with_moving_teacher
from weatherproof.training.plan import Course
from weatherproof.training.precision import fast_precision

FAST = fast_precision()  # of desk scale; the tables say which it was

Value = str | int | float | bool | InputGradient | None
Settings = tuple[tuple[str, Value], ...]  # arguments by name, in the order of their names

_LAYERS = 0x6C617972  # "layr": the seed of the projectors


def settings_of(settings: Mapping[str, Any]) -> Settings:
    """Arguments as a recipe holds them."""
    return tuple(sorted(settings.items()))


def plan_of(settings: Mapping[str, Any], seed: int) -> Plan:
    """The training plan of a scale's settings."""
    return replace(Plan(**settings), seed=seed)


@component
class Given:
    """An encoder as `load_encoder` gives it.

    Attributes:
        text: of the encoder; ``$DATA`` is the data folder.
        size: of the images; None: the encoder's own.
        classes: as in `load_encoder`.
        bare: images come in sizes of their own and are not resized.
        quiet: random weights are as it should be.
        seed: of random weights.
    """

    text: str
    size: int | None = None
    classes: int | None = None
    bare: bool = False
    quiet: bool = False
    seed: int = 0

    def require(self, folder: str | None) -> None:
        """Raise `InputError` where its weights file is not there.

        Args:
            folder: the data folder.
        """
        file = located(self.text, folder).partition("@")[2]
        if "@$DATA" in self.text and not Path(file).exists():
            raise InputError(f"no weights file {file!r}; {CHECK}")

    def make(self, store: Store) -> Encoder:
        with warnings.catch_warnings():
            if self.quiet:
                warnings.filterwarnings("ignore", message=".*randomly initialised")
            text = located(self.text, store.data)
            encoder = load_encoder(text, size=self.size, num_classes=self.classes, seed=self.seed)
        if self.bare:
            encoder.set_preprocessing(replace(encoder.preprocessing, size=None))
        return encoder


@component
class Hardened:
    """A student that answers on damaged images as the start does on clean ones.

    Attributes:
        keep: what stays clean and what is promised of it; None: the paper's training, which sees damaged images alone.
        curriculum: how the damage grows; None: it is whole from the beginning.
        dense: what the maps have in the loss; None: nothing.
    """

    start: Recipe
    data: Images
    operator: str
    plan: Plan
    objective: str = "StudentTeacher()"
    augment: str | None = None
    keep: KeepClean | None = None
    curriculum: Curriculum | None = None
    dense: Dense | None = None

    def make(self, store: Store) -> Encoder:
        return store.trained(self, lambda run: self._train(store, run))[0]

    def _train(self, store: Store, run: RunFolder) -> Trained:
        student = harden_encoder(
            store.encoder(self.start), store.images(self.data), operator=operators.parse(self.operator),
            objective=objectives.parse(self.objective), plan=store.plan(self.plan), augment=look_of(self.augment),
            keep=self.keep, curriculum=self.curriculum, dense=self.dense, run=run,
        )  # fmt: skip
        return student, None


@component
class TaughtByMoving:
    """A student like `Hardened`, whose teacher's last stage trains with it.

    Attributes:
        anchor: of the teacher to what it was.
    """

    start: Recipe
    data: Images
    operator: str
    plan: Plan
    anchor: Anchor
    objective: str = "StudentTeacher()"
    augment: str | None = None

    def make(self, store: Store) -> Encoder:
        return store.trained(self, lambda run: self._train(store, run))[0]

    def _train(self, store: Store, run: RunFolder) -> Trained:
        student, _ = harden_with_moving_teacher(
            store.encoder(self.start), store.images(self.data), operator=operators.parse(self.operator),
            objective=objectives.parse(self.objective), anchor=self.anchor, plan=store.plan(self.plan),
            augment=look_of(self.augment), run=run,
        )  # fmt: skip
        return student, None


@component
class Pretrained:
    """What a method of `methods.build` makes of the start, without labels.

    Attributes:
        settings: of the method; the projector as a word of `methods.make_projector`.
        layers: of `layer_wise`, which takes the place of the method; None: losses at the end alone.
    """

    start: Recipe
    data: Images
    method: str
    views: str
    plan: Plan
    settings: Settings = ()
    layers: Settings | None = None

    def make(self, store: Store) -> Encoder:
        return store.trained(self, lambda run: self._train(store, run))[0]

    def _train(self, store: Store, run: RunFolder) -> Trained:
        train, plan = store.images(self.data), store.plan(self.plan)
        method = self._method(store.encoder(self.start).clone(), train, plan)
        fit(method, train, plan, run, label=f"pretraining, {self.method}")
        encoder = method.encoder
        assert isinstance(encoder, Encoder)
        return encoder, None

    def _method(self, encoder: Encoder, train: ImageSet, plan: Plan) -> nn.Module:
        settings, looks = dict[str, Any](self.settings), views.parse(self.views)
        with random.framework_seed(plan.seed, _LAYERS):
            if "projector" in settings:
                settings["projector"] = methods.make_projector(settings["projector"], encoder.feature_dim)
            if self.layers is not None:
                return layer_wise(encoder, looks, **{**settings, **dict(self.layers)})
            return methods.build(
                self.method, encoder, views=looks, images=train.index, batch_size=plan.batch_size, **settings
            )


@component
class Between:
    """start + alpha (end - start), weight by weight (Wortsman et al. 2022).

    Attributes:
        end: an encoder, or a classifier on one.
        data: clean training images, over which the running statistics of batch normalisation are taken.
    """

    start: Recipe
    end: Recipe
    alpha: float
    data: Images

    def make(self, store: Store) -> Encoder:
        ends = store.encoder(self.start), store.encoder(self.end)
        return between(*ends, self.alpha, store.images(self.data), store.device)


def between(start: Encoder, end: Encoder, alpha: float, images: ImageSet, device: torch.device) -> Encoder:
    """start + alpha (end - start), weight by weight; the running statistics of batch normalisation are taken anew over
    the images, since those of two networks do not add up to those of a third."""
    encoder = end.clone().to(device)
    there = dict(start.named_parameters())
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            weight.lerp_(there[name].to(weight), 1 - alpha)
    norms = [module for module in encoder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    with torch.no_grad():
        for batch in batches(images, 256, device=device) if norms else ():
            encoder(batch.images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return encoder.eval()


@component
class Gated:
    """Original and hardened behind a gate, which a gauge of the damage opens; neither sees a label.

    Attributes:
        data: training images: on a tenth of them, at most 500, it is found where the gate opens; on the others the
            gauge learns.
        operator: what the hardened one was trained on.
        by: which of them is better is told by their answers, or by their embeddings.
    """

    original: Recipe
    hardened: Recipe
    data: Images
    operator: str
    by: Literal["answers", "embeddings"]
    seed: int = 0

    def make(self, store: Store) -> Encoder:
        return store.trained(self, lambda _: (self._fit(store), None))[0]

    def _fit(self, store: Store) -> Encoder:
        both = store.encoder(self.original), store.encoder(self.hardened)
        operator, (taught, held) = operators.parse(self.operator), held_out(store.images(self.data))
        gauge = fit_gauge(
            taught, operator, preprocessing=both[0].preprocessing, seed=self.seed, device=store.device
        )  # fmt: skip
        return gated(*both, gauge, *fit_gate(*both, held, operator, gauge, by=self.by, seed=self.seed)).eval()


@component
class Unit:
    """An encoder's embeddings on the unit sphere."""

    of: Recipe

    def make(self, store: Store) -> nn.Module:
        return UnitLength(store.encoder(self.of))


def look_of(text: str | None) -> Operator | None:
    """The augmentation of this text."""
    return None if text is None else views.parse(text)


def labelled(images: ImageSet, fraction: float, seed: int) -> Tensor | None:
    """Which images keep their label; None: all of them."""
    return None if fraction == 1 else label_fraction(images.labels, fraction, seed)


def stretched(plan: Plan, images: ImageSet, positions: Tensor | None) -> Plan:
    """With fewer images for as many steps."""
    if positions is None:
        return plan
    whole, few = (Course(plan, len(own)).steps_per_epoch for own in (images, positions))
    return plan.over(plan.epochs * whole / few)


def lasting(plan: Plan, steps: int | None, images: ImageSet) -> Plan:
    """For so many steps instead of epochs; None: as it is."""
    return plan if steps is None else plan.over(steps / Course(plan, len(images)).steps_per_epoch)


def layer_wise(
    encoder: Encoder, looks: Views, *, temperature: float, everywhere: bool, penalty: InputGradient = NO_PENALTY
) -> LayerwiseSimCLR:
    """SimCLR with losses at the encoder's stages.

    Args:
        everywhere: at every stage, with weights that rise by ten from one to the next (eq. 4 and 5); False: at the end.
        penalty: at the same places.
    """
    places = len(stages(encoder))
    end = (*(0.0 for _ in range(places - 1)), 1.0)
    return LayerwiseSimCLR(
        encoder, looks, layer_projectors(encoder), NTXent(temperature),
        alphas=None if everywhere else end,
        betas=None if everywhere else tuple(penalty.weight / 2 * weight for weight in end),
        penalty=penalty,
    )  # fmt: skip
