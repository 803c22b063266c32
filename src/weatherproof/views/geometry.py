"""Where the pixels of a view come from: crops, flips, affine and elastic maps, batched, one draw per image.

Each is a callable of the same form as an operator: ``view(images, keys) -> images``.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from weatherproof import random
from weatherproof.spec import component
from weatherproof.types import Images, Keys


@component
class RandomResizedCrop:
    """Cuts a random box out of each image and resizes it (bilinear) to size x size.

    Area fraction uniform in `scale`, log aspect ratio uniform in log `ratio`, position uniform (Szegedy et al. 2015;
    torchvision's rule, whose ten attempts at a box that fits are replaced by one draw cut to the image).
    """

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if not (0 < self.scale[0] <= self.scale[1] <= 1 and 0 < self.ratio[0] <= self.ratio[1]):
            raise ValueError(f"expected 0 < scale <= 1 and ratio > 0, ordered, got {self.scale} and {self.ratio}")

    def __call__(self, images: Images, keys: Keys) -> Float[Tensor, "batch channels side side"]:
        height, width = images.shape[-2:]
        area = random.uniform(random.fold(keys, 0), *self.scale) * height * width
        ratio = random.uniform(random.fold(keys, 1), math.log(self.ratio[0]), math.log(self.ratio[1])).exp()
        box_width = (area * ratio).sqrt().clamp(max=width) / width  # as fractions of the image
        box_height = (area / ratio).sqrt().clamp(max=height) / height
        left = random.uniform(random.fold(keys, 2)) * (1 - box_width)
        top = random.uniform(random.fold(keys, 3)) * (1 - box_height)
        theta = torch.zeros(len(keys), 2, 3)
        theta[:, 0, 0], theta[:, 0, 2] = box_width, 2 * left + box_width - 1
        theta[:, 1, 1], theta[:, 1, 2] = box_height, 2 * top + box_height - 1
        grid = F.affine_grid(theta.to(images.device), [len(images), 1, self.size, self.size], align_corners=False)
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


@component
class HorizontalFlip:
    """Mirrors each image left to right with probability p."""

    p: float = 0.5

    def __call__(self, images: Images, keys: Keys) -> Images:
        flip = (random.uniform(random.fold(keys, 0)) < self.p).to(images.device)
        return torch.where(flip.view(-1, 1, 1, 1), images.flip(-1), images)


@component
class Warp:
    """A random affine map and a random smooth displacement of each image, in one bilinear resampling; black outside.

    Args:
        degrees: rotation uniform in +/- degrees.
        translate: shift uniform in +/- this fraction of the side.
        scale: magnification uniform in this range.
        shear: horizontal shear uniform in +/- this tangent.
        elastic: standard deviation of the smooth displacement, as a fraction of the side (Simard et al. 2003).
        knots: the displacement is drawn on knots x knots points and interpolated bicubically.
    """

    degrees: float = 0.0
    translate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    elastic: float = 0.0
    knots: int = 4

    def __call__(self, images: Images, keys: Keys) -> Images:
        across, down, shift = self._affine(keys).to(images.device)[:, None, None].unbind(dim=-1)
        y, x = (torch.arange(0.5, n, device=images.device) * (2 / n) - 1 for n in images.shape[-2:])  # centres, -1 to 1
        grid = across * x[:, None] + (down * y[:, None, None] + shift)
        if self.elastic:
            grid = grid + self._displacement(images, random.fold(keys, 9))
        return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)

    def _affine(self, keys: Keys) -> Float[Tensor, "batch 2 3"]:
        draw = [random.uniform(random.fold(keys, use), -1, 1) for use in range(4)]
        angle = draw[0] * math.radians(self.degrees)
        zoom = 1 / random.uniform(random.fold(keys, 4), *self.scale)
        cos, sin, shear = angle.cos() * zoom, angle.sin() * zoom, draw[1] * self.shear
        across = torch.stack([cos, cos * shear - sin, 2 * self.translate * draw[2]], dim=1)
        down = torch.stack([sin, sin * shear + cos, 2 * self.translate * draw[3]], dim=1)
        return torch.stack([across, down], dim=1)

    def _displacement(self, images: Images, keys: Keys) -> Float[Tensor, "batch height width 2"]:
        knots = random.normal_fields(keys, (2, self.knots, self.knots), images.device) * (2 * self.elastic)
        down, across = (_spline(self.knots, side).to(images.device) for side in images.shape[-2:])
        return (down @ knots @ across.mT).permute(0, 2, 3, 1)


def _spline(knots: int, side: int) -> Float[Tensor, "side knots"]:
    """The matrix of bicubic interpolation from `knots` points to a line of pixels."""
    return F.interpolate(torch.eye(knots)[None, :, :, None], (side, 1), mode="bicubic", align_corners=True)[
        0, :, :, 0
    ].T
