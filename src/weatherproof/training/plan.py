"""How long, how fast and on what to train."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal, TypedDict, get_args

import torch
from jaxtyping import Int64
from torch import Tensor

from weatherproof.data.loading import MOST_ROWS
from weatherproof.errors import InputError, shown, unknown
from weatherproof.processor import Precision
from weatherproof.spec import component
from weatherproof.training.schedules import learning_rate

Optimizer = Literal["adam", "adamw", "sgd", "lars"]
Schedule = Literal["cosine", "constant", "as_run", "cosine_epoch", "step"]
Strategy = Literal["ddp", "fsdp"]
Tracked = Literal["tensorboard", "mlflow", "wandb"]

_MOST: dict[str, float] = {  # beyond them a number is a slip of the hand, or none that a tensor can hold
    "epochs": 1_000_000, "batch_size": MOST_ROWS, "lr": 1e30, "weight_decay": 1e30,
    "warmup_epochs": 1_000_000, "accumulate": 1_000_000, "devices": 1024, "workers": 4096,
}  # fmt: skip


class PlanOptions(TypedDict, total=False):
    """What the user may say of a `Plan` in every training, in the user's words."""

    epochs: Annotated[float, "passes over the images."]
    weight_decay: Annotated[float, "of the optimizer."]
    schedule: Annotated[Schedule, "cosine, constant or as_run."]
    warmup_epochs: Annotated[float, "linear rise of the learning rate at the start."]
    precision: Annotated[Precision, "32-true, bf16-mixed or 16-mixed."]
    devices: Annotated[int, "processes, each with its share of every batch."]
    strategy: Annotated[
        Strategy,
        "of several processes: ddp, each has all weights, or fsdp, each has its part of weights, gradients and "
        "optimizer state, for encoders that do not fit on one device.",
    ]
    checkpoint_seconds: Annotated[
        float, "at most this much work is lost to a kill; the same command goes on from there."
    ]
    tensorboard: Annotated[bool, "also write TensorBoard event files."]
    tracker: Annotated[
        Tracked | None,
        "also send the log to tensorboard, mlflow or wandb; a run that goes on does so in the same one there. By "
        "default they write into the run folder: MLFLOW_TRACKING_URI and WANDB_MODE=online name another place.",
    ]
    micro_batch: Annotated[
        int | None,
        "images that go through the network at a time, for memory; the loss is that of the whole batch, whose images "
        "stay each other's negatives. A third more time. Batch normalisation sees so many images.",
    ]
    checkpoint_gradients: Annotated[bool, "compute each block once more in the backward pass: less memory, more time."]
    compile: Annotated[bool, "torch.compile the networks, in training."]


class StepOptions(PlanOptions, total=False):
    """`PlanOptions` of trainings whose batches are independent of each other."""

    accumulate: Annotated[int, "batches whose gradients make one step."]


@component
class Plan:
    """Everything about a training that is not its method or its images.

    Args:
        epochs: passes over the images; a fraction ends within one.
        batch_size: images per batch, over all processes together. The negatives of a contrastive batch.
        lr: peak learning rate.
        weight_decay: as the optimizer defines it (coupled for adam, sgd and lars, decoupled for adamw).
        optimizer: "adam", "adamw", "sgd" or "lars" (You et al. 2017; biases and norms are left as SGD has them).
        schedule: "cosine" to 0, step by step; "cosine_epoch", the same moved once an epoch; "step"; "constant"; or
            "as_run", the nearly constant cosine of the contrastive inversion runs.
        warmup_epochs: linear rise of the learning rate at the start.
        accumulate: batches whose gradients make one step (memory for time; negatives stay within a batch).
        precision: "32-true", "bf16-mixed" or "16-mixed".
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        devices: processes on this machine, each with its share of every batch.
        strategy: of several processes: "ddp", each has all weights, or "fsdp", each has its part of weights, gradients
            and optimizer state (`training.sharding`).
        workers: processes that decode images.
        checkpoint_seconds: at most this much work is lost to a kill.
        log_every: steps between two lines of the log.
        seed: of order, augmentation, damage and dropout.
        drop_last: leave out an epoch's last, smaller batch. None: yes, unless it would be the only one.
        tensorboard: also write event files into the run folder.
        tracker: also send the log's lines to "tensorboard", "mlflow" or "wandb" (`training.trackers`); None: to none.
        micro_batch: images that go through the network at a time in each process, with the loss and the negatives of
            the whole batch (`encoders.in_parts`). Batch normalisation in train mode takes its statistics
            over so many images, and its running ones move once for each micro-batch. None: the whole batch.
        checkpoint_gradients: blocks are computed once more in the backward pass (`blocks_recomputed`).
        compile: `torch.compile` of the networks.
        momentum: of sgd and lars.
        nesterov: Nesterov's momentum, of sgd and lars.
        milestones: epochs from which on "step" multiplies the learning rate by `gamma` once more.
        gamma: the factor of "step".
        floor: what "cosine" and "cosine_epoch" end at, as a fraction of lr.
    """

    epochs: float
    batch_size: int
    lr: float
    weight_decay: float = 0.0
    optimizer: Optimizer = "adam"
    schedule: Schedule = "cosine"
    warmup_epochs: float = 0.0
    accumulate: int = 1
    precision: Precision = "32-true"
    device: str = "auto"
    devices: int = 1
    workers: int = 0
    checkpoint_seconds: float = 30.0
    log_every: int = 10
    seed: int = 0
    drop_last: bool | None = None
    tensorboard: bool = False
    momentum: float = 0.9
    nesterov: bool = False
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    floor: float = 0.0
    micro_batch: int | None = None
    checkpoint_gradients: bool = False
    compile: bool = False
    tracker: Tracked | None = None
    strategy: Strategy = "ddp"

    @classmethod
    def of(cls, options: Mapping[str, object], **own: Any) -> "Plan":
        """The plan that a verb's options and what it says itself make; options of something else are passed over."""
        names = {field.name for field in fields(cls)}
        return cls(**{**{name: value for name, value in options.items() if name in names}, **own})

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            if getattr(self, name) > most:
                limit = f"{most:,}" if isinstance(most, int) else f"{most:g}"
                raise InputError(f"{name} must be at most {limit}, got {shown(getattr(self, name))}")
        for name, kinds in (("optimizer", Optimizer), ("schedule", Schedule), ("precision", Precision)):
            if getattr(self, name) not in get_args(kinds):
                raise unknown(name, str(getattr(self, name)), get_args(kinds))
        for name in ("batch_size", "accumulate", "devices", "log_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("epochs", "lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be a positive number, got {getattr(self, name)}")
        for name in ("weight_decay", "warmup_epochs", "workers", "checkpoint_seconds"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must be 0 or more, got {getattr(self, name)}")
        for name in ("momentum", "gamma", "floor"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.micro_batch is not None and not 1 <= self.micro_batch <= MOST_ROWS:
            raise InputError(f"micro_batch must be from 1 to {MOST_ROWS:,} images, got {shown(self.micro_batch)}")
        if self.checkpoint_gradients and self.compile:
            raise InputError("compile keeps what it wants for the backward pass: leave checkpoint_gradients or it out")
        if self.nesterov and not self.momentum:
            raise InputError("nesterov needs a momentum above 0")
        if self.schedule == "step" and not self.milestones:
            raise InputError("schedule 'step' needs milestones, the epochs at which the learning rate falls")
        if self.batch_size % self.devices:
            more = self.batch_size + -self.batch_size % self.devices
            raise InputError(
                f"batch_size {self.batch_size} cannot be shared evenly by {self.devices} devices: a multiple of "
                f"{self.devices} can, such as {more}, or fewer devices"
            )
        if self.shards and self.precision == "16-mixed":
            raise InputError("strategy fsdp has no loss scale for precision '16-mixed': use 'bf16-mixed', or ddp")
        if self.shards and self.compile:
            raise InputError("compile and strategy fsdp do not go together: leave compile out, or use ddp")

    def over(self, epochs: float) -> "Plan":
        """The same course in more or fewer epochs: warm-up and milestones keep their share of it."""
        share = epochs / self.epochs
        return replace(
            self, epochs=epochs, warmup_epochs=self.warmup_epochs * share,
            milestones=tuple(at * share for at in self.milestones),
        )  # fmt: skip

    @property
    def shards(self) -> bool:
        """Whether each process has a part of the weights alone."""
        return self.strategy == "fsdp" and self.devices > 1


@dataclass(frozen=True)
class Course:
    """The arithmetic of a training: which images each step sees, on which process.

    A step is one move of the weights. Step t of an epoch sees the same images however many processes share them:
    process r holds rows r B/world ... (r + 1) B/world of each batch, so that joining by rank restores the batch.
    """

    plan: Plan
    images: int

    def __post_init__(self) -> None:
        if self.images < self.plan.devices:
            raise InputError(f"cannot train on {self.images} images with {self.plan.devices} process(es)")

    @property
    def whole_batches(self) -> int:
        return self.images // self.plan.batch_size

    @property
    def last_rows(self) -> int:
        """Rows per process of an epoch's smaller last batch; 0 where there is none."""
        drop = self.whole_batches > 0 if self.plan.drop_last is None else self.plan.drop_last and self.whole_batches > 0
        return 0 if drop else (self.images % self.plan.batch_size) // self.plan.devices

    @property
    def batches_per_epoch(self) -> int:
        return self.whole_batches + (self.last_rows > 0)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.batches_per_epoch / self.plan.accumulate)

    @property
    def steps(self) -> int:
        return max(1, round(self.plan.epochs * self.steps_per_epoch))

    def batches_of(self, step: int) -> int:
        """How many batches make this step: `accumulate`, or what is left of the epoch."""
        done = step % self.steps_per_epoch * self.plan.accumulate
        return min(self.plan.accumulate, self.batches_per_epoch - done)

    def share(self, order: Int64[Tensor, "n"], rank: int) -> Int64[Tensor, "m"]:
        """What one process reads of an epoch's order."""
        size, world = self.plan.batch_size, self.plan.devices
        whole = order[: self.whole_batches * size].view(-1, world, size // world)[:, rank].flatten()
        rest = order[self.whole_batches * size :][: self.last_rows * world].view(world, -1)[rank]
        return torch.cat([whole, rest])

    def lr(self, step: int) -> float:
        """The learning rate of step 0, 1, 2, ...: linear warm-up, then the schedule."""
        return learning_rate(self.plan, step, self.steps, self.steps_per_epoch)
