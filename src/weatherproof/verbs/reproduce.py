"""Rerun a table or figure of the papers beside its published numbers."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from weatherproof.cards import card_of
from weatherproof.errors import InputError, unknown
from weatherproof.names import visible
from weatherproof.processor import Precision
from weatherproof.reports.files import read_results
from weatherproof.studies import STUDIES, Study, run_study
from weatherproof.studies.lab.means import Means
from weatherproof.studies.lab.run import is_current
from weatherproof.studies.lab.shares import Share
from weatherproof.studies.needs.check import fewer, lacks, needs
from weatherproof.studies.needs.find import Need
from weatherproof.studies.papers.contrastive_inversion.tables import unseen_classes
from weatherproof.training import RunFolder
from weatherproof.training.plan import Strategy
from weatherproof.training.run import IGNORED
from weatherproof.verbs.inputs import device_of
from weatherproof.verbs.options import verb
from weatherproof.verbs.outcome import Listing, Outcome, finished, print_lines

_FREE = tuple(name for name in IGNORED if name != "devices")  # of whose share of a batch normalisation takes statistics


@dataclass
class Checked:
    """What a study needs, of which some may be missing.

    Attributes:
        status: 1 where something is missing or too much.
    """

    study: str
    scale: str
    needs: Sequence[Need]
    status: int = field(init=False)

    def __post_init__(self) -> None:
        self.status = 1 if lacks(self.needs) else 0

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        found = [asdict(need) for need in self.needs]
        return {"study": self.study, "scale": self.scale, "status": self.status, "needs": found}

    def show(self) -> None:
        """Print one line for each need."""
        print_lines(f"{need.kind:<8}{need.state:<11}{visible(f'{need.name}: {need.text}')}" for need in self.needs)
        missing = [f"{need.kind} {need.name}" for need in lacks(self.needs)]
        what = visible(", ".join(missing))
        way = f"{len(missing)} of them in the way: {what}" if missing else "nothing is in the way"
        few = visible(", ".join(need.name for need in fewer(self.needs)))
        print_lines([f"{way}; with fewer images than published: {few}" if few else way])


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
    seeds: int = 1,
    weight_decay: float | None = None,
    devices: int = 1,
    precision: Precision | None = None,
    accumulate: int = 1,
    micro_batch: int | None = None,
    workers: int | None = None,
    checkpoint_gradients: bool = False,
    strategy: Strategy = "ddp",
    cells: str | None = None,
    check: bool = False,
    card: str = "a100",
) -> Outcome | Listing | Checked:
    """Rerun a table or figure of the papers and put the numbers beside the published ones, the claims as checks.

    Args:
        study: table-1, figure-4, urrl-table-1, fcl-table-1, ... (table-3 shows which unseen class counts as which known
            one in figure-5).
        list_: show all studies and run none.
        scale: smoke (seconds, shows that it runs), desk (two CPU cores, at most an hour, three for fcl-table-1) or
            paper (as published, for GPUs).
        data: the folder that $DATA stands for in the study's settings; by default the variable WEATHERPROOF_DATA.
        device: auto, cpu or cuda.
        store: where trained encoders are kept, shared by the studies of one scale; by default runs/store-SCALE.
        out: the run folder; by default runs/STUDY-SCALE.
        seed: of every random draw.
        seeds: runs of the whole study, with the seeds from `seed` on: numbers become means with their standard error,
            and claims are decided over the seeds.
        weight_decay: of contrastive inversion's hardenings: its paper has 1e-4, its code 0, which the studies have.
        devices: processes of each training, each with its share of every batch.
        precision: of every training instead of the study's own, 32-true, bf16-mixed or 16-mixed; models trained so are
            kept apart from others.
        accumulate: parts in which each process's share of a batch goes through the networks, whose gradients make one
            step; batch, loss and negatives stay the study's.
        micro_batch: or images that go through at a time. Batch normalisation sees a process's part of a batch alone:
            where there is some, models are kept apart by devices, accumulate and micro_batch.
        workers: processes that decode images in a training, instead of the study's own number.
        checkpoint_gradients: compute each block once more in the backward pass: less memory, the same numbers.
        strategy: of several devices: ddp, or fsdp where weights, gradients and optimizer state are to be shared out.
        cells: a share of the study such as 3/8: every eighth of its trainings is made and measured, into the store
            alone. When all shares are done, the same command without it writes the page.
        check: say what is missing and what it would need (memory, hours, disk), and run nothing. Exit status 1:
            something is in the way. With `cells` of this share alone.
        card: for --check, the GPU by its name (a100, h100, l4, ...), or its peak in flop/s.
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
    if seeds < 1:
        raise InputError(f"seeds is how often the study runs, 1 or more; got {seeds}")
    chosen = STUDIES[study] if weight_decay is None else _decayed(STUDIES[study], weight_decay)
    means = Means(devices, precision, accumulate, micro_batch, workers, checkpoint_gradients, strategy)
    share = None if cells is None else Share.parse(cells)
    folder, data = Path(store or f"runs/store-{scale}"), data or os.environ.get("WEATHERPROOF_DATA")
    if check:
        found = needs(
            chosen, scale, seed=seed, seeds=seeds, data=data, store=folder, means=means, card=card_of(card), share=share
        )
        return Checked(study, scale, found)
    where = device_of(device)
    given = {name: value for name, value in asdict(means).items() if value != getattr(Means(), name)}
    given |= {} if seeds == 1 else {"seeds": seeds}
    given |= {} if not weight_decay else {"weight_decay": weight_decay}
    recipe = {"verb": "reproduce", "study": study, "scale": scale, "seed": seed, **given}
    name = f"{study}-{scale}" if share is None else f"{study}-{scale}-{share.own}-of-{share.of}"
    recipe |= {} if share is None else {"cells": str(share)}
    run = RunFolder.open(out or f"runs/{name}", recipe, ignore=_FREE)
    how: dict[str, Any] = {"store": folder, "data": data, "seed": seed, "seeds": seeds, "device": where, "means": means}
    if share is None and run.finished and is_current(chosen, scale, run, **how):
        return finished(run, "this study is finished already: nothing was done")
    try:
        run_study(chosen, scale, run, **how, share=share)
    except InputError:
        run.discard()
        raise
    if share is None:
        return finished(run, f"the table beside the published numbers: {run.path / 'table.md'}")
    records, _ = read_results(run.path)
    more = f"share {share} is in {folder}: with all {share.of}, the same command without cells writes the page"
    return Outcome(run.path, records, next_steps=[more])


def _decayed(study: Study, weight_decay: float) -> Study:
    """The study with a weight decay. Raises `InputError` where it has no such."""
    if study.decayed is None:
        raise InputError(
            f"weight_decay is that of contrastive inversion's hardenings, and {study.name} has none: leave it out"
        )
    return study.decayed(weight_decay)


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
