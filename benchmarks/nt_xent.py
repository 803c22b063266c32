"""NT-Xent, forward and backward, against cross-entropy over the matrix of all pairs: time, and memory at large batches.

The public `lightly` joins in where it is installed (pip install --no-deps lightly lightly-utils).
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.measure import Row, in_turn
from weatherproof.objectives import nt_xent

TEMPERATURE = 0.1
FEATURES = 128
BATCH, LARGE = 1024, 8192

Loss = Callable[[Tensor, Tensor], Tensor]


def ours(first: Tensor, second: Tensor) -> Tensor:
    return nt_xent(first, second, TEMPERATURE)


def plain(first: Tensor, second: Tensor) -> Tensor:
    """One product, the diagonal filled, cross-entropy: what one writes first."""
    z = F.normalize(torch.cat([first, second]))
    logits = (z @ z.T / TEMPERATURE).fill_diagonal_(float("-inf"))
    return F.cross_entropy(logits, torch.arange(len(z), device=z.device).roll(len(first)))


def rows(device: str, repeats: int = 15) -> list[Row]:
    what = f"NT-Xent, {BATCH:,}×{FEATURES}, forward and backward"
    found = [_time(what, "plain cross-entropy", plain, device, repeats, limit=1.0)]
    if (rival := _lightly()) is not None:
        found.append(_time(what, "lightly", rival, device, repeats))
    if device == "cpu" and sys.platform == "linux":
        peaks = [(_peak("ours"), _peak("plain")) for _ in range(3)]
        found.append(
            Row(
                f"NT-Xent, {LARGE:,}×{FEATURES}, memory beyond the embeddings", "plain cross-entropy", "MiB",
                *map(tuple, zip(*peaks, strict=True)), limit=1.0,
            )
        )  # fmt: skip
    return found


def _lightly() -> Loss | None:
    try:
        from lightly.loss import NTXentLoss
    except ImportError:
        return None
    return NTXentLoss(TEMPERATURE)


def _time(what: str, against: str, rival: Loss, device: str, repeats: int, limit: float | None = None) -> Row:
    pair = _pair(BATCH, device)
    times = in_turn(lambda: _both_ways(ours, pair), lambda: _both_ways(rival, pair), repeats, device, warmup=3)
    milli = (tuple(1e3 * t for t in side) for side in times)
    return Row(what, against, "ms", *milli, limit=limit)


def _pair(batch: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, batch, FEATURES, generator=generator).to(device)
    return first, second


def _both_ways(loss: Loss, pair: tuple[Tensor, Tensor]) -> None:
    first, second = (rows.detach().requires_grad_() for rows in pair)
    loss(first, second).backward()


def _peak(which: str) -> float:
    """MiB that one forward and backward pass adds, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.nt_xent", which]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def _peak_so_far() -> float:
    """MiB resident at most, since the peak was last forgotten."""
    status = Path("/proc/self/status").read_text()
    return float(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) / 1024


if __name__ == "__main__":
    chosen = {"ours": ours, "plain": plain}[sys.argv[1]]
    _both_ways(chosen, _pair(64))  # what the first pass loads
    pair = _pair(LARGE)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of what came before
    before = _peak_so_far()
    _both_ways(chosen, pair)
    print(json.dumps(_peak_so_far() - before))
