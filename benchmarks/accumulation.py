"""Accumulation with cached gradients (`micro_batch`), whose negatives are the whole batch's, against one big batch."""

import sys

from benchmarks.measure import Case, Row
from benchmarks.one_gpu import Way, measured, tell_of_steps

CASE = Case("timm:vit_small_patch16_224", 112, 128, 2)
PARTS = 8
WAYS = (Way("one big batch"), Way(f"in parts of {PARTS}", micro=PARTS))


def run(device: str) -> list[Row]:
    (big, most), (parts, less) = (measured("accumulation", number, device) for number in range(len(WAYS)))
    step = "a step" if device != "cpu" else "a step, processor time"
    whole, told = WAYS[0].name, f"{WAYS[1].name}, {CASE.told}"
    return [
        Row(f"{step}, {told}", whole, "s", parts, big, images=CASE.batch),
        Row(f"peak memory, {told}", whole, "MiB", (less,), (most,)),
    ]


if __name__ == "__main__":
    number, device = sys.argv[1:]
    tell_of_steps(CASE, WAYS[int(number)], device)
