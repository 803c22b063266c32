"""Pretraining: the loss of all pairs, steps of SimCLR and MoCo against their bare passes, two processes against one."""

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import nt_xent
from benchmarks.measure import Moment, Row, in_turn
from benchmarks.steps import WARMUP, Alternating
from weatherproof import methods, random, views
from weatherproof.data import MemoryImages
from weatherproof.encoders import Encoder, load_encoder
from weatherproof.methods import make_projector
from weatherproof.protocols import Views
from weatherproof.training import Plan, RunFolder, fit
from weatherproof.types import Images, Keys

LIMIT = {"cpu": 1.15, "cuda": 1.10}
LR = 0.03


@dataclass(frozen=True)
class Case:
    method: str
    encoder: str
    batch: int
    size: int
    repeats: int


CASES = {
    "cpu": (
        Case("simclr", "resnet20", 256, 32, 9),
        Case("mocov2", "resnet20", 256, 32, 9),
        Case("simclr", "resnet18-cifar", 64, 32, 5),
        Case("mocov2", "resnet18-cifar", 64, 32, 5),
    ),
    "cuda": (
        *(Case(method, "resnet18-cifar", 512, 32, 60) for method in ("simclr", "mocov2")),
        *(Case(method, "torchvision:resnet50", 256, 224, 30) for method in ("simclr", "mocov2")),
    ),
}


def run(device: str) -> list[Row]:
    kind = torch.device(device).type
    found = nt_xent.rows(device)
    for case in CASES[kind]:
        found += _steps(case, device, LIMIT[kind])
    return [*found, *_processes()] if kind == "cpu" else found


# one step against its bare passes


class Unchanged:
    """Views that cost nothing: the images themselves, twice."""

    def __call__(self, images: Images, keys: Keys) -> tuple[Images, Images]:
        return images, images


class _Bare:
    """The passes of a method, its loss, backward and SGD on a batch that never changes.

    In the memory format and with the fused optimizer that the loop uses. MoCo's floor has one batch normalisation for
    the whole batch, no permutation and no moving average, and a queue that stays as it is.
    """

    def __init__(self, encoder: Encoder, kind: str, images: Tensor) -> None:
        self.images = images.contiguous(memory_format=torch.channels_last)
        network = nn.Sequential(encoder.clone().body, nn.Flatten(), make_projector(kind, encoder.feature_dim))
        self.network = network.to(images.device, memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.SGD(self.network.parameters(), LR, 0.9, fused=True)

    def step(self) -> None:
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def loss(self) -> Tensor:
        raise NotImplementedError


class _SimCLR(_Bare):
    def loss(self) -> Tensor:
        first, second = self.network(torch.cat([self.images, self.images])).chunk(2)
        return nt_xent.plain(first, second)


class _MoCo(_Bare):
    def __init__(self, encoder: Encoder, kind: str, images: Tensor, queue: int) -> None:
        super().__init__(encoder, kind, images)
        self.slow = nn.Sequential(encoder.clone().body, nn.Flatten(), make_projector(kind, encoder.feature_dim))
        self.slow.to(images.device, memory_format=torch.channels_last).train().requires_grad_(False)
        self.queue = F.normalize(torch.randn(queue, 128, device=images.device))
        self.target = torch.zeros(len(images), dtype=torch.int64, device=images.device)

    def loss(self) -> Tensor:
        queries = F.normalize(self.network(self.images))
        with torch.no_grad():
            keys = F.normalize(self.slow(self.images))
        logits = torch.cat([(queries * keys).sum(dim=1, keepdim=True), queries @ self.queue.T], dim=1)
        return F.cross_entropy(logits / 0.1, self.target)


def _steps(case: Case, device: str, limit: float) -> Iterator[Row]:
    """The step by itself, the views by themselves, and a step with its views."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (case.batch, 3, case.size, case.size), generator=generator, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # random weights: they are as quick as trained ones
        encoder = load_encoder(f"{case.encoder}@random", size=case.size, num_classes=0)
    what = f"{case.method}, {case.encoder}, batch {case.batch}, {case.size}×{case.size}"
    family = views.parse(methods.recipe(case.method, case.size).views_text(case.size))
    yield from _rows(
        f"{what}, step on given views", case, _alternate(case, encoder, pixels, Unchanged(), device), limit
    )
    images, keys = pixels.float().div(255).to(device), random.keys(0, torch.arange(case.batch))
    alone, _ = in_turn(lambda: family(images, keys), lambda: None, case.repeats, device)
    yield Row(f"{what}, {family!r} alone", "", "s", alone, by="itself", images=2 * case.batch)
    yield from _rows(f"{what}, step with views", case, _alternate(case, encoder, pixels, family, device), limit)


def _alternate(case: Case, encoder: Encoder, pixels: Tensor, looks: Views, device: str) -> Alternating:
    method = methods.build(
        case.method, encoder.clone(), views=looks, images=50_000, size=case.size, batch_size=case.batch
    )
    kind, still = methods.recipe(case.method).projector, pixels.float().div(255).to(device)
    bare = _MoCo(encoder, kind, still, len(method.queue)) if case.method == "mocov2" else _SimCLR(encoder, kind, still)  # type: ignore[arg-type]
    timed = Alternating(method, bare, device)
    plan = Plan(WARMUP + case.repeats + 1, case.batch, LR, optimizer="sgd", device=device)
    images = MemoryImages(pixels, name="noise", classes=())
    with tempfile.TemporaryDirectory() as folder:
        fit(timed, images, plan, RunFolder.open(Path(folder) / "run", {}), progress=False)
    return timed


def _rows(what: str, case: Case, timed: Alternating, limit: float) -> Iterator[Row]:
    """On the wall; on a CPU also in processor seconds, which other work on the machine disturbs less."""
    ours, floor = timed.ours[WARMUP:], timed.floor[WARMUP:]

    def of(clock: str, moments: Sequence[Moment]) -> tuple[float, ...]:
        return tuple(getattr(moment, clock) for moment in moments)

    for clock in ("wall", "processor") if timed.clocked_on == "cpu" else ("wall",):
        name = what if clock == "wall" else f"{what}, processor time"
        yield Row(name, "bare PyTorch", "s", of(clock, ours), of(clock, floor), limit=limit, images=case.batch)


# two processes against one


class Plain(nn.Module):
    """An encoder without batch normalisation, whose statistics over a process's share would be others."""

    feature_dim = 64

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 64)
        self.net = nn.Sequential(*(
            layer for a, b in pairwise(widths) for layer in (nn.Conv2d(a, b, 3, 2, 1), nn.GELU())
        ))  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images).mean(dim=(2, 3))


def _processes() -> Iterator[Row]:
    """Plain SGD from the same weights, the same whole batches."""
    pixels = torch.randint(0, 256, (2048, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = MemoryImages(pixels, name="noise", classes=())
    for name in ("simclr", "mocov2", "instdis"):
        found = [_losses_and_times(name, images, devices) for devices in (1, 2)]
        (losses, floor), (others, ours) = found
        what = f"{name}, batch 256, two processes"
        yield Row(f"{what}, loss", "one process", "loss", others, losses, by="gap", limit=1e-5)
        yield Row(f"{what}, step", "one process", "s", ours, floor, images=256)


def _losses_and_times(name: str, images: MemoryImages, devices: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    with random.framework_seed(1):
        encoder = Plain()
        projector = make_projector("mlp", 64)
    method = methods.build(
        name, encoder, views=views.parse("SimCLR(32)"), images=len(images), size=32, batch_size=256, projector=projector
    )
    plan = Plan(2, 256, LR, optimizer="sgd", schedule="constant", device="cpu", devices=devices, log_every=1)
    rows = fit(method, images, plan, progress=False)
    return tuple(row["loss"] for row in rows), tuple(256 / row["images_per_second"] for row in rows)
