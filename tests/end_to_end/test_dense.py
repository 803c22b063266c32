"""harden with a dense term: weight 0 is no term at all, and a weight is measured."""

from pathlib import Path
from typing import Any

import weatherproof as wp

from .conftest import results

DAMAGE = "RandomMask(0.5)"


def test_weight_0_changes_nothing_and_a_weight_is_measured(teacher: str, photos: Path, tmp_path: Path) -> None:
    def hardened(name: str, **settings: Any) -> tuple[list[dict[str, Any]], bytes]:
        run = wp.harden(
            teacher, photos, operator=DAMAGE, keep="hardened", keep_clean=0, epochs=2, realizations=1, workers=0,
            batch_size=8, out=tmp_path / name, **settings,
        ).folder  # fmt: skip
        return results(run), (run / "encoder.safetensors").read_bytes()

    (plain, weights), (off, same), (dense, other) = (
        hardened("plain"), hardened("off", dense="Dense(0.0)"), hardened("dense", dense=2.0)
    )  # fmt: skip
    assert plain == off and weights == same and weights != other
    assert {record["metric"] for record in plain} == {record["metric"] for record in dense} - {"position_recall"}
    positions = [record for record in dense if record["metric"] == "position_recall"]
    clean = [(record["model"], record["value"]) for record in positions if record["operator"] is None]
    assert clean[0] == ("teacher", 1.0) and [model for model, _ in clean] == ["teacher", "hardened"]
    damaged = {record["model"]: record for record in positions if record["operator"] == DAMAGE}
    assert damaged.keys() == {"teacher", "hardened"}
    assert all(0 < record["value"] < 1 and record["images"] == 12 for record in damaged.values())
    assert "Recall of positions" in (tmp_path / "dense/report.html").read_text()


def test_a_weight_that_is_none_is_refused_in_one_line(refused: Any, photos: Path, here: Path) -> None:
    said = refused("harden", "small@random", photos, "--dense=-1")
    assert "weight of Dense must be a number of at least 0, got -1" in said and not list(here.iterdir())
