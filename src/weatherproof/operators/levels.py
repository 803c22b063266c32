"""The level of an operator: one number, or a range from which each image draws its own."""

import torch
from jaxtyping import Float
from torch import Tensor

from weatherproof import random
from weatherproof.types import Keys

Level = float | tuple[float, float]


def check(level: Level, name: str, low: float, high: float = float("inf")) -> None:
    """Raise `ValueError` unless the level is a number, or an ordered pair of numbers, inside [low, high]."""
    pair = level if isinstance(level, tuple) else (level, level)
    if not (len(pair) == 2 and all(isinstance(v, int | float) for v in pair) and low <= pair[0] <= pair[1] <= high):
        bounds = f"in [{low:g}, {high:g}]" if high < float("inf") else f"of at least {low:g}"
        raise ValueError(f"{name} must be a number {bounds}, or an ordered pair (low, high) of them, got {level!r}")


def draw(level: Level, keys: Keys) -> Float[Tensor, "batch"]:
    """The level of each image, float64 on the CPU: the number itself, or uniform between the two."""
    if isinstance(level, tuple):
        return random.uniform(keys, *level).double()
    return torch.full((len(keys),), float(level), dtype=torch.float64)


def top(level: Level) -> float:
    """The largest level that can be drawn."""
    return float(level[1] if isinstance(level, tuple) else level)
