"""Runs a study: cell by cell, resumable, then the table beside the published one and the claims."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from weatherproof.progress import phase
from weatherproof.reports import save_certificates, write_report
from weatherproof.reports.attack.panels import save_panels
from weatherproof.reports.study.front import save_front
from weatherproof.reports.study.table import Number, StudyTable, save_study
from weatherproof.studies import front
from weatherproof.studies.attack_cells import AttackScale, certificate_lines
from weatherproof.studies.attack_workshop import AttackWorkshop
from weatherproof.studies.attacks import panels
from weatherproof.studies.fcl_cells import FclScale
from weatherproof.studies.fcl_maps import CORRELATION, COUNT, IDENTITY
from weatherproof.studies.fcl_pictures import save_pictures
from weatherproof.studies.fcl_workshop import FclWorkshop
from weatherproof.studies.paired import PairedClaim
from weatherproof.studies.pretraining_workshop import PretrainingWorkshop
from weatherproof.studies.scales import AnyScale, scale_of
from weatherproof.studies.study import Key, Scale, Study
from weatherproof.studies.transfer_cells import TransferScale
from weatherproof.studies.transfer_workshop import TransferWorkshop
from weatherproof.studies.workshop import Workshop
from weatherproof.texts import read_json
from weatherproof.training import RunFolder

_NO_SHARES = (CORRELATION, COUNT, IDENTITY, "median_perturbation")  # metrics that are not told in hundredths


def run_study(
    study: Study, scale_name: str, run: RunFolder, *, store: Path, data: str | None, seed: int, device: torch.device
) -> None:
    """Measure every cell into the run folder: results.json, checks.json, table.md, report.html.

    Cells that are measured already (cells.json) are not measured again.
    """
    scale = scale_of(study.name, scale_name)
    workshop: Any = _workshop(scale)(scale, store, data=data, seed=seed, device=device)
    done = _done(run)
    with phase(study.name, len(study.cells), "cells", done=len(done)) as meter:
        for (row, column), cell in study.cells.items():
            key = f"{row} | {column}"
            if key not in done:
                meter.note = f"{row}, {column}"
                record = workshop.measure(cell)
                done[key] = None if record is None else record.to_dict()
                run.write_json("cells.json", done)
                said = "not at this scale" if record is None else f"{record.value:.4g}"
                print(f"{study.name}  {row}  {column}: {said}", file=sys.stderr, flush=True)
                meter.advance()
    found: dict[Key, dict[str, Any]] = {k: v for k in study.cells if (v := done[f"{k[0]} | {k[1]}"]) is not None}
    checks = _checks(study, found)
    more = workshop.facts(study.cells.values()) if isinstance(workshop, FclWorkshop | TransferWorkshop) else {}
    run.write_text("table.md", table(study, scale, found, checks, run.recipe, more))
    run.write_json("checks.json", checks)
    save_study(run.path, shown_of(study, scale, found, run.recipe, more))
    if isinstance(workshop, FclWorkshop):
        save_pictures(workshop, study.name, run.path)
    elif isinstance(workshop, AttackWorkshop | TransferWorkshop):
        save_certificates(run.path, workshop.certificates(study.cells.values()))
    if isinstance(workshop, AttackWorkshop):
        save_panels(run.path, panels(workshop.scale.attacks))
    if study.name == front.NAME:
        save_front(run.path, front.combinations(found))
    run.write_json("results.json", {"records": list(found.values())})  # last: with it the run is finished
    write_report(run.path)


def _workshop(scale: AnyScale) -> Any:
    made = {Scale: Workshop, FclScale: FclWorkshop, AttackScale: AttackWorkshop, TransferScale: TransferWorkshop}
    return made.get(type(scale), PretrainingWorkshop)


def _checks(study: Study, found: Mapping[Key, Mapping[str, Any]]) -> list[dict[str, Any]]:
    values = {key: record["value"] for key, record in found.items()}
    samples = {key: record["samples"] for key, record in found.items() if "samples" in record}
    return [claim.check(samples if isinstance(claim, PairedClaim) else values) for claim in study.claims]


def _done(run: RunFolder) -> dict[str, Any]:
    file = run.path / "cells.json"
    return read_json(file) if file.is_file() else {}


def table(
    study: Study,
    scale: AnyScale,
    found: Mapping[Key, Mapping[str, Any]],
    checks: list[dict[str, Any]],
    recipe: Mapping[str, Any],
    more: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The grid as Markdown: each cell ours, with the published number in brackets; the claims; the protocol.

    Args:
        more: facts of the protocol that the scale does not know.
    """
    shown = shown_of(study, scale, found, recipe, more)
    lines = [f"# {study.title}", "", f"Scale: {scale.name}. {scale.note}", ""]
    lines += [f"{study.note}", ""] if study.note else []
    lines += ["In brackets: the published number, of another scale and data set.", ""] if study.published else []
    lines += ["| | " + " | ".join(shown.columns) + " |", "|---" * (len(shown.columns) + 1) + "|"]
    lines += [f"| {row} | {' | '.join(map(_text, numbers))} |" for row, numbers in shown.rows]
    lines += ["", f"| {'claim of ours' if study.ours else 'claim of the paper'} | here |", "|---|---|"]
    lines += [f"| {c['claim']} | {_verdict(c)} ({c['detail']}) |" for c in checks]
    lines += certificate_lines(found.values())
    facts = [f"- {name}: {text}" for name, text in shown.facts]
    return "\n".join([*lines, "", "## How it was measured", "", *facts]) + "\n"


def shown_of(
    study: Study,
    scale: AnyScale,
    found: Mapping[Key, Mapping[str, Any]],
    recipe: Mapping[str, Any],
    more: Mapping[str, str] = MappingProxyType({}),
) -> StudyTable:
    """The grid in words, without rows and columns of which nothing was measured. Arguments as for `table`."""
    columns, rows = (list(dict.fromkeys(key[side] for key in study.cells)) for side in (1, 0))
    columns = [c for c in columns if any((r, c) in found for r in rows)]
    return StudyTable(
        title=study.title,
        scale=scale.name,
        notes=tuple(filter(None, (scale.note, study.note))),
        columns=tuple(columns),
        rows=tuple(
            (r, tuple(_number(found.get((r, c)), study.published.get((r, c))) for c in columns))
            for r in rows
            if any((r, c) in found for c in columns)
        ),
        facts=(*_protocol(study, scale, found, recipe), *more.items()),
    )


def _text(number: Number | None) -> str:
    if number is None:
        return "-"
    error = f" ± {number.error}" if number.error else ""
    theirs = f" ({number.published})" if number.published else ""
    return f"{number.text}{error}{theirs}{' †' if number.doubted else ''}"


def _verdict(check: Mapping[str, Any]) -> str:
    nothing = "not measured" if check["detail"].startswith("0 of 0") else "does not hold"
    return str(check.get("verdict") or ("holds" if check["passed"] else nothing))


def _protocol(
    study: Study, scale: AnyScale, found: Mapping[Key, Mapping[str, Any]], recipe: Mapping[str, Any]
) -> list[tuple[str, str]]:
    images = sorted({(str(r["data"]), r["images"]) for r in found.values() if r.get("metric") != COUNT})
    facts = {
        "command": f"`weatherproof reproduce {study.name} --scale {scale.name} --seed {recipe.get('seed', 0)}`",
        "machine": ", ".join(f"{k} {v}" for k, v in recipe.get("hardware", {}).items()),
        "versions": ", ".join(f"{k} {v}" for k, v in recipe.get("versions", {}).items()),
        "test images": ", ".join(f"{n:,} of {data}" for data, n in images),
        "±": _spread(list(found.values())),
        **scale.facts(study.cells.values()),
    }
    return [(name, text) for name, text in facts.items() if text]


def _spread(records: Sequence[Mapping[str, Any]]) -> str:
    """What the standard errors are over."""
    trainings = max((len(r.get("samples", ())) for r in records), default=0)
    if trainings:
        return f"standard error over {trainings} training seeds; the damage is the same in all"
    draws = max((r["realizations"] for r in records), default=0)
    return f"standard error over {f'{draws} draws of the damage' if draws > 1 else 'the images'}; one training seed"


def _number(record: Mapping[str, Any] | None, published: Mapping[str, float] | None) -> Number | None:
    if record is None:
        return None
    value, error = record["value"], record["stderr"]
    if value is None:
        return Number("∞" if record.get("metric") == "median_perturbation" else "n/a")
    scale, form = (1, _digits(value)) if record.get("metric") in _NO_SHARES else (100, ".2f")
    return Number(
        text=f"{scale * value:{form}}",
        error=f"{scale * error:{form}}" if error is not None else "",
        published=f"{scale * published['value']:{form}}" if published else "",
        doubted=bool(record.get("certificate")),
    )


def _digits(value: float) -> str:
    """The format of a number that is no share."""
    return ",.0f" if abs(value) >= 10 else ".3f" if abs(value) >= 1e-3 or not value else ".1e"
