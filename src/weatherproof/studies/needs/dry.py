"""A store that makes every model of a study and trains none: each training is looked at instead, on a few images, and
its memory and its floating-point operations are counted."""

import contextlib
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from weatherproof import random
from weatherproof.data import ImageSet, batches
from weatherproof.encoders import Encoder
from weatherproof.errors import InputError
from weatherproof.evaluation.finetune_search import Setting, trials_of
from weatherproof.readouts import Readout
from weatherproof.studies.lab.chosen import Chosen
from weatherproof.studies.lab.classifiers import Finetuned
from weatherproof.studies.lab.means import Means, bare
from weatherproof.studies.lab.recipes import Between, Given
from weatherproof.studies.lab.sets import Images, located
from weatherproof.studies.lab.store import Recipe, Store, Trained
from weatherproof.studies.needs.made_up import MadeUp, made_up
from weatherproof.training import Plan, RunFolder
from weatherproof.training.footprint import Footprint, footprint
from weatherproof.training.looking import instead_of_training
from weatherproof.training.plan import Course

_SIZES = (2, 4)  # images of a batch that is looked at
_LOOKS = (1 / 8, 3 / 8, 5 / 8, 7 / 8)  # of the training, where its loss changes in the course of it
_SEARCH = 1 / 5  # of a training: a trial of a search
_FLOAT, _PARAMETERS = re.compile(r"\d+\.\d*(e-?\d+)?|\d+e-?\d+"), ("seed", "plan", "labels", "operator", "steps")


@dataclass(frozen=True)
class Step:
    """What a step of a training costs.

    Attributes:
        memory: in float32, or half precision where the plan says so.
        flops: of an image of the batch, forward and backward, a multiplication and an addition being two.
        weights: bytes of what is kept of the model.
    """

    memory: Footprint
    flops: float
    weights: int


@dataclass(frozen=True)
class Training:
    """A training of a study.

    Attributes:
        plan: with the means.
        images: of an epoch.
        times: how often it is made; a fifth: a trial of a search.
    """

    recipe: Recipe
    plan: Plan
    images: int
    step: Step
    times: float = 1.0

    @property
    def flops(self) -> float:
        """Of the whole training."""
        course = Course(self.plan, self.images)
        return self.times * course.steps * self.plan.batch_size * self.step.flops

    @property
    def bytes(self) -> int:
        """Of a GPU's memory: that of a process, whose share of a batch may go through in parts."""
        share = self.plan.batch_size // self.plan.devices
        return self.step.memory.fixed + min(share, self.plan.micro_batch or share) * self.step.memory.per_image


class DryStore(Store):
    """Makes models from random weights and made-up images.

    Attributes:
        trainings: all that would be trained.
        passes: floating-point operations of forward passes for readouts.
        uncounted: what could not be looked at, and why.
    """

    def __init__(self, *, data: str | None, means: Means) -> None:
        super().__init__(Path(), data=data, device=torch.device("cpu"), means=means)
        self.trainings: dict[str, Training] = {}
        self.readouts: dict[str, float] = {}
        self.uncounted: dict[str, str] = {}
        self._steps: dict[str, Step] = {}
        self._given = lru_cache(4)(self._bare)
        self._times = 1.0

    def _make(self, recipe: Recipe) -> nn.Module:
        if isinstance(recipe, Given):
            return self._given(recipe.text, recipe.size, recipe.classes, recipe.bare)
        if isinstance(recipe, Between):
            return self.encoder(recipe.end)
        return recipe.make(self)

    def _bare(self, text: str, size: int | None, classes: int | None, whole: bool) -> Encoder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = Path(located(text, self.data or "").partition("@")[2])
            there = "$DATA" in text and file.is_file()
            encoder = Given(text, size, classes).make(self) if there else bare(text, size, classes)
        if whole:
            encoder.set_preprocessing(replace(encoder.preprocessing, size=None))
        return encoder

    def _read(self, images: Images) -> ImageSet:
        found: Any = made_up(images, self.data)
        return found

    def kept(self, recipe: Recipe, train: Callable[[RunFolder], Trained]) -> Trained:
        """The network as it is before the training. What has no plan is fitted, and made of what it begins with."""
        if not any(isinstance(getattr(recipe, field.name), Plan) for field in fields(recipe)):  # type: ignore[arg-type]
            starts = (getattr(recipe, field.name) for field in fields(recipe))  # type: ignore[arg-type]
            return self.encoder(next(part for part in starts if isinstance(part, Recipe))), None
        with instead_of_training(partial(self._look, recipe)), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return train(RunFolder(Path(), {}))

    def settled(self, search: object, choose: Callable[[RunFolder], Setting]) -> Setting:
        """Where the search starts; its trials are counted."""
        assert isinstance(search, Chosen)
        trial = Finetuned(
            search.start, search.data, search.plan, "linear", search.augment, regularizers=search.regularizers,
            steps=search.steps,
        )  # fmt: skip
        before, self._times = self._times, trials_of(search.first) * _SEARCH
        try:
            self.get(trial)
        finally:
            self._times = before
        return search.first

    def fitted(self, recipe: Recipe, fit: Callable[[], Readout]) -> Readout:
        """A linear layer of random weights; the passes that a fit needs are counted."""
        start: Any = getattr(recipe, "start", None)
        if start is None:
            return fit()
        body, own = self.body(start), self.images(recipe.data)  # type: ignore[attr-defined]
        looks = len(own) * getattr(recipe, "labels", 1.0) * getattr(recipe, "draws", 1)
        self.readouts[repr(recipe)] = looks * self.forward(body, own)
        return Readout(nn.Linear(body.feature_dim, len(own.classes)), own.classes)  # type: ignore[arg-type]

    def forward(self, model: nn.Module, images: ImageSet) -> float:
        """Floating-point operations of one image's way through a model."""
        network = next((part for part in model.modules() if isinstance(part, Encoder)), model)
        return self._forward(network, images)

    def _forward(self, network: nn.Module, images: ImageSet) -> float:
        key = f"forward {getattr(network, 'name', '')} {getattr(network, 'preprocessing', '')} {images.image_size}"
        if key not in self._steps:
            batch = next(batches(images.subset(torch.arange(1)), 1)).images
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                network.eval()(batch)
            self._steps[key] = Step(Footprint(0, 1), counter.get_total_flops(), 0)
        return self._steps[key].flops

    def _look(self, recipe: Recipe, method: nn.Module, images: ImageSet, course: Course) -> None:
        if isinstance(images, MadeUp):
            key = f"{_shape(recipe)} {course.plan.precision} {course.plan.checkpoint_gradients}"
            if key not in self._steps:
                self._steps[key] = _counted(method, images, course)
            found = Training(recipe, course.plan, len(images), self._steps[key], self._times)
            self.trainings[f"{recipe!r} {self._times}"] = found


def _counted(method: nn.Module, images: ImageSet, course: Course) -> Step:
    method.train()
    if hasattr(method, "groups"):  # of batch normalisation: the same memory, in smaller batches
        method.groups = 1
    weights = [weight for weight in method.parameters() if weight.requires_grad]
    tell = getattr(method, "at_step", None)
    half = course.plan.precision != "32-true"

    def step(size: int) -> None:
        batch = next(batches(images.subset(torch.arange(size)), size))
        keys = random.fold(random.keys(0, batch.index), 0)
        with torch.autocast("cpu", torch.bfloat16, enabled=half), random.framework_seed(0):
            terms = method(batch.images, batch.labels, batch.index, keys, _alone)
            torch.autograd.backward(terms["loss"], inputs=weights)

    if tell is not None:
        tell(course.steps - 1)
    optimizer = 2 if course.plan.optimizer in ("adam", "adamw") else 1
    everything = [*method.parameters(), *method.buffers()]
    with _passes(method, course.plan, weights):
        memory = footprint(step, everything, weights, states=optimizer, sizes=_SIZES)
    flops = []
    for place in _LOOKS if tell is not None else (1.0,):
        if tell is not None:
            tell(int(place * course.steps))
        with FlopCounterMode(display=False) as counter:
            step(_SIZES[0])
        flops.append(counter.get_total_flops() / _SIZES[0])
    for weight in weights:
        weight.grad = None
    method.eval()
    return Step(memory, sum(flops) / len(flops), sum(w.numel() * w.element_size() for w in weights))


def _passes(method: nn.Module, plan: Plan, weights: list[Tensor]) -> contextlib.AbstractContextManager[None]:
    from weatherproof.training.passes import passes

    if not plan.checkpoint_gradients:
        return contextlib.nullcontext()
    return passes(method, replace(plan, micro_batch=None, devices=1), weights)


def _alone(rows: Tensor) -> Tensor:
    return rows


def _shape(recipe: object) -> str:
    """A recipe but for what changes neither the memory nor the operations of an image: seeds, plans, damages, the
    numbers of weights."""
    return _FLOAT.sub("#", _without(recipe))


def _without(value: object) -> str:
    if isinstance(value, Plan):
        return ""
    if isinstance(value, tuple):
        return f"({', '.join(map(_without, value))})"
    if not isinstance(value, type) and hasattr(value, "__dataclass_fields__"):
        own = fields(value)  # type: ignore[arg-type]
        inner = (f"{f.name}={_without(getattr(value, f.name))}" for f in own if f.name not in _PARAMETERS)
        return f"{type(value).__name__}({', '.join(inner)})"
    return repr(value)


def reason(error: Exception) -> str:
    """Why something could not be looked at, in a line."""
    if isinstance(error, InputError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
