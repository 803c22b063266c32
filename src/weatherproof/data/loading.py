"""Batches on a device: whole numbers until they are there, float32 in [0, 1] from then on."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64, UInt
from torch import Tensor
from torch.utils.data import DataLoader

from weatherproof.canvas import Canvas, Sizes
from weatherproof.data.corrupted.sets import CorruptedImages
from weatherproof.data.files import Decoded, FileImages
from weatherproof.data.images import ImageSet, MemoryImages, as_floats
from weatherproof.errors import InputError, shown
from weatherproof.types import Images, Labels

# pixels, their positions, bad files, what Pillow warned of; of images of unlike sizes these
Read = tuple[
    UInt[Tensor, "kept channels height width"], Int64[Tensor, "kept"], dict[str, str], dict[str, str], Sizes | None
]

MOST_ROWS = 1 << 24  # images in a batch: more than any memory holds


@dataclass(frozen=True, slots=True)
class Batch:
    """Images and labels on the device, the images' indices on the CPU (keys are made there), and which of the set's
    images they are. Images of unlike sizes are a `Canvas`."""

    images: Images
    labels: Labels
    index: Labels
    place: Labels


def batches(
    images: ImageSet,
    batch_size: int,
    *,
    order: Int64[Tensor, "m"] | None = None,
    device: str | torch.device = "cpu",
    workers: int = 0,
    start: int = 0,
    drop_last: bool = False,
) -> Iterator[Batch]:
    """The images in batches; the same ones for any number of workers.

    Files that turn out to be bad are dropped from their batch (a batch of bad files only is left out) and recorded in
    `images.bad`; a warning sums up the new ones at the end.

    Args:
        order: positions in the set, in the order of the visit; None: 0 .. n - 1.
        workers: processes that read ahead, where reading takes work; 0: read here. More than there are cores do not
            help and are not started.
        start: leave out that many batches, without reading them.
        drop_last: leave out a last batch that is not full.

    Raises:
        InputError: a setting out of range, images of different sizes, or too many bad files (see `load_images`).
    """
    if not 1 <= batch_size <= MOST_ROWS or start < 0 or workers < 0:
        raise InputError(
            f"expected batch_size >= 1 (up to {MOST_ROWS:,}), start >= 0, workers >= 0; got {shown(batch_size)}, "
            f"{start}, {workers}"
        )
    order = torch.arange(len(images)) if order is None else order.cpu()
    chunks = list(order.split(batch_size)) if len(order) else []
    if drop_last and chunks and len(chunks[-1]) < batch_size:
        chunks.pop()
    return _batches(images, chunks[start:], torch.device(device), workers)


def _batches(images: ImageSet, chunks: list[Tensor], device: torch.device, workers: int) -> Iterator[Batch]:
    for pixels, kept, bad, warned, sizes in _read_ahead(images, chunks, device, workers):
        if (bad or warned) and isinstance(images, Decoded):
            images.bad_files.record(bad, warned)
        if len(kept) == 0:
            continue
        # Bytes cross to the device, a quarter of what floats would be.
        there = as_floats(pixels.to(device, non_blocking=True))
        yield Batch(
            images=there if sizes is None else Canvas.of(there, sizes),
            labels=images.labels[kept].to(device, non_blocking=True),
            index=images.index[kept],
            place=kept,
        )
    if isinstance(images, Decoded):
        images.bad_files.warn()


@dataclass(frozen=True)
class _Reader:
    """What a worker does: positions in, pixels out. An error travels as a value, so that it keeps its one line."""

    images: ImageSet

    def __getitem__(self, positions: Tensor) -> Read | InputError:
        try:
            if isinstance(self.images, FileImages) and self.images.decoder.longest is not None:
                return self.images.decode_whole(positions)
            if isinstance(self.images, Decoded):
                return *self.images.decode(positions), None
            return self.images.read(positions), positions, {}, {}, None
        except InputError as error:
            return error


def _read_ahead(images: ImageSet, chunks: list[Tensor], device: torch.device, workers: int) -> Iterator[Read]:
    reader = _Reader(images)
    workers = 0 if _lie_ready(images) else min(workers, os.cpu_count() or 1, len(chunks))
    found: Iterator[Read | InputError] = map(reader.__getitem__, chunks)
    if workers:
        found = iter(
            DataLoader(
                reader,  # type: ignore[arg-type]  # a map of positions is all that it needs
                batch_size=None,
                sampler=chunks,
                num_workers=workers,
                collate_fn=_as_it_is,
                pin_memory=device.type == "cuda",
                generator=torch.Generator(),  # else the loader would draw from the global one
            )
        )
    for item in found:
        if isinstance(item, InputError):
            raise item
        yield item


def _lie_ready(images: ImageSet) -> bool:
    """Whether reading is copying: other processes would only be in the way."""
    if isinstance(images, CorruptedImages):
        return not images.takes_work
    return isinstance(images, MemoryImages) and images.decoder is None


def _as_it_is(item: Any) -> Any:
    return item
