"""Numbers that are made of several cells' numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from weatherproof.evaluation import protocol_hash, standard_error
from weatherproof.studies.lab.store import Store
from weatherproof.studies.lab.study import Cell, Number


@dataclass(frozen=True)
class OverSeeds:
    """One number of several trainings that differ in their seed alone: mean and standard error over them.

    Attributes:
        cells: one a training.
        seeds: theirs, in the same order.
    """

    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]

    def number(self, store: Store) -> Number | None:
        """The number with that of each training; None where one has none."""
        found = _all(self.cells, store)
        if found is None:
            return None
        samples = tuple(number.value for number in found)
        mean, error = sum(samples) / len(samples), standard_error(samples)
        return Number(
            replace(found[0].record, value=mean, stderr=error, seeds=self.seeds),
            samples=samples,
            earlier=_earlier(found),
        )


@dataclass(frozen=True)
class MeanOf:
    """The mean over data sets, a cell each."""

    cells: tuple[Cell, ...]

    def number(self, store: Store) -> Number | None:
        """The number; None where one of the data sets has none."""
        found = _all(self.cells, store)
        return None if found is None else mean_of(found)


@dataclass(frozen=True)
class OverModels:
    """The mean of several models on the same images."""

    cells: tuple[Cell, ...]

    def number(self, store: Store) -> Number | None:
        """The number; None where one of the models has none."""
        found = _all(self.cells, store)
        if found is None:
            return None
        records = [number.record for number in found]
        value, protocol = (
            sum(r.value for r in records) / len(records),
            protocol_hash(parts=[r.protocol for r in records]),
        )
        return Number(
            replace(records[0], value=value, stderr=None, trained_on=None, protocol=protocol), earlier=_earlier(found)
        )


def mean_of(numbers: Sequence[Number]) -> Number:
    """The mean over data sets, with the standard error of independent sets, and all failed points."""
    records = [number.record for number in numbers]
    errors = [r.stderr for r in records if r.stderr is not None]
    whole = replace(
        records[0], value=sum(r.value for r in records) / len(records), data=f"mean of {len(records)} data sets",
        stderr=math.sqrt(sum(e * e for e in errors)) / len(records) if len(errors) == len(records) else None,
        images=sum(r.images for r in records), protocol=protocol_hash(parts=[r.protocol for r in records]),
    )  # fmt: skip
    failed = [number.failed for number in numbers if number.failed is not None]
    points = tuple(point for own in failed for point in own) if failed else None
    return Number(whole, failed=points, earlier=_earlier(numbers))


def _earlier(numbers: Sequence[Number]) -> tuple[str, ...]:
    return tuple(sorted({folder for number in numbers for folder in number.earlier}))


def _all(cells: Sequence[Cell], store: Store) -> list[Number] | None:
    found = [cell.number(store) for cell in cells]
    kept = [number for number in found if number is not None]
    return kept if len(kept) == len(found) else None
