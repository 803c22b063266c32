"""Rerun a table or figure of the papers beside its published numbers."""

import os
from pathlib import Path
from typing import Literal

from weatherproof.errors import InputError, unknown
from weatherproof.studies import STUDIES, run_study
from weatherproof.training import RunFolder
from weatherproof.verbs.inputs import device_of
from weatherproof.verbs.outcome import Outcome, finished


def reproduce(
    study: str,
    *,
    scale: Literal["smoke", "desk", "paper"] = "smoke",
    data: str | None = None,
    device: str = "auto",
    store: Path | None = None,
    out: Path | None = None,
    seed: int = 0,
) -> Outcome:
    """Rerun a table or figure of the papers and put the numbers beside the published ones, the claims as checks.

    Args:
        study: table-1, figure-4, ...; "list" shows all of them.
        scale: smoke (seconds, shows that it runs), desk (two CPU cores, at most 40 minutes), paper (as published, GPUs).
        data: the folder that $DATA stands for in the study's settings; by default the variable WEATHERPROOF_DATA.
        device: auto, cpu or cuda.
        store: where trained encoders are kept, shared by the studies of one scale; by default runs/store-SCALE.
        out: the run folder; by default runs/STUDY-SCALE.
        seed: of every random draw.
    """
    if study == "list":
        raise InputError("studies: " + "; ".join(f"{s.name} ({s.title})" for s in STUDIES.values()))
    if study not in STUDIES:
        raise unknown("study", study, STUDIES)
    recipe = {"verb": "reproduce", "study": study, "scale": scale, "seed": seed}
    run = RunFolder.open(out or Path("runs") / f"{study}-{scale}", recipe)
    if run.finished:
        return finished(run, "this study is finished already: nothing was done")
    run_study(
        STUDIES[study], scale, run, store=store or Path("runs") / f"store-{scale}",
        data=data or os.environ.get("WEATHERPROOF_DATA"), seed=seed, device=device_of(device),
    )  # fmt: skip
    return finished(run, f"the table beside the published numbers: {run.path / 'table.md'}")
