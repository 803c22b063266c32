"""Batches on a device: whole numbers until they are there, float32 in [0, 1] from then on."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
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
from weatherproof.names import printable
from weatherproof.orphans import end_with_parent
from weatherproof.types import Images, Labels

# pixels, their positions, bad files, what Pillow warned of; of images of unlike sizes these
Read = tuple[
    UInt[Tensor, "kept channels height width"], Int64[Tensor, "kept"], dict[str, str], dict[str, str], Sizes | None
]

MOST_ROWS = 1 << 24  # images in a batch: more than any memory holds
_SPARE = 64  # images after a batch, of which one that can be read stands in for a batch of which none can


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
    fill: bool = False,
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
        fill: in place of bad files, good ones of their batch stand in it twice, and nothing is warned of at the end:
            for several processes, each of which has as many images as the others.

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
    return _batches(
        images, chunks[start:], torch.device(device), workers, order.roll(-start * batch_size) if fill else None
    )


def _batches(
    images: ImageSet, chunks: list[Tensor], device: torch.device, workers: int, spare: Tensor | None
) -> Iterator[Batch]:
    for pixels, places, bad, warned, sizes in _read_ahead(images, chunks, device, workers, spare):
        if (bad or warned) and isinstance(images, Decoded):
            images.bad_files.record(bad, warned)
        if len(places) == 0:
            continue
        # Bytes cross to the device, a quarter of what floats would be.
        there = as_floats(pixels.to(device, non_blocking=True))
        yield Batch(
            images=there if sizes is None else Canvas.of(there, sizes),
            labels=images.labels[places].to(device, non_blocking=True),
            index=images.index[places],
            place=places,
        )
    if isinstance(images, Decoded) and spare is None:
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


@dataclass(frozen=True)
class _Filling:
    """A reader of positions and spare ones. As many images come out as positions go in: where one is bad, a good one of
    them stands twice, or where all are bad the first good one of the spare ones."""

    reader: _Reader

    def __getitem__(self, chunk: tuple[Tensor, Tensor]) -> Read | InputError:
        wanted, spare = chunk
        found = self.reader[wanted]
        if isinstance(found, InputError) or len(found[1]) == len(wanted):
            return found
        rows = torch.zeros(len(wanted), dtype=torch.int64)
        good = torch.isin(wanted, found[1])
        rows[good] = torch.arange(len(found[1]))
        rows[~good] = torch.arange(int((~good).sum())) % max(1, len(found[1]))
        bad, warned = dict(found[2]), dict(found[3])
        for other in spare.split(1):
            if len(found[1]):
                break
            found = self.reader[other]
            if isinstance(found, InputError):
                return found
            bad, warned = bad | found[2], warned | found[3]
        pixels, places, _, _, sizes = found
        if not len(places):
            return InputError(
                f"none of {len(wanted) + len(spare)} images that follow on one another can be read: first "
                f"{printable(min(bad))}: {bad[min(bad)]}"
            )
        return pixels[rows], places[rows], bad, warned, None if sizes is None else sizes[rows]


def _with_spare(chunks: list[Tensor], order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Each batch of an order, and the positions that follow it; after the last one come the first ones."""
    end = 0
    for chunk in chunks:
        end += len(chunk)
        yield chunk, order[(end + torch.arange(min(_SPARE, len(order)))) % len(order)]


def _read_ahead(
    images: ImageSet, chunks: list[Tensor], device: torch.device, workers: int, spare: Tensor | None
) -> Iterator[Read]:
    plain = _Reader(images)
    reader: Any = plain if spare is None else _Filling(plain)
    wanted_chunks: Any = chunks if spare is None else _with_spare(chunks, spare)
    workers = 0 if _lie_ready(images) else min(workers, os.cpu_count() or 1, len(chunks))
    found: Iterator[Read | InputError] = map(reader.__getitem__, wanted_chunks)
    if workers:
        found = iter(
            DataLoader(
                reader,  # a map of positions is all that it needs
                batch_size=None,
                sampler=wanted_chunks,
                num_workers=workers,
                collate_fn=_as_it_is,
                worker_init_fn=_begin,
                pin_memory=device.type == "cuda",
                generator=torch.Generator(),  # else the loader would draw from the global one
            )
        )
    for item in found:
        if isinstance(item, InputError):
            raise item
        yield item


def _begin(_worker: int) -> None:
    """In each process that reads ahead, before its first images."""
    end_with_parent()
    sys.excepthook = _tell


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Of what fails in the thread that hands pixels over; that nobody takes them any more is no news."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


def _lie_ready(images: ImageSet) -> bool:
    """Whether reading is copying: other processes would only be in the way."""
    if isinstance(images, CorruptedImages):
        return not images.takes_work
    return isinstance(images, MemoryImages) and images.decoder is None


def _as_it_is(item: Any) -> Any:
    return item
