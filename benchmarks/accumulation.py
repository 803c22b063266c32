"""Accumulation with cached gradients (`micro_batch`), whose negatives are the whole batch's, against one big batch."""

import sys

from benchmarks.measure import Case, Row
from benchmarks.one_gpu import Way, measured, print_steps

CASE = Case("timm:vit_small_patch16_224", 112, 128, 2)
PARTS = 8
WAYS = (Way("one big batch"), Way(f"in parts of {PARTS}", micro=PARTS))


def run(device: str) -> list[Row]:
    (big, most), (parts, less) = (measured("accumulation", number, device) for number in range(len(WAYS)))
    step = "a step" if device != "cpu" else "a step, processor time"
    whole, parted = WAYS[0].name, f"{WAYS[1].name}, {CASE.words}"
    return [
        Row(f"{step}, {parted}", whole, "s", parts, big, images=CASE.batch),
        Row(f"peak memory, {parted}", whole, "MiB", (less,), (most,)),
    ]


if __name__ == "__main__":
    number, device = sys.argv[1:]
    print_steps(CASE, WAYS[int(number)], device)
