"""How fast images are read and decoded here, by how many workers, and what holds them back."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weatherproof import random
from weatherproof.data import FileImages, ImageSet, MemoryImages, PackedImages, batches, load_images
from weatherproof.errors import InputError
from weatherproof.progress import phase
from weatherproof.sizes import GivenSize
from weatherproof.verbs.doctor.installation import usable_cores
from weatherproof.verbs.doctor.outcome import Finding, Section, bytes_words

BATCH = 32  # small, so that a short measurement counts finely
_MOST = 1 << 17  # positions that a measurement may go through
_BYTES = 256  # images whose bytes are read for the speed of reading alone
_SHARED = 0.7  # of the speed of one worker, times workers: below it they are in each other's way
_READING = 0.5  # of the time of one worker


@dataclass(frozen=True)
class Fed:
    """Images per second with so many worker processes; 0: in the process itself.

    Attributes:
        start: seconds until the first batch was there.
    """

    workers: int
    per_second: float
    start: float


@dataclass(frozen=True)
class ReadSpeed:
    """What reading alone gives: encoded bytes, without decoding, one image after the other in this process.

    Attributes:
        image_bytes: of an image as it is stored, on average.
    """

    image_bytes: float
    per_second: float


def open_images(source: str | Path | ImageSet, split: str | None, size: GivenSize) -> ImageSet:
    """The images, to be decoded when they are asked for. Raises `InputError` where there is nothing to decode."""
    images = load_images(source, split, size=size, memory_budget=0)
    if len(images) == 0:
        raise InputError(f"{images.name} holds no images")
    if isinstance(images, MemoryImages):
        raise InputError(f"{images.name} lies in memory: no file is decoded, and nothing is to be measured")
    return images


def worker_counts(most: int) -> list[int]:
    """0, 1, 2, 4, ... and the largest."""
    return sorted({0, most, *(1 << power for power in range(most.bit_length()) if 1 << power <= most)})


def positions(images: ImageSet, seed: int, part: tuple[int, int] = (0, 1)) -> Tensor:
    """Random positions, passed through again and again; of one process (number, of how many) its share."""
    visit = random.order(seed, 0, len(images))[part[0] :: part[1]]
    visit = visit if len(visit) else torch.zeros(1, dtype=torch.int64)
    times = max(1, -(-min(_MOST, 64 * len(visit)) // len(visit)))
    return visit.repeat(times)[:_MOST]


def fed(images: ImageSet, workers: int, seconds: float, order: Tensor) -> Fed:
    """Measure: what arrives in so many seconds, after the first batch."""
    begin = time.perf_counter()
    stream = batches(images, BATCH, order=order, workers=workers)
    count, since, now = 0, 0.0, 0.0
    for batch in stream:
        now = time.perf_counter()
        if not since:
            since = now  # the workers have started
            continue
        count += len(batch.index)
        if now - since >= seconds:
            break
    stream.close()  # type: ignore[attr-defined]  # it is a generator: the workers end
    if not count:
        raise InputError(f"{images.name} holds no image that can be read")
    return Fed(workers, count / max(now - since, 1e-9), since - begin)


def decoded_by_a_core(images: ImageSet, seconds: float, order: Tensor) -> float:
    """Images for each second of the processor, in this process: what else it does at the time does not count."""
    count, begin, start = 0, time.perf_counter(), time.process_time()
    for batch in batches(images, BATCH, order=order):
        count += len(batch.index)
        if time.perf_counter() - begin >= seconds:
            break
    return count / max(time.process_time() - start, 1e-9)


def read_speed(images: ImageSet, order: Tensor) -> ReadSpeed | None:
    """The speed of reading alone; None where images are not stored one by one."""
    total, start = 0, time.perf_counter()
    chosen = order[: min(_BYTES, len(images))].tolist()
    for position in chosen:
        if isinstance(images, PackedImages):
            total += len(images.encoded(position)[1])
        elif isinstance(images, FileImages):
            total += len(Path(images.paths[position]).read_bytes())
        else:
            return None
    return ReadSpeed(total / len(chosen), len(chosen) / max(time.perf_counter() - start, 1e-9))


def measure(images: ImageSet, most: int, seconds: float, seed: int) -> tuple[list[Fed], ReadSpeed | None]:
    """Reading alone first, while the files may not yet lie in the system's memory; then decoding, by more and more
    workers."""
    order, counts = positions(images, seed), worker_counts(most)
    alone = read_speed(images, order)
    with phase("decoding with more and more workers", len(counts), "settings") as meter:
        rates = []
        for workers in counts:
            rates.append(fed(images, workers, seconds, order))
            meter.advance()
    return rates, alone


def limit(rates: Sequence[Fed], alone: ReadSpeed | None) -> Finding:
    """What holds the images back, in words."""
    single = next(one for one in rates if one.workers <= 1 and (one.workers == 1 or len(rates) == 1))
    best = max(rates, key=lambda one: one.per_second)
    cores = usable_cores()
    if alone is not None and single.per_second > _READING * alone.per_second:
        return Finding(
            "limit", f"reading: {alone.per_second:,.0f} images/s without decoding any", "problem",
            "the disk or the network gives no more: copy the images nearer, write them as shards (weatherproof shard), "
            "or store them smaller (shard --size)",
        )  # fmt: skip
    many = max(rates, key=lambda one: one.workers)
    shared = single.per_second * max(1, min(many.workers, cores))
    if many.workers > 1 and many.per_second < _SHARED * shared:
        return Finding(
            "limit", f"{many.workers} workers give {many.per_second / single.per_second:.1f} times what one gives, on "
            f"{cores:g} cores", "problem",
            f"something is shared: other work on these cores{_load()}, memory, or the disk; look at `top` meanwhile",
        )  # fmt: skip
    busy = max(1, min(best.workers, cores))
    whose = f"{busy:g} cores give ({best.per_second / busy:,.0f} each)" if busy > 1 else "one core gives"
    return Finding(
        "limit", f"decoding: {best.per_second:,.0f} images/s is what {whose}; a training that is quicker waits for them"
    )


def _load() -> str:
    return f" (the load is {os.getloadavg()[0]:.1f})" if hasattr(os, "getloadavg") else ""


def _rows(images: ImageSet, rates: Sequence[Fed], alone: ReadSpeed | None) -> Iterator[Finding]:
    yield Finding("images", f"{len(images):,} of {images.name}")
    if alone is not None:
        speed = bytes_words(alone.image_bytes * alone.per_second)
        yield Finding(
            "reading",
            f"{alone.per_second:,.0f} images/s of {bytes_words(alone.image_bytes)} each, {speed}/s, not decoded",
        )
    for one in rates:
        each = f", {one.per_second / one.workers:,.0f} each" if one.workers > 1 else ""
        name = {0: "in the process", 1: "1 worker"}.get(one.workers, f"{one.workers} workers")
        yield Finding(name, f"{one.per_second:,.0f} images/s{each}; the first batch after {one.start:.2f} s")
    yield limit(rates, alone)


def section(images: ImageSet, rates: Sequence[Fed], alone: ReadSpeed | None) -> Section:
    """The measurement in words."""
    return Section("Decoding", list(_rows(images, rates, alone)))


def numbers(images: ImageSet, rates: Sequence[Fed], alone: ReadSpeed | None) -> dict[str, Any]:
    """The measurement as numbers. `per_core` is what `--plan` goes by."""
    per_core = max(one.per_second / max(1, one.workers) for one in rates if one.workers <= usable_cores())
    return {
        "source": images.name, "images": len(images), "cores": usable_cores(),
        "decoded_per_second": [asdict(one) for one in rates], "per_core": per_core,
        "reading": None if alone is None else asdict(alone),
    }  # fmt: skip
