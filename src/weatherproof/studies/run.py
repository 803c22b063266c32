"""Runs a study: cell by cell, resumable, then the table beside the published one and the claims."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from weatherproof.reports import write_report
from weatherproof.studies.pretraining_workshop import PretrainingWorkshop
from weatherproof.studies.scales import AnyScale, scale_of
from weatherproof.studies.study import Key, Scale, Study
from weatherproof.studies.workshop import Workshop
from weatherproof.training import RunFolder


def run_study(
    study: Study, scale_name: str, run: RunFolder, *, store: Path, data: str | None, seed: int, device: torch.device
) -> None:
    """Measure every cell into the run folder: results.json, checks.json, table.md, report.html.

    Cells that are measured already (cells.json) are not measured again.
    """
    scale = scale_of(study.name, scale_name)
    make = Workshop if isinstance(scale, Scale) else PretrainingWorkshop
    workshop: Any = make(scale, store, data=data, seed=seed, device=device)  # type: ignore[arg-type]
    done = _done(run)
    for (row, column), cell in study.cells.items():
        key = f"{row} | {column}"
        if key not in done:
            record = workshop.measure(cell)
            done[key] = None if record is None else record.to_dict()
            run.write_json("cells.json", done)
            said = "not at this scale" if record is None else f"{record.value:.4f}"
            print(f"{study.name}  {row}  {column}: {said}", file=sys.stderr, flush=True)
    found: dict[Key, dict[str, Any]] = {k: v for k in study.cells if (v := done[f"{k[0]} | {k[1]}"]) is not None}
    checks = [claim.check({key: record["value"] for key, record in found.items()}) for claim in study.claims]
    run.write_text("table.md", table(study, scale, found, checks, run.recipe))
    run.write_json("checks.json", checks)
    run.write_json("results.json", {"records": list(found.values())})
    write_report(run.path)


def _done(run: RunFolder) -> dict[str, Any]:
    file = run.path / "cells.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def table(
    study: Study,
    scale: AnyScale,
    found: Mapping[Key, Mapping[str, Any]],
    checks: list[dict[str, Any]],
    recipe: Mapping[str, Any],
) -> str:
    """The grid as Markdown: each cell ours, with the published number in brackets; the claims; the protocol."""
    columns = list(dict.fromkeys(column for _, column in study.cells))
    rows = list(dict.fromkeys(row for row, _ in study.cells))
    columns = [c for c in columns if any((r, c) in found for r in rows)]
    lines = [f"# {study.title}", "", f"Scale: {scale.name}. {scale.note}", ""]
    lines += [f"{study.note}", ""] if study.note else []
    lines += ["In brackets: the published number, of another scale and data set.", ""] if study.published else []
    lines += ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        cells = [_cell(found.get((row, c)), study.published.get((row, c))) for c in columns]
        if any(c != "-" for c in cells):
            lines.append(f"| {row} | " + " | ".join(cells) + " |")
    lines += ["", "| claim of the paper | here |", "|---|---|"]
    lines += [f"| {c['claim']} | {'holds' if c['passed'] else 'does not hold'} ({c['detail']}) |" for c in checks]
    return "\n".join([*lines, "", "## How it was measured", "", *_protocol(study, scale, found, recipe)]) + "\n"


def _protocol(
    study: Study, scale: AnyScale, found: Mapping[Key, Mapping[str, Any]], recipe: Mapping[str, Any]
) -> list[str]:
    images = sorted({(str(r["data"]), r["images"]) for r in found.values()})
    draws = max((r["realizations"] for r in found.values()), default=0)
    facts = {
        "command": f"`weatherproof reproduce {study.name} --scale {scale.name} --seed {recipe.get('seed', 0)}`",
        "machine": ", ".join(f"{k} {v}" for k, v in recipe.get("hardware", {}).items()),
        "versions": ", ".join(f"{k} {v}" for k, v in recipe.get("versions", {}).items()),
        "test images": ", ".join(f"{n:,} of {data}" for data, n in images),
        "±": f"standard error over {f'{draws} draws of the damage' if draws > 1 else 'the images'}; one training seed",
        **scale.facts(study.cells.values()),
    }
    return [f"- {name}: {text}" for name, text in facts.items() if text]


def _cell(record: Mapping[str, Any] | None, published: Mapping[str, float] | None) -> str:
    if record is None:
        return "-"
    error = f" ± {100 * record['stderr']:.2f}" if record["stderr"] is not None else ""
    theirs = f" ({100 * published['value']:.2f})" if published else ""
    return f"{100 * record['value']:.2f}{error}{theirs}"
