"""A store that makes every model of a study and trains none: each training is looked at instead, on a few images, and
its memory and its floating-point operations are counted."""

import contextlib
import copy
import re
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from weatherproof import random
from weatherproof.data import ImageSet, batches
from weatherproof.encoders import Encoder
from weatherproof.errors import InputError
from weatherproof.evaluation.finetune_search import Setting, trials_of
from weatherproof.readouts import Readout
from weatherproof.readouts.store import KIND, Spoken
from weatherproof.restoration import Restored as RestoredModule
from weatherproof.studies.lab.chosen import Chosen
from weatherproof.studies.lab.classifiers import Finetuned
from weatherproof.studies.lab.means import Means, bare
from weatherproof.studies.lab.recipes import Between, Given
from weatherproof.studies.lab.sets import Images, located
from weatherproof.studies.lab.store import Measure, Recipe, Store, Trained
from weatherproof.studies.lab.words import TowerOf, WordHead
from weatherproof.studies.needs.made_up import MadeUp, made_up
from weatherproof.studies.needs.weightless import RememberedShapes, weightless
from weatherproof.training import Plan, RunFolder
from weatherproof.training.footprint import Footprint, footprint, operations
from weatherproof.training.looking import instead_of_training
from weatherproof.training.passes import passes
from weatherproof.training.plan import Course

_PARTS = (2, 4)  # rows that are tried, in batches of two and of four such parts
_TINY = 32  # pixels
_FEW = 8  # images, which both go through: of these a queue is a multiple
_SEARCH = 1 / 5  # of a training: a trial of a search
_FLOAT, _PARAMETERS = re.compile(r"\d+\.\d*(e-?\d+)?|\d+e-?\d+"), ("seed", "plan", "labels", "operator", "steps")


@dataclass(frozen=True)
class Parted:
    """Bytes where a batch goes through its networks some images at a time: fixed + images x per_image + rows of a part
    x per_row.

    Attributes:
        fixed: weights of all networks, gradients, what the optimizer keeps.
        per_image: what stays of each image of the batch: views, their damage, embeddings, gradients by the pixels.
        per_row: what each image in a part adds; a view is one.
    """

    fixed: int
    per_image: int
    per_row: int


@dataclass(frozen=True)
class Step:
    """What a step of a training costs.

    Attributes:
        memory: in float32, or half precision where the plan says so.
        flops: of an image of the batch, forward and backward, a multiplication and an addition being two.
        weights: bytes of what is kept of the model.
        recomputed: the memory where blocks are computed once more in the backward pass; None: not looked at.
        parted: the memory in parts; None: not looked at, or not possible.
        whole: why its batches cannot go through in parts; "": they can, or it was not looked at.
        normalised: batch normalisation is in it, whose statistics then are those of a part.
    """

    memory: Footprint
    flops: float
    weights: int
    recomputed: Footprint | None = None
    parted: Parted | None = None
    whole: str = ""
    normalised: bool = False


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
    def share(self) -> int:
        """Images of a batch in one process."""
        return self.plan.batch_size // self.plan.devices

    @property
    def bytes(self) -> int:
        """Of a GPU's memory (`needed`)."""
        return needed(self.step, self.step.memory, self.share, self.plan.micro_batch)


def needed(step: Step, memory: Footprint, images: int, micro_batch: int | None = None) -> int:
    """Bytes of a GPU's memory for so many images in a process, all at once or in parts (`Parted`)."""
    whole = memory.fixed + images * memory.per_image
    if micro_batch is None or step.parted is None:
        return whole
    parted = step.parted
    return min(whole, parted.fixed + images * parted.per_image + micro_batch * parted.per_row)


class DryStore(Store):
    """Makes models from random weights and made-up images.

    Args:
        memory: bytes; of the largest training, where it needs more, it is looked at what makes it smaller.

    Attributes:
        trainings: all that would be trained, by their text.
        readouts: floating-point operations of the forward passes for readouts, by their text.
        measurements: floating-point operations of all that was `measured`.
        processor: seconds of it that a restoration takes of a processor, by its text.
    """

    def __init__(self, *, data: str | None, means: Means, memory: float = float("inf")) -> None:
        super().__init__(Path(), data=data, device=torch.device("cpu"), means=means)
        self.trainings: dict[str, Training] = {}
        self.readouts: dict[str, float] = {}
        self.measurements = 0.0
        self.processor: dict[str, float] = {}
        self._steps: dict[str, Step] = {}
        self._bare_encoder = lru_cache(4)(self._bare)
        self._restored: dict[str, tuple[float, float]] = {}
        self._times, self._memory = 1.0, memory

    def _make(self, recipe: Recipe) -> nn.Module:
        if isinstance(recipe, Given):
            return self._bare_encoder(recipe.text, recipe.size, recipe.classes, recipe.bare)
        if isinstance(recipe, Between):
            return self.encoder(recipe.end)
        return recipe.make(self)

    def _bare(self, text: str, size: int | None, classes: int | None, whole: bool) -> Encoder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = Path(located(text, self.data or "").partition("@")[2])
            there = "$DATA" in text and file.is_file()
            try:
                encoder = Given(text, size, classes).make(self) if there else bare(text, size, classes)
            except InputError:
                if not there:
                    raise
                encoder = bare(text, size, classes)  # what is wrong with the file, `weight_needs` says
        if whole:
            encoder.set_preprocessing(replace(encoder.preprocessing, size=None))
        return encoder

    def _read(self, images: Images) -> ImageSet:
        found: Any = made_up(images, self.data)
        return found

    def trained(self, recipe: Recipe, train: Callable[[RunFolder], Trained]) -> Trained:
        """The network as it is before the training. What has no plan is fitted: all that it is made of is looked at,
        and what it begins with stands for it."""
        if not any(isinstance(getattr(recipe, field.name), Plan) for field in fields(recipe)):  # type: ignore[arg-type]
            given = (getattr(recipe, field.name) for field in fields(recipe))  # type: ignore[arg-type]
            first, *_ = [self.encoder(part) for part in given if isinstance(part, Recipe)]
            return first, None
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
        if isinstance(recipe, WordHead) and isinstance(recipe.tower, TowerOf):
            return self._said(recipe, recipe.tower)
        start: Any = getattr(recipe, "start", None)
        if start is None:
            return fit()
        body, own = self.body(start), self.images(recipe.data)  # type: ignore[attr-defined]
        looks = len(own) * getattr(recipe, "labels", 1.0) * getattr(recipe, "draws", 1)
        self.readouts[repr(recipe)] = looks * self.forward(body, own)
        return Readout(nn.Linear(body.feature_dim, len(own.classes)), own.classes)  # type: ignore[arg-type]

    def _said(self, recipe: WordHead, tower: TowerOf) -> Readout:
        """Of a text tower that may have to be fetched: as many numbers a word as the encoder gives an image."""
        words = recipe.words
        head = nn.Linear(self._bare_encoder(tower.text, None, None, False).feature_dim, len(words.classes))
        spoken = Spoken(words.names, words.prompts, tower.text, "")
        return Readout(head, words.classes, KIND, unit_length=True, spoken=spoken)

    def best(self, recipes: Sequence[Recipe], measure: Measure, images: Images, *, name: str) -> int:
        for recipe in recipes:
            self.get(recipe)
        return 0

    def look_through(self, model: nn.Module, images: ImageSet, passes: int) -> None:
        """Add so many passes of each image to what is measured."""
        looks = passes * len(images)
        self.measurements += looks * self.forward(model, images)
        for part in model.modules():
            if isinstance(part, RestoredModule):
                key = f"{part.restore!r} {images.image_size}"
                if key not in self._restored:
                    self._restored[key] = _restoring(part.restore, images)
                flops, seconds = self._restored[key]
                self.measurements += looks * flops
                if seconds:
                    name = repr(part.restore)
                    self.processor[name] = self.processor.get(name, 0.0) + looks * seconds

    def forward(self, model: nn.Module, images: ImageSet) -> float:
        """Floating-point operations of one image's way through a model."""
        network = next((part for part in model.modules() if isinstance(part, Encoder)), model)
        return self._forward(network, images)

    def _forward(self, network: nn.Module, images: ImageSet) -> float:
        key = f"forward {getattr(network, 'name', '')} {getattr(network, 'preprocessing', '')} {images.image_size}"
        if key not in self._steps:
            batch = next(batches(images.subset(torch.arange(1)), 1)).images
            with torch.no_grad():
                self._steps[key] = Step(Footprint(0, 1), operations(lambda: network.eval()(batch)), 0)
        return self._steps[key].flops

    def _look(self, recipe: Recipe, method: nn.Module, images: ImageSet, course: Course) -> None:
        if isinstance(images, MadeUp):
            plan = course.plan
            key = f"{_shape(recipe)} {plan.precision} {plan.checkpoint_gradients} {plan.micro_batch is None}"
            if key not in self._steps:
                largest = max((one.bytes for one in self.trainings.values()), default=0)
                self._steps[key] = _counted(method, images, course, max(self._memory, largest))
            found = Training(recipe, plan, len(images), self._steps[key], self._times)
            self.trainings[f"{recipe!r} {self._times}"] = found


def _counted(method: nn.Module, images: ImageSet, course: Course, most: float) -> Step:
    """Without numbers in the networks; with them where a method looks at weights."""
    try:
        with RememberedShapes():
            return counted(weightless(method), images, course, most)
    except (RuntimeError, NotImplementedError):
        return counted(copy.deepcopy(method), images, course, most)


def counted(method: nn.Module, images: ImageSet, course: Course, most: float = float("inf")) -> Step:
    """What a step of a method costs, which is changed by it.

    Args:
        most: bytes; where a whole batch needs more, checkpointing is looked at.
    """
    method.train()
    if hasattr(method, "groups"):  # of batch normalisation: the same memory, in smaller batches
        vars(method)["groups"] = 1
    plan, tell = course.plan, getattr(method, "at_step", None)
    weights = [weight for weight in method.parameters() if weight.requires_grad]
    counts: dict[int, int] = {}

    def step(size: int) -> None:
        batch = next(batches(images.subset(torch.arange(size)), size))
        keys = random.fold(random.keys(0, batch.index), 0)
        with torch.autocast("cpu", torch.bfloat16, enabled=plan.precision != "32-true"), random.framework_seed(0):
            terms = method(batch.images, batch.labels, batch.index, keys, _alone)
            torch.autograd.backward(terms["loss"], inputs=weights)

    def count(size: int) -> None:
        counts[size] = operations(lambda: step(size))

    def memory(work: Callable[[int], None], sizes: tuple[int, int], **way: Any) -> Footprint:
        alone: dict[str, Any] = {"devices": 1, "checkpoint_gradients": plan.checkpoint_gradients, "micro_batch": None}
        with passes(method, replace(plan, **{**alone, **way}), weights):
            return footprint(
                work, [*method.parameters(), *method.buffers()], weights,
                states=2 if plan.optimizer in ("adam", "adamw") else 1, sizes=sizes,
            )  # fmt: skip

    if tell is not None:
        tell(course.steps - 1)
    sizes = (2, 4) if hasattr(method, "queue") else (2, 3)  # of which a queue is a multiple
    found = memory(count, sizes)
    much = found.fixed + plan.batch_size // plan.devices * found.per_image > most
    less = parted = None
    whole = ""
    if much and not plan.checkpoint_gradients:
        with contextlib.suppress(InputError):
            less = memory(step, sizes, checkpoint_gradients=True)
    if much or plan.micro_batch:
        try:
            parted = _parted(partial(memory, count if plan.micro_batch else step))
        except InputError as error:
            whole = str(error)
    in_parts = plan.micro_batch is not None and parted is not None
    few = _FEW if in_parts else sizes[0]
    flops = counts[few] / few
    if tell is not None and (before := min(1.0, getattr(method, "start", 0) / course.steps)) > 0:
        tell(0)  # the loss of the steps before its second term begins
        with passes(method, replace(plan, devices=1, micro_batch=_PARTS[0] if in_parts else None), weights):
            count(few)
        flops = before * counts[few] / few + (1 - before) * flops
    networks = [part for part in method.modules() if isinstance(part, Encoder)]
    return Step(
        found, flops, sum(weight.numel() * weight.element_size() for weight in weights), less, parted, whole,
        normalised=any(isinstance(part, _BatchNorm) for network in networks for part in network.modules()),
    )  # fmt: skip


def _parted(memory: Callable[..., Footprint]) -> Parted:
    """From steps of few and of more images, in small and in larger parts."""
    small, large = (memory((2 * rows, 4 * rows), micro_batch=rows) for rows in _PARTS)
    per_row = (large.fixed - small.fixed + _FEW * (large.per_image - small.per_image)) // (_PARTS[1] - _PARTS[0])
    return Parted(max(0, small.fixed - _PARTS[0] * per_row), small.per_image, max(1, per_row))


def _restoring(restore: Any, images: ImageSet) -> tuple[float, float]:
    """Floating-point operations of restoring an image, and the seconds of a processor where there are no steps to
    count. Of many equal steps the second is counted."""
    batch = next(batches(images.subset(torch.arange(1)), 1))
    keys = random.keys(0, batch.index)
    if steps := getattr(restore, "steps", 0):
        first, both = (operations(partial(replace(restore, steps=n), batch.images, keys)) for n in (1, 2))
        return first + (steps - 1) * (both - first), 0.0
    restore(batch.images[..., :_TINY, :_TINY], keys)  # what is imported takes time once
    begun = time.process_time()
    return operations(partial(restore, batch.images, keys)), time.process_time() - begun


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
