"""The four numbers of a hardened encoder in words: for the page, and as lines of text."""

from dataclasses import dataclass
from pathlib import Path

from weatherproof.reports.hardened.curve import CURVE, Change, Changed
from weatherproof.reports.hardened.gauge import GAUGED
from weatherproof.reports.hardened.promise import PROMISE, Promise, promise_words
from weatherproof.reports.parts import read_list, read_part
from weatherproof.reports.verdict import CLEAR
from weatherproof.reports.words import records as words

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Pair:
    """Two of the four numbers, as they are printed.

    Attributes:
        title, where: "Under the damage", and what that is.
        before, after, change: the number without its unit and its standard error, "" where there is none.
        tone: "gain" or "loss" where the change is clear, else "".
    """

    title: str
    where: str
    before: tuple[str, str]
    after: tuple[str, str]
    change: tuple[str, str]
    unit: str
    tone: str


def is_clear(change: Change) -> bool:
    """Whether the difference is larger than the choice of the images explains, by the page's measure."""
    return abs(change.difference) > CLEAR * (change.errors[2] or 0.0)


def pairs(changed: Changed) -> tuple[Pair, ...]:
    """On clean images, and under the damage where that was reached."""
    found = [("Clean images", "as they are", changed.clean)]
    if changed.damaged is not None:
        found.append(("Under the damage", words.operator_words(changed.operator), changed.damaged))
    return tuple(_pair(changed.metric, *own) for own in found)


def kind_pairs(changed: Changed) -> tuple[Pair, ...]:
    """Under each of several kinds of damage, on those images that got it."""
    return tuple(
        _pair(changed.metric, words.damage_words(own.family), f"{own.change.images:,} images", own.change)
        for own in changed.kinds
    )


def _pair(metric: str, title: str, where: str, change: Change) -> Pair:
    tone = ("gain" if change.difference > 0 else "loss") if is_clear(change) else ""
    sign = "+" if change.difference > 0 else MINUS if change.difference < 0 else ""
    size, error = _number(metric, abs(change.difference), change.errors[2])
    before, after = (
        _number(metric, *own) for own in zip((change.before, change.after), change.errors[:2], strict=True)
    )
    unit = "points" if words.metric_words(metric).percent else ""
    return Pair(title, where, before, after, (f"{sign}{size}", error), unit, tone)


def _number(metric: str, value: float, error: float | None) -> tuple[str, str]:
    number, _, spread = words.number(metric, value, error).partition(" ± ")
    return number.replace("-", MINUS), spread


def sentence(changed: Changed) -> str:
    """What clean images lose and damaged ones gain, whichever way it went; a change within its error is none."""
    sentence = f"On clean images the hardened encoder {_moves(changed.metric, changed.clean)}"
    if changed.damaged is None:
        return f"{sentence}."
    return f"{sentence}; under the damage it {_moves(changed.metric, changed.damaged)}."


def _moves(metric: str, change: Change) -> str:
    """ "loses 1.3 ± 0.5 points", "gains 51 ± 2 points", "shows no clear change (−0.3 ± 0.5 points)"."""
    percent = words.metric_words(metric).percent
    scale, digits = (100, 1 if abs(change.difference) < 0.0995 else 0) if percent else (1, 3)
    size = f"{abs(change.difference) * scale:.{digits}f}"
    if float(size) == 0:
        return "gains and loses nothing"
    error = change.errors[2]
    spread = f" ± {max(error * scale, 10**-digits):.{digits}f}" if error else ""
    unit = " points" if percent else f" of {words.metric_words(metric).words.lower()}"
    if not is_clear(change):
        return f"shows no clear change ({'+' if change.difference > 0 else MINUS}{size}{spread}{unit})"
    return f"{'gains' if change.difference > 0 else 'loses'} {size}{spread}{unit}"


def warning(changed: Changed, promise: Promise | None, *, gate: bool = False) -> str:
    """What must be said of losses that are larger than their error; "" where there are none.

    A kind of damage that is one of several has a loss of its own, whatever all together gain. The original's own
    embeddings are what a cosine compares with, so that on clean images it can only fall: where it
    was promised how far, the promise says whether that is too far.

    Args:
        gate: the encoder stands behind one, so that it would be no help to ask for it.
    """
    advice = (
        "give more images, of which more are held out to find where the gate opens"
        if gate
        else "harden with --keep both, which gives these to the original"
    )
    kept = changed.metric == "cosine" and promise is not None and promise.kept
    sentences = [] if kept or not _loses(changed.clean) else [
        f"It {_moves(changed.metric, changed.clean)} on clean images, more than the choice of the images explains: "
        f"{advice}."
    ]  # fmt: skip
    if changed.damaged is not None and _loses(changed.damaged):
        sentences.append(
            f"It {_moves(changed.metric, changed.damaged)} under the damage, more than the choice of the images "
            "explains: train for longer, or with another learning rate."
        )
    sentences += [
        f"Under {words.kind_words(own.family)} alone it {_moves(changed.metric, own.change)}, more than the "
        "choice of the images explains: the original bears that kind better, leave it out of the operator."
        for own in changed.kinds
        if _loses(own.change)
    ]
    return " ".join(sentences)


def _loses(change: Change) -> bool:
    return change.difference < 0 and is_clear(change)


def measured_how(changed: Changed) -> str:
    """Which number, read how, on how many images of what."""
    number = words.metric_words(changed.metric)
    name = f"{number.words}, {words.readout_words(changed.readout)}" if changed.readout else number.words
    what = "" if changed.readout else ", of the embedding with the original's of the clean image"
    return f"{name}{what}; {changed.clean.images:,} images of {changed.data}."


def summary_lines(folder: Path) -> list[str]:
    """The four numbers and the promise of a run folder, for a terminal; none where it has none.

    Raises:
        InputError: a file that is something else.
    """
    found, promise = read_list(folder, CURVE), read_part(folder, PROMISE)
    lines = []
    if found:
        first = found[0]
        title = words.metric_words(first.metric).title
        lines.append(f"{title}{f', {words.readout_words(first.readout)}' if first.readout else ''}")
        rows = [("", "original", "hardened", "change")]
        named = [(own.title.lower(), own) for own in pairs(first)]
        of_kinds = zip(first.kinds, kind_pairs(first), strict=True)
        named += [(f"  {words.kind_words(kind.family)}", own) for kind, own in of_kinds]
        rows += [(name, _both(own.before), _both(own.after), _both(own.change)) for name, own in named]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines += ["  ".join((row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in (1, 2, 3)))) for row in rows]
        gate = read_part(folder, GAUGED) is not None
        lines += [line for line in (sentence(first), warning(first, promise, gate=gate)) if line]
    return lines if promise is None else [*lines, f"{promise_words(promise)}: {'' if promise.kept else 'not '}kept"]


def _both(number: tuple[str, str]) -> str:
    return " ± ".join(part for part in number if part)
