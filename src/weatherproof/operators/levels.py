"""The level of an operator: one number, or a range from which each image draws its own."""

import torch
from jaxtyping import Float
from torch import Tensor

from weatherproof import random
from weatherproof.errors import InputError, shown
from weatherproof.types import Keys

Level = float | tuple[float, float]

WIDEST = 1000.0  # pixels, of a blur: wider than any image that it leaves anything of


def check(level: Level, name: str, low: float, high: float = float("inf")) -> None:
    """Raise `InputError` unless the level is a number, or an ordered pair of numbers, inside [low, high]."""
    pair = level if isinstance(level, tuple) else (level, level)
    if not (len(pair) == 2 and all(isinstance(v, int | float) for v in pair) and low <= pair[0] <= pair[1] <= high):
        bounds = f"in [{low:g}, {high:g}]" if high < float("inf") else f"of at least {low:g}"
        raise InputError(
            f"{name} must be a number {bounds}, or an ordered pair (low, high) of them, got {shown(level)}"
        )


def check_noise(level: Level, text: str) -> None:
    """`check` for a standard deviation in pixel units, from 0 to 1. Beyond it noise leaves nothing of an image, and the
    level is most likely in units of 0-255: the message says how to write it then.

    Args:
        text: of the component, with braces where the level stands: "GaussianNoise({})".
    """
    pair = level if isinstance(level, tuple) else (level,)
    if len(pair) in (1, 2) and all(v >= 0 for v in pair) and list(pair) == sorted(pair) and pair[-1] > 1:
        divided = ", ".join(f"{v:g}/255" for v in pair)
        written = f"({divided})" if len(pair) == 2 else divided
        raise InputError(
            f"pixels are in [0, 1], and beyond 1 the sigma of {text.partition('(')[0]} leaves nothing of an image: got "
            f"{shown(level)}; in units of 0-255, write {text.format(written)}"
        )
    check(level, "sigma", 0, 1)


def draw(level: Level, keys: Keys) -> Float[Tensor, "batch"]:
    """The level of each image, float64 on the CPU: the number itself, or uniform between the two."""
    if isinstance(level, tuple):
        return random.uniform(keys, *level).double()
    return torch.full((len(keys),), float(level), dtype=torch.float64)


def ends(level: Level) -> tuple[float, float]:
    """The smallest and the largest level that can be drawn."""
    return level if isinstance(level, tuple) else (level, level)


def top(level: Level) -> float:
    """The largest level that can be drawn."""
    return float(ends(level)[1])
