"""docs/results/claims.md is what the program writes of today's claims and of the records beside it."""

import json
import re
from types import ModuleType

import pytest
from programs import ROOT, program

from weatherproof.studies import STUDIES
from weatherproof.studies.lab.joins import OverSeeds
from weatherproof.studies.lab.paired import PairedClaim
from weatherproof.studies.lab.sentences import Sentence, sentences_of
from weatherproof.studies.lab.table import cell_text, study_table


@pytest.fixture(scope="module")
def claims() -> ModuleType:
    return program("claims")


def test_the_page_is_what_the_program_writes(claims: ModuleType) -> None:
    assert (ROOT / "docs/results/claims.md").read_text("utf-8") == claims.page()


def test_every_claim_of_a_paper_is_there(claims: ModuleType) -> None:
    page = claims.page()
    papers = {name for studies in claims.PAPERS.values() for name in studies}
    assert {name for name, study in STUDIES.items() if not study.ours} <= papers
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    for name in papers:
        for claim in STUDIES[name].claims:
            told = STUDIES[name].ours or "not in the paper" in claim.text
            links = (f"[{name}]", f"`{name}`")
            there = [r for r in rows if r[0] == f"| {claim.text}" and any(link in r[-1] for link in links)]
            assert len(there) == (0 if told else 1), claim.text
    own = "not decided: 0 of 1: Ours (RM), COVID X-ray +0.0%; with the standard errors it holds in "
    assert own in page  # the paper's AUC


def test_every_sentence_is_a_claim_a_picture_or_has_a_reason(claims: ModuleType) -> None:
    """And every claim of a paper tests one of its sentences."""
    tested = set[tuple[str, str]]()
    for paper, studies in claims.PAPERS.items():
        sentences = sentences_of(claims.FOLDERS[paper])
        assert len({(own.where, own.says) for own in sentences}) == len(sentences) > 10
        for own in sentences:
            assert own.where and own.says and (own.why is None) == bool(own.claims or own.picture), own
            assert all(name in STUDIES for name in (own.picture, own.beyond) if name), own
            found = own.tests(STUDIES)  # raises where there is none
            assert all(name in studies for name, _ in found), own
            tested |= {(name, claim.text) for name, claim in found}
    for studies in claims.PAPERS.values():
        for name, study in studies.items():
            texts = [] if study.ours else [claim.text for claim in study.claims if "not in the paper" not in claim.text]
            assert [text for text in texts if (name, text) not in tested] == [], name


def test_that_fcl_makes_models_more_robust_is_asked_against_cross_entropy() -> None:
    """Section 4.1 says so of FCL on both noisy sets, and nothing of its rivals there."""
    ((_, claim),) = next(own for own in sentences_of("fcl") if "more robust to noise" in own.says).tests(STUDIES)
    samples = dict.fromkeys(STUDIES["fcl-table-1"].at("desk").cells, (0.5, 0.6))
    assert isinstance(claim, PairedClaim)
    assert [own.what for own in claim.compare(samples)] == ["FCL over XE at BAL+UN", "FCL over XE at BAL+NUN"]


def test_the_balance_of_the_abstract_is_asked_of_the_rare_classes() -> None:
    """That rivals which promote robustness lose them, and that FCL keeps more of them than these."""
    own = {sentence.says: sentence for sentence in sentences_of("fcl") if sentence.where.startswith("abstract")}
    asked = {
        "Methods that promote robustness can hurt the sensitivity to rare patterns.": [
            "XE over XE+Gaussian at BAL, classes 10-14", "XE over CL+Gaussian at BAL, classes 10-14",
        ],
        "FCL balances robustness and sensitivity better.": [
            "FCL over XE+Gaussian at BAL, classes 10-14", "FCL over CL+Gaussian at BAL, classes 10-14",
        ],
    }  # fmt: skip
    samples = dict.fromkeys(STUDIES["fcl-table-1"].at("desk").cells, (0.5, 0.6))
    for says, compared in asked.items():
        ((_, claim),) = own[says].tests(STUDIES)
        assert isinstance(claim, PairedClaim) and [one.what for one in claim.compare(samples)] == compared


def test_what_is_said_of_most_cases_is_asked_of_most_cases() -> None:
    """Half of them and one more are enough for a sentence that says "in most cases"."""
    said = [own for own in sentences_of("contrastive_inversion") if own.says.endswith("in most cases.")]
    for name, claim in [test for own in said for test in own.tests(STUDIES)]:
        high, low = (
            ("Ours (10% labeled data)", "Supervised Baseline") if name == "table-1" else ("Student vs. Teacher", "MSE")
        )
        rows = list(dict.fromkeys(row for row, _ in STUDIES[name].at("desk").cells))
        for won in range(len(rows) + 1):
            found = {(row, column): {"value": 0.5} for row in rows for column in (high, low)}
            found |= {(row, high): {"value": 0.6} for row in rows[:won]}
            assert claim.check(found)["passed"] == (won > len(rows) / 2), (claim.text, won)
    assert len(said) == 2


def test_a_sentence_of_a_claim_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="table-1 has no claim 'ours is green'"):
        Sentence("1", "It is green.", ("table-1: ours is green",)).tests(STUDIES)
    assert len(Sentence("1", "all", ("table-1",)).tests(STUDIES)) == len(STUDIES["table-1"].claims)


@pytest.mark.parametrize(
    ("verdicts", "look", "words"),
    [
        (["holds", "holds"], "holds", "holds: 2 of 2"),
        (["holds", "does not hold", "not measured"], "holds in part", "holds in part: 1 of 2, 1 not measured"),
        (["does not hold", "not decided"], "does not hold", "does not hold: 0 of 2"),
        (["not decided"], "not decided", "not decided"),
        (["not measured"], "not measured", "not measured"),
    ],
)
def test_the_verdict_on_a_sentence(claims: ModuleType, verdicts: list[str], look: str, words: str) -> None:
    assert claims._together(verdicts) == (look, words)


def test_the_claims_on_the_pages_are_todays(claims: ModuleType) -> None:
    for name, file in claims.files().items():
        kept = json.loads(file.read_text("utf-8"))
        checks = claims.checks_of(STUDIES[name], kept)
        assert kept["checks"] == checks, name
        page = file.with_suffix(".md").read_text("utf-8")
        assert all(f"| {check['claim']} |" in page and check["detail"] in page for check in checks)
        assert ("**Of an earlier pipeline:**" in page) == ("note" in kept)


def test_records_that_are_not_of_the_grid_are_refused(claims: ModuleType) -> None:
    kept = json.loads(claims.files()["table-7"].read_text("utf-8"))
    with pytest.raises(ValueError, match="shorter"):
        claims.found_in(STUDIES["table-7"], {"records": kept["records"][:-1]})
    with pytest.raises(ValueError, match=r"table-7: the record of .* is one of"):
        claims.found_in(STUDIES["table-7"], {"records": kept["records"][::-1]})


def test_the_pages_are_of_the_records_and_of_todays_settings(claims: ModuleType) -> None:
    """Numbers, notes and settings; the precision alone is the machine's, and a page with a note of its own is old."""
    for name, file in claims.files().items():
        study, kept = STUDIES[name], json.loads(file.read_text("utf-8"))
        scale, found = study.at("desk"), claims.found_in(study, kept)
        counts = {len(record.get("samples", ())) for record in found.values()}
        alone = not any(isinstance(cell, OverSeeds) for cell in scale.cells.values())
        seeds = {"seeds": counts.pop()} if alone and counts and 0 not in counts else {}
        shown = study_table(study, scale, found, seeds, {})
        page = file.with_suffix(".md").read_text("utf-8")
        for row, numbers in shown.rows:
            assert f"| {row} | {' | '.join(map(cell_text, numbers))} |" in page, name
        if "note" not in kept:
            head = [f"# {study.title}", f"Scale: desk. {scale.note}", *filter(None, [study.note]), ""]
            assert page.startswith("\n\n".join(head)), name
            facts = {f"- {fact}: {_of_any_machine(text)}" for fact, text in shown.facts}
            assert facts <= {*map(_of_any_machine, page.split("\n"))}, name
            assert ("- ±: none" in page) == all(record["stderr"] is None for record in found.values()), name


def _of_any_machine(text: str) -> str:
    return re.sub("precision (bf16-mixed|32-true)", "precision", text)
