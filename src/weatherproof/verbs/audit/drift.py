"""An audit by the gauge: what it says of images that come one after the other, without labels."""

import csv
import io
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Int64
from torch import Tensor, nn

from weatherproof.data import ImageSet
from weatherproof.data.roll import By, Moment, Roll, rolled
from weatherproof.encoders import Gauge
from weatherproof.encoders.gauge.calibration import STRANGE
from weatherproof.encoders.gauge.gauge import stretched
from weatherproof.errors import InputError
from weatherproof.evaluation.drift import (
    DRIFT_METRICS,
    GAUGE,
    READOUT,
    drift_records,
    gauge_images,
    suspects,
    tells_levels,
    windows,
)
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.files import write_atomically
from weatherproof.names import cell, printable, utf8
from weatherproof.reports import write_report
from weatherproof.reports.drawing.pictures import for_page
from weatherproof.reports.drift.files import (
    DRIFT,
    LIMITS,
    SUSPECTS,
    Drift,
    KindLevel,
    Order,
    Suspect,
    Suspects,
    Window,
)
from weatherproof.reports.drift.files import Limit as ShownLimit
from weatherproof.reports.drift.words import summary_lines
from weatherproof.reports.parts import read_list, read_part, save_list, save_part
from weatherproof.reports.words.records import kind_words, listed
from weatherproof.training import RunFolder
from weatherproof.verbs.audit.finish import finish, known_outcome
from weatherproof.verbs.audit.limits import Limit, checked, require_known
from weatherproof.verbs.audit.subject import AuditOptions, Subject
from weatherproof.verbs.inputs import pretrained, read_at, whole_folder
from weatherproof.verbs.options import feed_of
from weatherproof.verbs.outcome import Outcome, print_lines

STATE, TABLE = "audit.json", "gauge.csv"
COLUMNS = ("number", "file", "time", "time_of", "kind", "level", "low", "high", "damaged", "extent", "beyond")
_SUSPECTS, _SIDE = 12, 192  # pictures of the page, and pixels of their longer side
Cell = int | float | str


@dataclass
class DriftOutcome(Outcome):
    """The outcome of an audit by the gauge."""

    @property
    def drift(self) -> Drift:
        """The windows, and all that the page shows of them."""
        found = read_part(self.folder, DRIFT)
        assert found is not None, "a finished audit by the gauge has it"
        return found

    @property
    def table(self) -> Path:
        """What the gauge says of each image: one line a file."""
        return self.folder / TABLE

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return super().to_dict() | {"table": str(self.table)}

    def show(self) -> None:
        """Print what the images have come to, the numbers, the checks, where the files are, and the notes."""
        print_lines(summary_lines(self.drift, self.records))
        self.show_checks()
        print_lines([f"table    {printable(self.table)}"])
        self.show_notes()


def audit_drift(
    model: str | Path | nn.Module,
    source: str | Path | ImageSet,
    options: AuditOptions,
    limits: Sequence[Limit],
    order: By,
    window: int | None,
) -> DriftOutcome:
    """Look at the images with the model's gauge.

    Raises:
        InputError: no gauge, a limit on what is not measured, images that it cannot see, or files that have changed
            since the run began.
    """
    require_known(limits, DRIFT_METRICS, "an audit by the gauge")
    feed = feed_of(options)
    encoder = pretrained(model, size=options["size"], seed=options["seed"])
    gauge = encoder.own_gauge
    _require_levels(limits, gauge)
    split = whole_folder(source, options.get("split")) or "test"
    roll = rolled(read_at(source, split, encoder, options), order).at_most(options["test_images"])
    files = {str(source): roll.digest} if roll.digest else {}
    subject = Subject(model, source, options, feed, limits, encoder, roll.images, None, None, files)
    run = subject.open(gauge=True, order=order, window=window)
    drawn_anew = _save_limits(run, limits)
    outcome = known_outcome(run, STATE, DriftOutcome, encoder)
    if outcome is None:
        outcome = _measured(run, gauge, roll, subject, order, window)
    elif drawn_anew:
        write_report(run.path)
    return checked(outcome, limits, "readout", READOUT)


def _require_levels(limits: Sequence[Limit], gauge: Gauge) -> None:
    for limit in limits:
        if limit.metric == "level" and not tells_levels(gauge):
            kinds = listed([kind_words(name) for name in gauge.kinds[1:]])
            raise InputError(
                f"{limit.option} level={limit.value:g}: the gauge tells no level of {kinds}, only "
                "whether an image is damaged: give a limit on damaged"
            )


def _measured(
    run: RunFolder, gauge: Gauge, roll: Roll, subject: Subject, order: By, window: int | None
) -> DriftOutcome:
    began, images = time.monotonic(), roll.images
    title = f"the gauge of {subject.name} on {images.name}"
    found = gauge_images(gauge, images, subject.settings(run.path), files=roll.digest, title=title)
    answers = found.answers.get(GAUGE)
    if not answers:
        raise InputError(f"no image of {images.name!r} could be read")
    write_atomically(run.path / TABLE, utf8(table(roll, gauge.kinds, answers)))
    save_part(run.path, DRIFT, _drift(roll, gauge, answers, order if roll.digest else "set", window))
    chosen = answers.at(suspects(answers, _SUSPECTS))
    if len(chosen):
        save_part(run.path, SUSPECTS, _suspects(roll, gauge, chosen))
    notes = []
    if not found.complete:
        notes.append(
            f"time was up: the numbers rest on {len(answers):,} of {len(images):,} images, evenly spaced; the same "
            "command goes on from here"
        )
    if images.bad:
        many = len(images.bad) > 1
        notes.append(f"{len(images.bad):,} file{'s' * many} could not be read and {'are' if many else 'is'} left out")
    state = {"complete": found.complete, "notes": notes, "seconds": round(time.monotonic() - began, 1)}
    records = drift_records(answers, images, subject.name, roll.digest, levels=tells_levels(gauge))
    return finish(run, STATE, state, records, DriftOutcome, subject.encoder)


def _save_limits(run: RunFolder, limits: Sequence[Limit]) -> bool:
    """Keep them for the page, which follows those of the last call; whether they are others than before."""
    run.provisional.add(LIMITS.name)
    now = [ShownLimit(own.metric, own.value, own.least) for own in limits]
    if read_list(run.path, LIMITS) == tuple(now):
        return False
    save_list(run.path, LIMITS, now)
    return True


def table(roll: Roll, kinds: Sequence[str], answers: Answers) -> str:
    """One line for each image that was measured, in its order, as CSV. A clean image has no level, and neither has one
    of a kind without levels. A name that a spreadsheet would take for a formula has "./" before it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_lines(roll, kinds, answers))
    return text.getvalue()


def _lines(roll: Roll, kinds: Sequence[str], answers: Answers) -> Iterator[tuple[Cell, ...]]:
    columns = {name: own.tolist() for name, own in answers.columns.items()}
    for row, place in enumerate(answers.place.tolist()):
        kind, name = columns["kind"][row], roll.names[place]
        levels = [columns[own][row] for own in ("level", "low", "high")]
        yield (
            place + 1,
            cell(name),
            *_when(None if roll.moments is None else roll.moments[place]),
            kinds[kind],
            *("" if kind == 0 or math.isnan(level) else f"{level:.4g}" for level in levels),
            f"{columns['damaged'][row]:.4f}",
            f"{columns['extent'][row]:.4f}",
            int(columns["beyond"][row]),
        )


def _when(moment: Moment | None) -> tuple[str, str]:
    if moment is None:
        return "", ""
    return moment.time.isoformat(" "), "camera" if moment.by_camera else "file"


def _drift(roll: Roll, gauge: Gauge, answers: Answers, order: Order, window: int | None) -> Drift:
    every = [_window(roll, answers, places) for places in windows(len(roll.images), window)]
    moments = roll.moments
    return Drift(
        data=roll.images.name, order=order, files=len(roll.images), images=len(answers),
        beyond=_mean(answers["beyond"]), damaged=_mean(answers["kind"] > 0), level=_mean(answers["extent"]),
        kinds=gauge.kinds, tops=(None, *(kind.top for kind in gauge.settings.kinds)),
        levels=_levels(answers, clean=True), windows=tuple(own for own in every if own is not None),
        by_camera=None if moments is None else sum(moment.by_camera for moment in moments), expected=STRANGE,
    )  # fmt: skip


def _window(roll: Roll, answers: Answers, places: Int64[Tensor, "m"]) -> Window | None:
    """None where none of the images was reached."""
    first, last = int(places[0]), int(places[-1])
    own = answers.at((answers.place >= first) & (answers.place <= last))
    if not len(own):
        return None
    start, end = (None if roll.moments is None else _second(roll.moments[place]) for place in (first, last))
    low, level, high = (_mean(own[name]) for name in ("least", "extent", "most"))
    return Window(
        first=1 + first, last=1 + last, images=len(own), beyond=_mean(own["beyond"]), damaged=_mean(own["kind"] > 0),
        level=level, low=low, high=high, kinds=_levels(own), start=start, end=end,
    )  # fmt: skip


def _second(moment: Moment) -> str:
    return moment.time.isoformat(" ", "seconds")


def _levels(answers: Answers, *, clean: bool = False) -> tuple[KindLevel, ...]:
    found = []
    for kind in answers["kind"].unique().tolist():
        own = answers.at(answers["kind"] == kind)
        ends = [own[name].double().nanmean() for name in ("low", "level", "high")]
        low, level, high = (_number(end) if kind else None for end in ends)
        if kind or clean:
            found.append(KindLevel(kind, len(own), int(own["beyond"].sum()), level, low, high))
    return tuple(found)


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def _number(value: Tensor) -> float | None:
    return None if bool(value.isnan()) else float(value)


def _suspects(roll: Roll, gauge: Gauge, own: Answers) -> Suspects:
    rows, ends = [], (1.0, *stretched(gauge.worst).tolist())  # up to there an image is no worse than training
    for row, place in enumerate(own.place.tolist()):
        kind, beyond = int(own["kind"][row]), bool(own["beyond"][row])
        low, level, high = (_number(own[name][row]) if kind else None for name in ("low", "level", "high"))
        no_worse = float(own["least"][row]) <= ends[kind]
        rows.append(
            Suspect(
                name=roll.names[place], place=1 + place, kind=gauge.kinds[kind], level=level, low=low, high=high,
                damaged=float(own["damaged"][row]), beyond=beyond, unlike=beyond and no_worse,
            )
        )  # fmt: skip
    return Suspects(for_page(roll.images.read(own.place), _SIDE), tuple(rows))
