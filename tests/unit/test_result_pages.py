"""The pages in docs/results that programs write from one file of numbers are what they write of it today."""

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch
from PIL import Image
from programs import ROOT

from weatherproof.reports import GalleryEntry, save_gallery

RESULTS = ROOT / "docs/results"
PAGES = {
    "attack-parity": "attack_parity.render", "benchmarks": "page.render", "gauge-features": "gauge_features.page",
    "leaning": "leaning.page", "parity": "parity.render", "rates": "rates.page", "scale": "scale.render",
    "settings": "settings.page", "timm-models": "timm_models.render", "gate-criteria": "gate_criteria.page",
    "gate-promise": "gate_promise.page", "rivals": "rivals.page", "reasons": "reasons.page",
}  # fmt: skip


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_program_writes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)  # the programs import each other
    module, _, function = PAGES[name].partition(".")
    written = getattr(import_module(f"benchmarks.{module}"), function)(
        json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    )
    page = written if isinstance(written, str) else "\n".join(written) + "\n"
    assert (RESULTS / f"{name}.md").read_text("utf-8") == page


def test_every_file_of_numbers_has_its_program() -> None:
    assert {file.stem for file in RESULTS.glob("*.json") if not file.stem.endswith("-gpu")} == {*PAGES}


@pytest.mark.parametrize(
    ("damages", "places"),
    [
        (["a", "a", "b", "b"], ["1, 1", "1, 2", "2, 1", "2, 2"]),
        (["a", "b", "c", "a"], ["1, 1", "1, 2", "1, 3", "2, 1"]),
    ],
)
def test_pictures_stand_where_the_page_says(
    damages: str, places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of one damage beside each other, or all damages of an image, whichever come first in the gallery."""
    monkeypatch.syspath_prepend(ROOT)
    pictures = import_module("benchmarks.pictures")
    shades = torch.linspace(0, 1, len(damages))
    entries = [
        GalleryEntry(torch.full((3, 4, 4), float(shade)), torch.zeros(3, 4, 4), own, {"teacher": [("cat", 0.5)]}, "dog")
        for own, shade in zip(damages, shades, strict=True)
    ]
    save_gallery(tmp_path, entries)
    (tmp_path / "page.md").write_text("# Page\n")
    pictures.keep_pictures(tmp_path, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert [line.split("|")[1].strip() for line in page.splitlines() if "| dog |" in line] == places
    with Image.open(tmp_path / "page.png") as sheet:
        for place, shade in zip(places, shades, strict=True):
            row, column = (int(number) - 1 for number in place.split(", "))
            corner = column * 100 + 50, row * 204 + 50
            assert sheet.getpixel(corner) == (round(255 * float(shade)),) * 3
            assert sheet.getpixel((corner[0], corner[1] + 100)) == (0, 0, 0)
