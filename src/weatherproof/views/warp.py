"""Random affine and elastic maps, one draw per image: a callable of the same form as an operator."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.spec import component
from weatherproof.types import Images, Keys

_RANGES = (("degrees", 0, 180), ("translate", 0, 1), ("shear", 0, 10), ("elastic", 0, 1), ("knots", 1, 256))


@component
class Warp:
    """A random affine map and a random smooth displacement of each image, in one bilinear resampling; black outside.

    Args:
        degrees: rotation uniform in +/- degrees, from 0 to 180.
        translate: shift uniform in +/- this fraction of the side, from 0 to 1.
        scale: magnification uniform in this range, from 0.1 to 10.
        shear: horizontal shear uniform in +/- this tangent, from 0 to 10.
        elastic: standard deviation of the smooth displacement, as a fraction of the side (Simard et al. 2003), from 0
            to 1.
        knots: the displacement is drawn on knots x knots points and interpolated bicubically; 1 to 256.

    Raises:
        InputError: a setting out of its range.
    """

    degrees: float = 0.0
    translate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    elastic: float = 0.0
    knots: int = 4

    def __post_init__(self) -> None:
        for name, least, most in _RANGES:
            if not least <= getattr(self, name) <= most:
                raise InputError(f"{name} of Warp must be from {least:g} to {most:g}, got {getattr(self, name)}")
        if not 0.1 <= self.scale[0] <= self.scale[1] <= 10:
            raise InputError(f"scale of Warp must be a pair (low, high) in order from 0.1 to 10, got {self.scale}")

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
