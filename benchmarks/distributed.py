"""Several processes: a step of two against one with the same batch, and the checkpoint of a large encoder."""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.measure import Row
from weatherproof.data import MemoryImages
from weatherproof.encoders import load_encoder
from weatherproof.methods import Hardening
from weatherproof.objectives import NTXent
from weatherproof.operators import RandomMask
from weatherproof.training import Plan, RunFolder, fit, state
from weatherproof.training.optimizers import make_optimizer
from weatherproof.training.plan import Course
from weatherproof.training.processes import make_fabric

BATCH, IMAGES, REPEATS = 256, 2048, 3
LARGE = "timm:vit_large_patch16_224@random"  # 303 million weights


def run(kind: str) -> list[Row]:
    """Of the CPU alone: with two GPUs, two processes are not on one."""
    return [*_steps(), *_checkpoint()] if kind == "cpu" else []


def _steps() -> Iterator[Row]:
    for side in (32, 96):
        one, two = zip(*((_seconds(side, 1), _seconds(side, 2)) for _ in range(REPEATS)), strict=True)
        what = f"hardening small at {side} px, batch {BATCH}, step of two processes"
        yield Row(what, "one process, one thread each", "s", two, one, images=BATCH)


def _seconds(side: int, devices: int) -> float:
    """The median step of an epoch."""
    shape, draw = (IMAGES if side < 64 else IMAGES // 2, 3, side, side), torch.Generator().manual_seed(0)
    images = MemoryImages(torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8), name="noise", classes=())
    teacher = load_encoder("small@random", seed=0)
    method = Hardening(teacher.clone(), teacher, RandomMask(0.5), NTXent())
    plan = Plan(1, BATCH, 1e-4, device="cpu", devices=devices, log_every=1)
    rows = fit(method, images, plan, progress=False)[1:]  # without the first step, which warms up
    return float(torch.tensor([BATCH / row["images_per_second"] for row in rows]).median())


def _checkpoint() -> Iterator[Row]:
    """As `harden` writes it, weights and Adam's two moments, and reads it again; each is on the disk (fsync)."""
    teacher = load_encoder(LARGE, seed=0)
    method = Hardening(teacher.clone(), teacher, RandomMask(0.5), NTXent())
    weights = [weight for weight in method.parameters() if weight.requires_grad]
    plan = Plan(1, BATCH, 1e-4, device="cpu")
    optimizer = make_optimizer(plan, weights, torch.device("cpu"))
    for weight in weights:
        weight.grad = torch.full_like(weight, 1e-6)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    fabric, course = make_fabric(plan), Course(plan, IMAGES)
    written, read, plain = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        own = RunFolder.open(Path(folder) / "run", {})
        for step in range(REPEATS):
            saved = state.capture(method, optimizer, fabric, course, step, 0)
            written.append(_timed(lambda: own.save_checkpoint(saved)))  # noqa: B023 - called here
            read.append(_timed(own.load_checkpoint))
            plain.append(_timed(lambda: torch.save(saved, Path(folder) / "plain.pt")))  # noqa: B023
        size = (own.path / "checkpoint.pt").stat().st_size / 2**20
    million = sum(weight.numel() for weight in weights) / 1e6
    what = f"checkpoint of {million:.0f} million trained weights"
    yield Row(f"{what}, written", "torch.save without fsync", "s", tuple(written), tuple(plain))
    yield Row(f"{what}, read", "", "s", tuple(read), by="itself")
    yield Row(f"{what}, size", "", "MiB", (size,), by="itself")


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
