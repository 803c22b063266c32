"""Whether what was exported gives the encoder's numbers, on real images, clean and damaged, in batches of any size."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from weatherproof import random
from weatherproof.data import ImageSet, MemoryImages, at_most, batches, load_images
from weatherproof.encoders import Preprocessing
from weatherproof.encoders.preprocessing import to_input
from weatherproof.errors import InputError
from weatherproof.operators import GaussianNoise, RandomMask
from weatherproof.progress import phase
from weatherproof.protocols import Operator
from weatherproof.verbs.export.graph import Shape, without_size
from weatherproof.verbs.inputs import tried

TOLERANCE = 1e-3  # of the largest number of an output: float32 sums in another order differ by some 1e-5 of it
FLIPPED = 0.01  # share of images that may lie so near a border that rounding puts them on the other side of it
IMAGES = 32
SIZES = (1, 3)  # batches; the third has all other images
_OTHER_SIZES = ((0.5, 0.75), (1.5, 1.25), (2.25, 1.0))  # times the network's own, where the file resizes
_UNIT = ("damaged", "weight")  # outputs from 0 to 1
_CHOICES = ("kind", "beyond")  # outputs that are one thing or another
_MAY_BE_NAN = ("level", "low", "high")  # of a gauge that cannot tell them; all else is a number

Outputs = Callable[[Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Look:
    """Images under one condition, in one batch, as they go into the exported network."""

    condition: str
    images: Tensor


@dataclass
class Difference:
    """How far one output lies from the encoder's.

    Attributes:
        largest: difference of any number of any image.
        scale: the largest number of the encoder's output; 1 of what lies between 0 and 1.
        differing: images of which a choice differs, or that are a number here and none there.
        not_finite: images for which the encoder itself gives no number, and should.
    """

    output: str
    shape: tuple[int, ...]
    largest: float = 0.0
    scale: float = 0.0
    differing: int = 0
    not_finite: int = 0

    @property
    def relative(self) -> float:
        return self.largest / self.scale if self.scale else self.largest


@dataclass
class Verdict:
    """What the comparison found.

    Attributes:
        looks: images, each counted as often as it was looked at.
        flipped: images that the gauge calls another kind, or beyond, here and not there: on the border, where rounding
            decides. What else is said of them is not compared.
    """

    differences: dict[str, Difference]
    looks: int
    flipped: int
    conditions: tuple[str, ...]
    batches: tuple[int, ...]

    def failures(self) -> list[str]:
        """What lies beyond the tolerance, in words."""
        lines = [
            f"{own.output} differs by {own.largest:.2g}, {own.relative:.2g} of its largest number"
            for own in self.differences.values()
            if not own.relative <= TOLERANCE
        ]
        lines += [
            f"{own.output} differs on {own.differing} of {self.looks} looks"
            for own in self.differences.values()
            if own.output not in _CHOICES and own.differing
        ]
        lines += [
            f"{own.output} of the encoder itself is not finite on {own.not_finite} of {self.looks} looks"
            for own in self.differences.values()
            if own.not_finite
        ]
        if self.flipped > FLIPPED * self.looks:
            lines.append(f"the gauge tells {self.flipped} of {self.looks} images otherwise")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "looks": self.looks,
            "conditions": list(self.conditions),
            "batches": list(self.batches),
            "tolerance": TOLERANCE,
            "flipped": self.flipped,
            "outputs": {n: asdict(own) | {"relative": own.relative} for n, own in self.differences.items()},
            "failures": self.failures(),
        }


def compared(looks: Sequence[Look], ours: Outputs, theirs: Outputs) -> Verdict:
    """Both on the same images. `ours` is the encoder."""
    found: dict[str, Difference] = {}
    total = flipped = 0
    with phase("verifying", sum(len(look.images) for look in looks)) as meter:
        for look in looks:
            expected, given = ours(look.images), theirs(look.images)
            same = torch.ones(len(look.images), dtype=torch.bool)
            for name in _CHOICES:
                if name in expected:
                    same &= expected[name].cpu() == given[name]
            total, flipped = total + len(same), flipped + int((~same).sum())
            for name, own in expected.items():
                _note(found.setdefault(name, Difference(name, tuple(own.shape[1:]))), own.cpu(), given[name], same)
            meter.advance(len(look.images))
    for name in _UNIT:
        if name in found:
            found[name].scale = 1.0
    batches = tuple(sorted({len(look.images) for look in looks}))
    return Verdict(found, total, flipped, tuple(dict.fromkeys(look.condition for look in looks)), batches)


def _note(gap: Difference, own: Tensor, given: Tensor, same: Tensor) -> None:
    if given.shape != own.shape or given.dtype != own.dtype:
        raise InputError(f"{gap.output} came as {given.dtype} {list(given.shape)}, not {own.dtype} {list(own.shape)}")
    if not own.is_floating_point():
        gap.differing += int((own != given).flatten(1).any(dim=1).sum() if own.ndim > 1 else (own != given).sum())
        return
    known = own.isfinite() & given.isfinite()
    alike = known | (own.isnan() & given.isnan()) | (own == given)  # the last of infinities
    gap.differing += int((~alike.reshape(len(own), -1).all(dim=1) & same).sum())
    if gap.output not in _MAY_BE_NAN:
        gap.not_finite += int((~own.isfinite()).reshape(len(own), -1).any(dim=1).sum())
    compared = known & same.view(-1, *[1] * (own.ndim - 1))
    if bool(compared.any()):
        gap.largest = max(gap.largest, float((own - given)[compared].abs().max()))
        gap.scale = max(gap.scale, float(own[compared].abs().max()))


def chosen(images: ImageSet, channels: int) -> Tensor:
    """At most 32 of the images, float, with so many channels."""
    few = at_most(images, IMAGES)
    if few.image_size is None:
        raise InputError(f"the images in {images.name!r} differ in size: give --size N to read all as N x N pixels")
    pixels = torch.cat([batch.images for batch in batches(few, IMAGES)])  # without files that cannot be read
    if pixels.shape[1] == channels:
        return pixels
    if channels in (1, 3):
        return to_input(pixels, Preprocessing((0.0,) * channels, (1.0,) * channels, None, channels))
    return pixels.mean(dim=1, keepdim=True).repeat(1, channels, 1, 1)


def looks(pixels: Tensor, operators: Sequence[Operator], shape: Shape, preprocessing: Preprocessing) -> list[Look]:
    """What is compared: the images as they are and under each damage, in batches of 1, 3 and the rest; and where the
    file resizes, two of them at other sizes.

    Args:
        pixels: float, of the size that goes into the network.
    """
    keys = random.keys(0, torch.arange(len(pixels)))
    chosen = [Look("clean", own) for own in _batches(pixels)]
    for operator in operators:
        with tried(f"{operator!r} fails on images {list(pixels.shape)}"):
            damaged = operator(pixels, keys).clamp(0, 1)
        chosen += [Look(repr(operator), own) for own in _batches(damaged)]
    if shape.resized:
        plain = without_size(preprocessing)
        for tall, wide in _OTHER_SIZES:
            side = (max(1, round(shape.height * tall)), max(1, round(shape.width * wide)))
            resized = interpolate(pixels[:2], side, mode="bilinear", antialias=True)
            chosen.append(Look("clean, other sizes", to_input(resized, plain)))
    if shape.pixels == "uint8":
        chosen = [Look(look.condition, (look.images * 255).round().to(torch.uint8)) for look in chosen]
    return chosen


def damages(own: Operator | None) -> list[Operator]:
    """What the images are damaged by: that of the run, and two that are always there."""
    usual: list[Operator] = [RandomMask(0.5), GaussianNoise(0.1)]
    return [*([] if own is None else [own]), *(one for one in usual if repr(one) != repr(own))]


def _batches(pixels: Tensor) -> Iterator[Tensor]:
    start = 0
    for size in (*SIZES, len(pixels)):
        if start < len(pixels):
            yield pixels[start : start + size]
        start += size


def embedded(channels: int, size: tuple[int, int]) -> ImageSet:
    """Images that are always there: handwritten digits for a network that sees grey, else 32 pieces of scikit-learn's
    two photographs."""
    if channels == 1:
        images = load_images("digits", "test", channels=1)
        pixels = interpolate(images.read(torch.arange(IMAGES)).float(), size, mode="bilinear", antialias=True)
        return MemoryImages(pixels.round().clamp(0, 255).to(torch.uint8), name="digits/test")
    from sklearn.datasets import load_sample_images

    side, pieces = 200, []
    for photograph in load_sample_images().images:
        whole = torch.from_numpy(photograph.copy()).permute(2, 0, 1)
        for down in torch.linspace(0, whole.shape[1] - side, 4).long().tolist():
            pieces += [
                whole[:, down : down + side, across : across + side]
                for across in torch.linspace(0, whole.shape[2] - side, 4).long().tolist()
            ]
    pixels = interpolate(torch.stack(pieces).float(), size, mode="bilinear", antialias=True)
    return MemoryImages(pixels.round().clamp(0, 255).to(torch.uint8), name="photographs")
