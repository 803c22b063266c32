"""Mean image beside mean utility, by class, as one file of a run folder (Figure 4 of feature contrastive learning)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.pixel_utility import ClassUtility
from weatherproof.reports.drawing.pictures import bytes_of, data_address, for_page, is_small, require_pictures, smaller
from weatherproof.reports.drawing.shades import require_utility, scientific, shaded
from weatherproof.reports.parts import PartFile, save_part

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

    @property
    def pairs(self) -> Iterator[UtilityPair]:
        """Every map has a scale of its own: utilities of two classes can differ a hundredfold."""
        rows = zip(self.classes, self.counts.tolist(), self.images, self.utility, strict=True)
        for name, count, image, utility in rows:
            top = float(utility.max())
            yield UtilityPair(name, count, data_address(image), data_address(shaded(utility, top)), scientific(top))

    @property
    def colour(self) -> bool:
        return self.channels > 1

    @property
    def pixelated(self) -> bool:
        return is_small(self.images)


MAPS = PartFile("utility_maps.safetensors", "a file of utility maps", MapsFile)


def save_utility_maps(folder: Path | str, maps: ClassUtility) -> Path:
    """Write `utility_maps.safetensors` and return where it is. Images larger than the page shows them are made smaller.

    Raises:
        InputError: there are no classes.
    """
    if len(maps.classes) == 0:
        raise InputError("utility maps need at least one class with images, got none")
    found = MapsFile(
        images=for_page(bytes_of(maps.images), SHOWN),
        utility=smaller(maps.utility.float(), SHOWN),
        counts=maps.counts,
        classes=tuple(maps.classes),
        left_out=maps.left_out,
        data=maps.data,
        channels=maps.images.shape[1],
    )
    return save_part(folder, MAPS, found)
