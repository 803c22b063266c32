"""What of the four papers stands: every sentence of theirs that tells a result is a claim that a study tests, on their
own printed numbers and on those that were measured at desk scale, or a picture, or in a list of what cannot be checked.
Writes docs/results/claims.md, and the claims of the studies' pages beside it, from
the records in docs/results/*/STUDY.json; nothing is measured.

    python -m benchmarks.claims
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from weatherproof.studies import STUDIES
from weatherproof.studies.lab.sentences import Sentence, sentences_of
from weatherproof.studies.lab.study import Found, Study
from weatherproof.studies.lab.table import verdict
from weatherproof.studies.papers.contrastive_inversion import tables as contrastive_inversion
from weatherproof.studies.papers.fcl import tables as fcl
from weatherproof.studies.papers.robustness import attacks, averaging, equal_accuracy
from weatherproof.studies.papers.robustness import tables as robustness
from weatherproof.studies.papers.urrl import tables as urrl
from weatherproof.studies.papers.urrl import transfer

RESULTS = Path(__file__).parents[1] / "docs" / "results"
SCALE = "desk"
PAPERS: Mapping[str, Mapping[str, Study]] = {
    "Inverse Problems Leveraging Pre-trained Contrastive Representations": contrastive_inversion.STUDIES,
    "Transferable Unsupervised Robust Representation Learning (URRL)": {**urrl.STUDIES, **transfer.STUDIES},
    "Robustness of Contrastive Learning Models": {
        **robustness.STUDIES,
        **averaging.STUDIES,
        **attacks.STUDIES,
        **equal_accuracy.STUDIES,
    },
    "Balancing Robustness and Sensitivity using Feature Contrastive Learning (FCL)": fcl.STUDIES,
}
FOLDERS = dict(zip(PAPERS, ("contrastive_inversion", "urrl", "robustness", "fcl"), strict=True))
VERDICTS = ("holds", "does not hold", "not decided", "not measured")
PART, PICTURE, UNCHECKED = "holds in part", "a picture", "cannot be checked"
LOOKS = ("holds", PART, *VERDICTS[1:], PICTURE, UNCHECKED)
_LEAD = (
    "Written by `python -m benchmarks.claims` from the records of the pages that it links to; a test holds it to that. "
    "Every sentence of the papers that tells a result stands here, in our words: as claims that a study tests, as a "
    "picture that a study draws, or with the reason why it cannot be checked; below them every claim by itself. The "
    "paper: the claim on the numbers that the paper prints, where it prints them (figures are drawn, FCL's tables are "
    "lost). Here: the same at desk scale, which is another one than the papers'; why the two differ, where they do, is "
    "discussed in [results](README.md). A claim holds if all of its comparisons do, a sentence if all of its claims do "
    "that were measured; what the standard errors of the numbers leave open, the paper's own too, is not decided, and "
    "where no number of a claim has one, that is said. Of several comparisons the least and the largest gap are told. "
    "Those of `layer-wise` are what its authors hoped for, not results of theirs. One claim is not borne out by the "
    "paper's own numbers: table-6 says how."
)


def files() -> dict[str, Path]:
    """The file of each study that was measured."""
    return {file.stem: file for file in sorted(RESULTS.glob("*/*.json")) if file.stem in STUDIES}


def found_in(study: Study, kept: Mapping[str, Any]) -> Found:
    """The records by their cells.

    Raises:
        ValueError: there are not as many as the scale has cells, or one is of another model than its cell.
    """
    cells = {key: cell for key, cell in study.at(SCALE).cells.items() if cell is not None}
    found = dict(zip(cells, kept["records"], strict=True))
    for key, cell in cells.items():
        models = [own.about.model for own in cell.cells]
        if models and not any(model.startswith(found[key]["model"]) for model in models):
            raise ValueError(f"{study.name}: the record of {' | '.join(key)} is one of {found[key]['model']}")
    return found


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
    there = {name: _measured(name, file) for name, file in files().items()}
    sections, counts, looks = list[str](), list[str](), list[str]()
    for paper, studies in PAPERS.items():
        told = [_sentence_row(sentence, there) for sentence in sentences_of(FOLDERS[paper])]
        looks.append(f"| {paper} | {' | '.join(str([look for look, _ in told].count(own)) for own in LOOKS)} |")
        rows, verdicts = list[str](), list[str]()
        for name, study in studies.items():
            for claim in study.claims:
                if study.ours or "not in the paper" in claim.text:
                    continue
                printed = claim.check(study.published) if study.published else None
                check = there[name].checks.get(claim.text) if name in there else None
                verdicts.append("not measured" if check is None else verdict(check))
                rows.append(_row(claim.text, printed, check, _link(name, there)))
        counts.append(f"| {paper} | {' | '.join(str(verdicts.count(v)) for v in VERDICTS)} |")
        sections += [f"## {paper}", ""]
        sections += ["| where | what the paper says | the paper | here | study |", "|---|---|---|---|---|"]
        sections += [row for look, row in told if look != UNCHECKED]
        sections += ["", "What cannot be checked:", "", "| where | what the paper says | why | beside it |"]
        sections += ["|---|---|---|---|", *(row for look, row in told if look == UNCHECKED)]
        sections += ["", "Claim by claim:", "", "| claim | the paper | here | study |", "|---|---|---|---|", *rows, ""]
    head = ["# What of the four papers stands", "", _LEAD, "", *_counted("sentences", LOOKS, looks), ""]
    return "\n".join([*head, *_counted("claims", VERDICTS, counts), "", *sections])


class _Measured:
    """What was measured of a study: its page, and its claims as they stand there, none where it is measured otherwise
    now. `remake` has made them today's."""

    def __init__(self, name: str, file: Path) -> None:
        kept = json.loads(file.read_text("utf-8"))
        self.stale = "note" in kept
        self.link = f"[{name}]({file.parent.name}/{name}.md)"
        self.link += ", of an earlier pipeline, to be run again" if self.stale else ""
        self.checks = {} if self.stale else {check["claim"]: check for check in kept["checks"]}


_measured = cache(_Measured)


def _counted(of: str, columns: Sequence[str], rows: Sequence[str]) -> list[str]:
    return [f"| {of} | {' | '.join(columns)} |", "|---|" + "---|" * len(columns), *rows]


def _sentence_row(sentence: Sentence, there: Mapping[str, _Measured]) -> tuple[str, str]:
    """What becomes of a sentence, and its row."""
    said = f"| {sentence.where} | {sentence.says} |"
    if sentence.why is not None:
        beside = "" if sentence.beyond is None else f"a study of ours: {_link(sentence.beyond, there)}"
        return UNCHECKED, f"{said} {sentence.why} | {beside} |"
    tests = sentence.tests(STUDIES)
    names = dict.fromkeys(filter(None, (*(name for name, _ in tests), sentence.picture)))
    links = ", ".join(_link(name, there) for name in names)
    if not tests:
        return PICTURE, f"{said} | {PICTURE} | {links} |"
    printed = [claim.check(STUDIES[name].published) for name, claim in tests if STUDIES[name].published]
    theirs = _together([verdict(check) for check in printed if not _empty(check)])
    found = [there[name].checks.get(claim.text) if name in there else None for name, claim in tests]
    verdicts = ["not measured" if check is None else verdict(check) for check in found]
    look, words = _together(verdicts)
    if len(found) == 1 and found[0] is not None and not _empty(found[0]):
        words += f": {re.split('[:.]| over ', found[0]['detail'])[0]}"
    words += f", and {PICTURE}" if sentence.picture else ""
    return look, f"{said} {theirs[1] if printed and theirs[1] else 'not printed'} | {words} | {links} |"


def _together(verdicts: Sequence[str]) -> tuple[str, str]:
    """The verdict on all claims of a sentence, and that in words."""
    known = [own for own in verdicts if own != "not measured"]
    if not known:
        return "not measured", "not measured" if verdicts else ""
    held, lost = known.count("holds"), known.count("does not hold")
    look = "holds" if held == len(known) else PART if held else "does not hold" if lost else "not decided"
    missing = f", {len(verdicts) - len(known)} not measured" if len(known) < len(verdicts) else ""
    return look, look + (f": {held} of {len(known)}{missing}" if len(verdicts) > 1 else "")


def _row(text: str, printed: Mapping[str, Any] | None, check: Mapping[str, Any] | None, link: str) -> str:
    theirs = "not printed" if printed is None or _empty(printed) else _words(printed)
    return f"| {text} | {theirs} | {'not measured' if check is None else _words(check)} | {link} |"


def _empty(check: Mapping[str, Any]) -> bool:
    return check["verdict"] == "not measured"


def _words(check: Mapping[str, Any]) -> str:
    return verdict(check) if _empty(check) else f"{verdict(check)}: {check['detail']}"


def _link(name: str, there: Mapping[str, _Measured]) -> str:
    return there[name].link if name in there else f"`{name}`"


def main() -> None:
    """Writes the pages."""
    for file in files().values():
        remake(file)
    (RESULTS / "claims.md").write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
