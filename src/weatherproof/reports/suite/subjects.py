"""The models of a page that were measured on a suite, each with its records sorted."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from weatherproof.benchmark import COMMON, SEVERITIES
from weatherproof.reports.drawing.charts import Style
from weatherproof.reports.suite.records import (
    WHOLES,
    in_order,
    is_cell,
    is_mean,
    is_total,
    members,
)
from weatherproof.reports.words import records as words
from weatherproof.reports.words.records import JsonRecord
from weatherproof.views.contamination import corruptions_in

COLOURS = 7  # the page defines so many
IDENTITY = ("model", "readout", "label_fraction", "trained_on", "data", "run")

T = TypeVar("T")
Cells = dict[tuple[str, str, int], JsonRecord]
Parts = dict[tuple[str, str], JsonRecord]


@dataclass(frozen=True)
class Subject:
    """One model as it was measured on a suite.

    Attributes:
        key: the values of `IDENTITY`, which tell it from the others of a page.
        name: words that do the same.
        style: its colour and marker on the page.
        clean: by metric, the record of the clean images.
        cells: by metric, corruption and severity.
        means: by metric and corruption, over its severities.
        totals: by metric and group or suite; "seen" and "unseen" are totals too.
        trained_on: the text of its training's operators.
        planned: the suite that was asked for.
        seen: those of its corruptions that this text contains.
    """

    key: tuple[Hashable, ...]
    name: str
    style: Style
    clean: Mapping[str, JsonRecord]
    cells: Mapping[tuple[str, str, int], JsonRecord]
    means: Mapping[tuple[str, str], JsonRecord]
    totals: Mapping[tuple[str, str], JsonRecord]
    trained_on: str | None
    planned: str | None = None
    seen: frozenset[str] = frozenset()

    @property
    def metric(self) -> str:
        """What its cells are read by: accuracy where it was measured."""
        found = {key[0] for key in self.cells} | {key[0] for key in self.means} | set(self.clean)
        return min(found, key=words.preference) if found else "top1"

    @property
    def model(self) -> str:
        return str(self.key[0])

    @property
    def data(self) -> str:
        return str(self.key[IDENTITY.index("data")] or "")

    @property
    def corruptions(self) -> tuple[str, ...]:
        """The corruptions that have a cell, in canonical order."""
        return in_order({corruption for _, corruption, _ in self.cells})

    @property
    def suite(self) -> str | None:
        """The largest suite of which it has a mean accuracy."""
        return next((name for name in reversed(WHOLES) if ("mca", name) in self.totals), None)

    @property
    def expected(self) -> tuple[tuple[str, int], ...]:
        """The conditions that its suite consists of; without a suite, every severity of what was measured."""
        names = in_order({*COMMON.get(self.suite or self.planned or "", ()), *self.corruptions})
        return tuple((name, severity) for name in names for severity in SEVERITIES)

    @property
    def missing(self) -> tuple[tuple[str, int], ...]:
        """Conditions of the suite that were not measured."""
        return tuple((name, s) for name, s in self.expected if (self.metric, name, s) not in self.cells)


@dataclass
class _Collected:
    clean: dict[str, JsonRecord] = field(default_factory=dict)
    cells: Cells = field(default_factory=dict)
    means: Parts = field(default_factory=dict)
    totals: Parts = field(default_factory=dict)


def split(
    records: Sequence[JsonRecord], planned: Mapping[str, str] | None = None
) -> tuple[list[Subject], list[JsonRecord]]:
    """The subjects of a suite, and the records that belong to no suite.

    One corruption alone is no suite: it stays with the severity curves. Clean records belong to both; where no other
    damage is left, those that a subject has belong to the suite alone.

    Args:
        records: of a run, or of several; these have a "run".
        planned: by run ("" for one alone), the suite that was asked for.
    """
    names = {str(r["corruption"]) for r in records if is_cell(r)}
    own = [r for r in records if is_cell(r) or is_total(r) or is_mean(r, names)]
    if len(names) < 2 and not any(map(is_total, own)):
        return [], list(records)
    subjects = _subjects(own, [r for r in records if words.is_clean(r)], planned or {})
    rest = [r for r in records if not (is_cell(r) or is_total(r) or is_mean(r, names))]
    if all(map(words.is_clean, rest)):
        shown = {id(record) for subject in subjects for record in subject.clean.values()}
        rest = [r for r in rest if id(r) not in shown]
    return subjects, rest


def alike(subjects: Sequence[Subject]) -> list[list[Subject]]:
    """Groups of subjects that measured alike: no cell, and no clean number, under two protocols."""
    return grouped(subjects, _agree)


def grouped(several: Iterable[T], agree: Callable[[T, T], bool]) -> list[list[T]]:
    """Each joins the first group none of whose members contradicts it."""
    groups: list[list[T]] = []
    for one in several:
        home = next((g for g in groups if all(agree(one, member) for member in g)), None)
        if home is None:
            groups.append([one])
        else:
            home.append(one)
    return groups


def _agree(a: Subject, b: Subject) -> bool:
    mine, theirs = ({**s.clean, **s.cells} if s.cells else {**s.clean, **s.totals} for s in (a, b))
    shared = mine.keys() & theirs.keys()
    return bool(shared) and all(mine[key].get("protocol") == theirs[key].get("protocol") for key in shared)


def _subjects(records: Sequence[JsonRecord], clean: Sequence[JsonRecord], planned: Mapping[str, str]) -> list[Subject]:
    # A second record for the same place (unlike protocols in one run) starts another subject, so that none is lost.
    collected: dict[tuple[Hashable, ...], _Collected] = {}
    for record in records:
        again = 0
        while not _place(collected.setdefault((*_identity(record), again), _Collected()), record):
            again += 1
    by_metric: dict[tuple[Hashable, ...], list[JsonRecord]] = {}
    for record in clean:
        by_metric.setdefault((*_identity(record), str(record["metric"])), []).append(record)
    for (*identity, metric), found in by_metric.items():
        own = [c for key, c in collected.items() if _same_but_data(key, identity)]
        exact = [c for key, c in collected.items() if list(key[:-1]) == identity]
        for i, home in enumerate(exact or own):  # corrupted images may come from a folder, clean ones from another
            home.clean.setdefault(str(metric), found[min(i, len(found) - 1)])
    order = {name: i for i, name in enumerate(words.MODEL_ORDER)}
    keys = sorted(collected, key=lambda key: order.get(str(key[0]), len(order)))
    subjects = []
    for key in keys:
        c, (trained_on, run) = collected[key], (key[IDENTITY.index(name)] for name in ("trained_on", "run"))
        subject = Subject(
            key=key,
            name="",
            style=Style(0),
            clean=c.clean,
            cells=c.cells,
            means=c.means,
            totals=c.totals,
            trained_on=None if trained_on is None else str(trained_on),
            planned=planned.get(str(run or "")),
        )
        names = {*subject.corruptions, *members(subject.suite)}
        subjects.append(replace(subject, seen=corruptions_in(subject.trained_on) & names))
    return [replace(s, name=_name(s, subjects), style=_style(i, s, subjects)) for i, s in enumerate(subjects)]


def _identity(record: JsonRecord) -> tuple[Hashable, ...]:
    return tuple(record.get(name) for name in IDENTITY)


def _same_but_data(key: Sequence[Hashable], other: Sequence[Hashable]) -> bool:
    return all(a == b for name, a, b in zip(IDENTITY, key, other, strict=False) if name != "data")


def _place(collected: _Collected, record: JsonRecord) -> bool:
    """Put a record where it belongs; False where another one is."""
    metric, corruption = str(record["metric"]), str(record.get("corruption"))
    key: Any
    place: Any
    if is_cell(record):
        place, key = collected.cells, (metric, corruption, int(record["severity"]))
    else:
        place, key = (collected.totals if is_total(record) else collected.means), (metric, corruption)
    return place.setdefault(key, record) is record


def _name(subject: Subject, subjects: Sequence[Subject]) -> str:
    """The model, and as much of the rest as tells it from the others."""
    said: tuple[Callable[[Any], str], ...] = (
        lambda v: words.readout_words(v),
        lambda v: words.labels_words(v),
        lambda v: f"trained on {words.operator_words(str(v))}" if v else "",
        lambda v: str(v or ""),
        lambda v: str(v or ""),
        lambda v: f"measurement {v + 1}",
    )
    shown, telling = [words.model_words(subject.model)], [0]
    for i in (5, 1, 2, 3, 4, 6):  # the run first: it is the name that the user gave
        rivals = [s for s in subjects if all(s.key[j] == subject.key[j] for j in telling)]
        if any(s.key[i] != subject.key[i] for s in rivals):
            shown.append(said[i - 1](subject.key[i]))
            telling.append(i)
    if len({s.model for s in subjects}) == 1 and any(shown[1:]):
        del shown[0]  # the model is the same for all
    return ", ".join(part for part in shown if part)


def _style(place: int, subject: Subject, subjects: Sequence[Subject]) -> Style:
    """The colour that the model has elsewhere on the page where no two are of one model, otherwise one for each."""
    models = [*dict.fromkeys([*words.MODEL_ORDER, *(s.model for s in subjects)])]
    if len({s.model for s in subjects}) == len(subjects):
        return Style(models.index(subject.model) % COLOURS)
    return Style((place + 1) % COLOURS, place // COLOURS)
