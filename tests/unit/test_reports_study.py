"""The part of the page that shows a study."""

from pathlib import Path

import pytest

from weatherproof.errors import InputError
from weatherproof.evaluation import Record
from weatherproof.reports import write_report
from weatherproof.reports.details import measured_on
from weatherproof.reports.parts import read_part, save_part
from weatherproof.reports.study.table import STUDY, Number, StudyTable, claims_words
from weatherproof.reports.words.commands import reproducing
from weatherproof.training import RunFolder

TABLE = StudyTable(
    title="A paper, Table 1: its <best> one",
    scale="smoke",
    notes=("Only a few images.",),
    columns=("ours", "theirs"),
    rows=(
        ("clean", (Number("91.25", "0.50", "93.10"), None)),
        ("eps 0.5", (Number("12.00", "", "", doubted=True), Number("3.00", "1.00"))),
    ),
    facts=(("command", "weatherproof reproduce x"),),
)
CHECKS = [
    {"claim": "ours is better", "passed": True, "detail": "1 of 1"},
    {"claim": "and sure", "passed": False, "detail": "0 of 1 over 2 seeds", "verdict": "not decided"},
]


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    save_part(tmp_path, STUDY, TABLE)
    assert read_part(tmp_path, STUDY) == TABLE and TABLE.published and TABLE.doubted
    assert read_part(tmp_path / "elsewhere", STUDY) is None


def test_a_row_of_another_length_is_refused(tmp_path: Path) -> None:
    file = save_part(tmp_path, STUDY, TABLE)
    file.write_text(file.read_text().replace('"theirs"', '"theirs", "more"'))
    with pytest.raises(InputError, match="a row has not as many numbers as there are columns"):
        read_part(tmp_path, STUDY)


def test_claims_are_counted() -> None:
    assert claims_words(TABLE, CHECKS) == "1 of 2 claims hold at smoke scale." and claims_words(TABLE, []) == ""


def test_the_page_shows_it(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", {"verb": "reproduce", "study": "x", "scale": "smoke", "seed": 0})
    save_part(run.path, STUDY, TABLE)
    run.write_json("checks.json", CHECKS)
    record = Record(metric="top1", value=0.9125, images=10, model="ours", data="digits", protocol="p")
    run.write_json("results.json", {"records": [record.to_dict()]})
    run.close()
    page = write_report(run.path).read_text(encoding="utf-8")
    assert "<h1>A paper, Table 1: its &lt;best&gt; one</h1>" in page and "1 of 2 claims hold at smoke scale." in page
    assert "± 0.50" in page and "93.10" in page and "12.00 †" in page
    assert "✓ passed" in page and "○ not decided" in page and "✗" not in page
    assert "weatherproof reproduce x --scale smoke" in page and "given encoder" not in page


def test_averages_over_corruptions_are_counted_where_no_corruption_stands_alone() -> None:
    clean = Record(metric="top1", value=0.5, images=10_000, model="ours", data="digits", protocol="p")
    mean = Record(metric="unnormalised_mce", value=0.4, images=2_000, model="ours", data="digits", protocol="p")
    shown = measured_on([clean.to_dict(), mean.to_dict()])
    assert shown == "Measured on 2,000 to 10,000 images of digits."


def test_the_command_has_every_option_of_the_recipe() -> None:
    recipe = {"verb": "reproduce", "study": "x", "scale": "desk", "seed": 3, "devices": 2, "checkpoint_gradients": True}
    others = {"seeds": 2, "weight_decay": 1e-4, "versions": {"torch": "2"}, "hardware": {"cores": 2}}
    words = "weatherproof reproduce x --scale desk --seed 3 --seeds 2 --devices 2 --checkpoint-gradients --weight-decay"
    assert reproducing(recipe | others) == f"{words} 0.0001"
