"""A study is data: a grid of cells, each a complete protocol for one number, with the paper's numbers and claims."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from weatherproof.errors import unknown
from weatherproof.evaluation import Record
from weatherproof.studies.lab.classifiers import NoNumber
from weatherproof.studies.lab.draws import LEVEL, share_of_draws
from weatherproof.studies.lab.sets import Images
from weatherproof.studies.lab.store import Choosing, Measure, Measured, Recipe, Store
from weatherproof.training.run import finite

Key = tuple[str, str]  # (row, column)

COUNT = "images_of_a_class"  # a metric that is what it is, without an error
MEDIAN = "median_perturbation"  # a metric whose number is infinite where there is none: all sizes are resisted

_SAME_SIZE = 1e-9


@dataclass(frozen=True)
class Number:
    """A record with what stands beside it.

    Attributes:
        samples: the number of each training, in the order of the seeds.
        failed: the points that a certificate has against it, each with the attack and the model that it was tried on;
            empty: all hold. None: there is no certificate.
    """

    record: Record
    samples: tuple[float, ...] | None = None
    failed: tuple[str, ...] | None = None

    @property
    def value(self) -> float:
        return self.record.value

    def to_dict(self) -> dict[str, Any]:
        """As cells.json and results.json hold it."""
        samples = {} if self.samples is None else {"samples": self.samples}
        certificate = {} if self.failed is None else {"certificate": self.failed}
        whole: dict[str, Any] = finite({**self.record.to_dict(), **samples, **certificate})
        return whole


@dataclass(frozen=True)
class About:
    """What a record says beside the number.

    Attributes:
        model, readout, label_fraction, trained_on: of the `Record`.
        certified: what certificates call the model; None: as the record.
    """

    model: str
    readout: str | None = None
    label_fraction: float | None = None
    trained_on: str | None = None
    certified: str | None = None


@dataclass(frozen=True)
class Wanted:
    """Which of a measure's records is the cell's number.

    Attributes:
        metric: of several names the first record with one of them.
        severity: or the size of a perturbation.
    """

    metric: str | tuple[str, ...] = "top1"
    corruption: str | None = None
    severity: float | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.metric,) if isinstance(self.metric, str) else self.metric

    def among(self, records: Sequence[Record]) -> Record:
        """The first record that is wanted."""
        of = (r for r in records if r.metric in self.metrics and r.corruption == self.corruption)
        return next(r for r in of if _same(r.severity, self.severity))


def _same(one: float | None, other: float | None) -> bool:
    return one == other if one is None or other is None else abs(one - other) < _SAME_SIZE


@runtime_checkable
class Measurable(Protocol):
    """Where a number comes from."""

    @property
    def cells(self) -> "tuple[Cell, ...]":
        """What it is made of."""
        ...

    def number(self, store: Store) -> Number | None:
        """The number; None where a model cannot answer such images."""
        ...


@dataclass(frozen=True)
class Cell:
    """A model, what is measured of it, and the images.

    Attributes:
        files: the same images in a folder of corrupted ones, which are measured where that is there; elsewhere the
            measure damages `data` itself.
    """

    model: Recipe
    measure: Measure
    data: Images
    about: About
    wanted: Wanted = Wanted()
    files: Images | None = None

    @property
    def cells(self) -> "tuple[Cell, ...]":
        return (self,)

    def number(self, store: Store) -> Number | None:
        try:
            found = store.measured(self.model, self.measure, self.images(store), name=self.about.model)
        except NoNumber:
            return None
        about = self.about
        record = replace(
            self.wanted.among(found.records), model=about.model, readout=about.readout,
            label_fraction=about.label_fraction, trained_on=about.trained_on,
        )  # fmt: skip
        entry = self._entry(found)
        if entry is None:
            return Number(record)
        named = f"{entry['attack']} on {entry['model']}"
        lost = (check for check in entry["checks"] if not check["passed"])
        return Number(record, failed=tuple(f"{named}: {check['claim']} ({check['detail']})" for check in lost))

    def images(self, store: Store) -> Images:
        """The files, where they are there."""
        return self.files if self.files is not None and store.holds(self.files) else self.data

    def check(self, store: Store) -> None:
        """Raises `InputError` where images or weights are not there, or the files that would be measured lack some of
        what is measured: before a model is trained for it."""
        images = self.images(store)
        if isinstance(self.measure, Choosing) and images == self.files:
            self.measure.check(store.images(images))
        if not store.has_measured(self.model, self.measure, images):
            store.require(self.model)
            store.require(images)

    def certificate(self, store: Store) -> dict[str, Any] | None:
        """An entry of `reports.save_certificates`; None where the measure has none."""
        return self._entry(store.measured(self.model, self.measure, self.images(store), name=self.about.model))

    def _entry(self, found: Measured) -> dict[str, Any] | None:
        entry = found.certificate
        return None if entry is None else {**entry, "model": self.about.certified or self.about.model}


def certificates(cells: Iterable[Cell], store: Store) -> list[dict[str, Any]]:
    """The entries of all that were measured under attack, each once, in the order of the cells."""
    firsts: dict[tuple[Recipe, Measure, Images], Cell] = {}
    for cell in cells:
        firsts.setdefault((cell.model, cell.measure, cell.data), cell)
    entries = (cell.certificate(store) for cell in firsts.values())
    return [entry for entry in entries if entry is not None]


Grid = Mapping[Key, Measurable | None]  # None: the scale has no such data
Found = Mapping[Key, Mapping[str, Any]]  # the records of a grid
After = Callable[[Store, Path, Found], None]  # writes a file beside the table into the run folder


@dataclass(frozen=True)
class Scale:
    """How big: a study's grid in seconds (smoke), on two CPU cores (desk), or as published (paper).

    Attributes:
        facts: the settings behind the cells, for the reader.
        later_facts: those that are known only after the trainings.
        after: what is written beside the table.
    """

    name: str
    note: str
    cells: Grid
    facts: Mapping[str, str] = field(default_factory=dict)
    later_facts: Callable[[Store], Mapping[str, str]] = lambda _: {}
    after: tuple[After, ...] = ()


@runtime_checkable
class Check(Protocol):
    """A sentence of the paper that the grid can confirm or deny."""

    @property
    def text(self) -> str: ...

    def check(self, found: Found) -> dict[str, Any]:
        """The claim as an entry of checks.json."""
        ...


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper that the values can confirm or deny.

    `test` looks at the values by (row, column) and returns (how many hold, of how many, a few words). Where every value
    is a mean over seeds, each seed is asked by itself, too: a claim that holds for some of them alone, or for the means
    alone, is not decided. Where values have standard errors, neither is one whose verdict they leave open (`draws`).
    Values that are no number are as if they were not measured.

    Attributes:
        among: of so many results the best one is looked at: one of them is good by chance that much more easily
            (Bonferroni).
        independent: whether the numbers' errors are. False: they are of the same images and trainings, of which a
            `PairedClaim` asks, and this claim is about the means alone.
    """

    text: str
    test: Callable[[Mapping[Key, float]], tuple[int, int, str]]
    among: int = 1
    independent: bool = True

    def check(self, found: Found) -> dict[str, Any]:
        """The claim as an entry of checks.json."""
        values = {key: own for key, record in found.items() if (own := _compared(record["value"], record)) is not None}
        errors = {key: own for key in values if (own := found[key].get("stderr"))}
        held, of, detail = self.test(values)
        passed, words = 0 < of == held, f"{held} of {of}{detail and ': ' + detail}"
        verdict = "not measured" if not of else "holds" if passed else "does not hold"
        if not of:
            return {"claim": self.text, "passed": passed, "detail": words, "verdict": verdict}
        words += _without_errors(self.test, values, found)
        if seeds := _by_seed({key: found[key] for key in values}):
            alone = [0 < own[1] == own[0] for own in map(self.test, seeds)]
            verdict = "holds" if passed and all(alone) else "not decided" if passed or any(alone) else "does not hold"
            words += f"; by itself with {sum(alone)} of {len(alone)} seeds"
        elif self.independent and (share := share_of_draws(self.test, values, errors)) is not None:
            sure = share >= 1 - LEVEL / self.among if passed else share <= LEVEL
            verdict = verdict if sure else "not decided"
            words += "" if sure else f"; with the standard errors it holds in {share:.0%} of draws"
        return {"claim": self.text, "passed": verdict == "holds", "detail": words, "verdict": verdict}


def _compared(value: float | None, record: Mapping[str, Any]) -> float | None:
    """A record's value, or one of its samples, as claims compare it: JSON has no infinite ones."""
    return math.inf if value is None and record.get("metric") == MEDIAN else value


def _without_errors(test: Callable[[Mapping[Key, float]], object], values: Mapping[Key, float], found: Found) -> str:
    """Says of how many of the numbers that a test looks at no standard error is known, where it is not of none."""
    looked = _Looked(values)
    test(looked)
    records = [found[key] for key in looked.at]
    bare = sum("stderr" in own and own["stderr"] is None and own.get("metric") != COUNT for own in records)
    if not bare:
        return ""
    return f"; no error{'s are known' if bare == len(records) else f' is known of {bare} of {len(records)} numbers'}"


class _Looked(dict[Key, float]):
    """Values that know which of them were looked at."""

    def __init__(self, values: Mapping[Key, float]) -> None:
        super().__init__(values)
        self.at = set[Key]()

    def __getitem__(self, key: Key) -> float:
        self.at.add(key)
        return super().__getitem__(key)


def _by_seed(found: Found) -> list[dict[Key, float]]:
    """The values of each seed; none where a number is of one training alone."""
    samples = {key: [_compared(own, record) for own in record.get("samples", ())] for key, record in found.items()}
    counts = {len(own) for own in samples.values()}
    if len(counts) != 1:
        return []
    return [{key: value for key, own in samples.items() if (value := own[i]) is not None} for i in range(counts.pop())]


@dataclass(frozen=True)
class Study:
    """One table or figure of a paper.

    Attributes:
        scales: by name: makes the grid for the seed of the run.
        ours: the claims are not a paper's.
        decayed: the study with this weight decay in its hardenings; None: it is not one in which the paper and its code
            differ in that.
    """

    name: str
    title: str
    scales: Mapping[str, Callable[[int], Scale]]
    claims: tuple[Check, ...] = ()
    published: Mapping[Key, Mapping[str, float]] = field(default_factory=dict)
    note: str = ""
    ours: bool = False
    decayed: "Callable[[float], Study] | None" = None

    def at(self, scale: str, seed: int = 0) -> Scale:
        """The study at a scale. Raises `InputError` for an unknown one."""
        if scale not in self.scales:
            raise unknown("scale", scale, self.scales)
        return self.scales[scale](seed)


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings as a list of words."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())
