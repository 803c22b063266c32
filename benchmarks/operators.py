"""Operators and augmentations, in images per second, against a plain draw of as many numbers."""

import torch

from benchmarks.measure import Row, in_turn
from weatherproof import random, views

TEXTS = (
    "RandomMask(0.75)",
    "RandomMask((0.5, 0.95))",
    "GaussianNoise(0.3)",
    "GaussianNoise((0.05, 0.5))",
    "GaussianBlur(3.0)",
    "GaussianBlur((1.0, 5.0))",
    "Chain(GaussianBlur((1.0, 5.0)), GaussianNoise((0.05, 0.5)))",
    "Sometimes(RandomMask((0.5, 0.95)), 0.5)",
    "OneOf(RandomMask((0.5, 0.95)), GaussianNoise((0.05, 0.5)), GaussianBlur((1.0, 5.0)))",
    "MixedChains(RandomMask((0.5, 0.95)), GaussianNoise((0.05, 0.5)), GaussianBlur((1.0, 5.0)))",
    "RandomResizedCrop(SIZE, (0.5, 1.0))",
    "HorizontalFlip(0.5)",
    "Warp(degrees=10.0, translate=0.1, scale=(0.9, 1.1), shear=0.1)",
    "Warp(elastic=0.05)",
)
SIZES = {32: 256, 224: 32}  # side of the image: images in a batch


def run(device: str, repeats: int = 9) -> list[Row]:
    return [
        _one(text.replace("SIZE", str(size)), size, batch, device, repeats)
        for size, batch in SIZES.items()
        for text in TEXTS
    ]


def _one(text: str, size: int, batch: int, device: str, repeats: int) -> Row:
    operator = views.parse(text)
    generator = torch.Generator(device).manual_seed(0)
    images = torch.rand(batch, 3, size, size, device=device, generator=generator)
    keys = random.keys(0, torch.arange(batch))
    ours, floor = in_turn(
        lambda: operator(images, keys),
        lambda: torch.randn(batch, 3, size, size, device=device, generator=generator),
        repeats,
        device,
    )
    return Row(f"{text}, {size}×{size}", "torch.randn", "ms", _milli(ours), _milli(floor), images=batch)


def _milli(times: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(1e3 * t for t in times)
