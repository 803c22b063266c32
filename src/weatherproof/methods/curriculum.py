"""From mild to severe: the damage grows while a training goes on."""

from typing import cast

from weatherproof.errors import InputError
from weatherproof.operators import milder
from weatherproof.protocols import Operator
from weatherproof.spec import component, parse


@component
class Curriculum:
    """In the first `over` of the steps every level lies at a share of its way from none that grows evenly from `first`
    to 1 (`operators.milder`); from then on the damage is the operator's own.

    Args:
        over: of a training's steps, in (0, 1].
        first: share at the first step, in (0, 1].

    Raises:
        InputError: a value out of its range.
    """

    over: float = 0.4
    first: float = 0.3

    def __post_init__(self) -> None:
        for name in ("over", "first"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} of Curriculum must be above 0 and at most 1, got {getattr(self, name)!r}")

    def at(self, progress: float) -> float:
        """The share when so much of the training is done, in [0, 1]."""
        return min(1.0, self.first + (1 - self.first) * progress / self.over)

    def operator(self, whole: Operator, progress: float) -> Operator:
        """The damage then."""
        share = self.at(progress)
        return whole if share == 1 else milder(whole, share)


def parse_curriculum(value: float | str | Curriculum) -> Curriculum | None:
    """A curriculum from the share of the training that it takes, or from its text; None for 0. Raises `InputError`."""
    if isinstance(value, str):
        value = cast(Curriculum, parse(value, {"Curriculum": Curriculum}, "curriculum"))
    if isinstance(value, Curriculum):
        return value
    return Curriculum(value) if value else None
