"""What the C library does with the memory that one batch frees.

By default glibc maps every large block anew, and raises the size from which it does so as it goes. The first costs a
training step on a CPU a sixth of its time at 32 px; the second scatters the blocks that stay, so the peak of a long
audit creeps up with the number of images (by a half from 1,000 to 8,000) though it holds no more at a time.
Both functions do nothing on other systems.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3), from glibc's malloc.h
_LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc refuses more
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """For training, where every step needs the same blocks: keep them. The process keeps its peak."""
    _mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    _mallopt(_TRIM_THRESHOLD, _NEVER)


def return_freed_memory() -> None:
    """For measuring, where sizes change from one condition to the next: blocks of 1 MiB or more go back at once.

    Huge pages (see the package's __init__) pay for most of what the kernel then has to clear.
    """
    _mallopt(_MMAP_THRESHOLD, 2**20)


def _mallopt(name: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if mallopt is not None:
        mallopt(name, value)
