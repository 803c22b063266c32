"""Whether an operator damages images at all."""

import torch

from weatherproof import random
from weatherproof.data import ImageSet, batches
from weatherproof.errors import InputError
from weatherproof.operators.drawn import drawn
from weatherproof.protocols import Operator

_DRAWS, _TRIED = 1 << 14, 512  # keys of which a damage is asked, and those on which it is tried


def require_damages(operator: Operator, images: ImageSet, device: str | torch.device) -> None:
    """Raise `InputError` where an operator leaves the images as they are. From its keys it is known which draws apply
    any damage; of these up to 512 are tried, on a few of the images, until one of them changes."""
    batch = next(batches(images, 16, device=device), None)
    if batch is None:
        return
    keys = random.keys(0, torch.arange(_DRAWS))
    for applied in keys[drawn(operator, keys).kind > 0][:_TRIED].split(len(batch.images)):
        some = batch.images[: len(applied)]
        if not torch.equal(operator(some, applied), some):
            return
    raise InputError(
        f"{operator!r} damages no image of {images.name}, and there is nothing to see through: give a damage that does"
    )
