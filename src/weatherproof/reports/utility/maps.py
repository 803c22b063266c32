"""Mean image beside mean utility, by class, as one file of a run folder (Figure 4 of feature contrastive learning).

`utility_maps.safetensors` holds "images" (uint8, classes x channels x height x width), "utility" (float32, classes x
height x width: |d loss / d pixel|, summed over channels) and "counts" (int64, classes); beside them, as JSON, the
classes, how many are left out, what the images are called, and their number of channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.evaluation.utility.means import ClassUtility
from weatherproof.reports.drawing.pictures import SMALL, data_address, is_picture, smaller
from weatherproof.reports.drawing.shades import scientific, shaded, smaller_map
from weatherproof.reports.parts import read_part, save_part

FILE = "utility_maps.safetensors"
SHOWN = 96  # pixels of the longer side in the file


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
    tensors = {
        "images": torch.stack([smaller(image, SHOWN) for image in pixels]),
        "utility": smaller_map(maps.utility, SHOWN),
        "counts": maps.counts,
    }
    about = {
        "classes": list(maps.classes), "left_out": maps.left_out, "data": maps.data, "channels": pixels.shape[1],
    }  # fmt: skip
    return save_part(Path(folder) / FILE, tensors, about)


def read_utility_maps(folder: Path) -> UtilityMaps | None:
    """The utility maps of a run folder; None where it has none.

    Raises:
        InputError: the file is not what `save_utility_maps` writes.
    """
    return read_part(folder / FILE, "a file of utility maps", _utility_maps)


def _utility_maps(tensors: Mapping[str, Tensor], about: Any) -> UtilityMaps:
    images, utility, counts = (tensors[name] for name in ("images", "utility", "counts"))
    names = [str(name) for name in about["classes"]]
    if not names or not all(map(is_picture, images)) or not _belong(images, utility, counts, len(names)):
        raise ValueError("no maps")
    return UtilityMaps(
        pairs=tuple(
            _pair(name, count, image, own)
            for name, count, image, own in zip(names, counts.tolist(), images, utility, strict=True)
        ),
        data=str(about["data"]),
        left_out=int(about["left_out"]),
        colour=int(about["channels"]) > 1,
        pixelated=max(images.shape[-2:]) <= SMALL,
    )


def _pair(name: str, count: int, image: Tensor, utility: Tensor) -> UtilityPair:
    top = float(utility.max())
    return UtilityPair(name, count, data_address(image), data_address(shaded(utility, top)), scientific(top))


def _belong(images: Tensor, utility: Tensor, counts: Tensor, classes: int) -> bool:
    return (
        images.shape[0] == classes
        and utility.shape == (classes, *images.shape[-2:])
        and counts.shape == (classes,)
        and bool(utility.isfinite().all() and (utility >= 0).all())
    )
