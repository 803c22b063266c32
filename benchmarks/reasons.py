"""Why a result of desk scale differs from its paper's: what is suspected is changed, and nothing else, and the study's
numbers are measured and its claims asked once more. Writes docs/results/reasons.{json,md}, a reason at a time.

    python -m benchmarks.reasons [NAME ...] --data DIR --store STORE
"""

import argparse
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims import RESULTS, SCALE, files, found_in
from benchmarks.measure import machine
from weatherproof.methods import FeatureSettings
from weatherproof.objectives import InputGradient
from weatherproof.studies import STUDIES
from weatherproof.studies.lab.classifiers import Finetuned, Labelled, Restored
from weatherproof.studies.lab.recipes import Hardened, Pretrained
from weatherproof.studies.lab.store import Store
from weatherproof.studies.lab.study import Found, Key, Measurable, Scale, Study
from weatherproof.studies.lab.table import cell_text, study_table, verdict

FILE = RESULTS / "reasons.json"
LEAD = (
    "Where a result of desk scale differs from its paper's and a run of less than two hours on two cores can tell why: "
    "what is suspected is changed, nothing else, and the claims are asked again. In brackets what the study itself "
    "measured, with its seeds; a changed run has one training seed, 0, but where its number has an error."
)

_UNCHANGED = ("model", "trained_on")  # of a record: in the study's own words, which the change may belie


@dataclass(frozen=True)
class Reason:
    """One suspicion, and the run that tells.

    Attributes:
        study: whose cells are measured again.
        suspected: why it may differ from the paper.
        changed: what the run does otherwise.
        change: the same, of a recipe or of what stands in one.
        kind: of which.
        rows, columns: which cells, as expressions that match their names.
        claims: and which claims.
    """

    study: str
    suspected: str
    changed: str
    kind: type
    change: Callable[[Any], Any]
    rows: str = ""
    columns: str = ""
    claims: str = ""

    def cells(self) -> dict[Key, Measurable]:
        """The study's, changed."""
        every = STUDIES[self.study].at(SCALE).cells
        chosen = {key: own for key, own in every.items() if own is not None and self._chooses(key)}
        return {key: altered(own, self.kind, self.change) for key, own in chosen.items()}

    def checks(self, found: Found) -> list[dict[str, Any]]:
        """The claims on these numbers."""
        asked = (claim.check(found) for claim in STUDIES[self.study].claims if re.search(self.claims, claim.text))
        return [check for check in asked if check["verdict"] != "not measured"]

    def _chooses(self, key: Key) -> bool:
        return bool(re.fullmatch(self.rows or ".*", key[0]) and re.fullmatch(self.columns or ".*", key[1]))


def altered(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """A recipe, or a cell, with the change in whatever is of that kind within it."""
    if isinstance(value, tuple):
        return tuple(altered(own, kind, change) for own in value)
    if is_dataclass(value) and not isinstance(value, type):
        held = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
        inner = {name: altered(own, kind, change) for name, own in held.items()}
        value = replace(value, **inner) if any(inner[name] is not held[name] for name in held) else value
    return change(value) if isinstance(value, kind) else value


def _longer(recipe: Hardened | Labelled | Pretrained, epochs: float) -> Any:
    return replace(recipe, plan=replace(recipe.plan, epochs=epochs))


REASONS: Mapping[str, Reason] = {
    "objectives-longer": Reason(
        "figure-6",
        "One pass over the images is too short for the objectives to differ as published, where they have 25.",
        "Four passes.",
        Hardened,
        lambda own: _longer(own, 4),
    ),
    "strong-views": Reason(
        "urrl-table-4",
        "URRL's views help InstDis here since its own are weak (a crop, a flip, colours), and MoCo v2's are not.",
        "InstDis looks through MoCo v2's views wherever it looks through its own.",
        Pretrained,
        lambda own: replace(own, views=own.views.replace("InstDis(", "MoCoV2(")),
        rows="InstDis.*",
        claims="InstDis",
    ),
    "weak-views": Reason(
        "urrl-table-1",
        "The same the other way round: URRL's views do not help MoCo v2 here since its own are strong.",
        "MoCo v2 looks through InstDis's views wherever it looks through its own.",
        Pretrained,
        lambda own: replace(own, views=own.views.replace("MoCoV2(", "InstDis(")),
        columns="MoCo v2|URRL",
        claims="^URRL beats",
    ),
    "tuned-longer": Reason(
        "urrl-table-3",
        "A short fine-tuning of a small network leaves no overconfidence for similarity regularization to mend.",
        "Ten times the steps, 20,000; rate and weight are chosen as before.",
        Finetuned,
        lambda own: replace(own, steps=10 * own.steps),
        columns="MoCo v2|MoCo-SR",
        claims="MoCo v2$",
    ),
    "unrelated-mask": Reason(
        "table-8",
        "The paper's inpainting is poor at half the pixels missing, too, since its script draws a second mask, "
        "unrelated to the damage.",
        "Restored with such a mask.",
        Restored,
        lambda own: replace(own, restoration=own.restoration.replace(")", ", mismatched_mask=True)")),
        columns="Deep Decoder.*",
        claims="poor",
    ),
    "penalty-per-sample": Reason(
        "attacks-figure-2",
        "With equal lambda the contrastive penalty, divided by 4N as printed, is about a thousand times lighter than "
        "the supervised one, and so does less.",
        "The contrastive penalty of lambda 0.1 is not divided: 4N times as heavy.",
        InputGradient,
        lambda own: replace(own, per_sample=True),
        rows="PGD, .*",
        columns="contrastive, lambda 0.1",
        claims=r"^\(a\) PGD",
    ),
    "pretrained-longer": Reason(
        "label-efficiency-table-1",
        "A hundred epochs of pretraining on 20,000 images are too few for the contrastive model to be ahead with 10 % "
        "of the labels.",
        "Two hundred epochs.",
        Pretrained,
        lambda own: _longer(own, 200),
        columns="Contrastive Model",
    ),
    "lighter-term": Reason(
        "fcl-table-1",
        "The published lambda multiplies a sum over a batch that the paper does not state, and with ours it is too "
        "heavy: so FCL costs clean accuracy and the rare classes.",
        "FCL's lambda is a tenth of it, which validation images chose in shorter trainings.",
        FeatureSettings,
        lambda own: replace(own, weight=own.weight / 10),
        columns="FCL",
        claims="^FCL",
    ),
    "continued-longer": Reason(
        "fcl-table-2",
        "A hundred steps on weights that are trained to the end are too few for FCL to do anything.",
        "Five hundred, on as many images five times over.",
        Labelled,
        lambda own: _longer(own, 5 * own.plan.epochs),
        columns="XE|XE.Gaussian|CL.Gaussian|FCL",
        claims="^FCL (above|does)",
    ),
}  # fmt: skip


def measure(name: str, store: Store) -> dict[str, Any]:
    """The numbers of a reason, by cell, and its claims on them with the study's own numbers beside them."""
    reason, records = REASONS[name], []
    for key, cell in reason.cells().items():
        number = cell.number(store)
        if number is not None:
            print(f"{name}  {key[0]}  {key[1]}: {number.value:.4g}", flush=True)
            kept = {word: own for word, own in number.to_dict().items() if word not in _UNCHANGED}
            records.append({"row": key[0], "column": key[1], **kept})
    return {"machine": machine("cpu"), "records": records}


def page(kept: Mapping[str, Any]) -> str:
    """The page in Markdown."""
    command = "`python -m benchmarks.reasons NAME --data DIR --store STORE`"
    parts = ["# Why results differ from the papers'", LEAD, command]
    for name, reason in REASONS.items():
        if name in kept:
            parts += _section(name, reason, kept[name])
    return "\n\n".join(parts) + "\n"


def _section(name: str, reason: Reason, own: Mapping[str, Any]) -> Iterable[str]:
    study, file = STUDIES[reason.study], files()[reason.study]
    before = found_in(study, json.loads(file.read_text("utf-8")))
    after = {(r["row"], r["column"]): r for r in own["records"]}
    yield f"## {name}: [{study.title}]({file.parent.name}/{file.stem}.md)"
    yield f"Suspected: {reason.suspected}\n\nChanged: {reason.changed}\n\n{own['machine']['processor']}."
    yield _table(study, after, before)
    said = {check["claim"]: check for check in (claim.check(before) for claim in study.claims)}
    lines = ["| claim | in the study | changed |", "|---|---|---|"]
    for check in reason.checks({**before, **after}):
        lines.append(f"| {check['claim']} | {verdict(said[check['claim']])} | {verdict(check)} ({check['detail']}) |")
    yield "\n".join(lines)


def _table(study: Study, after: Found, before: Found) -> str:
    cells = dict.fromkeys(after)
    published = {key: {"value": before[key]["value"]} for key in after if key in before}
    shown = study_table(replace(study, published=published), Scale(SCALE, "", cells), after, {}, {})
    lines = ["| | " + " | ".join(shown.columns) + " |", "|---" * (len(shown.columns) + 1) + "|"]
    return "\n".join([*lines, *(f"| {row} | {' | '.join(map(cell_text, numbers))} |" for row, numbers in shown.rows)])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reasons", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(REASONS)}; none: the page alone")
    parser.add_argument("--data")
    parser.add_argument("--store", type=Path)
    given = parser.parse_args()
    if unknown := set(given.names) - REASONS.keys():
        parser.error(f"no reason {', '.join(unknown)}: expected {', '.join(REASONS)}")
    for name in given.names:
        found = measure(name, Store(given.store, data=given.data, device=torch.device("cpu")))
        FILE.write_text(json.dumps({**_kept(), name: found}, ensure_ascii=False, indent=1) + "\n", "utf-8")
    FILE.with_suffix(".md").write_text(page(_kept()), "utf-8")


def _kept() -> dict[str, Any]:
    return dict(json.loads(FILE.read_text("utf-8"))) if FILE.is_file() else {}


if __name__ == "__main__":
    main()
