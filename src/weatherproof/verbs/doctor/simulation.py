"""An epoch of many shards over many processes that fail, with the code that plans real ones, in seconds."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from weatherproof.data import ImageSet, batches
from weatherproof.data.decoding import Decoder
from weatherproof.data.files import BadFiles
from weatherproof.data.images import order_of
from weatherproof.data.packed.images import Packed, PackedImages
from weatherproof.errors import InputError
from weatherproof.training.plan import Course, Plan


class _Nowhere:
    """Shards of so many images each, of which nothing but the plan is wanted."""

    def __init__(self, shards: int, each: int) -> None:
        self.first = torch.arange(shards + 1) * each

    def size(self, place: int) -> int:
        return 0

    def read(self, place: int) -> tuple[str, bytes]:
        raise InputError(f"{self.name(place)} is none: these shards are made to be planned with")

    def name(self, place: int) -> str:
        return f"image {place}"


class _Blank(PackedImages):
    """Images that cost nothing to decode: one pixel each."""

    def decode(self, positions: Tensor) -> tuple[Tensor, Tensor, dict[str, str], dict[str, str]]:
        return torch.zeros(len(positions), 1, 1, 1, dtype=torch.uint8), positions, {}, {}


def planned_shards(shards: int, each: int) -> PackedImages:
    """An image set in shards that are nowhere: to order and to share out, with the code that reads real ones."""
    count = shards * each
    labels, index = torch.zeros(count, dtype=torch.int64), torch.arange(count)
    found = Packed(_Nowhere(shards, each), labels, index, ("0",), "train", "planned")
    bad = BadFiles("planned", count, 0)
    return _Blank(found, name="planned", decoder=Decoder(), bad_files=bad, image_size=(1, 1))


@dataclass(frozen=True)
class Failure:
    """A job that dies: after how many of its own steps, and with how many processes the next one goes on."""

    after: int
    processes: int


@dataclass(frozen=True)
class Simulated:
    """What a training saw.

    Attributes:
        steps: of the whole training.
        seen: of every image, in each epoch, how often it went into the weights that came out: int64 [epochs, images].
        repeated: steps that were taken again after a failure.
        alike: whether every step saw the batch that one process without failures would have seen.
        shares: images that each process of the first job has in an epoch: fewest, most.
        touched: shards that a step of all processes reads from: fewest, most.
        opened: shards that the first process reads from in an epoch.
    """

    steps: int
    seen: Tensor
    repeated: int
    alike: bool
    shares: tuple[int, int]
    touched: tuple[int, int]
    opened: int


def simulate(
    images: PackedImages, batch: int, processes: int, epochs: int, checkpoint: int, failures: Sequence[Failure],
    seed: int = 0,
) -> Simulated:  # fmt: skip
    """Train on nothing: every process of every job reads what it is given, a job that dies is taken up at its last
    checkpoint with as many processes as are left, and what came of it is counted.

    Args:
        batch: of all processes together; to be shared evenly by each job's.
        checkpoint: steps between two.
    """
    steps = Course(Plan(epochs, batch, 1e-3, devices=processes), len(images)).steps
    per_epoch = steps // epochs
    seen = torch.zeros(epochs, len(images), dtype=torch.int64)
    taken: dict[int, Tensor] = {}
    start, repeated, left = 0, 0, [*failures, None]
    world = processes
    for failure in left:
        stop = steps if failure is None else min(steps, start + failure.after)
        taken |= _job(images, Plan(epochs, batch, 1e-3, devices=world, seed=seed), start, stop)
        if failure is None or stop == steps:
            break
        start, world = stop // checkpoint * checkpoint, failure.processes
        repeated += stop - start
    first = images.packed.pack.first
    touched = []
    alike = sorted(taken) == list(range(steps))
    for step, places in taken.items():
        seen[step // per_epoch].index_add_(0, places, torch.ones_like(places))
        touched.append(len(torch.unique(torch.searchsorted(first, places, right=True))))
    for epoch in range(epochs):
        alike &= torch.equal(_flat(taken, epoch, per_epoch), _alone(images, seed, epoch, batch))
    course = Course(Plan(epochs, batch, 1e-3, devices=processes), len(images))
    order = order_of(images, seed, 0)
    shares = [course.share(order, rank) for rank in range(processes)]
    lengths = [len(share) for share in shares]
    return Simulated(
        steps=steps, seen=seen, repeated=repeated, alike=alike, shares=(min(lengths), max(lengths)),
        touched=(min(touched), max(touched)),
        opened=len(torch.unique(torch.searchsorted(first, shares[0], right=True))),
    )  # fmt: skip


def _job(images: ImageSet, plan: Plan, start: int, stop: int) -> dict[int, Tensor]:
    """What the steps start ... stop - 1 see, all processes joined by rank, as the training's loop streams it."""
    course, found, rows = Course(plan, len(images)), {}, plan.batch_size // plan.devices
    per_epoch, step = course.steps_per_epoch, start
    while step < stop:
        epoch, done = divmod(step, per_epoch)
        order, until = order_of(images, plan.seed, epoch), min(stop, (epoch + 1) * per_epoch)
        streams = [batches(images, rows, order=course.share(order, rank), start=done) for rank in range(plan.devices)]
        for here in range(step, until):
            found[here] = torch.cat([next(stream).place for stream in streams])
        step = until
    return found


def _flat(taken: dict[int, Tensor], epoch: int, per_epoch: int) -> Tensor:
    return torch.cat([taken[step] for step in range(epoch * per_epoch, (epoch + 1) * per_epoch)])


def _alone(images: PackedImages, seed: int, epoch: int, batch: int) -> Tensor:
    """What one process without failures sees in an epoch."""
    order = order_of(images, seed, epoch)
    return order[: len(order) // batch * batch]
