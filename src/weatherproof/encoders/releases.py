"""Which of the weights that a library publishes a file holds: mean, std, size and interpolation hang on it."""

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from weatherproof.encoders.adapter import Release
from weatherproof.encoders.libraries.open_clip import open_clip_releases
from weatherproof.encoders.libraries.timm import timm_releases
from weatherproof.encoders.libraries.torchvision import torchvision_releases
from weatherproof.encoders.messages import some

_RELEASES: Mapping[str, Callable[[str], list[Release]]] = {
    "timm": timm_releases, "torchvision": torchvision_releases, "open_clip": open_clip_releases,
}  # fmt: skip
_PARTS = 4  # of a path that are looked at: a hub's cache keeps the name three folders above the file
_LEAST = 8  # characters of a name that says something; "model" and "pytorch_model" are anyone's


def released(text: str, file: str, metadata: Mapping[str, str]) -> str:
    """The encoder's text with the release that the file holds, where that matters.

    A text that names a release stays as it is, and so does a bare name whose releases all expect the same pixels. The
    file's own name, that of a folder around it, or what a safetensors file says of itself may name the release; else it
    is the library's default. Either is said in a warning.

    Args:
        text: such as "timm:vit_small_patch16_224", without weights.
        metadata: of a safetensors file.
    """
    library, _, name = text.partition(":")
    known = _RELEASES[library](name) if library in _RELEASES else []
    if len({release.expects for release in known}) < 2:
        return text
    default, found = known[0], _named(known, file, metadata)
    if found is not None:
        if found.expects == default.expects:
            return text
        _say(f"{file}: its name says that it holds {found.text}, which is taken: {found.expects}")
        return found.text
    others = [release.text for release in known if release.expects != default.expects]
    assumed = text if default.tag is None else default.text
    _say(
        f"{file} does not say which published weights it holds: {assumed} is assumed ({default.expects}); "
        f"for others write {some(others, 4)} before the @"
    )
    return text


def _named(known: list[Release], file: str, metadata: Mapping[str, str]) -> Release | None:
    """The release that is named, by the longest name that fits: one may be the beginning of another."""
    texts = [*Path(file).parts[-_PARTS:], *metadata.values()]
    marks = [(mark, release) for release in known for mark in release.files if _telling(mark)]
    found = [(len(mark), release) for mark, release in marks if any(_holds(text, mark) for text in texts)]
    found += [(len(r.tag), r) for r in known if r.tag is not None and r.tag in metadata.values()]
    longest = {release for length, release in found if length == max(length for length, _ in found)}
    return longest.pop() if len(longest) == 1 else None


def _telling(mark: str) -> bool:
    return len(mark) >= _LEAST and any(c.isdigit() or c == "." for c in mark)


def _holds(text: str, mark: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(mark)}(?!\w)", text, re.IGNORECASE) is not None


def _say(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=5)
