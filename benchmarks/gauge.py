"""A gauge's look at a batch, against the encoder's forward pass of the same images.

What a look costs does not depend on what the gauge has learned, so that it is made of digits. A small network is the
hard case, and a batch of one image, where a look is a hundred calls of the framework on next to nothing.
"""

import warnings
from dataclasses import dataclass

import torch

from benchmarks.measure import Row, in_turn
from weatherproof import operators
from weatherproof.data import load_images
from weatherproof.encoders import Gauge, Preprocessing, fit_gauge, load_encoder

LIMIT = 0.02
OPERATOR = "OneOf(RandomMask((0.0, 0.95)), GaussianNoise((0.0, 0.3)), GaussianBlur((0.0, 3.0)))"


@dataclass(frozen=True)
class Case:
    encoder: str
    size: int
    batch: int
    limit: float | None


CASES = (
    Case("resnet20", 32, 128, LIMIT),
    Case("timm:tf_efficientnet_lite0", 160, 32, LIMIT),
    Case("torchvision:squeezenet1_0", 128, 32, LIMIT),
    Case("resnet20", 32, 1, None),
    Case("timm:tf_efficientnet_lite0", 160, 1, None),
)


def run(device: str, repeats: int = 15) -> list[Row]:
    gauge = fit_gauge(
        load_images("digits", channels=3), operators.parse(OPERATOR),
        preprocessing=Preprocessing((0.0,) * 3, (1.0,) * 3, size=None), most=200,
    ).to(device)  # fmt: skip
    return [_row(case, gauge, device, repeats) for case in CASES]


@torch.inference_mode()
def _row(case: Case, gauge: Gauge, device: str, repeats: int) -> Row:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*randomly initialised")
        encoder = load_encoder(f"{case.encoder}@random", size=case.size).eval().to(device)
    generator = torch.Generator(device).manual_seed(0)
    images = torch.rand(case.batch, 3, case.size, case.size, device=device, generator=generator)
    ours, floor = in_turn(lambda: gauge(images), lambda: encoder(images), repeats, device)
    what = f"gauge of {case.batch} image{'s' * (case.batch > 1)}, {case.encoder}, {case.size}×{case.size}"
    times = (tuple(1e3 * t for t in own) for own in (ours, floor))
    return Row(what, "forward pass", "ms", *times, limit=case.limit, images=case.batch)
