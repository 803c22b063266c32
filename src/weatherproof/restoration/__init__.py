"""The pixel-space rivals of a hardened encoder: repair the image, then classify it as usual."""

from typing import Any

from weatherproof.restoration.deep_decoder import DeepDecoder
from weatherproof.restoration.nonlocal_means import NonLocalMeans, wavelet_sigma
from weatherproof.restoration.restored import Restored
from weatherproof.spec import parse as _parse

TABLE = {"DeepDecoder": DeepDecoder, "NonLocalMeans": NonLocalMeans}

__all__ = ["TABLE", "DeepDecoder", "NonLocalMeans", "Restored", "parse", "wavelet_sigma"]


def parse(text: str | Any) -> Any:
    """A restoration from its text; a restoration is returned as it is. Raises `InputError`."""
    return _parse(text, TABLE, "restoration") if isinstance(text, str) else text
