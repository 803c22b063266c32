"""Pairs of views in batches, against the per-image pipelines of torchvision and lightly on the same threads.

All start from 8-bit images in memory, arrays or Pillow images as each likes best, and end with a batch of float
tensors. The rivals have our families' settings; lightly has no bicubic crop. On a GPU: against a training step of
ResNet-50 on those views.

To have lightly: pip install --no-deps lightly, in a folder of its own on PYTHONPATH if need be.
"""

import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from benchmarks.corruptions import photographs
from benchmarks.measure import Row, in_turn
from weatherproof import random
from weatherproof.training.memory import keep_freed_memory
from weatherproof.views import MoCoV2, SimCLR

SIZES = {32: (32, 512, 5), 224: (256, 64, 2)}  # side of a view: of the image, images a call, times the rival
FAMILIES = (SimCLR, MoCoV2)
RIVAL_SECONDS = 0.5
GPU_BATCH, GPU_SHARE = 256, 0.1

PerImage = Callable[[Image.Image], tuple[torch.Tensor, ...]]


def run(device: str, repeats: int = 7) -> list[Row]:
    if device != "cpu":
        return [_share_of_a_step(made(224), device, repeats) for made in FAMILIES]
    keep_freed_memory()  # as in training; it serves the rivals too
    rows = []
    for side, (image_side, batch, times) in SIZES.items():
        pixels = photographs(image_side, batch)
        for made in FAMILIES:
            for name, rival in _rivals(made(side)).items():
                rows.append(_against(made(side), name, rival, pixels, times, repeats))
                print(f"  {rows[-1].what}: {1 / np.median(rows[-1].compared):.1f} times {name}", flush=True)
    return rows


def _against(family: Any, name: str, rival: PerImage, pixels: np.ndarray, times: float, repeats: int) -> Row:
    images, keys = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), random.keys(0, torch.arange(len(pixels)))
    pictures = [Image.fromarray(x) for x in pixels]
    count = _count(rival, pictures)
    ours, theirs = in_turn(
        lambda: family(images.float().div_(255), keys),
        lambda: [torch.stack(views) for views in zip(*(rival(x) for x in pictures[:count]), strict=True)],
        repeats,
    )
    return Row(
        f"{family!r} from {pixels.shape[1]}×{pixels.shape[1]}, a view", name, "ms",
        tuple(1e3 * t / (2 * len(images)) for t in ours), tuple(1e3 * t / (2 * count) for t in theirs),
        limit=1 / times, images=1,
    )  # fmt: skip


def _count(rival: PerImage, pictures: list[Image.Image]) -> int:
    """How many images take about `RIVAL_SECONDS`, by the first few."""
    few = pictures[:8]
    start = time.perf_counter()
    for image in few:
        rival(image)
    return min(len(pictures), max(8, int(RIVAL_SECONDS * len(few) / (time.perf_counter() - start))))


def _rivals(family: SimCLR | MoCoV2) -> dict[str, PerImage]:
    rivals = {"torchvision": _torchvision(family, v2.PILToTensor()), "torchvision on Pillow": _torchvision(family)}
    return rivals | ({"lightly": _lightly(family)} if find_spec("lightly") else {})


def _torchvision(family: SimCLR | MoCoV2, first: v2.Transform | None = None) -> PerImage:
    """The same steps with the same settings, on 8-bit tensors or on Pillow images."""
    crop, _, jitter, grey, *blur = family.steps
    strengths = (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
    pipeline = v2.Compose([
        *([first] if first else []),
        v2.RandomResizedCrop(crop.size, crop.scale, interpolation=InterpolationMode(crop.interpolation)),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(*strengths)], jitter.p),
        v2.RandomGrayscale(grey.p),
        *(v2.RandomApply([v2.GaussianBlur(2 * x.reach + 1, x.sigma)], x.p) for x in blur),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
    ])  # fmt: skip
    return lambda image: (pipeline(image), pipeline(image))


def _lightly(family: SimCLR | MoCoV2) -> PerImage:
    crop, _, jitter, grey, *blur = family.steps
    made = import_module("lightly.transforms")
    return made.SimCLRTransform(  # a pair of looks; its family for MoCo v2 is the same one with other numbers
        input_size=crop.size, cj_prob=jitter.p, cj_strength=1.0, cj_bright=jitter.brightness,
        cj_contrast=jitter.contrast, cj_sat=jitter.saturation, cj_hue=jitter.hue, min_scale=crop.scale[0],
        random_gray_scale=grey.p, gaussian_blur=blur[0].p if blur else 0.0,
        sigmas=blur[0].sigma if blur else (0.1, 2), normalize=None,
    )  # fmt: skip


def _share_of_a_step(family: SimCLR | MoCoV2, device: str, repeats: int) -> Row:
    """Of both views of a batch, in the time of ResNet-50's passes over them and SGD, in bf16 and channels last."""
    images = torch.rand(GPU_BATCH, 3, 256, 256, device=device)
    keys = random.keys(0, torch.arange(GPU_BATCH))
    network = torchvision.models.resnet50().to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.03, 0.9, fused=True)
    looks = torch.cat(family(images, keys)).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = network(looks).float().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    ours, floor = in_turn(lambda: family(images, keys), step, repeats, device)
    return Row(
        f"{family!r} from 256×256, both views of {GPU_BATCH}", "a step of ResNet-50", "ms",
        tuple(1e3 * t for t in ours), tuple(1e3 * t for t in floor), limit=GPU_SHARE, images=2 * GPU_BATCH,
    )  # fmt: skip
