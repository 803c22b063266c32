"""One self-contained HTML page, for a run or for several side by side."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from weatherproof.errors import InputError
from weatherproof.files import write_atomically
from weatherproof.names import shell_word
from weatherproof.progress import phase
from weatherproof.reports import details
from weatherproof.reports.attack.part import AttackPart, attack_part, split_attacks
from weatherproof.reports.comparison import comparable, distinctly_named
from weatherproof.reports.drawing.charts import draw, marker, swatch
from weatherproof.reports.files import Run, read_run
from weatherproof.reports.reliability import reliability_charts
from weatherproof.reports.study.front import draw_front, read_front
from weatherproof.reports.study.table import claims_words, read_study
from weatherproof.reports.suite.part import SuitePart, suite_parts
from weatherproof.reports.suite.scatter import draw_scatter
from weatherproof.reports.suite.subjects import alike, split
from weatherproof.reports.suite.verdict import headline, suite_verdict
from weatherproof.reports.tables import Table, make_tables
from weatherproof.reports.training import curves
from weatherproof.reports.training.curves import Charts, Palette
from weatherproof.reports.training.gallery import read_examples
from weatherproof.reports.training.looks import read_views
from weatherproof.reports.training.neighbours import read_neighbours
from weatherproof.reports.training.plane import draw_class, draw_map, read_map
from weatherproof.reports.training.search import read_search
from weatherproof.reports.training.strip import read_strip
from weatherproof.reports.utility.curve import draw_utility_curve
from weatherproof.reports.utility.part import read_utility
from weatherproof.reports.verdict import Verdict
from weatherproof.reports.words import records as words
from weatherproof.reports.words.attacks import attack_words

HASHES = 6  # protocols named in a sentence; where there are more, the table of all numbers has them
SECONDARY = frozenset({"top5", "recall@5", "error", "ece"})  # folded away: they say the same as their relatives


@dataclass(frozen=True)
class Part:
    """The tables and charts of records that may stand side by side."""

    heading: str
    note: str
    tables: tuple[Table, ...]
    more_tables: tuple[Table, ...]
    severity: Charts
    labels: Charts
    suites: tuple[SuitePart, ...] = ()
    attacks: AttackPart | None = None
    reliability: Charts = field(default_factory=lambda: Charts((), ()))
    notes: tuple[str, ...] = ()


@phase("drawing the page")
def write_report(run_folder: Path | str) -> Path:
    """Make `report.html` of a finished run from the files in its folder, and return where it is.

    Raises:
        InputError: the folder is not a finished run, or a file in it cannot be read; one line says which.
    """
    run = read_run(run_folder)
    palette, front, study = Palette(run.records), read_front(run.path), read_study(run.path)
    planned = _planned([run], "")
    part = _part("", "", run.records, palette, notes=run.notes, planned=planned, runs=[run])
    verdict = headline(run.records, planned, run.recipe.get("operator"))
    if part.attacks is not None:
        verdict = replace(verdict, beside=(*verdict.beside, *part.attacks.sentences))
    if study is not None:
        doubts = part.attacks.sentences if part.attacks is not None else ()
        verdict = Verdict(study.title, tuple(filter(None, (claims_words(study, run.checks), *doubts))), "", ())
        own = None if part.attacks is None else replace(part.attacks, tables=(), further=())
        part = replace(part, tables=(), more_tables=(), suites=(), attacks=own)  # the study's own table has them
    if front is not None:
        verdict = replace(verdict, sentence=front.sentence)
    page = _render(
        title=f"{run.recipe.get('verb', 'run')} · {run.name}",
        name=run.name,
        kind=str(run.recipe.get("verb", "run")),
        verdict=verdict,
        done=details.done(run),
        parts=[] if front else [part],
        study=study,
        palette=palette,
        strip=read_strip(run.path),
        examples=read_examples(run),
        views=read_views(run.path),
        neighbours=read_neighbours(run.path),
        plane=read_map(run.path),
        front=front,
        utility=read_utility(run.path),
        search=read_search(run.path),
        training=curves.training_charts(run.logs),
        training_facts=details.training_facts(run.logs),
        watched=Charts((), ()),
        checks=run.checks,
        runs=[run],
        next_steps=_next_steps(run),
    )
    return write_atomically(run.path / "report.html", page)


def write_comparison(run_folders: Iterable[Path | str], out: Path | str) -> Path:
    """Put several runs on one page at `out` (an .html file, or a folder in which comparison.html is made).

    Runs share a table only where every condition that both measured has the same protocol hash; the page says so where
    they do not.

    Raises:
        InputError: fewer than two runs, or one that is not finished.
    """
    runs = distinctly_named([read_run(folder) for folder in run_folders])
    if len(runs) < 2:
        raise InputError(f"a comparison needs at least two run folders, got {len(runs)}: name another one")
    records = [record for run in runs for record in run.records]
    palette = Palette(records)
    groups = comparable(runs)
    parts = []
    for i, group in enumerate(groups, 1):
        heading = "" if len(groups) == 1 else f"Group {i}: {', '.join(run.name for run in group)}"
        note = "" if len(groups) == 1 else _how_measured(group)
        own = [record for run in group for record in run.records]
        columns = ("model", "readout", "run")
        parts.append(_part(heading, note, own, palette, columns, _notes(group), _planned(group), group))
    page = _render(
        title=f"comparison of {len(runs)} runs",
        name=", ".join(run.name for run in runs),
        kind="comparison",
        verdict=_comparison_verdict(runs, groups),
        done=[],
        parts=parts,
        study=None,
        palette=palette,
        strip=None,
        examples=[],
        views=None,
        neighbours=None,
        plane=None,
        front=None,
        utility=None,
        search=None,
        training=[],
        training_facts=[],
        watched=curves.watched_charts([(run.name, run.logs.get("", [])) for run in runs]),
        checks=[{**check, "claim": f"{run.name}: {check.get('claim')}"} for run in runs for check in run.checks],
        runs=runs,
        next_steps=[],
    )
    target = Path(out)
    return write_atomically(target if target.suffix == ".html" else target / "comparison.html", page)


def _how_measured(group: Sequence[Run]) -> str:
    records = [record for run in group for record in run.records]
    hashes = list(dict.fromkeys(str(r.get("protocol")) for r in records))
    said = f"Protocol {', '.join(hashes)}." if len(hashes) <= HASHES else f"{len(hashes)} protocols, listed below."
    return f"{details.measured_on(records)} {said}"


def _planned(runs: Sequence[Run], name: str | None = None) -> dict[str, str]:
    """By the name that records call a run, the suite that was asked for."""
    return {run.name if name is None else name: str(run.recipe["suite"]) for run in runs if run.recipe.get("suite")}


def _notes(group: Sequence[Run]) -> list[str]:
    """The notes of all runs; one that not every run has, with the names of those that do."""
    owners: dict[str, list[str]] = {}
    for run in group:
        for note in dict.fromkeys(run.notes):
            owners.setdefault(note, []).append(run.name)
    return [note if len(names) == len(group) else f"{', '.join(names)}: {note}" for note, names in owners.items()]


def _comparison_verdict(runs: Sequence[Run], groups: Sequence[Sequence[Run]]) -> Verdict:
    if len(groups) == 1:
        sentence = f"{len(runs)} runs, measured in the same way."
        beside: tuple[str, ...] = ("Their numbers stand side by side in one table per metric.",)
    else:
        sentence = f"{len(runs)} runs, measured in {len(groups)} different ways."
        beside = (
            "Numbers within a group can be compared. Numbers of different groups cannot: their protocols differ, so "
            "they are not put in one table.",
        )
    subjects, _ = split([record for run in runs for record in run.records], _planned(runs))
    if len(groups) == len(alike(subjects)) == 1:
        suite = suite_verdict(subjects)
        return replace(suite, beside=(sentence, *suite.beside))
    own = tuple(
        f"{run.name}: {headline(run.records, _planned([run]), run.recipe.get('operator')).sentence}" for run in runs
    )
    return Verdict(sentence, (*beside, *own), "", ())


def _part(
    heading: str,
    note: str,
    records: Sequence[Mapping[str, Any]],
    palette: Palette,
    columns: tuple[str, ...] = ("model", "readout"),
    notes: Sequence[str] = (),
    planned: Mapping[str, str] | None = None,
    runs: Sequence[Run] = (),
) -> Part:
    subjects, rest = split(split_attacks(records)[1], planned)
    tables = make_tables(rest, columns=columns)
    main = [t for t in tables if t.metric not in SECONDARY] or tables
    suites, attacks = suite_parts(subjects, notes), attack_part(runs, notes)
    return Part(
        heading=heading,
        note=note,
        tables=tuple(main),
        more_tables=tuple(t for t in tables if t not in main),
        severity=_without_secondary(curves.severity_charts(rest, palette)),
        labels=_without_secondary(curves.label_charts(rest, palette)),
        suites=suites,
        attacks=attacks,
        reliability=reliability_charts(runs),
        notes=() if suites or attacks else tuple(notes),  # beside the numbers that they are about, once
    )


def _without_secondary(charts: Charts) -> Charts:
    return replace(charts, charts=tuple(c for c in charts.charts if c.metric not in SECONDARY))


def _next_steps(run: Run) -> list[tuple[str, str]]:
    """(why, command) pairs; every part of a command is quoted for the shell."""
    folder, images = str(run.path), str(run.recipe.get("images") or "IMAGES")
    if not run.has_encoder:
        return []
    other = "RandomMask(0.5)" if "GaussianNoise" in str(run.recipe.get("operator")) else "GaussianNoise(0.3)"
    return [
        ("Measure it on damage it was not trained for", _command("audit", folder, images, "--operator", other)),
        ("Give it labels, a tenth of them", _command("probe", folder, images, "--labels", "0.1")),
        ("Set it beside another run", _command("compare", folder, "OTHER_RUN")),
    ]


def _command(*parts: str) -> str:
    return " ".join(["weatherproof", *map(shell_word, parts)])


def _loading(run: Run) -> str:
    return (
        f"import weatherproof as wp\nencoder = wp.load_encoder({str(run.path)!r})\n"
        "embeddings = encoder(images)  # float32 pixels in [0, 1], batch x channels x height x width"
    )


def _render(**context: Any) -> str:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = files("weatherproof.reports")
    environment = Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["units"] = lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")  # 84 % stays on one line
    environment.globals.update(
        draw=draw,
        draw_scatter=draw_scatter,
        draw_map=draw_map,
        draw_front=draw_front,
        draw_class=draw_class,
        draw_utility_curve=draw_utility_curve,
        swatch=swatch,
        marker=marker,
        model_words=words.model_words,
        attack_words=attack_words,
        metric_words=words.metric_words,
        record_columns=details.record_columns,
        record_rows=details.record_rows,
        facts=details.facts,
        loading=_loading,
        recipe_text=lambda run: yaml.safe_dump(dict(run.recipe), sort_keys=False, allow_unicode=True, width=100),
    )
    return environment.get_template("page.html.j2").render(**context)
