"""The pages in docs/results that programs write from one file of numbers are what they write of it today."""

import json
from importlib import import_module

import pytest
from programs import ROOT

RESULTS = ROOT / "docs/results"
PAGES = {
    "attack-parity": "attack_parity.render", "benchmarks": "page.render", "gauge-features": "gauge_features.page",
    "leaning": "leaning.page", "parity": "parity.render", "rates": "rates.page", "scale": "scale.render",
    "settings": "settings.page", "timm-models": "timm_models.render", "gate-criteria": "gate_criteria.page",
    "gate-promise": "gate_promise.page", "rivals": "rivals.page",
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
