"""What the images of an audit by the gauge have come to, in sentences: for the page, and as lines of text."""

import math
from collections.abc import Sequence
from datetime import datetime

from weatherproof.benchmark import COMMON_19
from weatherproof.reports.drift.files import Drift, KindLevel, Level, Suspect, Window, share_of
from weatherproof.reports.verdict import CLEAR
from weatherproof.reports.words import records as words
from weatherproof.reports.words.records import JsonRecord

FIFTH = 5  # the first and the last such part of the images are compared
_BLOCKS = "▁▂▃▄▅▆▇█"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_UNITS = {  # of levels as operators have them: a name, a factor and a unit
    "RandomMask": ("pixels missing", 100.0, " %"), "GaussianNoise": (f"noise {words.SIGMA}", 1.0, ""),
    "GaussianBlur": (f"blur {words.SIGMA}", 1.0, " pixels"), "JPEG": ("JPEG quality", 1.0, ""),
    "Contrast": ("contrast lost", 100.0, " %"), "UniformNoise": ("random grey pixels", 100.0, " %"),
    "NonUniformNoise": ("random grey pixels", 100.0, " %"),
}  # fmt: skip


def unit_words(kind: str) -> str:
    """What a kind's level is, with its unit: "pixels missing, %"."""
    name, _, unit = _unit(kind)
    return f"{name}{',' * bool(unit)}{unit}"


def scaled(kind: str, level: float) -> float:
    """A level in the unit of `unit_words`."""
    return level * _unit(kind)[1]


def _unit(kind: str) -> tuple[str, float, str]:
    return _UNITS.get(kind, ("severity" if kind in COMMON_19 else "level", 1.0, ""))


def level_words(kind: str, level: Level, low: Level, high: Level) -> str:
    """ "42 % pixels missing (38 to 46)"; "" where there is no level."""
    if level is None:
        return ""
    name, _, unit = _unit(kind)
    numbers = [f"{scaled(kind, end):.2g}" if end is not None else "?" for end in (level, low, high)]
    first = f"{numbers[0]}{unit} {name}" if unit == " %" else f"{name} {numbers[0]}{unit}"
    return first + (f" ({numbers[1]} to {numbers[2]})" if low is not None and high is not None else "")


def top_words(kind: str, top: Level) -> str:
    """The worst level that training saw: "60 %"; "" where there is none."""
    return "" if top is None else f"{scaled(kind, top):.3g}{_unit(kind)[2]}"


def sentence(drift: Drift) -> str:
    """The share beyond what training saw, and by what for most of them."""
    if drift.beyond == 0:
        return f"None of {_images(drift.images)} is beyond what training saw{_mostly_damaged(drift)}."
    verb = "is" if round(drift.beyond * drift.images) == 1 else "are"
    sentence = f"{words.percent(drift.beyond)} of {_images(drift.images)} {verb} beyond what training saw"
    main = _dominant(drift.levels, [own.beyond for own in drift.levels])
    if main is None:
        return f"{sentence}."
    if main.kind == 0:
        return f"{sentence}, though most of them look clean."
    name = drift.kinds[main.kind]
    trained = top_words(name, drift.top(name))
    return f"{sentence}, most of them by {words.kind_words(name)}{f' (trained to {trained})' if trained else ''}."


def _mostly_damaged(drift: Drift) -> str:
    damage = [own for own in drift.levels if own.kind]
    main = _dominant(damage, [own.images for own in damage])
    by = f", most of them by {words.kind_words(drift.kinds[main.kind])}" if main else ""
    return f"; {words.percent(drift.damaged)} are damaged{by}" if drift.damaged else ""


def _dominant(levels: Sequence[KindLevel], counts: Sequence[int]) -> KindLevel | None:
    """The kind that more than half of the images are of; None where there is none."""
    return next((own for own, count in zip(levels, counts, strict=True) if 2 * count > sum(counts)), None)


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"


def beside(drift: Drift) -> tuple[str, ...]:
    """Where it is going, and what there is beside the worst."""
    return (*course(drift), _found(drift))


def order_words(drift: Drift) -> str:
    """What a reader of the charts has to know."""
    sizes = sorted({own.last - own.first + 1 for own in drift.windows})
    each = " to ".join(f"{size:,}" for size in dict.fromkeys((sizes[0], sizes[-1])))
    return (
        f"{len(drift.windows):,} window{'s' * (len(drift.windows) != 1)} of {each} images. {_ordered(drift)} Of images "
        f"such as training saw, a gauge calls about {words.percent(drift.expected)} unlike them."
    )


def course(drift: Drift) -> tuple[str, ...]:
    """Whether the share beyond has changed from the first fifth of the images to the last; nothing where there are too
    few windows."""
    part = len(drift.windows) // FIFTH
    if part < 1:
        return ()
    (before, few), (after, many) = share_of(drift.windows[:part]), share_of(drift.windows[-part:])
    error = math.sqrt(sum(_variance(share, images) for share, images in ((before, few), (after, many))))
    shown = [words.percent(share) for share in (before, after)]
    if abs(after - before) > CLEAR * error:
        how = "rises" if after > before else "falls"
        return (f"It {how} from {shown[0]} in the first fifth of them to {shown[1]} in the last.",)
    return (f"It does not clearly change: {shown[0]} in the first fifth of them, {shown[1]} in the last.",)


def _variance(share: float, images: int) -> float:
    """With one hit and one miss added, so that none of few images is not taken for none at all."""
    fair = (share * images + 1) / (images + 2)
    return fair * (1 - fair) / (images + 2)


def _found(drift: Drift) -> str:
    damage = sorted((own for own in drift.levels if own.kind), key=lambda own: -own.images)
    if not damage:
        return "None is called damaged."
    each = [f"{words.percent(own.images / drift.images)} {words.kind_words(drift.kinds[own.kind])}" for own in damage]
    more = [f"{len(each) - 3} other kinds"] if len(each) > 4 else each[3:]
    return f"{words.percent(drift.damaged)} are called damaged: {words.listed([*each[:3], *more])}."


def _ordered(drift: Drift) -> str:
    if drift.by_camera is None:
        return f"They are in {'the order of their names' if drift.order == 'name' else 'their own order'}."
    others = drift.files - drift.by_camera
    if others == 0:
        return "They are in the order in which they were taken, by the camera's clock (EXIF)."
    if drift.by_camera == 0:
        return "None of the files has a camera's time (EXIF): they are in the order in which they were last changed."
    return (
        f"They are in the order of time: of {drift.by_camera:,} the camera's clock (EXIF), of the other {others:,} "
        "when the file was last changed (UTC)."
    )


def window_words(window: Window) -> str:
    """Which images a window is of."""
    when = "" if window.start is None else f", {window.start} to {window.end}"
    return f"images {window.first:,} to {window.last:,}{when}"


def tick_words(times: Sequence[str]) -> list[str]:
    """Times as they stand below an axis: as much of them as tells them apart.

    >>> tick_words(["2026-11-27 09:05:00", "2026-11-28 10:00:00"]), tick_words(["2026-11-27 09:05:00"])
    (['27 Nov 09:05', '28 Nov 10:00'], ['09:05'])
    """
    moments = [datetime.fromisoformat(text) for text in times]
    span = moments[-1] - moments[0]
    if span.days >= 300:
        return [f"{_MONTHS[own.month - 1]} {own.year}" for own in moments]
    if span.days >= 4:
        return [f"{own.day} {_MONTHS[own.month - 1]}" for own in moments]
    clocks = [f"{own.hour:02}:{own.minute:02}" for own in moments]
    if moments[0].date() == moments[-1].date():
        return clocks
    return [f"{own.day} {_MONTHS[own.month - 1]} {clock}" for own, clock in zip(moments, clocks, strict=True)]


def suspect_words(suspect: Suspect, top: Level = None) -> tuple[str, str]:
    """Why an image stands there, and what the gauge reads of it, beside the worst level that training saw where it is
    worse."""
    why = "unlike training" if suspect.unlike else "worse than training" if suspect.beyond else "within training"
    read = level_words(suspect.kind, suspect.level, suspect.low, suspect.high)
    if suspect.kind == "clean":
        return why, "looks clean"
    if read and top is not None and suspect.beyond and not suspect.unlike:
        read += f", trained to {top_words(suspect.kind, top)}"
    return why, read or f"{words.kind_words(suspect.kind)}, {words.percent(suspect.damaged)} sure"


def summary_lines(drift: Drift, records: Sequence[JsonRecord]) -> list[str]:
    """What a terminal shows: the sentences, each number with its standard error, and the windows in blocks, of which
    the lowest is none and the highest the most there is."""
    shares = [window.beyond for window in drift.windows]
    top = max(shares)
    blocks = "".join(_BLOCKS[round((len(_BLOCKS) - 1) * share / (top or 1.0))] for share in shares)
    rows = [(words.metric_words(own["metric"]).title, words.number(own["metric"], own["value"], own["stderr"]))
            for own in records]  # fmt: skip
    width = max([19, *(len(title) for title, _ in rows)])
    return [
        sentence(drift), *beside(drift), "",
        *(f"{title:<{width}}{number:>15}" for title, number in rows), "",
        f"{blocks}  beyond, {len(shares)} window{'s' * (len(shares) != 1)}, at most {words.percent(top)}",
    ]  # fmt: skip
