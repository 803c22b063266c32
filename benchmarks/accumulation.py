"""Accumulation with cached gradients (`micro_batch`), whose negatives are the whole batch's, against one big batch."""

import json
import subprocess
import sys
from contextlib import ExitStack

from benchmarks.adapters import _largest
from benchmarks.measure import Case, Row, spent
from benchmarks.one_gpu import Steps, Way, loaded
from weatherproof.training.passes import passes

CASE = Case("timm:vit_small_patch16_224", 112, 128, 2)
PARTS = 8
WAYS = (Way("one big batch"), Way(f"in parts of {PARTS}", micro=PARTS))


def run(device: str) -> list[Row]:
    (big, most), (parts, less) = (_measured(number, device) for number in range(len(WAYS)))
    step = "a step" if device != "cpu" else "a step, processor time"
    whole, told = WAYS[0].name, f"{WAYS[1].name}, {CASE.told}"
    return [
        Row(f"{step}, {told}", whole, "s", parts, big, images=CASE.batch),
        Row(f"peak memory, {told}", whole, "MiB", (less,), (most,)),
    ]


def _measured(number: int, device: str) -> tuple[tuple[float, ...], float]:
    """Seconds of steps, on a processor its own, and the peak in MiB, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.accumulation", str(number), device]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    times, peak = json.loads(done.stdout.splitlines()[-1])
    return tuple(times), peak


def _main(number: str, device: str) -> None:
    loaded(CASE, device)
    before = _largest(device)
    steps = Steps(CASE, WAYS[int(number)], device)
    with ExitStack() as stack:
        stack.enter_context(passes(steps.method, steps.plan, steps.weights))
        steps.step()
        moments = [spent(steps.step, device) for _ in range(CASE.repeats)]
    times = [one.processor if device == "cpu" else one.wall for one in moments]
    print(json.dumps([times, _largest(device) - before]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
