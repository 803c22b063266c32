"""What `corrupt` asks of its arguments before it makes a folder."""

from collections.abc import Sequence
from typing import Literal

from weatherproof import operators
from weatherproof.data import SEVERITIES, CorruptedImages, ImageSet
from weatherproof.errors import InputError, unknown
from weatherproof.verbs.inputs import has_labels, require_one_size

SMALL = 64  # pixels a side up to which "auto" writes arrays: CIFAR's 32, and Tiny ImageNet's 64


def names_of(suite: str, corruptions: Sequence[str] | None) -> list[str]:
    """The corruptions in canonical order, each once. Raises `InputError` for an unknown one."""
    if suite not in ("common-15", "common-19"):
        raise InputError(f"suite is common-15 or common-19, got {suite!r}: other suites have no severities to write")
    chosen = [c.corruption for c in operators.suite(suite)] if corruptions is None else corruptions
    for name in chosen:
        if name not in operators.COMMON_19:
            raise unknown("corruption", name, operators.COMMON_19)
    if not chosen:
        raise InputError("corruptions is an empty list: name at least one, or leave it out for the whole suite")
    return [name for name in operators.COMMON_19 if name in chosen]


def levels_of(severities: Sequence[int] | None) -> list[int]:
    """The severities in rising order, each once. Raises `InputError` for one outside 1 to 5."""
    for level in severities or ():
        if level not in SEVERITIES:
            raise InputError(f"a severity is a whole number from 1 (mild) to 5 (harsh), got {level!r}")
    if severities is not None and not severities:
        raise InputError("severities is an empty list: give at least one from 1 to 5, or leave it out for all five")
    return sorted({*(severities or SEVERITIES)})


def require_clean(images: ImageSet) -> None:
    """Raise `InputError` unless these are images of one size that nobody has corrupted, all with labels or none."""
    if isinstance(images, CorruptedImages):
        raise InputError(f"{images.name!r} is corrupted already: give the clean images")
    require_one_size(images)
    if len(images) == 0 or len(images.index.unique()) < len(images):
        raise InputError(f"{images.name!r} must hold images, each with an index of its own: it names the image's draw")
    if not has_labels(images) and bool((images.labels >= 0).any()):
        raise InputError(f"some images in {images.name!r} have labels and some have none: expected one or the other")


def layout_of(layout: str, images: ImageSet, levels: Sequence[int]) -> Literal["cifar-c", "imagenet-c"]:
    """The layout that "auto" means here. Raises `InputError` where arrays cannot hold the images."""
    if layout not in ("auto", "cifar-c", "imagenet-c"):
        raise unknown("layout", layout, ("auto", "cifar-c", "imagenet-c"))
    small = images.image_size is not None and max(images.image_size) <= SMALL
    in_files = images.channels in (1, 3)
    if layout == "imagenet-c" or (layout == "auto" and not (small and has_labels(images))):
        if not in_files:
            raise InputError(
                f"JPEG files hold images of 1 or 3 channels, and {images.name!r} has {images.channels}: choose "
                "--layout cifar-c, for images with labels"
            )
        return "imagenet-c"
    if not has_labels(images):
        way = "choose --layout imagenet-c" if in_files else "give it labels"
        raise InputError(f"{images.name!r} has no labels for labels.npy: {way}")
    if tuple(levels) != SEVERITIES:
        raise InputError("arrays hold all five severities: leave out --severities, or choose --layout imagenet-c")
    return "cifar-c"
