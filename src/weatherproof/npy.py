"""What the first bytes of a .npy file say of the rest, read before any memory is taken."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

_READERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class Header:
    """
    Attributes:
        order: "C" or "F".
        offset: bytes before the first number.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: str
    offset: int

    @property
    def size(self) -> int:
        """Bytes of the whole file, where it holds no Python objects."""
        return self.offset + prod(self.shape) * self.dtype.itemsize

    def map(self) -> np.ndarray:
        """The array, its pages read when they are looked at."""
        if not prod(self.shape):
            return np.empty(self.shape, self.dtype)
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape, self.order)  # type: ignore[call-overload]


def read_header(path: Path) -> Header:
    """The header of a .npy file.

    Raises:
        OSError: nothing is there, or it cannot be read.
        ValueError, EOFError: it is no .npy file.
    """
    with path.open("rb") as file:
        if file.peek(2)[:2] == b"PK":
            raise ValueError("it holds several arrays")
        version = np.lib.format.read_magic(file)
        if version not in _READERS:
            raise ValueError(f"a .npy file of version {version}")
        shape, fortran, dtype = _READERS[version](file)
        return Header(path, shape, dtype, "F" if fortran else "C", file.tell())
