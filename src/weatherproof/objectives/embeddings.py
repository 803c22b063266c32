"""What every objective does first: full precision, one row per image on every side, unit length."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from weatherproof.errors import InputError


@contextmanager
def full_precision(*embeddings: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Them in float32 or wider, with autocast off: exponentials of cosines / 0.1 do not fit in 8 bits of mantissa.

    Raises:
        InputError: they are not [batch, features] of one shape (broadcasting would hide it), or are empty.
    """
    shapes = [tuple(rows.shape) for rows in embeddings]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2 or shapes[0][0] == 0:
        got = " and ".join(map(str, shapes))
        raise InputError(f"expected embeddings of one shape [batch, features] with batch >= 1, got {got}")
    wide = reduce(torch.promote_types, (rows.dtype for rows in embeddings), torch.float32)
    with torch.autocast(embeddings[0].device.type, enabled=False):
        yield tuple(rows.to(wide) for rows in embeddings)


@contextmanager
def unit_rows(*embeddings: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """`full_precision`, and every row divided by its length."""
    with full_precision(*embeddings) as wide:
        yield tuple(F.normalize(rows, dim=1) for rows in wide)


def check_temperature(temperature: float) -> None:
    """Raise `InputError` unless the temperature is a positive finite number."""
    if not 0 < temperature < float("inf"):
        raise InputError(f"temperature must be a positive number, got {temperature!r}")


def check_weights(component: object, *names: str) -> None:
    """Raise `InputError` unless each of these attributes, weights of terms, is a finite number of at least 0."""
    for name in names:
        value = getattr(component, name)
        if not 0 <= value < float("inf"):
            raise InputError(f"{name} of {type(component).__name__} must be a number of at least 0, got {value!r}")
