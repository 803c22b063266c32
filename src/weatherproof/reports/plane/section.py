"""Embeddings on a plane: a dot for every image, by class, as inline SVG.

A class has a colour and a shape of its own, and a small map in which it stands out alone: nothing rests on colour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Float32, Int64
from markupsafe import Markup
from torch import Tensor

from weatherproof.reports.drawing.axes import Axis
from weatherproof.reports.drawing.charts import COLOURS, FOOT, WIDE, Again, Chart, Cloud, Mark, Style, draw
from weatherproof.reports.parts import PartFile, read_part, require_classes, save_part
from weatherproof.reports.words import records as words

LOW, HIGH = 250, 470  # the drawing is as high as the map needs, within these
EDGE = 14
MOST = 12  # classes with a colour of their own; the others are grey
GREY = Style(0)


@dataclass(frozen=True)
class MapFile:
    """What the file holds; labels are places in `classes`, -1 for none. `by`: "pca" or "tsne"; `shares`: of the
    variance along each axis."""

    points: Float32[Tensor, "n 2"]
    labels: Int64[Tensor, "n"]
    classes: tuple[str, ...]
    by: str
    shares: tuple[float, ...]
    data: str

    def __post_init__(self) -> None:
        if len(self.labels) == 0 or not bool(self.points.isfinite().all()):
            raise ValueError("a map needs points, and places for them")
        require_classes(self.classes, self.labels, unknown=True)


MAP = PartFile("map.safetensors", "a map", MapFile)


@dataclass(frozen=True)
class Plane:
    """What the page shows. `classes`: the grey rest first, if there is one."""

    classes: tuple[Cloud, ...]
    height: int
    by: str
    axes: tuple[str, str]
    data: str
    images: int

    @property
    def named(self) -> tuple[Cloud, ...]:
        return tuple(c for c in self.classes if c.style != GREY)


def save_map(
    folder: Path | str,
    points: Float[Tensor, "n 2"],
    labels: Int64[Tensor, "n"],
    *,
    classes: Sequence[str],
    by: str,
    shares: Sequence[float] = (),
    data: str = "",
) -> Path:
    """Write `map.safetensors` and return where it is.

    Args:
        points: where each image lies.
        labels: places in `classes`; -1 where an image has none.
        by: "pca" or "tsne".
        shares: of the variance along each axis; none where that means nothing.
        data: what the images are called.
    """
    return save_part(folder, MAP, MapFile(points.float(), labels, tuple(classes), by, tuple(shares), data))


def read_map(folder: Path) -> Plane | None:
    """The map of a run folder; None where it has none. Raises `InputError`."""
    found = read_part(folder, MAP)
    return None if found is None else make_plane(found)


def make_plane(found: MapFile) -> Plane:
    """The points in user units, one scale for both directions, by class; the most frequent classes get a colour."""
    points, labels, classes = found.points, found.labels, found.classes
    low, high = points.amin(dim=0).tolist(), points.amax(dim=0).tolist()
    wide, tall = (max(b - a, 1e-12) for a, b in zip(low, high, strict=True))
    inner = WIDE - 2 * EDGE
    height = round(min(HIGH, max(LOW, inner * tall / wide + 2 * EDGE)))
    scale = min(inner / wide, (height - 2 * EDGE) / tall)
    across, up = ((a + b) / 2 for a, b in zip(low, high, strict=True))
    placed = [(WIDE / 2 + (x - across) * scale, height / 2 - (y - up) * scale) for x, y in points.tolist()]
    counts = torch.bincount(labels[labels >= 0], minlength=len(classes))
    frequent = sorted(sorted(range(len(classes)), key=lambda c: -int(counts[c]))[:MOST])
    shown = [c for c in frequent if counts[c]]
    rest = [place for place, label in zip(placed, labels.tolist(), strict=True) if label not in shown]
    groups = [Cloud("other images" if shown else "images", GREY, tuple(rest), 0)] if rest else []
    for i, c in enumerate(shown):
        own = tuple(place for place, label in zip(placed, labels.tolist(), strict=True) if label == c)
        groups.append(Cloud(classes[c], Style(1 + i % COLOURS, i // COLOURS), own, len(groups)))
    return Plane(tuple(groups), height, found.by, _axes(found.by, found.shares), found.data, len(labels))


def _axes(by: str, shares: Sequence[float]) -> tuple[str, str]:
    if by != "pca" or len(shares) < 2:
        return "", ""
    first, second = (words.percent(share) for share in shares[:2])
    return f"first direction, {first} of the variance", f"second direction, {second}"


def draw_map(plane: Plane) -> Markup:
    """The map with all classes, as an `<svg>` element. The small maps draw its clouds again."""
    title = f"map of {plane.images:,} images: {', '.join(c.name for c in plane.classes)}"
    return _draw(plane, title, plane.classes, *plane.axes)


def draw_class(plane: Plane, shown: Cloud) -> Markup:
    """The map again, small, with one class in its colour before the grey of all others."""
    others = [cloud for cloud in plane.classes if cloud != shown]
    marks = Again(others, "pale"), Again([shown], f"s{shown.style.colour} cloud")
    return _draw(plane, f"where {shown.name} lies", marks)


def _draw(plane: Plane, title: str, marks: tuple[Mark, ...], right: str = "", up: str = "") -> Markup:
    axes = Axis(0, WIDE, right, count=0), Axis(plane.height, 0, up, count=0)  # points are in user units
    return draw(Chart(title, *axes, marks, height=plane.height + (FOOT if right else 0)), wide=True)
