"""The table of what studies read in docs/reproducing.md is what the program writes of today's studies, and every study
is in the lists of that page and of the verb's."""

from types import ModuleType

import pytest
from programs import ROOT, program

from weatherproof.studies import STUDIES


@pytest.fixture(scope="module")
def reproducing() -> ModuleType:
    return program("reproducing")


def test_the_table_is_what_the_program_writes(reproducing: ModuleType) -> None:
    assert (ROOT / "docs/reproducing.md").read_text("utf-8") == reproducing.page()


def test_every_study_has_a_row_and_says_what_it_reads(reproducing: ModuleType) -> None:
    rows = [line.strip("| \n").split(" | ") for line in reproducing.table().splitlines()[2:]]
    named = [name for row in rows for name in row[0].replace("`", "").split(", ")]
    assert sorted(named) == sorted(STUDIES)
    read = {name: (row[1], row[2]) for row in rows for name in row[0].replace("`", "").split(", ")}
    assert read["urrl-table-3"] == (
        "`imagenet`, `cifar10`, `cifar100`, `cifar10-c` if there is one, `cifar100-c` if there is one", "none"
    )  # fmt: skip
    assert read["urrl-table-2"][0].startswith("the twelve") and "`imagenet`" in read["urrl-table-2"][0]
    assert read["urrl-table-2"][1] == "`resnet50-imagenet1k-v1.safetensors`"
    assert "`open_clip:RN101/openai` by name" in read["zero-shot"][1]


def test_every_study_says_what_it_is_installed_with(reproducing: ModuleType) -> None:
    rows = [line.strip("| \n").split(" | ") for line in reproducing.table().splitlines()[2:]]
    extras = {name: row[3] for row in rows for name in row[0].replace("`", "").split(", ")}
    assert extras["table-1"] == extras["zero-shot"] == "`'weatherproof[clip]'`"
    assert extras["urrl-table-1"] == "`weatherproof`"


def test_every_set_and_file_says_how_it_comes(reproducing: ModuleType) -> None:
    rows = dict(line.strip("| \n").split(" | ") for line in reproducing.commands().splitlines()[2:])
    assert rows["`imagenette`"] == "`prepare imagenette --out $WEATHERPROOF_DATA/imagenette`"
    assert "imagenet-train" in rows["`imagenet`"] and "imagenet-val" in rows["`imagenet`"]
    assert rows["`cars`"].startswith("its address is dead")
    assert all(rows.values()) and not any("DIR" in text for text in rows.values())
    named = {name for row in reproducing.table().splitlines()[2:] for name in row.split(" | ")[2].split(", ")}
    assert {name for name in named if name.endswith(("safetensors`", "th`"))} <= {*rows}


def test_every_study_is_listed() -> None:
    pages = {name: (ROOT / "docs" / name).read_text("utf-8") for name in ("reproducing.md", "verbs/reproduce.md")}
    for name in STUDIES:
        assert f"`{name}`" in pages["verbs/reproduce.md"], name
        assert name in pages["reproducing.md"], name
