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

from weatherproof.reports.drawing.charts import MARKERS, Style
from weatherproof.reports.drawing.frame import straight, stroke, words_at
from weatherproof.reports.parts import PartFile, read_part, save_part
from weatherproof.reports.words import records as words

WIDTH = 470  # user units, as the other wide charts
LOW, HIGH = 250, 470  # the drawing is as high as the map needs, within these
EDGE = 14
FOOT = 26  # below and beside the frame, for the words of the axes
COLOURS = 6  # of the page, without its grey
MOST = 12  # classes with a colour of their own; the others are grey
RADIUS = 3.0
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
        if int(self.labels.max()) >= len(self.classes):
            raise ValueError("a label has no class")


MAP = PartFile("map.safetensors", "a map", MapFile)


@dataclass(frozen=True)
class PlaneClass:
    """One class: its points in user units."""

    name: str
    style: Style
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Plane:
    """What the page shows. `classes`: the grey rest first, if there is one."""

    classes: tuple[PlaneClass, ...]
    height: int
    by: str
    axes: tuple[str, str]
    data: str
    images: int

    @property
    def named(self) -> tuple[PlaneClass, ...]:
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
    if found is None:
        return None
    return make_plane(found.points, found.labels, found.classes, found.by, found.shares, found.data)


def make_plane(
    points: Tensor, labels: Tensor, classes: Sequence[str], by: str, shares: Sequence[float], data: str
) -> Plane:
    """The points in user units, one scale for both directions, by class; the most frequent classes get a colour."""
    low, high = points.amin(dim=0).tolist(), points.amax(dim=0).tolist()
    wide, tall = (max(b - a, 1e-12) for a, b in zip(low, high, strict=True))
    inner = WIDTH - 2 * EDGE
    height = round(min(HIGH, max(LOW, inner * tall / wide + 2 * EDGE)))
    scale = min(inner / wide, (height - 2 * EDGE) / tall)
    middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
    to_x = straight(middle[0], middle[0] + 1, WIDTH / 2, WIDTH / 2 + scale)
    to_y = straight(middle[1], middle[1] + 1, height / 2, height / 2 - scale)
    placed = [(to_x(x), to_y(y)) for x, y in points.tolist()]
    counts = torch.bincount(labels[labels >= 0], minlength=len(classes))
    frequent = sorted(sorted(range(len(classes)), key=lambda c: -int(counts[c]))[:MOST])
    shown = [c for c in frequent if counts[c]]
    rest = [place for place, label in zip(placed, labels.tolist(), strict=True) if label not in shown]
    groups = [PlaneClass("other images" if shown else "images", GREY, tuple(rest))] if rest else []
    for i, c in enumerate(shown):
        own = tuple(place for place, label in zip(placed, labels.tolist(), strict=True) if label == c)
        groups.append(PlaneClass(classes[c], Style(1 + i % COLOURS, i // COLOURS), own))
    return Plane(tuple(groups), height, by, _axes(by, shares), data, len(labels))


def _axes(by: str, shares: Sequence[float]) -> tuple[str, str]:
    if by != "pca" or len(shares) < 2:
        return "", ""
    first, second = (words.percent(share) for share in shares[:2])
    return f"first direction, {first} of the variance", f"second direction, {second}"


def draw_map(plane: Plane) -> Markup:
    """The map with all classes, as an `<svg>` element. Its groups have ids, which the small maps draw again."""
    told = f"map of {plane.images:,} images: {', '.join(c.name for c in plane.classes)}"
    side = FOOT if plane.axes[0] else 0
    parts = [
        Markup('<svg class="chart" viewBox="{} 0 {} {}" role="img"><title>{}</title>').format(
            -side, WIDTH + side, plane.height + side, told
        ),
        _frame(plane.height),
    ]
    for i, shown in enumerate(plane.classes):
        parts.append(
            Markup('<g class="s{} cloud"><g id="map-{}"><title>{}</title><path d="{}"/></g></g>').format(
                shown.style.colour, i, shown.name, _shapes(shown)
            )
        )
    if side:
        parts.append(words_at(WIDTH / 2, plane.height + 18, plane.axes[0], "middle", "label"))
        turned = words_at(0, 0, plane.axes[1], "middle", "label")
        parts.append(Markup('<g transform="translate(-9 {}) rotate(-90)">{}</g>').format(plane.height / 2, turned))
    return Markup("").join([*parts, Markup("</svg>")])


def draw_class(plane: Plane, shown: PlaneClass) -> Markup:
    """The map again, small, with one class in its colour before the grey of all others."""
    place = plane.classes.index(shown)
    others = Markup("").join(Markup('<use href="#map-{}"/>').format(i) for i in range(len(plane.classes)) if i != place)
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img"><title>{}</title>{}<g class="pale">{}</g>'
        '<g class="s{} cloud"><use href="#map-{}"/></g></svg>'
    ).format(WIDTH, plane.height, f"where {shown.name} lies", _frame(plane.height), others, shown.style.colour, place)


def _frame(height: float) -> Markup:
    corners = ((0, 0, WIDTH, 0), (WIDTH, 0, WIDTH, height), (0, height, WIDTH, height), (0, 0, 0, height))
    return Markup("").join(stroke("grid", *corner) for corner in corners)


def _shapes(shown: PlaneClass) -> str:
    """All points of a class as one path: circles, squares, triangles or diamonds, as `charts.marker` has them."""
    r = RADIUS
    shape = (
        f"m{-r} 0a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0",
        f"m{-0.9 * r:.1f} {-0.9 * r:.1f}h{1.8 * r:.1f}v{1.8 * r:.1f}h{-1.8 * r:.1f}z",
        f"m0 {-1.2 * r:.1f}l{1.2 * r:.1f} {2.2 * r:.1f}h{-2.4 * r:.1f}z",
        f"m0 {-1.3 * r:.1f}l{1.3 * r:.1f} {1.3 * r:.1f}l{-1.3 * r:.1f} {1.3 * r:.1f}l{-1.3 * r:.1f} {-1.3 * r:.1f}z",
    )[(shown.style.colour + shown.style.variant) % MARKERS]
    return "".join(f"M{x:.1f} {y:.1f}{shape}" for x, y in shown.points)
