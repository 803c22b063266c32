"""Rerun a table or figure of the papers beside its published numbers."""

import os
from pathlib import Path
from typing import Literal

from weatherproof.errors import InputError, unknown
from weatherproof.studies import STUDIES, run_study
from weatherproof.studies.papers.contrastive_inversion.tables import unseen_classes
from weatherproof.training import RunFolder
from weatherproof.verbs.inputs import device_of
from weatherproof.verbs.options import verb
from weatherproof.verbs.outcome import Listing, Outcome, finished


@verb()
def reproduce(
    study: str | None = None,
    *,
    list_: bool = False,
    scale: Literal["smoke", "desk", "paper"] = "smoke",
    data: str | None = None,
    device: str = "auto",
    store: str | Path | None = None,
    out: str | Path | None = None,
    seed: int = 0,
) -> Outcome | Listing:
    """Rerun a table or figure of the papers and put the numbers beside the published ones, the claims as checks.

    Args:
        study: table-1, figure-4, urrl-table-1, fcl-table-1, ... (table-3 shows which unseen class counts as which known
            one in figure-5).
        list_: show all studies and run none.
        scale: smoke (seconds, shows that it runs), desk (two CPU cores, at most an hour) or paper (as published, for
            GPUs).
        data: the folder that $DATA stands for in the study's settings; by default the variable WEATHERPROOF_DATA.
        device: auto, cpu or cuda.
        store: where trained encoders are kept, shared by the studies of one scale; by default runs/store-SCALE.
        out: the run folder; by default runs/STUDY-SCALE.
        seed: of every random draw.
    """
    if list_:
        return Listing(_all())
    if study == "table-3":  # not a measurement
        renamed = unseen_classes(scale)
        return Listing({old: f"is right as {new} (Table 3, the classes of figure-5)" for old, new in renamed.items()})
    if study is None:
        raise InputError("which study? weatherproof reproduce --list shows them all")
    if study not in STUDIES:
        raise unknown("study", study, STUDIES)
    where = device_of(device)
    recipe = {"verb": "reproduce", "study": study, "scale": scale, "seed": seed}
    run = RunFolder.open(out or f"runs/{study}-{scale}", recipe)
    if run.finished:
        return finished(run, "this study is finished already: nothing was done")
    try:
        run_study(
            STUDIES[study], scale, run, store=Path(store or f"runs/store-{scale}"),
            data=data or os.environ.get("WEATHERPROOF_DATA"), seed=seed, device=where,
        )  # fmt: skip
    except InputError:
        run.discard()
        raise
    return finished(run, f"the table beside the published numbers: {run.path / 'table.md'}")


def _all() -> dict[str, str]:
    """Every study with its title, and Table 3 at its place, which is a list and no measurement."""
    titles = dict[str, str]()
    for name, study in STUDIES.items():
        titles[name] = study.title
        if name == "table-2":
            titles["table-3"] = (
                "Table 3: which known class is the right answer for which unseen one (shown, not measured)"
            )
    return titles
