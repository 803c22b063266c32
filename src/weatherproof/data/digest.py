"""What tells one set of images from another, without decoding any: so that a run goes on with its own alone."""

import hashlib
import os

import torch

from weatherproof.data.files import FileImages
from weatherproof.data.images import ImageSet, MemoryImages, evenly_spaced
from weatherproof.data.packed.images import PackedImages
from weatherproof.errors import InputError
from weatherproof.names import printable

_LOOKED_AT = 10_000  # images, evenly spaced, whose files' sizes are read: more take minutes on a network's disk
_READ = 1_000  # likewise of packs, some of which have to be read for it
_WHOLE = 1 << 30  # bytes of pixels in memory; of more than these the same images are looked at


def contents_digest(images: ImageSet) -> str:
    """SHA-256 of labels, numbers and class names; of images in memory their pixels, of others their names and the bytes
    that they take (of at most 10,000 of them, 1,000 in packs, as of pixels beyond a GiB). When files were last changed
    is no part of it: a copy is the same set.

    Raises:
        InputError: a file has gone.
    """
    digest = hashlib.sha256(repr((images.classes, len(images), images.channels)).encode())
    for numbers in (images.labels, images.index):
        digest.update(numbers.contiguous().numpy().data)
    paths = images.paths if isinstance(images, FileImages | MemoryImages) else None
    some = evenly_spaced(len(images), _LOOKED_AT).tolist()
    if paths is not None:
        above = os.path.commonpath(paths) if len(paths) > 1 else ""
        digest.update("\0".join(path.removeprefix(above) for path in paths).encode(errors="surrogateescape"))
        digest.update(repr([_bytes_of(paths[place]) for place in some]).encode())
    elif isinstance(images, MemoryImages):
        pixels = images.pixels if images.pixels.nbytes <= _WHOLE else images.pixels[torch.tensor(some)]
        digest.update(pixels.contiguous().view(torch.uint8).numpy().data)
    elif isinstance(images, PackedImages):
        places = torch.arange(len(images)) if images.places is None else images.places
        few = places[evenly_spaced(len(places), _READ)].tolist()
        digest.update(repr([images.packed.pack.size(place) for place in few]).encode())
    return digest.hexdigest()


def _bytes_of(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - of many files
    except OSError as error:
        raise InputError(f"{printable(path)} cannot be looked at: {error.strerror}") from None
