"""Where the pixels of a view come from: crops and flips, batched, one draw per image.

Each is a callable of the same form as an operator: ``view(images, keys) -> images``.
"""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from weatherproof import random
from weatherproof.canvas import sides as sides_of
from weatherproof.errors import InputError, unknown
from weatherproof.sizes import Size, sides
from weatherproof.spec import component
from weatherproof.texts import LARGEST_SIDE
from weatherproof.types import Images, Keys
from weatherproof.views.interpolation import REACH, Boxes, crop_taps
from weatherproof.views.resampling import Taps, resample
from weatherproof.views.steps import Cut, put, work

Sides = Int64[Tensor, "batch"]  # of each image, in pixels, on the CPU

_ATTEMPTS = 10  # of torchvision's RandomResizedCrop at a box that fits


@component
class RandomResizedCrop:
    """Cuts a random box out of each image and resizes it to the size, antialiased where that shrinks it.

    torchvision's rule (after Szegedy et al. 2015): the area's fraction is uniform in `scale`, the log of the aspect
    ratio uniform in log `ratio`, sides are rounded to whole pixels; of ten such boxes the first that fits lies at a
    uniform place. If none fits, it is the largest box in the middle whose aspect ratio is in range. Images may be of
    unlike sizes (`canvas.Canvas`).

    Args:
        size: side of the result in pixels, from 1 to 8,192; or its (rows, columns).
        scale: range of the box's share of the image's area.
        ratio: range of width / height of the box.
        interpolation: "bilinear" or "bicubic" (Keys 1981, a = -1/2; the result is clamped to [0, 1]).

    Raises:
        InputError: a setting out of its range.
    """

    size: int | tuple[int, int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if not all(1 <= side <= LARGEST_SIDE for side in sides(self.size)):
            raise InputError(f"a crop's size must be at least 1 pixel and at most {LARGEST_SIDE:,}, got {self.size}")
        if not (0 < self.scale[0] <= self.scale[1] <= 1 and 0 < self.ratio[0] <= self.ratio[1]):
            raise InputError(f"expected 0 < scale <= 1 and ratio > 0, ordered, got {self.scale} and {self.ratio}")
        if self.interpolation not in REACH:
            raise unknown("interpolation", self.interpolation, REACH)

    def draw(self, keys: Keys, height: int | Sides, width: int | Sides) -> Boxes:
        """The box of each image of that size, or of each of those sizes."""
        space = torch.stack([torch.as_tensor(side).view(-1) for side in (height, width)], dim=1)
        area, ratio = random.uniforms(random.fold(keys, 0), (2, _ATTEMPTS)).double().unbind(1)
        area = (self.scale[0] + (self.scale[1] - self.scale[0]) * area) * space.prod(dim=1, keepdim=True)
        low, high = (math.log(bound) for bound in self.ratio)
        ratio = (low + (high - low) * ratio).exp()
        sides = torch.stack([(area / ratio).sqrt().round(), (area * ratio).sqrt().round()], dim=2)
        fits = ((sides >= 1) & (sides <= space[:, None])).all(dim=2)
        first = sides[torch.arange(len(keys)), fits.byte().argmax(dim=1)]
        fits = fits.any(dim=1, keepdim=True)
        chosen = torch.where(fits, first, self._largest(space)).long()
        place = torch.stack([random.uniform(random.fold(keys, use)) for use in (1, 2)], dim=1).double()
        corner = torch.where(fits, (place * (space - chosen + 1)).long(), (space - chosen) // 2)
        return torch.cat([corner, chosen], dim=1)

    def _largest(self, space: Int64[Tensor, "sizes 2"]) -> Float[Tensor, "sizes 2"]:
        low, high = self.ratio
        height, width = space.double().unbind(1)
        tall, wide = width / height < low, width / height > high
        rows = torch.where(tall, (width / low).round(), height)
        columns = torch.where(wide, (height * high).round(), width)
        return torch.stack([rows, columns], dim=1).clamp(min=1)

    def __call__(self, images: Images, keys: Keys) -> Float[Tensor, "batch channels rows columns"]:
        boxes = self.draw(keys, *sides_of(images))
        return work(images, (), (), torch.arange(len(images)), self.cut(images, boxes), self.size)

    def cut(self, images: Images, boxes: Boxes, flips: Bool[Tensor, "batch"] | None = None) -> Cut:
        """What makes the crops of some images at a time: each box cut out and resized, as torchvision's `resized_crop`
        does it.

        Args:
            boxes: top, left, height, width in pixels, inside the image, on the CPU.
            flips: which crops are mirrored left to right.
        """
        images, taps = images.contiguous(), crop_taps(boxes, self.size, flips, self.interpolation, images.device)

        def crop(part: slice, numbers: Int64[Tensor, "part"]) -> Images:
            down, across = (t.of(part) for t in taps)
            return _resized(images, down, across, numbers.to(images.device), self.interpolation)

        return crop


def random_crop(size: Size, scale: tuple[float, float], interpolation: str = "bilinear") -> RandomResizedCrop:
    """The papers' crop, of boxes whose width / height is 3/4 to 4/3 times that of the view; theirs are squares."""
    rows, columns = sides(size)
    aspect = columns / max(1, rows)  # the crop itself refuses a side of nothing
    return RandomResizedCrop(size, scale, (3 / 4 * aspect, 4 / 3 * aspect), interpolation)


@component
class HorizontalFlip:
    """Mirrors each image left to right with probability p."""

    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise InputError(f"HorizontalFlip needs a probability p in [0, 1], got {self.p}")

    def draw(self, keys: Keys) -> Bool[Tensor, "batch"]:
        """Which images are mirrored."""
        return random.uniform(random.fold(keys, 0)) < self.p

    def __call__(self, images: Images, keys: Keys) -> Images:
        places, out = self.draw(keys).nonzero().flatten(), images.clone()
        put(out, places, images.index_select(0, places.to(images.device)).flip(-1))
        return out


def _resized(
    images: Images, down: Taps, across: Taps, numbers: Int64[Tensor, "part"], interpolation: str
) -> Float[Tensor, "part channels rows columns"]:
    out = resample(images, down, across, numbers)
    return out.clamp_(0, 1) if interpolation == "bicubic" else out
