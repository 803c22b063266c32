"""What the gauge answers at each true level, as a file of a run folder."""

from dataclasses import dataclass

from weatherproof.reports.parts import PartFile


def _require_shares(*shares: float | None) -> None:
    if not all(share is None or 0 <= share <= 1 for share in shares):
        raise ValueError("shares must lie in [0, 1]")


@dataclass(frozen=True)
class GaugedLevel:
    """The answers to images of one true level.

    Attributes:
        level: the true one; 0: clean images.
        estimate, low, high: means over the images of the estimated level and of its interval; None: no image got one.
        beyond, clean: shares of the images that were called beyond the trained range, and clean.
    """

    level: float
    estimate: float | None
    low: float | None
    high: float | None
    beyond: float
    clean: float
    images: int

    def __post_init__(self) -> None:
        _require_shares(self.beyond, self.clean)
        known = [value for value in (self.low, self.estimate, self.high) if value is not None]
        if not 0 <= self.level <= 1e6 or known != sorted(known) or not all(0 <= value <= 1e6 for value in known):
            raise ValueError("a level and low <= estimate <= high must lie between 0 and a million")


@dataclass(frozen=True)
class GaugedKind:
    """One kind of damage, by its family's name: "RandomMask"."""

    family: str
    levels: tuple[GaugedLevel, ...]


@dataclass(frozen=True)
class Gauged:
    """What the gauge answers on images whose damage is known.

    Attributes:
        kinds: the answers by true level.
        names, rows, confusion: row i, column j: the share of the images of kind `rows[i]` that were called `names[j]`;
            the kinds that the gauge knows come first among the rows, then those that it never saw.
        beyond: of each row the share that was called beyond what was trained; where there is `worse`, of those that
            are no worse.
        worse: the same of worse images, and of kinds that the gauge never saw. None, in both: there are no such images.
        coverage: of the images whose kind was told right the share whose true level lies in the interval; None: not
            measured.
        asked: the share that the interval promises; None: nothing.
        told: the share whose kind was told right, of the images with a level that was trained on; None: not measured.
        auc: of the probability of damage, clean images against those that training may see; None: not measured.
        calibration_error: mean distance of that probability from its frequency; None: not measured.
    """

    kinds: tuple[GaugedKind, ...]
    images: int
    names: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    confusion: tuple[tuple[float, ...], ...] = ()
    beyond: tuple[float | None, ...] = ()
    coverage: float | None = None
    asked: float | None = None
    worse: tuple[float | None, ...] = ()
    told: float | None = None
    auc: float | None = None
    calibration_error: float | None = None

    def __post_init__(self) -> None:
        shares = (*self.beyond, *self.worse, *(share for row in self.confusion for share in row))
        _require_shares(self.coverage, self.asked, self.told, self.auc, self.calibration_error, *shares)
        counts = {len(self.rows), len(self.confusion), len(self.beyond), len(self.worse) or len(self.rows)}
        if len(counts) > 1 or self.rows[: len(self.names)] != self.names:
            raise ValueError("the confusion must have a row for each kind, those that the gauge knows first")
        if {len(self.names), *map(len, self.confusion)} != {len(self.names)}:
            raise ValueError(f"the confusion of {len(self.names)} kinds must have as many columns")


GAUGED = PartFile("gauged.json", "answers of a gauge", Gauged)


def certainty_words(gauged: Gauged) -> str:
    """How far the probability of damage can be trusted; "" where it was not measured."""
    if gauged.auc is None or gauged.calibration_error is None:
        return ""
    return (
        f"By its probability of damage a damaged image stands above a clean one in {100 * gauged.auc:.1f} % of all "
        f"pairs (AUC); that probability is off by {100 * gauged.calibration_error:.1f} points on average (calibration "
        "error)."
    )
