"""The terms of the plan that are measured: on this machine now, or by an earlier doctor.json."""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weatherproof import operators, random
from weatherproof.errors import InputError
from weatherproof.protocols import Operator
from weatherproof.sizes import GivenSize, sides, size_of
from weatherproof.texts import Malformed, read_json
from weatherproof.training.footprint import peak_bytes
from weatherproof.verbs.doctor import feeding
from weatherproof.verbs.doctor.samples import HEIGHT, WIDTH, write_samples
from weatherproof.verbs.doctor.simulation import planned_shards
from weatherproof.views import Chain, HorizontalFlip, RandomResizedCrop

NETWORK = 25e9  # bytes/s of each GPU, where nobody has said or measured any: 200 Gbit/s. An assumption
LATENCY = 20e-6  # seconds of a small gather, in the same way
_WRITTEN = 1 << 26  # bytes, for the speed of the disk
_ORDERED = (1000, 1000)  # shards, and images in each, of an order that is timed
_REPEATS = 5


@dataclass(frozen=True)
class Terms:
    """What was measured.

    Attributes:
        decoded: images per second and core.
        image_bytes: of an image as it is stored.
        copies: what crop, flip and operator take of an image, in times of copying it once in memory: so a GPU's time
            follows from its memory's bandwidth.
        disk: bytes per second that a checkpoint is written with.
        order_seconds: of an epoch's order, for an image.
        order_bytes: of memory in every process, for an image.
        network: bytes per second that pass through a GPU in a gather or an all-reduce.
        latency: seconds of a small gather.
        sources: for each of these names, where it comes from.
    """

    decoded: float
    image_bytes: float
    copies: float
    disk: float
    order_seconds: float
    order_bytes: float
    network: float
    latency: float
    sources: Mapping[str, str]


def terms_of(
    measured: str | Path | None, network: float | None, operator: str, size: GivenSize, seconds: float, seed: int
) -> Terms:
    """The terms, from a file as far as it has them, else measured here."""
    known = _read(measured)
    data, talked = known.get("data"), known.get("distributed")
    sources = dict.fromkeys(("decoded", "copies", "disk", "order_seconds", "order_bytes"), "measured here")
    sources["network"] = sources["latency"] = "assumed"
    speed, latency = NETWORK, LATENCY
    if talked is not None:
        speed, latency = talked["gather"][-1]["bytes_per_second"], talked["gather"][0]["seconds"]
        sources["network"] = sources["latency"] = f"measured, {measured}"
    if network is not None:
        speed, sources["network"] = network * 1e9, "given"
    if data is not None and data.get("reading"):
        decoded, stored = data["per_core"], data["reading"]["image_bytes"]
        sources["decoded"] = f"measured, {measured}"
    else:
        decoded, stored = decoding(size, seconds)
        sources["decoded"] = "measured here, JPEG of 500 x 375"
    order_seconds, order_bytes = ordering(seed)
    return Terms(
        decoded=decoded, image_bytes=stored, copies=_copies(operator, size, seed), disk=_disk(),
        order_seconds=order_seconds, order_bytes=order_bytes, network=speed, latency=latency, sources=sources,
    )  # fmt: skip


def _read(file: str | Path | None) -> Mapping[str, Any]:
    """What a doctor.json has measured."""
    if file is None:
        return {}
    path = Path(file) / "doctor.json" if Path(file).is_dir() else Path(file)
    try:
        found = read_json(path)
    except (OSError, Malformed) as error:
        raise InputError(f"--measured {path} cannot be read: {error}") from None
    known = found.get("measured") if isinstance(found, dict) else None
    if not isinstance(known, dict) or not _sound(known):
        raise InputError(
            f"--measured {path} holds no measurements: expected the doctor.json of doctor --data or --distributed"
        )
    return known


def _sound(known: Mapping[str, Any]) -> bool:
    try:
        numbers = []
        if "data" in known:
            numbers += [known["data"]["per_core"]]
            numbers += [known["data"]["reading"]["image_bytes"]] if known["data"]["reading"] else []
        if "distributed" in known:
            talked = known["distributed"]["gather"]
            numbers += [talked[-1]["bytes_per_second"], talked[0]["seconds"]]
    except (KeyError, TypeError, IndexError):
        return False
    right = all(isinstance(number, int | float) and number >= 0 for number in numbers)
    return bool(numbers) and right


def decoding(size: GivenSize, seconds: float, stored: tuple[int, int] = (HEIGHT, WIDTH)) -> tuple[float, float]:
    """Images per second and core, and bytes of each, of JPEG files of so many rows and columns, read at a size."""
    with tempfile.TemporaryDirectory() as name:
        images = feeding.open_images(write_samples(Path(name), 2 * feeding.BATCH, stored), "all", size)
        order = feeding.positions(images, 0)
        alone = feeding.read_speed(images, order)
        assert alone is not None
        return feeding.decoded_by_a_core(images, seconds, order), alone.image_bytes


def _copies(operator: str, size: GivenSize, seed: int) -> float:
    """What an image's way from the batch to the network takes, in copies of it. Measured in turn."""
    given = size_of(size)
    assert given is not None
    rows, columns = sides(given)
    damage: Operator = operators.parse(operator)
    look = Chain(RandomResizedCrop((rows, columns), (0.2, 1.0)), HorizontalFlip())
    batch = torch.rand(16, 3, rows, columns, generator=torch.Generator().manual_seed(0))
    keys = random.keys(seed, torch.arange(len(batch)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the processor's seconds of several threads would be added
    try:
        pairs = [
            (_seconds(lambda: damage(look(batch, keys), keys)), _seconds(lambda: _copied(batch)) / 8)
            for _ in range(_REPEATS + 1)
        ][1:]
    finally:
        torch.set_num_threads(threads)
    return statistics.median(ours / copy for ours, copy in pairs)


def _copied(batch: Tensor) -> None:
    there = torch.empty_like(batch)
    for _ in range(8):
        there.copy_(batch)


def _seconds(act: Callable[[], object]) -> float:
    """Of the processor: what else it does at the time does not count."""
    start = time.process_time()
    act()
    return time.process_time() - start


def _disk() -> float:
    from weatherproof.files import write_atomically

    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".doctor-") as name:
        content, start = bytes(_WRITTEN), time.perf_counter()
        write_atomically(Path(name) / "written", content)
        return _WRITTEN / (time.perf_counter() - start)


def ordering(seed: int, shards: int = _ORDERED[0], each: int = _ORDERED[1]) -> tuple[float, float]:
    """Seconds and bytes that an epoch's order takes of every process, for an image."""
    images = planned_shards(shards, each)
    taken = min(_seconds(partial(images.order, seed, epoch)) for epoch in range(3))
    return taken / len(images), peak_bytes(lambda: images.order(seed, 0)) / len(images)
