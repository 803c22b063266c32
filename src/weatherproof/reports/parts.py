"""A part of a page in the run folder: tensors in a safetensors file, and what they are as JSON beside them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.files import write_atomically
from weatherproof.names import utf8
from weatherproof.reports.drawing.pictures import read_tensors
from weatherproof.texts import parse_json

T = TypeVar("T")

_NOT_OURS = (KeyError, IndexError, TypeError, ValueError, RuntimeError)


def save_part(file: Path, tensors: Mapping[str, Tensor], about: Any) -> Path:
    """Write the file, whole or not at all, and return where it is."""
    from safetensors.torch import save

    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return write_atomically(file, save(own, {"about": utf8(json.dumps(about, ensure_ascii=False)).decode()}))


def read_part(file: Path, what: str, make: Callable[[dict[str, Tensor], Any], T]) -> T | None:
    """What `make` builds from the tensors and what is said about them; None where there is no such file.

    Args:
        what: the file should be: "a map".
        make: raises one of Python's own errors where the file is something else.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    read = read_tensors(file)
    if read is None:
        return None
    tensors, metadata = read
    try:
        return make(tensors, parse_json(metadata["about"]))
    except _NOT_OURS:
        raise InputError(f"{str(file)!r} is not {what}: remove it, or make the run again") from None
