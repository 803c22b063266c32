"""A step of feature contrastive learning: against its bare passes, against plain cross-entropy, against algorithm 1
written down line by line; and its memory.

In units of one pass through the network (F forward, D backward to the inputs, W backward to the weights) plain
cross-entropy needs F + D + W. FCL needs the clean image's F and the D of the utility, F of two noisy copies, and D + W
of all three: 3 F + 4 D + 3 W, its floor. The utility's D cannot be saved by taking it from the cross-entropy's own
backward pass: that pass would also make weight gradients, which the contrast's pass through the clean image makes once
more (3 F + 4 D + 4 W). Line by line the algorithm is 4 F + 4 D + 4 W, a pass and a backward of its own for the utility.
"""

import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import Row
from benchmarks.steps import WARMUP, Alternating, Bare
from weatherproof.data import MemoryImages
from weatherproof.encoders import Encoder, load_encoder
from weatherproof.methods import FeatureContrastive, Supervised, UtilityNoise
from weatherproof.objectives import FeatureContrast
from weatherproof.training import Plan, RunFolder, fit

LR, WEIGHT, K, SIGMA, TEMPERATURE = 0.01, 1e-4, 256, 0.5, 0.1
OVER_FLOOR, OVER_LITERAL = 1.15, 1 / 1.4
CLASSES = 10


@dataclass(frozen=True)
class Case:
    encoder: str
    channels: int
    size: int
    batch: int
    repeats: int


CASES = {
    "cpu": (Case("lenet", 1, 28, 256, 11), Case("resnet20", 3, 32, 256, 7)),
    "cuda": (Case("lenet", 1, 28, 256, 100), Case("resnet20", 3, 32, 256, 100), Case("resnet20", 3, 32, 1024, 50)),
}


def run(device: str) -> list[Row]:
    kind = torch.device(device).type
    found = [row for case in CASES[kind] for row in _steps(case, device)]
    return found + [_memory(case) for case in CASES["cpu"]] if kind == "cpu" else found


class _Step:
    """A network of its own in the loop's memory format, with the loop's optimizer, on a batch that never changes."""

    def __init__(self, encoder: Encoder, images: Tensor, labels: Tensor, form: torch.memory_format) -> None:
        self.encoder = encoder.clone().to(images.device, memory_format=form).train()  # type: ignore[call-overload]
        self.head = nn.Linear(encoder.feature_dim, CLASSES).to(images.device)
        self.images, self.labels = images.contiguous(memory_format=form), labels
        self.weights = [*self.encoder.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.SGD(self.weights, LR, 0.9, fused=True)

    def finish(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward(inputs=self.weights)
        self.optimizer.step()


class Plain(_Step):
    """Cross-entropy: F + D + W."""

    def step(self) -> None:
        self.finish(F.cross_entropy(self.head(self.encoder(self.images)), self.labels))


class Floor(_Step):
    """The passes that FCL must make, 3 F + 4 D + 3 W, on noisy copies that are given."""

    def step(self) -> None:
        pixels = self.images.detach().requires_grad_()
        z = self.encoder(pixels)
        loss = F.cross_entropy(self.head(z), self.labels)
        torch.autograd.grad(loss, pixels, retain_graph=True)
        low, high = self.encoder(torch.cat([self.images, self.images])).chunk(2)
        self.finish(loss + WEIGHT * _contrast(z, low, high))


class Literal(_Step):
    """Algorithm 1: the utility by a pass and a backward of its own, then z, z+ and z- by a pass each."""

    def step(self) -> None:
        pixels = self.images.detach().requires_grad_()
        F.cross_entropy(self.head(self.encoder(pixels)), self.labels, reduction="sum").backward()
        assert pixels.grad is not None
        utility = pixels.grad.abs().flatten(1)
        low, high = (self._noisy(utility.topk(K, dim=1, largest=largest).indices) for largest in (False, True))
        z, near, far = self.encoder(self.images), self.encoder(low), self.encoder(high)
        loss = F.cross_entropy(self.head(z), self.labels) + WEIGHT * _contrast(z, near, far)
        self.finish(loss)  # what the utility's backward left on the weights is cleared first

    def _noisy(self, places: Tensor) -> Tensor:
        mask = torch.zeros_like(self.images).flatten(1).scatter_(1, places, 1.0).view_as(self.images)
        return self.images + SIGMA * torch.randn_like(self.images) * mask


def _contrast(z: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Equation 5 as a cross-entropy: the positive on the diagonal of cos(z_i, z_j), cos(z_i, z-_i) as a column more."""
    z, low, high = (F.normalize(rows) for rows in (z, low, high))
    positive, own = ((z * rows).sum(dim=1) for rows in (low, high))
    logits = torch.cat([(z @ z.T).diagonal_scatter(positive), own[:, None]], dim=1) / TEMPERATURE
    return F.cross_entropy(logits, torch.arange(len(z), device=z.device), reduction="sum")


def _steps(case: Case, device: str) -> Iterator[Row]:
    what = f"FCL step, {case.encoder}, batch {case.batch}, {case.size}×{case.size}"
    packed, plain = torch.channels_last, torch.contiguous_format
    for name, kind, form, limit in (
        ("its bare passes, 3 F + 4 D + 3 W", Floor, packed, OVER_FLOOR),
        ("plain cross-entropy, F + D + W", Plain, packed, None),
        ("algorithm 1 line by line, in the loop's memory format", Literal, packed, OVER_LITERAL),
        ("algorithm 1 line by line, in PyTorch's own format", Literal, plain, None),
    ):
        timed = _alternate(case, kind, form, device)
        ours, floor = timed.ours[WARMUP:], timed.floor[WARMUP:]
        for clock in ("wall", "processor") if device == "cpu" else ("wall",):
            yield Row(
                what if clock == "wall" else f"{what}, processor time", name, "s",
                tuple(getattr(moment, clock) for moment in ours), tuple(getattr(moment, clock) for moment in floor),
                limit=limit, images=case.batch,
            )  # fmt: skip


def _alternate(case: Case, kind: type[_Step], form: torch.memory_format, device: str) -> Alternating:
    images = _images(case)
    bare: Bare = kind(_encoder(case), images.pixels.float().div(255).to(device), images.labels.to(device), form)  # type: ignore[assignment]
    timed = Alternating(_method(case), bare, device)
    plan = Plan(WARMUP + case.repeats + 1, case.batch, LR, optimizer="sgd", device=device)
    with tempfile.TemporaryDirectory() as folder:
        fit(timed, images, plan, RunFolder.open(Path(folder) / "run", {}), progress=False)
    return timed


def _images(case: Case) -> MemoryImages:
    generator = torch.Generator().manual_seed(0)
    shape = (case.batch, case.channels, case.size, case.size)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return MemoryImages(pixels, torch.arange(case.batch) % CLASSES, name="noise")


def _encoder(case: Case) -> Encoder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # random weights: they are as quick as trained ones
        return load_encoder(f"{case.encoder}@random", num_classes=0)


def _method(case: Case) -> FeatureContrastive:
    encoder = _encoder(case)
    head = nn.Linear(encoder.feature_dim, CLASSES)
    return FeatureContrastive(encoder, head, UtilityNoise(K, SIGMA), FeatureContrast(TEMPERATURE), WEIGHT)


# memory: whole processes, since PyTorch does not count what it takes on a CPU


def _memory(case: Case, repeats: int = 3) -> Row:
    number = CASES["cpu"].index(case)
    pairs = [(_peak(number, "fcl"), _peak(number, "plain")) for _ in range(repeats)]
    what = f"memory of an FCL step, {case.encoder}, batch {case.batch}, {case.size}×{case.size}"
    return Row(what, "a plain cross-entropy step", "MiB", *map(tuple, zip(*pairs, strict=True)))  # type: ignore[arg-type]


def _peak(case: int, kind: str) -> float:
    """MiB that three steps needed at most, beyond what the process had before them."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.feature_contrast", str(case), kind]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def _train(case: Case, kind: str) -> float:
    images, method = _images(case), _method(case)
    learner = method if kind == "fcl" else Supervised(method.encoder, method.head)
    few = MemoryImages(images.pixels[:2], images.labels[:2], images.classes, name="two")
    plan = Plan(3, case.batch, LR, optimizer="sgd", device="cpu")
    fit(learner, few, plan, progress=False)  # libraries are loaded by now
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak counts from here
    before = _memory_now("VmRSS")
    fit(learner, images, plan, progress=False)
    return _memory_now("VmHWM") - before


def _memory_now(field: str) -> float:
    """MiB: VmRSS, what is resident now, or VmHWM, the most that was."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


if __name__ == "__main__":
    print(json.dumps(_train(CASES["cpu"][int(sys.argv[1])], sys.argv[2])))
