"""What hardening has changed: the numbers against an independent calculation, and the words that are made of them."""

import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from weatherproof.operators import RandomMask
from weatherproof.reports import write_report
from weatherproof.reports.hardened.curve import CURVE, Change, Changed
from weatherproof.reports.hardened.promise import PROMISE, Promise, promise_words
from weatherproof.reports.hardened.words import sentence, summary_lines, warning
from weatherproof.reports.parts import save_list, save_part
from weatherproof.verbs import before_after
from weatherproof.verbs.before_after import Values, _mean_of_draws, bears


def changed(clean: float = -0.003, damaged: float = 0.51, metric: str = "top1", error: float | None = 0.005) -> Changed:
    before, errors = 0.4, (0.01, 0.01, error)
    return Changed(
        metric, None, "RandomMask(0.5)", "toys", Change(before, before + clean, errors, 9),
        Change(before, before + damaged, errors, 9),
    )  # fmt: skip


def test_a_difference_has_the_error_of_its_images_whatever_the_order_and_number_of_draws() -> None:
    first, second = torch.tensor([0.0, 1, 1, 1]), torch.tensor([1.0, 0])
    after = _mean_of_draws([(torch.tensor([0, 2, 5, 7]), first), (torch.tensor([7, 2]), second)])
    before = _mean_of_draws([(torch.tensor([2, 5, 7, 8]), torch.tensor([0.0, 1, 0, 1]))])
    assert after is not None and before is not None
    assert (after.place.tolist(), after.each.tolist()) == ([0, 2, 5, 7], [0, 0.5, 1, 1])
    assert after.error == pytest.approx(statistics.stdev([0, 0.5, 1, 1]) / 2)
    change = after.less(before)  # of the images 2, 5 and 7
    assert change.each.tolist() == [0.5, 0, 1]
    assert change.error == pytest.approx(statistics.stdev([0.5, 0, 1]) / math.sqrt(3))
    assert _mean_of_draws([]) is None


def test_the_sentence_says_what_is_lost_and_what_is_gained() -> None:
    said = "On clean images the hardened encoder loses 0.3 ± 0.5 points; under the damage it gains 51 ± 1 points."
    assert sentence(changed()) == said
    assert "gains and loses nothing" in sentence(changed(clean=0.0))
    assert "loses 0.100 ± 0.005 of cosine similarity" in sentence(changed(clean=-0.1, metric="cosine"))
    assert "gains 3.0 points;" in sentence(changed(clean=0.03, error=None))


def test_a_loss_on_clean_images_beyond_its_error_is_a_warning() -> None:
    assert warning(changed(), None) == "" == warning(changed(clean=0.1), None)
    assert warning(changed(clean=-0.05), None).startswith("It loses 5.0 ± 0.5 points on clean images")
    kept, broken = Promise(0.95, 0.971, 500, True), Promise(0.95, 0.9, 500, False)
    moved = changed(clean=-0.02, metric="cosine")
    assert warning(moved, kept) == "" and warning(moved, broken) and warning(moved, None)
    assert warning(changed(clean=-0.05), kept)  # an accuracy that falls is said all the same


def test_the_promise_is_one_line() -> None:
    assert (
        promise_words(Promise(0.95, 0.971, 500, True)) == "keep_clean 0.95: kept, 0.971 on 500 clean validation images"
    )
    assert "not kept, 0.900 (cosine)" in promise_words(Promise(0.95, 0.9, 500, False, measure="cosine"))


def test_page_and_terminal_lead_with_the_four_numbers(tmp_path: Path) -> None:
    assert summary_lines(tmp_path) == []
    save_list(tmp_path, CURVE, [changed(clean=-0.05)])
    save_part(tmp_path, PROMISE, Promise(0.95, 0.9, 500, False))
    lines = summary_lines(tmp_path)
    assert [line.split()[0] for line in lines[1:4]] == ["original", "clean", "under"]
    assert "40.0 ± 1.0" in lines[2] and "35.0 ± 1.0" in lines[2] and "91.0 ± 1.0" in lines[3]
    record = {"metric": "top1", "value": 0.4, "model": "teacher", "data": "toys", "protocol": "a", "images": 9}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"verb": "harden", "operator": "RandomMask(0.5)"}))
    (tmp_path / "results.json").write_text(json.dumps({"records": [record]}))
    page = write_report(tmp_path).read_text("utf-8")
    order = ["it gains 51", "40.0", "35.0", "91.0", "Warning.", "Not kept", "What was done"]
    places = [page.index(text, page.index("<h1>")) for text in order]
    assert places == sorted(places)


@dataclass(frozen=True)
class Measured:
    """A metric of 100 images: whether the first are right, or the cosine of all."""

    metric: str
    damaged: float | None

    def values(self, found: object, condition: object, model: str) -> Values | None:
        mean = 0.9 if condition is None else self.damaged
        if mean is None:
            return None
        each = (torch.arange(100) < 100 * mean).double() if self.metric == "top1" else torch.full((100,), mean).double()
        return Values(torch.arange(100), each)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ([("top1", 0.9), ("cosine", 0.5)], True),
        ([("top1", 0.91), ("top1", 0.89)], True),  # one image of a hundred, with a standard error of one image
        ([("top1", 0.9), ("top1", 0.8)], False),
        ([("top1", None)], False),
        ([("cosine", 0.8995)], True),
        ([("cosine", 0.88)], False),
        ([], False),
    ],
)
def test_an_original_bears_what_costs_no_accuracy(
    measured: list[tuple[str, float | None]], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(before_after, "_asked", lambda _: [Measured(*own) for own in measured])
    found: Any = None
    assert bears(found, RandomMask(0.5), "teacher") == expected
