"""PIRL's jigsaw view: nine patches of one crop."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from weatherproof import random
from weatherproof.canvas import sides
from weatherproof.errors import InputError
from weatherproof.spec import component
from weatherproof.texts import LARGEST_SIDE
from weatherproof.types import Images, Keys
from weatherproof.views.geometry import HorizontalFlip, RandomResizedCrop
from weatherproof.views.interpolation import crop_taps
from weatherproof.views.resampling import resample
from weatherproof.views.steps import at_once

Patches = Float[Tensor, "batch channels side side"]

_GRID = 3
_CELL, _PATCH = 85, 64  # pixels, of the paper's puzzle of 255


@component
class Jigsaw:
    """A crop of area share U(.6, 1) and a flip, cut in 3 x 3 cells, of each cell a patch at a uniform place.

    Misra & van der Maaten 2020, section 3.2, with PyContrast's numbers: cells of 85 pixels, patches of 64. No colour
    jitter, no grey. The patches are in the order of reading; a method permutes their embeddings.

    Args:
        size: side of the whole puzzle in pixels, in the paper 255; what is left over by three cells is cut off.
        patch: side of a patch. None: 64/85 of a cell, rounded.

    Raises:
        InputError: a puzzle of less than 3 pixels or more than 8,192; a patch larger than a cell.
    """

    size: int
    patch: int | None = None

    def __post_init__(self) -> None:
        if self.size > LARGEST_SIDE:
            raise InputError(f"a jigsaw's size must be at most {LARGEST_SIDE:,} pixels, got {self.size}")
        if self.size < _GRID or not 1 <= self.side <= self.size // _GRID:
            raise InputError(f"a jigsaw of {self.size} pixels has cells of {self.size // _GRID}, which hold no patches "
                             f"of {self.side}: give a larger size or a smaller patch")  # fmt: skip

    @property
    def side(self) -> int:
        """Of a patch, in pixels."""
        return self.patch if self.patch is not None else max(1, round(self.size // _GRID * _PATCH / _CELL))

    @torch.no_grad()
    def __call__(self, images: Images, keys: Keys) -> tuple[Patches, ...]:
        """Nine batches of patches, [batch, channels, patch, patch] each."""
        boxes = RandomResizedCrop(self.size, (0.6, 1.0)).draw(random.fold(keys, 0), *sides(images))
        flips = HorizontalFlip().draw(random.fold(keys, 1))
        rows, columns = self._lines(random.fold(keys, 2)).unbind(2)
        images, count = images.contiguous(), len(images)
        out = images.new_empty(_GRID**2, count, images.shape[1], self.side, self.side)
        several = at_once(images, self.size)
        for start in range(0, count, several):
            part = slice(start, start + several)
            numbers = torch.arange(count, device=images.device)[part]
            taps = crop_taps(boxes[part], self.size, flips[part], device=images.device)
            for cell, patches in enumerate(out):
                places = (lines[part, cell].to(images.device) for lines in (rows, columns))
                down, across = (t.at(p) for t, p in zip(taps, places, strict=True))
                patches[part] = resample(images, down, across, numbers)
        return tuple(out.unbind(0))

    def _lines(self, keys: Keys) -> Int64[Tensor, "batch 9 2 patch"]:
        """Of every patch the rows and the columns of the puzzle that it has."""
        cell = self.size // _GRID
        spare = cell - self.side + 1
        offsets = torch.stack([random.integers(random.fold(keys, use), spare) for use in range(2 * _GRID**2)], dim=1)
        corners = torch.cartesian_prod(torch.arange(_GRID), torch.arange(_GRID)) * cell
        return (offsets.view(-1, _GRID**2, 2) + corners)[..., None] + torch.arange(self.side)
