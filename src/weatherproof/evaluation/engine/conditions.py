"""The cases of a suite: under which conditions which images are answered."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jaxtyping import Int64
from torch import Tensor

from weatherproof.data import ImageSet, evenly_spaced
from weatherproof.errors import InputError
from weatherproof.operators.suites import Condition
from weatherproof.protocols import Operator


@dataclass(frozen=True, eq=False)
class Case:
    """One condition and the images it is about.

    Attributes:
        corruption: its name; None for clean images.
        severity: 1 to 5; None where there are no severities.
        operator: what makes the damage; None where the images are clean, or damaged already.
        positions: the images in their set, in the order of all cases: row i is the same picture in each. None: all.
        text: what records call the operator; None: its own text.
        parameters: what else decides what the operator does, such as its numbers at this image size.
    """

    corruption: str | None = None
    severity: int | None = None
    operator: Operator | None = None
    positions: Int64[Tensor, "m"] | None = None
    text: str | None = None
    parameters: Any = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """ "clean", "fog/3", "uniform_noise"."""
        if self.corruption is None:
            return "clean"
        return self.corruption if self.severity is None else f"{self.corruption}/{self.severity}"

    @property
    def fixed(self) -> bool:
        """Whether nothing is drawn."""
        return self.operator is None or bool(getattr(self.operator, "deterministic", False))

    def count(self, images: ImageSet) -> int:
        """How many images it is about."""
        return len(images) if self.positions is None else len(self.positions)

    def rows(self, places: Int64[Tensor, "b"]) -> Int64[Tensor, "b"]:
        """Where the images at these places of the case stand in the set."""
        return places if self.positions is None else self.positions[places]


def cases_on_the_fly(images: ImageSet, conditions: Iterable[Condition]) -> list[Case]:
    """The clean images, then each condition's damage.

    Raises:
        InputError: no condition, or one twice.
    """
    side = min(images.image_size) if images.image_size else None
    cases = [Case()]
    for condition in conditions:
        describe = getattr(condition.operator, "describe_parameters", None)
        parameters = None if describe is None or side is None else describe(side)
        cases.append(Case(condition.corruption, condition.severity, condition.operator, parameters=parameters))
    return _checked(cases, least=2)


def cases_of_parts(parts: Mapping[tuple[str, int], Tensor], names: Sequence[str] | None = None) -> list[Case]:
    """The parts of a folder of images that are damaged already.

    Args:
        parts: {(corruption, severity): positions in the set}.
        names: the corruptions to take, in this order; None: all.

    Raises:
        InputError: one of the names is not there.
    """
    there = dict.fromkeys(corruption for corruption, _ in parts)
    missing = [name for name in names or () if name not in there]
    if missing:
        raise InputError(
            f"the images have no {', '.join(missing)} (there: {', '.join(there)}): "
            f"give the whole folder, or leave out --suite to measure what is there"
        )
    return _checked(
        [
            Case(corruption, severity, positions=parts[corruption, severity])
            for corruption in (there if names is None else names)
            for severity in sorted(s for name, s in parts if name == corruption)
        ],
        least=1,
    )


def limited(cases: Sequence[Case], images: ImageSet, limit: int | None) -> tuple[list[Case], ImageSet]:
    """The cases about at most `limit` images, evenly spaced and the same ones in each."""
    if limit is None or all(case.count(images) <= limit for case in cases):
        return list(cases), images

    def spread(count: int) -> Tensor:
        return evenly_spaced(count, limit)

    if all(case.positions is None for case in cases):
        return list(cases), images.subset(spread(len(images)))
    return [replace(case, positions=case.rows(spread(case.count(images)))) for case in cases], images


def _checked(cases: list[Case], least: int) -> list[Case]:
    labels = [case.label for case in cases]
    if len(cases) < least or len(set(labels)) < len(labels):
        raise InputError(f"a suite needs at least one condition, and none twice; got {', '.join(labels)}")
    return cases
