"""What hardening has changed, and at which level of the damage, as a file of a run folder."""

from dataclasses import dataclass

from weatherproof.reports.parts import PartFile

Error = float | None  # a standard error over images; None: of a single one


def _require_errors(*errors: Error) -> None:
    if any(error is not None and error < 0 for error in errors):
        raise ValueError("standard errors must not be negative")


@dataclass(frozen=True)
class Change:
    """One number before and after, on the same images and draws.

    Attributes:
        errors: standard errors over images of before, of after, and of their paired difference.
    """

    before: float
    after: float
    errors: tuple[Error, Error, Error]
    images: int

    def __post_init__(self) -> None:
        _require_errors(*self.errors)

    @property
    def difference(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class KindChange:
    """The change of those images that an operator of several kinds of damage gave this one, by the kind's name."""

    family: str
    change: Change


@dataclass(frozen=True)
class ModelLevels:
    """One model's number at each level, with its standard errors over images."""

    model: str
    values: tuple[float, ...]
    errors: tuple[Error, ...]

    def __post_init__(self) -> None:
        _require_errors(*self.errors)


@dataclass(frozen=True)
class Curve:
    """One kind of damage from none to beyond.

    Attributes:
        family: its name, which says the unit of its levels: "RandomMask".
        trained: the ranges of levels that were trained on.
        levels: ascending; 0 is the clean image.
        images: so many at least at each level.
    """

    family: str
    trained: tuple[tuple[float, float], ...]
    levels: tuple[float, ...]
    models: tuple[ModelLevels, ...]
    images: int

    def __post_init__(self) -> None:
        if list(self.levels) != sorted({*self.levels}) or not all(0 <= level <= 1e6 for level in self.levels):
            raise ValueError("levels must be ascending, from 0 to a million")
        if not all(len(self.levels) == len(own.values) == len(own.errors) for own in self.models):
            raise ValueError(f"a model must have a value and an error for each of {len(self.levels)} levels")
        if not all(0 <= low <= high <= 1e6 for low, high in self.trained):
            raise ValueError("a trained range must be (low, high), from 0 to a million")


@dataclass(frozen=True)
class Changed:
    """One metric of one readout.

    Attributes:
        metric: as records call it; its numbers lie in [-1, 1].
        readout: as records call it; None: the embedding itself.
        operator: text of the damage.
        data: what the records call the images.
        damaged: None: it was not reached.
        curves: one for each kind of damage.
        kinds: what became of `damaged` under each of several kinds.
    """

    metric: str
    readout: str | None
    operator: str
    data: str
    clean: Change
    damaged: Change | None = None
    curves: tuple[Curve, ...] = ()
    kinds: tuple[KindChange, ...] = ()

    def __post_init__(self) -> None:
        every = (self.clean, self.damaged, *(own.change for own in self.kinds))
        ends = [end for own in every if own is not None for end in (own.before, own.after)]
        values = [value for curve in self.curves for model in curve.models for value in model.values]
        if not all(abs(value) <= 1.0001 for value in (*ends, *values)):  # a cosine is rounded
            raise ValueError(f"values of {self.metric} must lie in [-1, 1]")


CURVE = PartFile("curve.json", "a list of what hardening has changed", Changed)
