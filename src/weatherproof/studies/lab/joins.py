"""Numbers that are made of several cells' numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from weatherproof.errors import InputError
from weatherproof.evaluation import protocol_hash, standard_error
from weatherproof.studies.lab.store import Store
from weatherproof.studies.lab.study import Cell, Measurable, Number, Scale, Study


@dataclass(frozen=True)
class OverSeeds:
    """One number of several trainings that differ in their seed: mean and standard error over them.

    Attributes:
        trainings: one number each.
        seeds: theirs, in the same order.
    """

    trainings: tuple[Measurable, ...]
    seeds: tuple[int, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Of all trainings."""
        return tuple(cell for training in self.trainings for cell in training.cells)

    def number(self, store: Store) -> Number | None:
        """The number with that of each training; None where one has none."""
        results = _all(self.trainings, store)
        if results is None:
            return None
        samples = tuple(number.value for number in results)
        mean, error = sum(samples) / len(samples), standard_error(samples)
        return Number(
            replace(results[0].record, value=mean, stderr=error, seeds=self.seeds),
            samples=samples,
            failed=_failed(results),
        )


def at_seeds(study: Study, scale: str, seed: int, count: int = 1) -> Scale:
    """The study at a scale, each number over `count` runs with the seeds from `seed` on: trainings, choices of images
    and draws of the damage are each run's own. What is written beside the table is the first one's.

    Raises:
        InputError: an unknown scale, or several seeds of a study that has several by itself.
    """
    seeds = tuple(seed + i for i in range(count))
    runs = [study.at(scale, own) for own in seeds]
    first = runs[0]
    if count == 1:
        return first
    if any(isinstance(own, OverSeeds) for own in first.cells.values()):
        raise InputError(f"{study.name} at {scale} scale trains with several seeds by itself: leave --seeds out")
    cells = {key: _joined([run.cells[key] for run in runs], seeds) for key in first.cells}
    return replace(first, cells=cells)


def _joined(trainings: Sequence[Measurable | None], seeds: tuple[int, ...]) -> OverSeeds | None:
    there = tuple(own for own in trainings if own is not None)
    return OverSeeds(there, seeds) if len(there) == len(seeds) else None


@dataclass(frozen=True)
class MeanOf:
    """The mean over data sets, a cell each."""

    cells: tuple[Cell, ...]

    def number(self, store: Store) -> Number | None:
        """The number; None where one of the data sets has none."""
        results = _all(self.cells, store)
        return None if results is None else mean_of(results)


@dataclass(frozen=True)
class OverModels:
    """The mean of several models on the same images."""

    cells: tuple[Cell, ...]

    def number(self, store: Store) -> Number | None:
        """The number; None where one of the models has none."""
        results = _all(self.cells, store)
        if results is None:
            return None
        records = [number.record for number in results]
        value, protocol = (
            sum(r.value for r in records) / len(records),
            protocol_hash(parts=[r.protocol for r in records]),
        )
        return Number(replace(records[0], value=value, stderr=None, trained_on=None, protocol=protocol))


def mean_of(numbers: Sequence[Number]) -> Number:
    """The mean over data sets, with the standard error of independent sets, and all failed points."""
    records = [number.record for number in numbers]
    errors = [r.stderr for r in records if r.stderr is not None]
    whole = replace(
        records[0], value=sum(r.value for r in records) / len(records), data=f"mean of {len(records)} data sets",
        stderr=math.sqrt(sum(e * e for e in errors)) / len(records) if len(errors) == len(records) else None,
        images=sum(r.images for r in records), protocol=protocol_hash(parts=[r.protocol for r in records]),
    )  # fmt: skip
    return Number(whole, failed=_failed(numbers))


def _failed(numbers: Sequence[Number]) -> tuple[str, ...] | None:
    failed = [number.failed for number in numbers if number.failed is not None]
    return tuple(dict.fromkeys(point for own in failed for point in own)) if failed else None


def _all(cells: Sequence[Measurable], store: Store) -> list[Number] | None:
    results = [cell.number(store) for cell in cells]
    numbers = [number for number in results if number is not None]
    return numbers if len(numbers) == len(results) else None
