"""How each family of views looks at one image, as one file of a run folder."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.reports.drawing.pictures import (
    AnyPicture,
    Picture,
    data_address,
    for_page,
    is_small,
    require_pictures,
)
from weatherproof.reports.parts import PartFile, save_tensors

SHOWN = 96  # pixels of a look's longer side in the file


@dataclass(frozen=True)
class FamilyFile:
    """One family in the file, its looks under "0", "1", ... in the order in which they were drawn. `draw`: so many
    belong together (2: a pair of views; 9: the pieces of a jigsaw)."""

    name: str
    text: str
    used: bool
    draw: int
    looks: UInt8[Tensor, "_ _ _ _"]

    def __post_init__(self) -> None:
        require_pictures(self.looks)
        if self.draw < 1 or len(self.looks) % self.draw:
            raise ValueError(f"{len(self.looks)} looks are no draws of {self.draw}")

    @property
    def draws(self) -> Iterator[list[str]]:
        for i in range(0, len(self.looks), self.draw):
            yield [data_address(look) for look in self.looks[i : i + self.draw]]

    @property
    def across(self) -> int:
        """Pieces of a puzzle in a row, or 0."""
        root = math.isqrt(self.draw)
        return root if self.draw > 2 and root**2 == self.draw else 0

    @property
    def pixelated(self) -> bool:
        return is_small(self.looks)


@dataclass(frozen=True)
class ViewsFile:
    """What the file holds."""

    image: Picture
    families: tuple[FamilyFile, ...]

    def __post_init__(self) -> None:
        require_pictures(self.image)
        if not self.families:
            raise ValueError("there are no families")

    @property
    def pixelated(self) -> bool:
        return is_small(self.image)


VIEWS = PartFile(
    "views.safetensors",
    "a file of views",
    ViewsFile,
    lambda tensors, about: {
        "image": tensors["image"],
        "families": [{**family, "looks": tensors[str(i)]} for i, family in enumerate(about)],
    },
)


@dataclass(frozen=True)
class FamilyLooks:
    """Draws of one family; the looks are 8 bits. A draw is the looks that are made together."""

    name: str
    text: str
    draws: Sequence[Sequence[AnyPicture]]
    used: bool = False


def save_views(folder: Path | str, image: Picture, families: Sequence[FamilyLooks]) -> Path:
    """Write `views.safetensors` and return where it is. Looks larger than the page shows them are made smaller.

    Raises:
        InputError: no families, a family without looks, or looks of one family that differ in shape.
    """
    tensors, about = {"image": for_page(image, SHOWN)}, []
    for i, family in enumerate(families):
        looks = [look for draw in family.draws for look in draw]
        if len({tuple(look.shape) for look in looks}) != 1 or len({len(draw) for draw in family.draws}) != 1:
            raise InputError(f"the looks of {family.name} must have one shape and come in draws of one length")
        tensors[str(i)] = torch.stack([for_page(look, SHOWN) for look in looks])
        about.append({"name": family.name, "text": family.text, "used": family.used, "draw": len(family.draws[0])})
    if not about:
        raise InputError("a page of views needs at least one family, got none")
    return save_tensors(Path(folder) / VIEWS.name, tensors, about)
