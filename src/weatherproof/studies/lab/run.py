"""Runs a study: cell by cell, resumable, then the table beside the published one and the claims."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from weatherproof.progress import phase
from weatherproof.reports import write_report
from weatherproof.reports.parts import save_part
from weatherproof.reports.study.table import STUDY
from weatherproof.studies.lab.joins import at_seeds
from weatherproof.studies.lab.means import Means
from weatherproof.studies.lab.shares import Share
from weatherproof.studies.lab.store import Store, digest
from weatherproof.studies.lab.study import Found, Measurable, Scale, Study
from weatherproof.studies.lab.table import study_table, table
from weatherproof.texts import read_own
from weatherproof.training import RunFolder

_SECONDS = 1.0  # between two writings of all cells
CELLS, OF, _IMAGES = "cells.json", "cells-of.json", "images.json"


def run_study(
    study: Study, scale_name: str, run: RunFolder, *, store: Path, data: str | None, seed: int, device: torch.device,
    seeds: int = 1, means: Means | None = None, share: Share | None = None,
) -> None:  # fmt: skip
    """Measure every cell into the run folder: results.json, checks.json, table.md, report.html.

    Cells that are measured already (cells.json) are not measured again, but those that another version of the study
    measured otherwise (cells-of.json says what each was measured of, images.json what the sources of the images held).

    Args:
        seeds: runs of every number, from `seed` on.
        means: of the trainings.
        share: of the models; the store alone is filled with what is found of them, and there is no page.

    Raises:
        InputError: some were measured of other images than there are now.
    """
    scale = at_seeds(study, scale_name, seed, seeds)
    shelf = Store(store, data=data, device=device, means=means)
    require_same_images(run, shelf)
    if share is not None:
        share.fill(study.name, scale, shelf, run)
        return
    found = _measured(study, scale, run, shelf)
    checks = [claim.check(found) for claim in study.claims]
    shown = study_table(
        study, scale, found, run.recipe, {**_made_how(scale, found), **_trained_how(means), **scale.later_facts(shelf)}
    )
    run.write_text("table.md", table(study, scale, shown, found, checks))
    run.write_json("checks.json", checks)
    save_part(run.path, STUDY, shown)
    for write in scale.after:
        write(shelf, run.path, found)
    run.write_json("results.json", {"records": list(found.values())})  # last: with it the run is finished
    write_report(run.path)


def is_current(
    study: Study, scale_name: str, run: RunFolder, *, store: Path, data: str | None, seed: int, device: torch.device,
    seeds: int = 1, means: Means | None = None,
) -> bool:  # fmt: skip
    """Whether a finished run's cells are those that are asked for now, each measured of the same: of files of corrupted
    images that are not there any more, too.

    Raises:
        InputError: some were measured of other images than there are now.
    """
    scale, shelf = at_seeds(study, scale_name, seed, seeds), Store(store, data=data, device=device, means=means)
    require_same_images(run, shelf)
    of = read_own(file) if (file := run.path / OF).is_file() else {}
    asked = {f"{key[0]} | {key[1]}": own for key, own in scale.cells.items()}
    return of.keys() == asked.keys() and all(
        of[name] in (digest_of(own, shelf), digest_of(own, shelf, of_files=True)) for name, own in asked.items()
    )


def require_same_images(run: RunFolder, store: Store) -> None:
    """Raise `InputError` where numbers of the run are of other images than there are now."""
    store.require_same(run.path, _images(run))


def _images(run: RunFolder) -> dict[str, str]:
    """What the sources held of which the run has numbers."""
    file = run.path / _IMAGES
    return read_own(file) if file.is_file() else {}


def _made_how(scale: Scale, found: Found) -> dict[str, str]:
    """Which corrupted images were read from files, which were made on the fly."""
    read: dict[str, list[bool]] = {}
    for key, own in scale.cells.items():
        for files in {cell.files for cell in own.cells if cell.files} if own is not None and key in found else ():
            text = files.source.text
            read.setdefault(text, []).append(found[key]["data"] == text.partition(":")[0])
    return {
        f"corrupted images, {text}": "read from these files" if all(which) else "made on the fly, frost synthetic"
        + (f" ({sum(which)} of {len(which)} numbers are of the files)" if any(which) else "; there is no such folder")
        for text, which in read.items()
    }  # fmt: skip


def _trained_how(means: Means | None) -> dict[str, str]:
    return {"trainings": f"with `{means!r}`"} if means else {}


def _measured(study: Study, scale: Scale, run: RunFolder, store: Store) -> Found:
    """The records of all cells that have a number."""
    asked = {f"{key[0]} | {key[1]}": digest_of(own, store) for key, own in scale.cells.items()}
    done, wrote, unwritten = _done(run, asked), time.monotonic(), False
    for key, own in scale.cells.items():
        for part in () if own is None or " | ".join(key) in done else own.cells:
            part.check(store)
    with phase(study.name, len(scale.cells), "cells", done=len(done)) as meter:
        try:
            for (row, column), cell in scale.cells.items():
                name = f"{row} | {column}"
                if name in done:
                    continue
                meter.note = f"{row}, {column}"
                number = None if cell is None else cell.number(store)
                done[name] = None if number is None else number.to_dict()
                unwritten = True
                if time.monotonic() - wrote >= _SECONDS:
                    _write(run, done, asked, store)
                    wrote, unwritten = time.monotonic(), False
                said = "not at this scale" if number is None else f"{number.value:.4g}"
                print(f"{study.name}  {row}  {column}: {said}", file=sys.stderr, flush=True)
                meter.advance()
        finally:
            if unwritten:
                _write(run, done, asked, store)
    return {key: record for key in scale.cells if (record := done[f"{key[0]} | {key[1]}"]) is not None}


def digest_of(own: Measurable | None, store: Store, *, of_files: bool = False) -> str:
    """A digest of what a cell is measured of.

    Args:
        of_files: as if the files of corrupted images were there.
    """
    cells = () if own is None else own.cells
    marks = [mark for cell in cells if (mark := store.mark(cell.model))]
    images = [(of_files and cell.files) or cell.images(store) for cell in cells]
    return digest(repr([own, *images, *marks]))


def _write(run: RunFolder, done: Mapping[str, Any], asked: Mapping[str, str], store: Store) -> None:
    run.write_json(_IMAGES, _images(run) | store.contents)
    run.write_json(CELLS, done)
    run.write_json(OF, {key: asked[key] for key in done})


def _done(run: RunFolder, asked: Mapping[str, str]) -> dict[str, Any]:
    """The cells that were measured as they are asked for."""
    cells, of = (read_own(file) if (file := run.path / name).is_file() else {} for name in (CELLS, OF))
    same = {key: record for key, record in cells.items() if key in asked and of.get(key) == asked[key]}
    if len(same) < len(cells):
        other = f"{len(cells) - len(same)} of {len(cells)} cells of {run.path / CELLS}"
        print(f"{other} were measured with other settings or by another version: not taken", file=sys.stderr)
    return same
