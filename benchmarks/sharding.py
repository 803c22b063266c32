"""What a process holds where weights are shared out (FSDP), against each having all of them (DDP)."""

import json
import os
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Row
from weatherproof.data import MemoryImages
from weatherproof.encoders import load_encoder
from weatherproof.methods import Hardening
from weatherproof.objectives import NTXent
from weatherproof.operators import RandomMask
from weatherproof.training import Plan, fit

ENCODER, SIDE = "timm:vit_base_patch16_224", 224
PROCESSES, BATCH, STEPS = 2, 4, 4
LAST = PROCESSES - 1  # the first one has a whole copy beside, in the host's memory, to save and to measure with


class Weighed(Hardening):
    """Writes down, in the last process, what it holds at each step and the most memory since the one before."""

    folder: Path

    def at_step(self, step: int) -> None:
        super().at_step(step)
        if torch.distributed.get_rank() != LAST:
            return
        if step == 0:
            threading.Thread(target=self._sample, daemon=True).start()
        weights = list(self.parameters())
        moved = sum(map(_bytes, (weight for weight in weights if weight.requires_grad)))
        row = {"time": time.monotonic(), "held": sum(map(_bytes, weights)) + 3 * moved, "peak": _Peak.take()}
        with (self.folder / "rows").open("a") as stream:
            stream.write(json.dumps(row) + "\n")

    def _sample(self) -> None:
        while True:
            _Peak.most = max(_Peak.most, _resident())
            time.sleep(0.005)


class _Peak:
    most = 0

    @classmethod
    def take(cls) -> int:
        before, cls.most = cls.most, 0
        return before


def _bytes(weight: torch.Tensor) -> int:
    own = getattr(weight, "_local_tensor", weight)
    return own.numel() * own.element_size()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run(kind: str) -> list[Row]:
    """Of the CPU alone: with two GPUs, two processes are not on one."""
    if kind != "cpu":
        return []
    fsdp, ddp = _measured("fsdp"), _measured("ddp")
    what = f"{ENCODER}, a process of {PROCESSES}, fsdp"
    return [
        Row(f"{what}: {title}", "ddp", unit, fsdp[name], ddp[name])
        for title, unit, name in (
            ("weights of student and teacher, gradients, Adam's moments", "MiB", "held"),
            (f"resident memory, most in a step of {BATCH} images", "MiB", "peak"),
            (f"step of {BATCH} images", "s", "seconds"),
        )
    ]  # fmt: skip


def _measured(strategy: Any) -> dict[str, tuple[float, ...]]:
    """Of the steps after the first, which warms up."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (BATCH, 3, SIDE, SIDE), generator=draw, dtype=torch.uint8)
    teacher = load_encoder(f"{ENCODER}@random", seed=0)
    method = Weighed(teacher.clone(), teacher, RandomMask(0.5), NTXent())
    with tempfile.TemporaryDirectory() as folder:
        method.folder = Path(folder)
        plan = Plan(STEPS, BATCH, 1e-4, device="cpu", devices=PROCESSES, strategy=strategy)
        fit(method, MemoryImages(pixels, name="noise", classes=()), plan, progress=False)
        rows = [json.loads(line) for line in (method.folder / "rows").read_text().splitlines()]
    pairs = list(pairwise(rows[1:]))
    return {
        "held": tuple(after["held"] / 2**20 for _, after in pairs),
        "peak": tuple(after["peak"] / 2**20 for _, after in pairs),
        "seconds": tuple(after["time"] - before["time"] for before, after in pairs),
    }
