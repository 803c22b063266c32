"""One self-contained HTML page, for a run or for several side by side."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from weatherproof.errors import InputError
from weatherproof.reports import curves, words
from weatherproof.reports.charts import draw, swatch
from weatherproof.reports.comparison import comparable, distinctly_named
from weatherproof.reports.curves import Charts, Palette
from weatherproof.reports.files import Run, read_run, write_atomically
from weatherproof.reports.gallery import read_examples
from weatherproof.reports.tables import Table, make_tables
from weatherproof.reports.verdict import Verdict, make_verdict

SECONDARY = frozenset({"top5", "recall@5"})  # folded away: they say the same as their first-place relatives
FACTS = ("versions", "hardware")  # parts of a recipe that get their own table
RECORD_COLUMNS = (
    *("metric", "value", "stderr", "model", "readout", "label_fraction", "condition", "data", "images"),
    *("realizations", "seeds", "trained_on", "protocol"),
)


@dataclass(frozen=True)
class Part:
    """The tables and charts of records that may stand side by side."""

    heading: str
    note: str
    tables: tuple[Table, ...]
    more_tables: tuple[Table, ...]
    severity: Charts
    labels: Charts


def write_report(run_folder: Path | str) -> Path:
    """Make `report.html` of a finished run from the files in its folder, and return where it is.

    Raises:
        InputError: the folder is not a finished run, or a file in it cannot be read; one line says which.
    """
    run = read_run(run_folder)
    verdict = make_verdict(run.records)
    palette = Palette(run.records)
    page = _render(
        title=f"{run.recipe.get('verb', 'run')} · {run.name}",
        name=run.name,
        kind=str(run.recipe.get("verb", "run")),
        verdict=verdict,
        done=_done(run),
        parts=[_part("", "", run.records, palette)],
        palette=palette,
        examples=read_examples(run),
        training=curves.training_charts(run.logs),
        training_facts=_training_facts(run.logs),
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
        parts.append(_part(heading, note, own, palette, ("model", "readout", "run")))
    page = _render(
        title=f"comparison of {len(runs)} runs",
        name=", ".join(run.name for run in runs),
        kind="comparison",
        verdict=_comparison_verdict(runs, groups),
        done=[],
        parts=parts,
        palette=palette,
        examples=[],
        training=[],
        training_facts=[],
        checks=[{**check, "claim": f"{run.name}: {check.get('claim')}"} for run in runs for check in run.checks],
        runs=runs,
        next_steps=[],
    )
    target = Path(out)
    return write_atomically(target if target.suffix == ".html" else target / "comparison.html", page)


def _how_measured(group: Sequence[Run]) -> str:
    records = [record for run in group for record in run.records]
    hashes = list(dict.fromkeys(str(r.get("protocol")) for r in records))
    return f"{_measured_on(records)} Protocol {', '.join(hashes)}."


def _measured_on(records: Sequence[Mapping[str, Any]]) -> str:
    sets = dict.fromkeys((str(r.get("data")), r.get("images")) for r in records)
    images = " and ".join(f"{n:,} images of {data}" if isinstance(n, int) else data for data, n in sets)
    draws = max((r.get("realizations") or 1 for r in records), default=1)
    seeds = max((len(r.get("seeds") or [0]) for r in records), default=1)
    drawn = f" Damage was drawn {draws} times for every image" if draws > 1 else ""
    if seeds > 1:
        drawn = f" Everything was repeated with {seeds} seeds{drawn and ';' + drawn.lower()}; ± is over the seeds."
    elif drawn:
        drawn += "; ± is the standard error over these draws."
    return f"Measured on {images}.{drawn}"


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
    own = tuple(f"{run.name}: {make_verdict(run.records).sentence}" for run in runs)
    return Verdict(sentence, (*beside, *own), "", ())


def _part(
    heading: str,
    note: str,
    records: Sequence[Mapping[str, Any]],
    palette: Palette,
    columns: tuple[str, ...] = ("model", "readout"),
) -> Part:
    tables = make_tables(records, columns=columns)
    main = [t for t in tables if t.metric not in SECONDARY] or tables
    return Part(
        heading=heading,
        note=note,
        tables=tuple(main),
        more_tables=tuple(t for t in tables if t not in main),
        severity=_without_secondary(curves.severity_charts(records, palette)),
        labels=_without_secondary(curves.label_charts(records, palette)),
    )


def _without_secondary(charts: Charts) -> Charts:
    return replace(charts, charts=tuple(c for c in charts.charts if c.metric not in SECONDARY))


def _done(run: Run) -> list[str]:
    """What was done, from the recipe: plain sentences, without a setting that is not there."""
    recipe = run.recipe
    encoder, images = (str(recipe.get(key) or f"the given {key}") for key in ("encoder", "images"))
    said = []
    if recipe.get("verb") in ("harden", "demo") and recipe.get("operator"):
        damage = words.operator_words(str(recipe["operator"]))
        said.append(
            f"A copy of {encoder} learned to give, for an image with {damage}, the embedding that the original gives "
            f"for the clean image. It saw the images of {images} without their labels."
        )
    else:
        said.append(f"weatherproof {recipe.get('verb', 'run')} with {encoder} on {images}.")
    keys = [key for key in ("objective", "epochs", "batch_size", "lr", "seed") if recipe.get(key) is not None]
    settings = [f"{'learning rate' if key == 'lr' else key.replace('_', ' ')} {recipe[key]}" for key in keys]
    if settings:
        said.append(f"Settings: {', '.join(settings)}.")
    said.append(_measured_on(run.records))
    return said


def _training_facts(logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    said = []
    for name, lines in logs.items():
        if not lines:
            continue
        last = lines[-1]
        parts = [f"{last['step']:,} steps" if isinstance(last.get("step"), int) else ""]
        parts.append(f"{last['epoch']:.3g} epochs" if not words.missing(last.get("epoch")) else "")
        parts.append(f"last loss {last['loss']:.4g}" if not words.missing(last.get("loss")) else "")
        rates = sorted(r["images_per_second"] for r in lines if not words.missing(r.get("images_per_second")))
        parts.append(f"{rates[len(rates) // 2]:,.0f} images per second" if rates else "")
        said.append((f"{name}: " if name else "") + ", ".join(part for part in parts if part))
    return said


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
    return " ".join(["weatherproof", *(shlex.quote(part) for part in parts)])


def _loading(run: Run) -> str:
    return (
        f"import weatherproof as wp\nencoder = wp.load_encoder({str(run.path)!r})\n"
        "embeddings = encoder(images)  # float32 pixels in [0, 1], batch x channels x height x width"
    )


def _facts(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """Versions and hardware as rows of names and values."""
    made = []
    for name in FACTS:
        found = run.recipe.get(name)
        if isinstance(found, dict):
            made.append((name, [(str(k).replace("_", " "), str(v)) for k, v in found.items()]))
        elif found:
            made.append((name, [(name, str(found))]))
    return made


def _record_rows(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [[_record_text(record, key) for key in _record_columns(records)] for record in records]


def _record_columns(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns in which any record has something, known ones first, then whatever else was recorded."""
    known = [*(["run"] if any("run" in r for r in records) else []), *RECORD_COLUMNS]
    hidden = {*known, "operator", "corruption", "severity", "attack"}
    others = [key for key in dict.fromkeys(key for r in records for key in r) if key not in hidden]
    return [k for k in [*known, *others] if k == "condition" or any(r.get(k) is not None for r in records)]


def _record_text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    if key == "condition":
        named = [str(record[k]) for k in ("operator", "corruption", "attack") if record.get(k)]
        severity = record.get("severity")
        return ", ".join(named + ([f"severity {severity}"] if severity is not None else [])) or "clean"
    if key in ("value", "stderr") and words.missing(value):
        return "" if value is None and key == "stderr" else "n/a"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _render(**context: Any) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["units"] = lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")  # 84 % stays on one line
    environment.globals.update(
        draw=draw,
        swatch=swatch,
        model_words=words.model_words,
        metric_words=words.metric_words,
        record_columns=_record_columns,
        record_rows=_record_rows,
        facts=_facts,
        loading=_loading,
        recipe_text=lambda run: yaml.safe_dump(dict(run.recipe), sort_keys=False, allow_unicode=True, width=100),
    )
    template = files("weatherproof.reports").joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(**context)
