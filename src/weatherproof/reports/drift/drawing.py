"""The shares and the levels of the windows, over the order of the images."""

from collections.abc import Sequence

from weatherproof.reports.drawing.axes import Axis, nice_ticks, percent
from weatherproof.reports.drawing.charts import Chart, Dot, Line, Mark, Series, Style
from weatherproof.reports.drift.files import Drift, KindLevel, Limit, Window
from weatherproof.reports.drift.words import level_words, scaled, tick_words, unit_words, window_words
from weatherproof.reports.words import records as words

BEYOND, DAMAGED, LEVEL = Style(2), Style(4, 1), Style(3)
SHOWN = 4  # kinds of damage that are drawn, the most frequent first
_KINDS = (Style(3), Style(5, 1), Style(6, 2), Style(1, 3))
_LEAST = 0.05  # how high a chart of shares reaches at least: of 20 images one is as much
_TICKS, _HEIGHT = 5, 270
_MARKED = 12  # windows up to which each has a dot


def order_axis(drift: Drift) -> Axis:
    """The images one after the other, by their numbers, or with the times at some of them."""
    last = max(drift.windows[-1].last, 2)
    timed = [window for window in drift.windows if window.start is not None]
    if not timed:
        ticks = tuple(tick for tick in nice_ticks(1, last, _TICKS) if tick >= 1)
        label = f"images in {'the order of their names' if drift.order == 'name' else 'their own order'}"
        return Axis(1, last, label, show="{:,.0f}".format, given=ticks, inner=6)
    chosen = timed[:: -(-len(timed) // _TICKS)]
    shown = dict(zip([own.first for own in chosen], tick_words([str(own.start) for own in chosen]), strict=True))
    return Axis(
        1, last, "images in the order of time", show=lambda place: shown.get(int(place), ""),
        given=tuple(map(float, shown)), inner=6,
    )  # fmt: skip


def draw_shares(drift: Drift, limits: Sequence[Limit]) -> Chart:
    """The share beyond what training saw, with its standard error, and the share that is damaged at all."""
    across, places = order_axis(drift), _places(drift)
    lines = [1 - own.value if own.metric == "clean" else own.value for own in limits if own.metric != "level"]
    most = min((own.value for own in limits if own.metric == "beyond" and not own.least), default=1.0)
    errors = [(own.beyond * (1 - own.beyond) / own.images) ** 0.5 for own in drift.windows]
    ends = [end for own, error in zip(drift.windows, errors, strict=True) for end in (own.beyond + error, own.damaged)]
    up = Axis(0, min(1.0, 1.05 * max(_LEAST, *ends, *lines)), "share of the images, %", show=percent)
    ranges = [(own.beyond - error, own.beyond + error) for own, error in zip(drift.windows, errors, strict=True)]
    marks: list[Mark] = [
        _band(places, [(max(0.0, low), min(high, up.high)) for low, high in ranges], BEYOND),
        Line([(x, own.damaged) for x, own in zip(places, drift.windows, strict=True)], DAMAGED),
        *(_across(across, value, "limit") for value in lines if up.low <= value <= up.high),
        Line([(x, own.beyond) for x, own in zip(places, drift.windows, strict=True)], BEYOND),
    ]
    for x, own, error in zip(places, drift.windows, errors, strict=True):
        tooltip = f"{window_words(own)}: {words.percent(own.beyond)} ± {100 * error:.1f} beyond, "
        tooltip += f"{words.percent(own.damaged)} damaged"
        marks.append(Dot(x, own.beyond, BEYOND, tooltip, _shown(drift, own.beyond > most)))
    return Chart("the share of the images beyond what training saw", across, up, tuple(marks), height=_HEIGHT)


def draw_extents(drift: Drift, limits: Sequence[Limit]) -> Chart:
    """The mean level of all images, clean ones too, and the mean interval; the worst that training saw is a line."""
    across, places = order_axis(drift), _places(drift)
    lines = [own.value for own in limits if own.metric == "level" and own.value >= 0]
    most = min((own.value for own in limits if own.metric == "level" and not own.least), default=float("inf"))
    top = max(1.0, *(own.high for own in drift.windows), *lines)
    up = Axis(0, 1.05 * top, "mean level; 1: the worst that training saw")
    marks: list[Mark] = [
        _across(across, 1.0, "worst"),
        _band(places, [(max(0.0, own.low), own.high) for own in drift.windows], LEVEL),
        *(_across(across, value, "limit") for value in lines),
        Line([(x, own.level) for x, own in zip(places, drift.windows, strict=True)], LEVEL),
    ]
    for x, own in zip(places, drift.windows, strict=True):
        tooltip = f"{window_words(own)}: level {own.level:.2f} ({own.low:.2f} to {own.high:.2f})"
        marks.append(Dot(x, own.level, LEVEL, tooltip, _shown(drift, own.level > most)))
    return Chart("the mean level of the damage", across, up, tuple(marks), height=_HEIGHT)


def kind_styles(drift: Drift) -> dict[int, Style]:
    """The kinds of damage that are drawn, the most frequent first, and how."""
    there = sorted((own for own in drift.levels if own.kind), key=lambda own: -own.images)
    return {own.kind: style for own, style in zip(there, _KINDS, strict=False)}


def draw_kinds(drift: Drift) -> Chart | None:
    """The shares of the images that are called each kind of damage; None for fewer than two kinds."""
    styles = kind_styles(drift)
    if len(styles) < 2:
        return None
    series = tuple(
        Series(
            words.kind_words(drift.kinds[kind]), style,
            tuple((x, _count(window, kind) / window.images, 0.0)
                  for x, window in zip(_places(drift), drift.windows, strict=True)),
            marked=False,
        )
        for kind, style in styles.items()
    )  # fmt: skip
    top = max(_LEAST, *(y for own in series for _, y, _ in own.points))
    up = Axis(0, min(1.0, 1.05 * top), "share of the images, %", show=percent)
    return Chart("the kinds of damage", order_axis(drift), up, (), series, height=_HEIGHT)


def draw_own_levels(drift: Drift) -> tuple[tuple[Style, Chart], ...]:
    """For each of the drawn kinds with a level: the mean level of the images that are called so, in its unit."""
    drawn = ((style, _draw_level(drift, kind, style)) for kind, style in kind_styles(drift).items())
    return tuple((style, chart) for style, chart in drawn if chart is not None)


def _draw_level(drift: Drift, kind: int, style: Style) -> Chart | None:
    name, across = drift.kinds[kind], order_axis(drift)
    marks: list[Mark] = []
    ends: list[float] = []
    for x, window in zip(_places(drift), drift.windows, strict=True):
        own = _level_of(window, kind)
        if own is None or own.level is None:
            continue
        low, level, high = (scaled(name, own.level if end is None else end) for end in (own.low, own.level, own.high))
        tooltip = f"{window_words(window)}: {level_words(name, own.level, own.low, own.high)}, {own.images:,} images"
        marks += [Line(((x, low), (x, high)), style, "interval"), Dot(x, level, style, tooltip)]
        ends += [low, level, high]
    if not ends:
        return None
    up = Axis.around([0.0, *ends], unit_words(name), within=(min(0.0, *ends), float("inf")))
    return Chart(words.damage_words(name), across, up, tuple(marks), height=_HEIGHT)


def _places(drift: Drift) -> list[float]:
    return [(own.first + own.last) / 2 for own in drift.windows]


def _level_of(window: Window, kind: int) -> KindLevel | None:
    return next((own for own in window.kinds if own.kind == kind), None)


def _count(window: Window, kind: int) -> int:
    own = _level_of(window, kind)
    return 0 if own is None else own.images


def _band(places: Sequence[float], ranges: Sequence[tuple[float, float]], style: Style) -> Line:
    lower = [(x, low) for x, (low, _) in zip(places, ranges, strict=True)]
    upper = [(x, high) for x, (_, high) in zip(places, ranges, strict=True)]
    return Line((*lower, *reversed(upper)), style, "band")


def _across(axis: Axis, value: float, kind: str) -> Line:
    return Line(((axis.low, value), (axis.high, value)), Style(0), kind)


def _shown(drift: Drift, over: bool) -> str:
    """The class of a window's dot: of many hidden until it is pointed at, as the line says as much."""
    return "over" if over else "quiet" if len(drift.windows) > _MARKED else ""
