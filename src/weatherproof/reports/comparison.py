"""Which runs may stand in one table: those that measured alike; and what a page of several runs says first."""

from collections.abc import Sequence
from dataclasses import replace

from weatherproof.reports.details import measured_on
from weatherproof.reports.files import Run
from weatherproof.reports.group import Group
from weatherproof.reports.suite.records import is_cell, is_mean, is_total
from weatherproof.reports.suite.subjects import alike, grouped, split
from weatherproof.reports.suite.verdict import headline, suite_verdict
from weatherproof.reports.tables import CONDITION
from weatherproof.reports.verdict import Verdict

HASHES = 6  # protocols named in a sentence; where there are more, the table of all numbers has them
OWN = frozenset({"alignment"})  # of two views of the family that the run was trained with, whichever that is


def distinct(names: Sequence[str]) -> list[str]:
    """Those that are there more than once with their place behind them."""
    return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names, 1)]


def distinctly_named(runs: Sequence[Run]) -> list[Run]:
    """Runs with names that no other run of the page has; their records carry them as "run"."""
    names = distinct([run.name for run in runs])
    return [
        replace(run, name=name, records=[{**record, "run": name} for record in run.records])
        for run, name in zip(runs, names, strict=True)
    ]


def groups_of(whole: Group) -> list[Group]:
    """The page's runs, those together that measured alike."""
    found = [tuple(runs) for runs in grouped(whole.runs, _alike)]
    if len(found) == 1:
        return [replace(whole, runs=found[0])]
    return [
        replace(whole, runs=runs, heading=f"Group {i}: {', '.join(run.name for run in runs)}", note=_how_measured(runs))
        for i, runs in enumerate(found, 1)
    ]


def _alike(a: Run, b: Run) -> bool:
    """Whether the conditions that both measured, at least one, carry the same protocol hashes."""
    mine, theirs = _protocols(a), _protocols(b)
    shared = mine.keys() & theirs.keys()
    return bool(shared) and all(mine[key] == theirs[key] for key in shared)


def _protocols(run: Run) -> dict[tuple[str, ...], set[str]]:
    """The hashes under each condition. A corruption is known by its name and severity, so that another operator behind
    them (glass that swaps, frost from photographs) counts as another protocol. Means over a suite are left out: they
    are alike where what they are made from is, and tables keep unlike ones apart by their own hashes. So is what every
    run measures in a way of its own."""
    found: dict[tuple[str, ...], set[str]] = {}
    for record in run.records:
        if is_total(record) or is_mean(record) or record["metric"] in OWN:
            continue
        names = [n for n in CONDITION if not (n == "operator" and is_cell(record))]
        key = ("suite" if is_cell(record) else "", *(str(record.get(n)) for n in ("metric", "data", *names)))
        found.setdefault(key, set()).add(str(record.get("protocol")))
    return found


def _how_measured(runs: Sequence[Run]) -> str:
    records = [record for run in runs for record in run.records]
    hashes = list(dict.fromkeys(str(r.get("protocol")) for r in records))
    sentence = f"Protocol {', '.join(hashes)}." if len(hashes) <= HASHES else f"{len(hashes)} protocols, listed below."
    return f"{measured_on(records)} {sentence}"


def comparison_verdict(whole: Group, groups: Sequence[Group]) -> Verdict:
    """What the page says first: that of the suite where all runs measured it alike, else how they were measured and
    the sentence of each."""
    runs = whole.runs
    if len(groups) == 1:
        sentence = f"{len(runs)} runs, measured in the same way."
        beside: tuple[str, ...] = ("Their numbers stand side by side in one table per metric.",)
    else:
        sentence = f"{len(runs)} runs, measured in {len(groups)} different ways."
        beside = (
            "Numbers within a group can be compared. Numbers of different groups cannot: their protocols differ, so "
            "they are not put in one table.",
        )
    subjects, _ = split(whole.records, whole.planned)
    if len(groups) == len(alike(subjects)) == 1:
        suite = suite_verdict(subjects)
        return replace(suite, beside=(sentence, *suite.beside))
    own = tuple(
        f"{run.name}: {headline(run.records, replace(whole, runs=(run,)).planned, run.recipe.get('operator')).sentence}"
        for run in runs
    )
    return Verdict(sentence, (*beside, *own), "", ())
