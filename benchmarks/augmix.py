"""AugMix in batches, against AugMix on one image at a time: torchvision's, and a loop over Pillow's operations.

All start from 8-bit images in memory, arrays or Pillow images as each likes best, and end with a batch of float
tensors. The loop is the tests' oracle, which draws and applies what the authors' code does. On a GPU: both views of
AugMix and of URRL's rule against a training step of ResNet-50.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from benchmarks.corruptions import photographs
from benchmarks.measure import Row, in_turn
from benchmarks.views import _share_of_a_step
from weatherproof import random
from weatherproof.training.memory import keep_freed_memory
from weatherproof.views import URRL, AugMix, MoCoV2

SIZES = {32: (512, 5), 224: (64, 2)}  # side: images a call, times the rival
SETS = {"standard": "nine operations", "all": "thirteen operations"}
RIVAL_SECONDS = 0.5

PerImage = Callable[[Any], torch.Tensor]


def run(device: str, repeats: int = 7) -> list[Row]:
    if device != "cpu":
        families = AugMix("all", 224), URRL(MoCoV2(224), AugMix("all", 224))
        return [_share_of_a_step(family, device, repeats) for family in families]
    keep_freed_memory()  # as in training; it serves the rivals too
    rows = []
    for side, (batch, times) in SIZES.items():
        pixels = photographs(side, batch)
        for ops in SETS:
            for name, (likes, rival) in _rivals(ops).items():
                rows.append(_against(ops, name, rival, pixels, [likes(x) for x in pixels], times, repeats))
                print(f"  {rows[-1].what}: {1 / np.median(rows[-1].compared):.1f} times {name}", flush=True)
    return rows


def _against(
    ops: str, name: str, rival: PerImage, pixels: np.ndarray, pictures: list[Any], times: float, repeats: int
) -> Row:
    images, keys = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), random.keys(0, torch.arange(len(pixels)))
    family, count = AugMix(ops), _count(rival, pictures)
    ours, theirs = in_turn(
        lambda: family.one(images.float().div_(255), keys),
        lambda: torch.stack([rival(x) for x in pictures[:count]]),
        repeats,
    )
    return Row(
        f"AugMix, {SETS[ops]}, {pixels.shape[1]}×{pixels.shape[1]}, an image", name, "ms",
        tuple(1e3 * t / len(images) for t in ours), tuple(1e3 * t / count for t in theirs),
        limit=1 / times, images=1,
    )  # fmt: skip


def _rivals(ops: str) -> dict[str, tuple[Callable[[np.ndarray], Any], PerImage]]:
    """name: what it makes of an array beforehand, and image -> view."""
    from tests.oracles import augmix_pillow

    rng = np.random.default_rng(0)
    names = {"standard": augmix_pillow.STANDARD, "all": augmix_pillow.ALL}[ops]
    torchvisions = v2.Compose(
        [v2.AugMix(severity=3, all_ops=ops == "all"), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    )
    return {
        "torchvision": (lambda x: torch.from_numpy(x).permute(2, 0, 1).contiguous(), torchvisions),
        "torchvision on Pillow": (Image.fromarray, torchvisions),
        "Pillow in a loop": (
            lambda x: x,
            lambda x: torch.from_numpy(augmix_pillow.augmix(x, rng, names)).permute(2, 0, 1),
        ),
    }


def _count(rival: PerImage, pictures: list[Any]) -> int:
    """How many images take about `RIVAL_SECONDS`, by the first few."""
    few = pictures[:8]
    start = time.perf_counter()
    for image in few:
        rival(image)
    return min(len(pictures), max(8, int(RIVAL_SECONDS * len(few) / (time.perf_counter() - start))))
