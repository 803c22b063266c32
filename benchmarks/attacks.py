"""Attacks against their bare passes, in turn in one run, on the same model and batch.

The floor of PGD is one forward and one backward pass to the pixels for each step, written plainly, without gradients of
the weights. Keeping the best iterate costs a forward pass more. For robust accuracy alone an image leaves the batch
once it is fooled, so that the time depends on how many stand; with no image fooled the same code must cost no more than
PGD does. Where torchattacks and foolbox are installed they run the same attack, from the same start.

To have them: pip install torchattacks foolbox (in an environment of its own, if need be).
"""

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import Row, in_turn
from weatherproof.attacks import L2, PGD, Linf, LogBarrier
from weatherproof.data import batches, load_images
from weatherproof.encoders import load_encoder
from weatherproof.readouts import OwnHead

STEPS, LIMIT = 20, 1.05
WEIGHTS = "resnet20-12fca82f.th"


@dataclass(frozen=True)
class Case:
    batch: int
    repeats: int
    few: int  # images of the log-barrier attack


CASES = {"cpu": Case(128, 7, 16), "cuda": Case(1024, 20, 256)}


def run(device: str) -> list[Row]:
    case = CASES[torch.device(device).type]
    model, images, labels, what = _subject(case, device)
    keys = torch.arange(case.batch)
    bare = _Bare(model, images, labels)
    rows = []

    def measure(name: str, ours: Callable[[], object], limit: float | None) -> None:
        times = in_turn(ours, bare.passes, case.repeats, device, warmup=1)
        against = f"{STEPS} bare input-gradient passes"
        rows.append(Row(f"{name}, {what}", against, "s", *times, limit=limit, images=case.batch))

    for ball, text in ((L2(0.5), "L2(0.5)"), (Linf(8 / 255), "Linf(8/255)")):
        measure(f"PGD-{STEPS} {text}", partial(PGD(ball, STEPS), model, images, labels, keys), LIMIT)
    for eps, limit, said in ((0.5, 1.0, ""), (0.1, 1.0, ""), (1e-6, LIMIT, ", none fooled")):
        attack = PGD(L2(eps), STEPS, stop_when_fooled=True)
        known = model(images).argmax(dim=1).detach() if said else labels
        name = f"PGD-{STEPS} {attack.ball!r} until fooled{said}"
        measure(name, partial(attack, model, images, known, keys), limit)
    for name, peer in _peers(model, 0.5):
        measure(f"{name}'s PGD-{STEPS} L2(0.5)", partial(peer, images, labels), None)
    return [*rows, *_log_barrier(case, model, images, labels, what, device)]


class _Bare:
    """Forward pass, loss and backward pass to the pixels, and nothing else."""

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        self.model, self.images, self.labels = model, images, labels

    def passes(self, count: int = STEPS) -> None:
        for _ in range(count):
            pixels = self.images.detach().requires_grad_()
            torch.autograd.grad(F.cross_entropy(self.model(pixels), self.labels, reduction="sum"), pixels)


def _subject(case: Case, device: str) -> tuple[nn.Module, Tensor, Tensor, str]:
    """ResNet-20 with trained weights on CIFAR-10 where there are some, else an untrained one on noise, labels its own
    answers."""
    folder = os.environ.get("WEATHERPROOF_DATA")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # random weights: they are as quick as trained ones
        encoder = load_encoder(f"resnet20@{folder}/{WEIGHTS}" if folder else "resnet20", num_classes=10)
    model = OwnHead(encoder).eval().to(device)
    if folder:
        images = load_images(f"cifar10:{Path(folder) / 'cifar10'}", "test")
        some = next(batches(images.subset(torch.linspace(0, len(images) - 1, case.batch).long()), case.batch))
        return model, some.images.to(device), some.labels.to(device), f"ResNet-20, batch {case.batch}, CIFAR-10"
    pixels = torch.rand(case.batch, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(device)
    labels = model(pixels).argmax(dim=1).detach()
    return model, pixels, labels, f"untrained ResNet-20, batch {case.batch}, noise"


def _peers(model: nn.Module, eps: float) -> Iterator[tuple[str, Callable[[Tensor, Tensor], Any]]]:
    """The same attack by the public libraries that are installed, without a random start."""
    size = 2.5 * eps / STEPS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        for name in ("torchattacks", "foolbox"):
            try:
                package = import_module(name)
            except ImportError:
                continue
            if name == "torchattacks":
                yield name, package.PGDL2(model, eps=eps, alpha=size, steps=STEPS, random_start=False)
            else:
                wrapped = package.PyTorchModel(model, bounds=(0, 1), device=next(model.parameters()).device)
                attack = package.attacks.L2PGD(abs_stepsize=size, steps=STEPS, random_start=False)
                yield name, partial(attack, wrapped, epsilons=[eps])


def _log_barrier(case: Case, model: nn.Module, images: Tensor, labels: Tensor, what: str, device: str) -> Iterator[Row]:
    """Against as many bare passes as it has iterations; the time of one whole attack is six times as long."""
    some, own, keys = images[: case.few], labels[: case.few], torch.arange(case.few)
    bare = _Bare(model, some, own)
    for norm in ("l2", "l0", "linf"):
        attack = LogBarrier(norm, outer=5)
        passes = attack.outer * attack.inner
        ours, floor = partial(attack.minimal, model, some, own, keys), partial(bare.passes, passes)
        times = in_turn(ours, floor, 2, device, warmup=0)
        name = f"{attack!r}, {passes} iterations, {what.replace(f'batch {case.batch}', f'batch {case.few}')}"
        yield Row(name, f"{passes} bare input-gradient passes", "s", *times, images=case.few)
