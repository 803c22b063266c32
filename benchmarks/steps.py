"""A hardening step inside the training loop, against bare PyTorch doing the same passes and nothing else.

The two alternate step by step within one run of the loop: the method is wrapped so that each of its calls first stops the
loop's clock, does one bare step on models of its own, and starts the clock again. So a measured step is everything the
loop does from one batch to the next, and what else the machine does falls on both.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import Row, clock, seconds
from weatherproof import operators
from weatherproof.data import MemoryImages
from weatherproof.encoders import Encoder, load_encoder
from weatherproof.methods import Hardening
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


def run(device: str) -> list[Row]:
    kind = torch.device(device).type
    return [_one(case, device, LIMIT[kind]) for case in CASES[kind]]


class _Alternating(nn.Module):
    """A method that times the loop around it, and a bare step between."""

    def __init__(self, method: nn.Module, bare: "_Bare", device: str) -> None:
        super().__init__()
        self.method = method
        self._timed = {"bare": bare}  # in a dict, so that its weights are no part of what is trained
        self._device = device
        self._left: float | None = None
        self.ours: list[float] = []
        self.floor: list[float] = []

    def forward(
        self, images: Tensor, labels: Tensor, index: Tensor, keys: Tensor, gather: Gather
    ) -> Mapping[str, Tensor]:
        if self._left is not None:
            self.ours.append(clock(self._device) - self._left)
            self.floor.append(seconds(self._timed["bare"].step, self._device))
        self._left = clock(self._device)
        return self.method(images, labels, index, keys, gather)


class _Bare:
    """Forward passes of teacher and student, the loss, backward and Adam, on one batch that never changes."""

    def __init__(self, encoder: Encoder, images: Tensor, lr: float) -> None:
        self.student = encoder.clone().body.to(images.device).train()
        self.teacher = encoder.clone().body.to(images.device).eval().requires_grad_(False)
        self.images = images
        self.rows = torch.arange(len(images), device=images.device)
        self.optimizer = torch.optim.Adam(self.student.parameters(), lr=lr)

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


def _one(case: Case, device: str, limit: float) -> Row:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (case.batch, 3, case.size, case.size), generator=generator, dtype=torch.uint8)
    images = MemoryImages(pixels, torch.full((case.batch,), -1), name="noise", classes=())
    encoder = load_encoder(case.encoder)
    plan = Plan(epochs=WARMUP + case.repeats + 1, batch_size=case.batch, lr=3e-4, device=device)
    method = Hardening(encoder.clone(), encoder, operators.parse(case.operator), StudentTeacher(TEMPERATURE))
    bare = _Bare(encoder, pixels.float().div(255).to(device), plan.lr)
    timed = _Alternating(method, bare, device)
    with tempfile.TemporaryDirectory() as folder:
        fit(timed, images, plan, RunFolder.open(Path(folder) / "run", {}), progress=False)
    ours, floor = tuple(timed.ours[WARMUP:]), tuple(timed.floor[WARMUP:])
    what = f"{case.encoder}, batch {case.batch}, {case.size}×{case.size}, {case.operator}"
    return Row(what, "bare PyTorch", "s", ours, floor, limit=limit, images=case.batch)
