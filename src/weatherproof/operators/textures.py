"""Frost: where the corruption "frost" takes its texture from.

The benchmark overlays random crops of five photographs, which do not come with this package. In their place stand
textures made here, random fields with the photographs' sizes, colours and spectra; or the user's own files.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Int64, UInt8
from torch import Tensor

from weatherproof import random
from weatherproof.data.decoding import BadImage, Decoder
from weatherproof.data.folders import check_folder
from weatherproof.errors import InputError
from weatherproof.luma import LUMA
from weatherproof.operators.severities import SIDES, nearest
from weatherproof.types import Keys

SYNTHETIC_NOTE = "synthetic frost, not comparable with published frost"  # stands beside every number on such textures

FORMATS = (".png", ".jpg", ".jpeg")
SCALES = {"imagenet": 1.0, "cifar": 0.2}  # to what the benchmark resizes the photographs
SPARE = (
    1.1  # how much larger than the image a texture is at least (the factor of the size-agnostic port imagecorruptions)
)
MIXTURE = (0, 1, 1, 2, 3)  # the reference draws one of five files, of which the second and the third are the same
SEED = 2019  # of the textures: the year of the benchmark


class Photograph(NamedTuple):
    """What a texture has in common with its photograph: size, 8-bit RGB mean and deviation, and the slope of the radial
    power spectrum on logarithmic axes."""

    height: int
    width: int
    mean: tuple[int, int, int]
    std: tuple[int, int, int]
    slope: float


PHOTOGRAPHS = (  # measured on the benchmark's frost files 1, 2, 4 and 5
    Photograph(600, 900, (78, 149, 166), (27, 16, 15), -1.4),
    Photograph(315, 560, (201, 205, 214), (21, 22, 23), -1.7),
    Photograph(350, 527, (138, 153, 165), (28, 28, 30), -1.0),
    Photograph(495, 660, (112, 123, 135), (44, 43, 42), -1.8),
)


@dataclass(frozen=True, eq=False)
class Textures:
    """Textures in one long row of pixels: for each its planes (channels x height x width), one after the other.

    Args:
        pixels: 8-bit values of all textures.
        starts, heights, widths: of each texture, on the CPU; textures drawn more often stand here more than once.
        channels: 1 or 3.
    """

    pixels: UInt8[Tensor, "pixels"]
    starts: Int64[Tensor, "textures"]
    heights: Int64[Tensor, "textures"]
    widths: Int64[Tensor, "textures"]
    channels: int

    def crops(self, keys: Keys, height: int, width: int) -> UInt8[Tensor, "batch channels height width"]:
        """One random crop per image: a texture at random, offsets uniform over [0, side - length)."""
        chosen = random.integers(random.fold(keys, 0), len(self.starts))
        tall, wide = self.heights[chosen], self.widths[chosen]
        top = (random.uniform(random.fold(keys, 1)).double() * (tall - height)).long()
        left = (random.uniform(random.fold(keys, 2)).double() * (wide - width)).long()
        first = (self.starts[chosen] + top * wide + left)[:, None]
        rows = first + torch.arange(height) * wide[:, None]
        places = rows[:, None] + torch.arange(self.channels)[:, None] * (tall * wide)[:, None, None]
        # Every run of `width` pixels is a row of this view, so that whole rows are copied: 40 times faster than pixels.
        runs = self.pixels.as_strided((len(self.pixels) - width + 1, width), (1, 1))
        crops = runs.index_select(0, places.flatten().to(runs.device))
        return crops.view(len(keys), self.channels, height, width)


def textures(height: int, width: int, channels: int, folder: str | None, device: torch.device | str) -> Textures:
    """The textures for images of this size, from `folder` or else made here, scaled and kept for the next call.

    The scale is the benchmark's, 1 for ImageNet's 224 pixels and 0.2 for CIFAR's 32. For images whose shorter side is
    another it is that of the nearer of the two in proportion, at most 1. A texture whose sides are not 1.1 times the
    image's is enlarged until they are.

    Raises:
        InputError: the folder does not exist, or holds no image, or one that cannot be read.
    """
    short = min(height, width)
    numbers = nearest(short)
    scale = min(1.0, SCALES[numbers] * short / SIDES[numbers])
    return _scaled(folder, scale, math.ceil(height * SPARE), math.ceil(width * SPARE), channels, str(device))


@lru_cache(maxsize=8)
def _scaled(folder: str | None, scale: float, height: int, width: int, channels: int, device: str) -> Textures:
    """All textures times `scale`, or as much as it takes to be height x width at least."""
    originals = _synthetic() if folder is None else _read(folder)
    parts, starts, sizes, start = [], [], [], 0
    for original in originals:
        pixels = original.float()
        if channels == 1:
            pixels = torch.tensor(LUMA) @ pixels.flatten(1)
            pixels = pixels.view(1, *original.shape[1:])
        tall, wide = original.shape[1:]
        factor = max(scale, height / tall, width / wide)
        size = (max(height, round(tall * factor)), max(width, round(wide * factor)))
        if size != (tall, wide):  # without antialiasing, as the reference resizes
            pixels = F.interpolate(pixels[None], size=size, mode="bilinear", align_corners=False)[0]
        parts.append(pixels.round().to(torch.uint8).flatten())
        starts.append(start)
        sizes.append(size)
        start += len(parts[-1])
    mixture = MIXTURE if folder is None else range(len(originals))
    heights, widths = torch.tensor([sizes[i] for i in mixture]).unbind(1)
    first = torch.tensor([starts[i] for i in mixture])
    return Textures(torch.cat(parts).to(device), first, heights, widths, channels)


def _read(folder: str) -> tuple[UInt8[Tensor, "3 _ _"], ...]:
    """The PNG and JPEG files of a folder, sorted by name."""
    paths = sorted(path for path in check_folder(Path(folder)).iterdir() if path.suffix.lower() in FORMATS)
    if not paths:
        raise InputError(f"no frost texture in {folder!r}: expected PNG or JPEG files")
    files = []
    for path in paths:
        try:
            files.append(torch.from_numpy(Decoder().file(str(path)).copy()))
        except BadImage as error:
            raise InputError(f"cannot read {str(path)!r} as a frost texture: {error}") from None
    return tuple(files)


@lru_cache(maxsize=1)
def _synthetic() -> tuple[UInt8[Tensor, "3 _ _"], ...]:
    return tuple(_texture(photograph, number) for number, photograph in enumerate(PHOTOGRAPHS))


def _texture(photograph: Photograph, number: int) -> UInt8[Tensor, "3 height width"]:
    """White noise filtered to power f^slope, the same field in the three channels, then their means and deviations."""
    height, width, mean, std, slope = photograph
    white = random.normals(random.keys(SEED, torch.tensor([number])), (height, width))[0]
    down, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    frequency = torch.hypot(down, across)
    frequency[0, 0] = math.inf  # no constant part
    field = torch.fft.irfft2(torch.fft.rfft2(white) * frequency ** (slope / 2), s=(height, width))
    field /= field.std()
    levels = torch.tensor(mean)[:, None, None] + torch.tensor(std)[:, None, None] * field
    return levels.round().clamp(0, 255).to(torch.uint8)
