"""What a page shows of utility and sensitivity, from the files of a run folder that are there."""

from dataclasses import dataclass
from pathlib import Path

from weatherproof.reports.drawing.shades import css_gradient
from weatherproof.reports.parts import read_part
from weatherproof.reports.utility.curve import UtilityCurves, read_utility_curve
from weatherproof.reports.utility.images import IMAGES, ImagesFile
from weatherproof.reports.utility.maps import MAPS, MapsFile


@dataclass(frozen=True)
class UtilityPart:
    """Each None where the run has no such file; `gradient` is the colour scale as CSS."""

    maps: MapsFile | None
    images: ImagesFile | None
    curve: UtilityCurves | None
    gradient: str


def read_utility(folder: Path) -> UtilityPart | None:
    """The part; None where the folder has none of its files.

    Raises:
        InputError: a file is not what its `save_...` writes.
    """
    maps, images, curve = read_part(folder, MAPS), read_part(folder, IMAGES), read_utility_curve(folder)
    if maps is None and images is None and curve is None:
        return None
    return UtilityPart(maps, images, curve, css_gradient())
