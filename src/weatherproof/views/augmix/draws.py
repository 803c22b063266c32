"""What AugMix draws: the operations with their magnitudes, how they are chained, and how the chains are mixed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from weatherproof import random
from weatherproof.operators.mixed_chains import Links, Weights, links_of, mixing_weights
from weatherproof.protocols import Operator
from weatherproof.types import Keys
from weatherproof.views.augmix import geometry, ops

Numbers = Float64[Tensor, "numbers"]


@dataclass(frozen=True)
class Operation:
    """An operation on levels and, where it has a parameter, how that follows from the level v of 0 to 10.

    `magnitude` takes v, and the side of the image along which the operation moves pixels.
    """

    apply: Callable[..., ops.Levels]
    magnitude: Callable[[Numbers, int], Numbers] | None = None
    signed: bool = False  # the magnitude is negative as often as not
    whole: bool = False  # its fraction is cut off
    side: int = -1  # the images' dimension that counts as the side

    def parameters(self, level: Numbers, sign: Tensor, shape: torch.Size) -> Numbers:
        """One per image: magnitude(v), cut to a whole number, with its sign."""
        if self.magnitude is None:
            return level
        value = self.magnitude(level, shape[self.side])
        value = value.trunc() if self.whole else value
        return value * sign if self.signed else value

    def __call__(self, levels: ops.Levels, parameters: Numbers) -> ops.Levels:
        if self.magnitude is None:
            return self.apply(levels)
        return self.apply(levels, parameters.long() if self.whole else parameters)


Link = Operation | Operator  # of a chain: on levels, or on images with keys


def _enhancement(v: Numbers, side: int) -> Numbers:
    return 0.18 * v + 0.1


# The magnitudes of the authors' code (google-research/augmix), there written as max * v / 10.
OPERATIONS = {
    "autocontrast": Operation(ops.autocontrast),
    "equalize": Operation(ops.equalize),
    "posterize": Operation(lambda levels, less: ops.posterize(levels, 4 - less), lambda v, side: 0.4 * v, whole=True),
    "rotate": Operation(geometry.rotate, lambda v, side: 3 * v, signed=True, whole=True),
    "solarize": Operation(lambda levels, less: ops.solarize(levels, 256 - less), lambda v, side: 25.6 * v, whole=True),
    "shear_x": Operation(geometry.shear_x, lambda v, side: 0.03 * v, signed=True),
    "shear_y": Operation(geometry.shear_y, lambda v, side: 0.03 * v, signed=True),
    "translate_x": Operation(geometry.translate_x, lambda v, side: v * side / 30, signed=True, whole=True),
    "translate_y": Operation(geometry.translate_y, lambda v, side: v * side / 30, signed=True, whole=True, side=-2),
    "color": Operation(ops.color, _enhancement),
    "contrast": Operation(ops.contrast, _enhancement),
    "brightness": Operation(ops.brightness, _enhancement),
    "sharpness": Operation(ops.sharpness, _enhancement),
}
STANDARD = tuple(OPERATIONS)[:9]  # the paper's; the four others are among the benchmark's corruptions or near them


@dataclass(frozen=True)
class Draws:
    """What a batch drew, for each chain, image and place in the chain."""

    weights: Weights
    link: Links
    parameter: Float64[Tensor, "width batch deepest"]

    def __getitem__(self, part: slice) -> "Draws":
        return Draws(self.weights[part], self.link[:, part], self.parameter[:, part])


def draw(
    keys: Keys, links: Sequence[Link], width: int, depth: tuple[int, int], severity: float, shape: torch.Size
) -> Draws:
    """Depth uniform in depth[0] .. depth[1], link uniform, level uniform on (.1, severity), sign a fair coin.

    Args:
        shape: of the images that the links will get.
    """
    uniform = random.uniforms(random.fold(keys, 1), (3, width, depth[1])).double()
    which, levels, coins = (numbers.transpose(0, 1) for numbers in uniform.unbind(1))
    lengths = random.uniforms(random.fold(keys, 2), (width,)).double()
    chosen = links_of(which, lengths, len(links), depth)
    parameter = torch.zeros(chosen.shape, dtype=torch.float64)
    for place, link in enumerate(links):
        if isinstance(link, Operation):
            its = chosen == place
            sign = torch.where(coins[its] < 0.5, -1.0, 1.0)
            parameter[its] = link.parameters(0.1 + (severity - 0.1) * levels[its], sign, shape)
    return Draws(mixing_weights(random.fold(keys, 0), width), chosen, parameter)
