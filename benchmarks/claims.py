"""What of the four papers stands: every claim of theirs that a study tests, on their own printed numbers and on those
that were measured at desk scale. Writes docs/results/claims.md, and the claims of the studies' pages beside it, from
the records in docs/results/*/STUDY.json; nothing is measured.

    python -m benchmarks.claims
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weatherproof.studies import STUDIES
from weatherproof.studies.lab.study import Found, Study
from weatherproof.studies.lab.table import verdict
from weatherproof.studies.papers.contrastive_inversion import tables as contrastive_inversion
from weatherproof.studies.papers.fcl import tables as fcl
from weatherproof.studies.papers.robustness import attacks
from weatherproof.studies.papers.robustness import tables as robustness
from weatherproof.studies.papers.urrl import tables as urrl
from weatherproof.studies.papers.urrl import transfer

RESULTS = Path(__file__).parents[1] / "docs" / "results"
SCALE = "desk"
PAPERS: Mapping[str, Mapping[str, Study]] = {
    "Inverse Problems Leveraging Pre-trained Contrastive Representations": contrastive_inversion.STUDIES,
    "Transferable Unsupervised Robust Representation Learning (URRL)": {**urrl.STUDIES, **transfer.STUDIES},
    "Robustness of Contrastive Learning Models": {**robustness.STUDIES, **attacks.STUDIES},
    "Balancing Robustness and Sensitivity using Feature Contrastive Learning (FCL)": fcl.STUDIES,
}
VERDICTS = ("holds", "does not hold", "not decided", "not measured")
_LEAD = (
    "Written by `python -m benchmarks.claims` from the records of the pages that it links to; a test holds it to that. "
    "The paper: the claim on the numbers that the paper prints, where it prints them (figures are drawn, FCL's tables "
    "are lost). Here: the same at desk scale, which is another one than the papers'; why the two differ, where they "
    "do, is discussed in [results](README.md). A claim holds if all of its comparisons do. Those of `layer-wise` are "
    "what its authors hoped for, not results of theirs. One claim fails on the paper's own numbers: table-6 says how."
)


def files() -> dict[str, Path]:
    """The file of each study that was measured."""
    return {file.stem: file for file in sorted(RESULTS.glob("*/*.json")) if file.stem in STUDIES}


def found_in(study: Study, kept: Mapping[str, Any]) -> Found:
    """The records by their cells.

    Raises:
        ValueError: there are not as many as the scale has cells.
    """
    keys = [key for key, cell in study.at(SCALE).cells.items() if cell is not None]
    return dict(zip(keys, kept["records"], strict=True))


def checks_of(study: Study, kept: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The study's claims as of today on what was measured."""
    found = found_in(study, kept)
    return [claim.check(found) for claim in study.claims]


def remake(file: Path) -> None:
    """Puts today's claims of a study into its JSON file and its page."""
    study, kept = STUDIES[file.stem], json.loads(file.read_text("utf-8"))
    checks = checks_of(study, kept)
    if checks == kept["checks"]:
        return
    page = file.with_suffix(".md")
    lines = page.read_text("utf-8").split("\n")
    first = (
        next(i for i, line in enumerate(lines) if line.startswith(("| claim of the paper |", "| claim of ours |"))) + 2
    )
    last = lines.index("", first)
    lines[first:last] = [f"| {check['claim']} | {verdict(check)} ({check['detail']}) |" for check in checks]
    page.write_text("\n".join(lines), "utf-8")
    before = file.read_text("utf-8")
    indent = 1 if before.startswith("{\n") else None
    file.write_text(json.dumps({**kept, "checks": checks}, ensure_ascii=False, indent=indent) + "\n", "utf-8")


def page() -> str:
    """The page in Markdown."""
    there = files()
    sections, counts = list[str](), list[str]()
    for paper, studies in PAPERS.items():
        rows, verdicts = list[str](), list[str]()
        for name, study in studies.items():
            kept = json.loads(there[name].read_text("utf-8")) if name in there else None
            stale = kept is None or "note" in kept  # measured otherwise than the study does it now
            checks = [None] * len(study.claims) if stale else checks_of(study, kept)
            for claim, check in zip(study.claims, checks, strict=True):
                if study.ours or "not in the paper" in claim.text:
                    continue
                printed = claim.check(study.published) if study.published else None
                verdicts.append("not measured" if check is None else verdict(check))
                rows.append(_row(claim.text, printed, check, _link(name, there.get(name), kept)))
        counts.append(f"| {paper} | {' | '.join(str(verdicts.count(v)) for v in VERDICTS)} |")
        sections += [f"## {paper}", "", "| claim | the paper | here | study |", "|---|---|---|---|", *rows, ""]
    head = [
        "# What of the four papers stands",
        "",
        _LEAD,
        "",
        f"| paper | {' | '.join(VERDICTS)} |",
        "|---|" + "---|" * 4,
    ]
    return "\n".join([*head, *counts, "", *sections])


def _row(text: str, printed: Mapping[str, Any] | None, check: Mapping[str, Any] | None, link: str) -> str:
    theirs = "not printed" if printed is None or _empty(printed) else _words(printed)
    return f"| {text} | {theirs} | {'not measured' if check is None else _words(check)} | {link} |"


def _empty(check: Mapping[str, Any]) -> bool:
    return str(check["detail"]).startswith("0 of 0")


def _words(check: Mapping[str, Any]) -> str:
    return verdict(check) if _empty(check) else f"{verdict(check)}: {check['detail']}"


def _link(name: str, file: Path | None, kept: Mapping[str, Any] | None) -> str:
    if file is None or kept is None:
        return f"`{name}`"
    told = ", of an earlier pipeline, to be run again" if "note" in kept else ""
    return f"[{name}]({file.parent.name}/{name}.md){told}"


def main() -> None:
    """Writes the pages."""
    for file in files().values():
        remake(file)
    (RESULTS / "claims.md").write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
