"""With what the trainings of a study are run: processes, precision, memory. What they learn is the recipes' to say."""

import math
from dataclasses import replace
from functools import lru_cache

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from weatherproof.encoders import Encoder, load_encoder
from weatherproof.errors import InputError
from weatherproof.processor import Precision
from weatherproof.spec import component
from weatherproof.studies.lab.parts import parts
from weatherproof.studies.lab.recipes import Given, Pretrained
from weatherproof.training import Plan
from weatherproof.training.plan import Strategy


@component
class Means:
    """The means of all trainings of a study, each of which keeps its batch, its loss and its steps.

    Attributes:
        devices: processes, each with its share of every batch.
        precision: of every training; None: what each recipe says.
        accumulate: parts in which a process's share of a batch goes through the networks; their gradients make one
            step.
        micro_batch: or images that go through at a time.
        workers: processes that decode images; None: what each recipe says.
        checkpoint_gradients: blocks are computed once more in the backward pass.
        strategy: of several processes, "ddp" or "fsdp".
    """

    devices: int = 1
    precision: Precision | None = None
    accumulate: int = 1
    micro_batch: int | None = None
    workers: int | None = None
    checkpoint_gradients: bool = False
    strategy: Strategy = "ddp"

    def __post_init__(self) -> None:
        for name in ("devices", "accumulate", "micro_batch"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        self.of(Plan(1, self.devices, 1.0))

    def of(self, plan: Plan) -> Plan:
        """The plan with these means."""
        share = plan.batch_size // self.devices
        rows = min(math.ceil(share / self.accumulate), self.micro_batch or share)
        return replace(
            plan, devices=self.devices, strategy=self.strategy, precision=self.precision or plan.precision,
            micro_batch=plan.micro_batch if rows >= share else rows,
            workers=plan.workers if self.workers is None else self.workers,
            checkpoint_gradients=self.checkpoint_gradients or plan.checkpoint_gradients,
        )  # fmt: skip

    def mark(self, recipe: object) -> str:
        """What of them is part of this recipe's identity, since another result would come of it; "": nothing.

        That is a precision that was given, and, where batch normalisation is in the networks, over how many images of a
        batch it takes its statistics: in a process, and in a part. Checkpointing, workers and strategy change
        no number.
        """
        found = list(parts(recipe))
        if not any(isinstance(part, Plan) for part in found):
            return ""
        settings = [] if self.precision is None else [f"precision={self.precision!r}"]
        shared = {name: getattr(self, name) for name in ("devices", "accumulate", "micro_batch")}
        if shared != _WHOLE and any(map(_normalises, found)):
            settings += [f"{name}={value}" for name, value in shared.items() if value != _WHOLE[name]]
        return ", ".join(settings)

    def __bool__(self) -> bool:
        """Whether there is anything that a recipe does not say itself."""
        return self != Means()


_WHOLE = {"devices": 1, "accumulate": 1, "micro_batch": None}


def _normalises(part: object) -> bool:
    """Whether batch normalisation is in it. Methods without labels bring projectors of their own."""
    if isinstance(part, Pretrained):
        return True
    return isinstance(part, Given) and _has_batch_norm(part.text, part.size, part.classes)


@lru_cache
def _has_batch_norm(text: str, size: int | None, classes: int | None) -> bool:
    try:
        network = bare(text, size, classes)
    except InputError:
        return True  # of networks that cannot be made here it is assumed
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def bare(text: str, size: int | None, classes: int | None, seed: int = 0) -> Encoder:
    """The network of a text with random weights, whatever weights the text names: no file is read."""
    with torch.random.fork_rng(devices=[]):
        return load_encoder(f"{text.partition('@')[0]}@random", size=size, num_classes=classes, seed=seed)
