"""Random affine and elastic maps, one draw per image: a callable of the same form as an operator."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from weatherproof import random
from weatherproof.spec import component
from weatherproof.types import Images, Keys


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
