"""Sizes of images: one number for a square, rows x columns for all others."""

import re
from collections.abc import Sequence
from math import ceil
from typing import overload

from weatherproof.errors import InputError, shown
from weatherproof.texts import LARGEST_SIDE

Size = int | tuple[int, int]
GivenSize = int | str | Sequence[int]

_PLACES = 5  # digits that the largest side may be written with


@overload
def size_of(size: None) -> None: ...
@overload
def size_of(size: GivenSize) -> Size: ...
def size_of(size: GivenSize | None) -> Size | None:
    """A size as the user gives it: 224, "224", "224x288" or (224, 288), rows first. A square is one number.

    Raises:
        InputError: something else, or a side below 1 or beyond 8,192 pixels.
    """
    if size is None:
        return None
    sides: Sequence[object] = size if isinstance(size, str | Sequence) else (size,)
    if isinstance(size, str):
        match = re.fullmatch(rf"\s*(\d{{1,{_PLACES}}})(?:\s*[x×X]\s*(\d{{1,{_PLACES}}}))?\s*", size, re.ASCII)
        sides = [int(number) for number in match.groups() if number is not None] if match else ()
    whole = [side for side in sides if isinstance(side, int) and not isinstance(side, bool)]
    if len(whole) != len(sides) or len(whole) not in (1, 2):
        raise InputError(
            f"size is a number of pixels such as 224, or rows x columns such as 224x288; got {shown(size)}"
        )
    if not all(1 <= side <= LARGEST_SIDE for side in whole):
        raise InputError(f"expected an input size of at least 1 pixel and at most {LARGEST_SIDE:,}, got {shown(size)}")
    return whole[0] if whole[0] == whole[-1] else (whole[0], whole[1])


def sides(size: Size) -> tuple[int, int]:
    """Rows and columns."""
    return (size, size) if isinstance(size, int) else size


def shorter(size: Size) -> int:
    """The side of a square, else the shorter one."""
    return min(sides(size))


def in_pixels(size: Size) -> str:
    """ "224x288"."""
    return "x".join(map(str, sides(size)))


def size_words(size: Size) -> str:
    """As the user writes it: "224" of a square, "224x288"."""
    return str(size) if isinstance(size, int) else in_pixels(size)


def nearest(size: Size, step: tuple[int, int]) -> tuple[Size, Size]:
    """The sizes next to this one, below and above, that so many rows and columns divide. Below is at least one step."""
    pairs = [(max(1, side // one) * one, ceil(side / one) * one) for side, one in zip(sides(size), step, strict=True)]
    below, above = ((rows, columns) for rows, columns in zip(*pairs, strict=True))
    return size_of(below), size_of(above)
