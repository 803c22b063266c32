"""How each family of views looks at one image, as one file of a run folder.

`views.safetensors` holds uint8 tensors: "image", and for family 0, 1, ... "0", "1", ...: looks x channels x height x
width, in the order in which they were drawn. Beside them stands, as JSON, each family's name and text, whether the run
used it, and how many looks belong together (2: a pair of views; 9: the pieces of a jigsaw).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.reports.drawing.pictures import SMALL, AnyPicture, Picture, data_address, is_picture, smaller
from weatherproof.reports.parts import read_part, save_part

FILE = "views.safetensors"
SHOWN = 96  # pixels of a look's longer side in the file


@dataclass(frozen=True)
class FamilyLooks:
    """Draws of one family; `images` are 8 bits, 1 or 3 channels. A draw is the looks that are made together."""

    name: str
    text: str
    draws: Sequence[Sequence[AnyPicture]]
    used: bool = False


@dataclass(frozen=True)
class FamilyRow:
    """One family as the page shows it: data addresses, draw by draw. `across`: pieces of a puzzle in a row, or 0."""

    name: str
    text: str
    used: bool
    draws: tuple[tuple[str, ...], ...]
    across: int = 0
    pixelated: bool = False


@dataclass(frozen=True)
class Looks:
    """What the page shows."""

    image: str
    pixelated: bool
    families: tuple[FamilyRow, ...]


def save_views(folder: Path | str, image: Picture, families: Sequence[FamilyLooks]) -> Path:
    """Write `views.safetensors` and return where it is. Looks larger than the page shows them are made smaller.

    Raises:
        InputError: no families, a family without looks, or looks of one family that differ in shape.
    """
    tensors, about = {"image": smaller(image, SHOWN)}, []
    for i, family in enumerate(families):
        looks = [look for draw in family.draws for look in draw]
        if len({tuple(look.shape) for look in looks}) != 1 or len({len(draw) for draw in family.draws}) != 1:
            raise InputError(f"the looks of {family.name} must have one shape and come in draws of one length")
        tensors[str(i)] = torch.stack([smaller(look, SHOWN) for look in looks])
        about.append({"name": family.name, "text": family.text, "used": family.used, "draw": len(family.draws[0])})
    if not about:
        raise InputError("a page of views needs at least one family, got none")
    return save_part(Path(folder) / FILE, tensors, about)


def read_views(folder: Path) -> Looks | None:
    """The views of a run folder; None where it has none.

    Raises:
        InputError: the file is not what `save_views` writes.
    """
    return read_part(folder / FILE, "a file of views", _looks)


def _looks(tensors: Mapping[str, Tensor], about: Any) -> Looks:
    rows = tuple(_row(family, tensors[str(i)]) for i, family in enumerate(about))
    if not rows or not is_picture(tensors["image"]):
        raise ValueError("no picture")
    return Looks(data_address(tensors["image"]), _small(tensors["image"]), rows)


def _row(family: Mapping[str, object], looks: Tensor) -> FamilyRow:
    size = int(str(family["draw"]))
    if size < 1 or len(looks) % size or not all(map(is_picture, looks)):
        raise ValueError("no looks")
    images = [data_address(look) for look in looks]
    across = math.isqrt(size) if size > 2 and math.isqrt(size) ** 2 == size else 0
    return FamilyRow(
        name=str(family["name"]),
        text=str(family["text"]),
        used=family["used"] is True,
        draws=tuple(tuple(images[i : i + size]) for i in range(0, len(images), size)),
        across=across,
        pixelated=_small(looks[0]),
    )


def _small(image: Tensor) -> bool:
    return max(image.shape[-2:]) <= SMALL
