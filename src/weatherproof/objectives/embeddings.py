"""What every objective does first: full precision, one row per image on both sides, unit length."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor


@contextmanager
def full_precision(student: Tensor, teacher: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The pair in float32 or wider, with autocast off: exponentials of cosines / 0.1 do not fit in 8 bits of mantissa.

    Raises:
        ValueError: the two are not [batch, features] of one shape (broadcasting would hide it), or are empty.
    """
    if student.ndim != 2 or student.shape != teacher.shape or len(student) == 0:
        raise ValueError(
            "expected student and teacher embeddings of one shape [batch, features] with batch >= 1, got "
            f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    wide = torch.promote_types(torch.promote_types(student.dtype, teacher.dtype), torch.float32)
    with torch.autocast(student.device.type, enabled=False):
        yield student.to(wide), teacher.to(wide)


@contextmanager
def unit_pair(student: Tensor, teacher: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """`full_precision`, and every row divided by its length."""
    with full_precision(student, teacher) as (s, r):
        yield F.normalize(s, dim=1), F.normalize(r, dim=1)


def check_temperature(temperature: float) -> None:
    """Raise `ValueError` unless the temperature is a positive finite number."""
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be a positive number, got {temperature!r}")
