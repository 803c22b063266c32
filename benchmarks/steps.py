"""A hardening step inside the training loop, against bare PyTorch doing the same passes and nothing else.

The two alternate step by step within one run of the loop: the method is wrapped so that each of its calls first stops
the loop's clock, does one bare step on models of its own, and starts the clock again. So a measured step is everything
that the loop does from one batch to the next, and what else the machine does falls on both.
"""

import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import Moment, Row, in_turn, now, spent
from weatherproof import operators, random
from weatherproof.data import MemoryImages
from weatherproof.encoders import Encoder, load_encoder
from weatherproof.methods import Hardening, KeepClean
from weatherproof.objectives import StudentTeacher
from weatherproof.protocols import Gather
from weatherproof.training import Plan, RunFolder, fit

TEMPERATURE = 0.1  # the paper's
WARMUP = 3  # steps in which memory is allocated and kernels are chosen
LIMIT = {"cpu": 1.10, "cuda": 1.05}


@dataclass(frozen=True)
class Case:
    encoder: str
    batch: int
    size: int
    operator: str
    repeats: int


MASK, NOISE, BLUR = "RandomMask((0.5, 0.95))", "GaussianNoise((0.1, 0.5))", "GaussianBlur((1.0, 5.0))"
CASES = {
    "cpu": (
        *(Case("resnet20", 256, 32, operator, 15) for operator in (MASK, NOISE, BLUR)),
        *(Case("torchvision:squeezenet1_0", 64, 128, operator, 11) for operator in (MASK, NOISE, BLUR)),
    ),
    "cuda": (
        *(Case("resnet20", 256, 32, operator, 100) for operator in (MASK, NOISE, BLUR)),
        *(Case("resnet18-cifar", 256, 32, operator, 100) for operator in (MASK, NOISE, BLUR)),
        *(Case("torchvision:squeezenet1_0", 64, 128, operator, 100) for operator in (MASK, NOISE, BLUR)),
        *(Case("torchvision:resnet50", 64, 224, operator, 50) for operator in (MASK, NOISE, BLUR)),
    ),
}


PROMISE = 1.05  # what a promise on clean images may cost


def run(device: str) -> list[Row]:
    kind = torch.device(device).type
    whole = [row for case in CASES[kind] for row in _one(case, device, LIMIT[kind])]
    return [*whole, *(_promise_row(case, device) for case in CASES[kind] if case.operator == MASK)]


class Bare(Protocol):
    """A training step and nothing around it."""

    def step(self) -> None: ...


class Alternating(nn.Module):
    """A method that times the loop around it, and a bare step between."""

    def __init__(self, method: nn.Module, bare: "Bare", device: str) -> None:
        super().__init__()
        self.method = method
        self._timed = {"bare": bare}  # in a dict, so that its weights are no part of what is trained
        self.clocked_on = device
        self._left: Moment | None = None
        self.ours: list[Moment] = []
        self.floor: list[Moment] = []

    def forward(
        self, images: Tensor, labels: Tensor, index: Tensor, keys: Tensor, gather: Gather
    ) -> Mapping[str, Tensor]:
        if self._left is not None:
            self.ours.append(now(self.clocked_on) - self._left)
            self.floor.append(spent(self._timed["bare"].step, self.clocked_on))
        self._left = now(self.clocked_on)
        return self.method(images, labels, index, keys, gather)


class _Hardening:
    """Forward passes of teacher and student, the loss, backward and Adam, on one batch that never changes.

    In the memory format and with the fused optimizer that the loop uses: with PyTorch's defaults the floor would be
    slower and easier to meet.
    """

    def __init__(self, encoder: Encoder, images: Tensor, lr: float) -> None:
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.student, self.teacher = (
            encoder.clone().body.to(images.device, memory_format=torch.channels_last) for _ in range(2)
        )
        self.student.train().requires_grad_(True)
        self.teacher.eval().requires_grad_(False)
        self.rows = torch.arange(len(images), device=images.device)
        self.optimizer = torch.optim.Adam(self.student.parameters(), lr=lr, fused=True)

    def step(self) -> None:
        with torch.no_grad():
            teacher = _unit(self.teacher(self.images))
        student = _unit(self.student(self.images))
        loss = F.cross_entropy(student @ teacher.T / TEMPERATURE, self.rows)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def _unit(raw: Tensor) -> Tensor:
    return F.normalize(raw.mean((2, 3)) if raw.ndim == 4 else raw)


class _Stepping:
    """A method's own step, operator and all, on one batch."""

    def __init__(self, method: Hardening, images: Tensor) -> None:
        self.method = method.to(images.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.images, self.index = images, torch.arange(len(images))
        self.keys = random.keys(0, self.index)
        weights = [weight for weight in method.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.Adam(weights, lr=3e-4, fused=True)

    def __call__(self) -> None:
        terms = self.method(self.images, self.index, self.index, self.keys, lambda rows: rows)
        self.optimizer.zero_grad()
        terms["loss"].backward()
        self.optimizer.step()


def _promise_row(case: Case, device: str) -> Row:
    """A fifth of the images clean and a promise held on them, against the paper's step on as many images."""
    encoder, pixels = _encoder(case), _pixels(case).float().div(255).to(device)
    plain, promised = (
        _Stepping(
            Hardening(encoder.clone(), encoder.clone(), operators.parse(MASK), StudentTeacher(TEMPERATURE), keep=keep),
            pixels,
        )
        for keep in (None, KeepClean())
    )
    what = f"{case.encoder}, batch {case.batch}, {case.size}×{case.size}, {MASK}, a promise on clean images"
    ours, floor = in_turn(promised, plain, case.repeats, device)
    return Row(what, "the same without it", "s", ours, floor, limit=PROMISE, images=case.batch)


def _pixels(case: Case) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (case.batch, 3, case.size, case.size), generator=generator, dtype=torch.uint8)


def _encoder(case: Case) -> Encoder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # random weights: they are as quick as trained ones
        return load_encoder(f"{case.encoder}@random", size=case.size)


def _one(case: Case, device: str, limit: float) -> list[Row]:
    pixels, encoder = _pixels(case), _encoder(case)
    images = MemoryImages(pixels, torch.full((case.batch,), -1), name="noise", classes=())
    plan = Plan(epochs=WARMUP + case.repeats + 1, batch_size=case.batch, lr=3e-4, device=device)
    method = Hardening(encoder.clone(), encoder, operators.parse(case.operator), StudentTeacher(TEMPERATURE))
    bare = _Hardening(encoder, pixels.float().div(255).to(device), plan.lr)
    timed = Alternating(method, bare, device)
    with tempfile.TemporaryDirectory() as folder:
        fit(timed, images, plan, RunFolder.open(Path(folder) / "run", {}), progress=False)
    return list(_rows(case, device, limit, timed.ours[WARMUP:], timed.floor[WARMUP:]))


def _rows(case: Case, device: str, limit: float, ours: Sequence[Moment], floor: Sequence[Moment]) -> Iterator[Row]:
    """On the wall; on a CPU also in processor seconds, which other work on the machine disturbs less."""
    what = f"{case.encoder}, batch {case.batch}, {case.size}×{case.size}, {case.operator}"
    for clock in ("wall", "processor") if device == "cpu" else ("wall",):
        yield Row(
            what if clock == "wall" else f"{what}, processor time",
            "bare PyTorch",
            "s",
            tuple(getattr(moment, clock) for moment in ours),
            tuple(getattr(moment, clock) for moment in floor),
            limit=limit,
            images=case.batch,
        )
