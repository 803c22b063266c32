"""Mean image beside mean utility, by class, as one file of a run folder (Figure 4 of feature contrastive learning)."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.pixel_utility import ClassUtility
from weatherproof.reports.drawing.pictures import SMALL, data_address, require_pictures, smaller
from weatherproof.reports.drawing.shades import require_utility, scientific, shaded, smaller_map
from weatherproof.reports.parts import PartFile, read_part, save_part

SHOWN = 96  # pixels of the longer side in the file


@dataclass(frozen=True)
class MapsFile:
    """What the file holds. `utility`: |d loss / d pixel|, summed over channels; `channels`: of the images."""

    images: UInt8[Tensor, "classes channels height width"]
    utility: Float32[Tensor, "classes height width"]
    counts: Int64[Tensor, "classes"]
    classes: tuple[str, ...]
    left_out: int
    data: str
    channels: int

    def __post_init__(self) -> None:
        require_pictures(self.images)
        require_utility(self.utility)
        if len(self.classes) != len(self.images):
            raise ValueError(f"{len(self.images)} images of {len(self.classes)} classes")


MAPS = PartFile("utility_maps.safetensors", "a file of utility maps", MapsFile)


@dataclass(frozen=True)
class UtilityPair:
    """One class: data addresses of its mean image and of its mean utility, and where that is largest, as text."""

    name: str
    count: int
    image: str
    utility: str
    largest: str


@dataclass(frozen=True)
class UtilityMaps:
    """What the page shows. Every map has a scale of its own: utilities of two classes can differ a hundredfold."""

    pairs: tuple[UtilityPair, ...]
    data: str
    left_out: int
    colour: bool
    pixelated: bool


def save_utility_maps(folder: Path | str, maps: ClassUtility) -> Path:
    """Write `utility_maps.safetensors` and return where it is. Images larger than the page shows them are made smaller.

    Raises:
        InputError: there are no classes.
    """
    if len(maps.classes) == 0:
        raise InputError("utility maps need at least one class with images, got none")
    pixels = maps.images.clamp(0, 1).mul(255).round().byte()
    found = MapsFile(
        images=torch.stack([smaller(image, SHOWN) for image in pixels]),
        utility=smaller_map(maps.utility, SHOWN),
        counts=maps.counts,
        classes=tuple(maps.classes),
        left_out=maps.left_out,
        data=maps.data,
        channels=pixels.shape[1],
    )
    return save_part(folder, MAPS, found)


def read_utility_maps(folder: Path) -> UtilityMaps | None:
    """The utility maps of a run folder; None where it has none. Raises `InputError`."""
    found = read_part(folder, MAPS)
    if found is None:
        return None
    rows = zip(found.classes, found.counts.tolist(), found.images, found.utility, strict=True)
    return UtilityMaps(
        pairs=tuple(_pair(*row) for row in rows),
        data=found.data,
        left_out=found.left_out,
        colour=found.channels > 1,
        pixelated=max(found.images.shape[-2:]) <= SMALL,
    )


def _pair(name: str, count: int, image: Tensor, utility: Tensor) -> UtilityPair:
    top = float(utility.max())
    return UtilityPair(name, count, data_address(image), data_address(shaded(utility, top)), scientific(top))
