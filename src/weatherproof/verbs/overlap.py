"""What a verb says where it measures on images that it trained on."""

import warnings

from jaxtyping import Int64
from torch import Tensor

from weatherproof.data import ImageSet, at_most
from weatherproof.data.duplicates import called, duplicates
from weatherproof.evaluation.near_duplicates import Seen, near_duplicates
from weatherproof.types import Embeddings


def overlap(train: ImageSet, test: ImageSet, limit: int | None) -> list[str]:
    """Warns where test images are training images, and gives the sentence that belongs beside the numbers.

    Args:
        limit: as many of the test images are measured, evenly spaced.
    """
    measured = at_most(test, limit)
    return _warn_of(train, measured, duplicates(train, measured), "training images too")


def near_overlap(
    seen: Seen, train: ImageSet, test: ImageSet, queries: Embeddings, places: Int64[Tensor, "m"]
) -> list[str]:
    """The same for test images that are nearly training images, of an encoder that has seen both: see
    `near_duplicates`."""
    pairs = near_duplicates(seen, train, test, queries, places)
    return _warn_of(train, test, pairs, "near duplicates of training images")


def _warn_of(train: ImageSet, test: ImageSet, pairs: Tensor, what: str) -> list[str]:
    if not len(pairs):
        return []
    first, partner = pairs[0].tolist()
    note = (
        f"{len(pairs):,} of the {len(test):,} test images are {what} ({len(pairs) / len(test):.1%}): a number measured "
        f"on them is no test; the first: {called(test, first)} is {called(train, partner)}"
    )
    warnings.warn(note, UserWarning, stacklevel=3)
    return [note]
