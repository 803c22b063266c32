"""What a gauge said of images that came one after the other, as files of a run folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from jaxtyping import UInt8
from torch import Tensor

from weatherproof.reports.drawing.pictures import require_pictures
from weatherproof.reports.parts import PartFile

Level = float | None
Order = Literal["name", "time", "set"]
_FAR = 1e9  # a level that no gauge tells


def _require_shares(*shares: float) -> None:
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError("shares must lie in [0, 1]")


def _require_interval(low: Level, level: Level, high: Level) -> None:
    known = [value for value in (low, level, high) if value is not None]
    # means of many intervals in float32: a last digit may be the other way round
    if not all(abs(value) <= _FAR for value in known) or any(
        one > other + 1e-4 * (1 + abs(other)) for one, other in pairwise(known)
    ):
        raise ValueError("low, level and high must be in this order")


@dataclass(frozen=True)
class KindLevel:
    """The images of one window, or all, that were called one kind of damage.

    Attributes:
        kind: place in the drift's `kinds`.
        level, low, high: means of the levels and of their intervals, in the kind's unit; None: it has no level.
    """

    kind: int
    images: int
    beyond: int
    level: Level
    low: Level
    high: Level

    def __post_init__(self) -> None:
        _require_interval(self.low, self.level, self.high)
        if not 0 <= self.beyond <= self.images:
            raise ValueError("no more images can be beyond than there are")


@dataclass(frozen=True)
class Window:
    """Images that follow on one another.

    Attributes:
        first, last: which images, from 1 on, in the order of all.
        images: how many of them were measured.
        beyond, damaged: shares of them.
        level, low, high: means of their extents and of the ends of their intervals: 0 clean, 1 the worst that training
            saw.
        kinds: the kinds of damage that there are, without clean.
        start, end: when the first and the last were made, "2026-11-28 16:35:53"; None: the order is not that of time.
    """

    first: int
    last: int
    images: int
    beyond: float
    damaged: float
    level: float
    low: float
    high: float
    kinds: tuple[KindLevel, ...] = ()
    start: str | None = None
    end: str | None = None

    def __post_init__(self) -> None:
        _require_shares(self.beyond, self.damaged)
        _require_interval(self.low, self.level, self.high)
        if not 0 < self.first <= self.last <= _FAR or not 0 < self.images <= self.last - self.first + 1:
            raise ValueError("a window must have images, from first to last")
        if sum(own.images for own in self.kinds) > self.images:
            raise ValueError("no more images can be damaged than there are")


@dataclass(frozen=True)
class Drift:
    """All images and their windows.

    Attributes:
        data: what records call the images.
        order: what they are ordered by; "set": as they stand in a set without files.
        files: how many there are; `images` of them were measured.
        beyond, damaged: shares of these.
        level: the mean extent.
        kinds: the names of the gauge's kinds of damage; 0 is "clean".
        levels: one for each kind that there is, clean among them.
        by_camera: how many have the camera's own time; None: the order is not that of time.
        expected: share of images such as training saw that a gauge calls unlike them.
        tops: of each of `kinds` the worst level that training saw; None: it has no level. Without any: not known.
    """

    data: str
    order: Order
    files: int
    images: int
    beyond: float
    damaged: float
    level: float
    kinds: tuple[str, ...]
    levels: tuple[KindLevel, ...]
    windows: tuple[Window, ...]
    by_camera: int | None = None
    expected: float = 0.01
    tops: tuple[Level, ...] = ()

    def __post_init__(self) -> None:
        _require_shares(self.beyond, self.damaged, self.expected)
        if self.tops and len(self.tops) != len(self.kinds):
            raise ValueError(f"{len(self.kinds)} kinds must have as many tops, got {len(self.tops)}")
        if not all(abs(top) <= _FAR for top in self.tops if top is not None):
            raise ValueError(f"a top must be a level of at most {_FAR:g}")
        found = (*self.levels, *(level for window in self.windows for level in window.kinds))
        if not all(0 <= level.kind < len(self.kinds) for level in found):
            raise ValueError("a kind has no name")
        ends = [end for window in self.windows for end in (window.first, window.last)]
        if not self.windows or ends != sorted(ends) or not 0 < self.images <= self.files or abs(self.level) > _FAR:
            raise ValueError("there must be windows of images, in their order")

    @property
    def tells_levels(self) -> bool:
        """Whether any kind has a level."""
        return not self.tops or any(top is not None for top in self.tops)

    def top(self, kind: str) -> Level:
        """The worst level of this kind that training saw; None where there is none, or it is not known."""
        return dict(zip(self.kinds, self.tops, strict=False)).get(kind)


@dataclass(frozen=True)
class Suspect:
    """One of the most suspicious images.

    Attributes:
        place: which image, from 1 on.
        damaged: the probability that anything happened to it.
        unlike: it is beyond what training saw, and not by its level.
    """

    name: str
    place: int
    kind: str
    level: Level
    low: Level
    high: Level
    damaged: float
    beyond: bool
    unlike: bool

    def __post_init__(self) -> None:
        _require_shares(self.damaged)
        _require_interval(self.low, self.level, self.high)


@dataclass(frozen=True)
class Suspects:
    """The most suspicious images, as the page shows them."""

    pictures: UInt8[Tensor, "n channels height width"]
    told: tuple[Suspect, ...]

    def __post_init__(self) -> None:
        require_pictures(self.pictures)
        if len(self.pictures) != len(self.told):
            raise ValueError("there must be a picture for each image")


@dataclass(frozen=True)
class Limit:
    """What a metric was not to exceed, or to fall below."""

    metric: str
    value: float
    least: bool


DRIFT = PartFile("drift.json", "what a gauge said of images", Drift)
SUSPECTS = PartFile("suspects.safetensors", "suspicious images", Suspects)
LIMITS = PartFile("limits.json", "a list of limits", Limit)


def share_of(windows: Sequence[Window]) -> tuple[float, int]:
    """The share of the images of several windows that are beyond what training saw, and their number."""
    images = sum(window.images for window in windows)
    return sum(window.beyond * window.images for window in windows) / images, images
