"""What hardening has changed: the numbers against an independent calculation, and the words that are made of them."""

import json
import math
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from weatherproof import random
from weatherproof.data import MemoryImages
from weatherproof.evaluation import EVAL_STREAM
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.readings import Head, Judgement, Readings
from weatherproof.operators import RandomMask, parse
from weatherproof.operators.drawn import drawn
from weatherproof.reports import write_report
from weatherproof.reports.hardened.curve import CURVE, Change, Changed, KindChange
from weatherproof.reports.hardened.promise import PROMISE, Promise, promise_beside, promise_words
from weatherproof.reports.hardened.words import sentence, summary_lines, warning
from weatherproof.reports.parts import save_list, save_part
from weatherproof.verbs import before_after
from weatherproof.verbs.before_after import Values, _mean_of_draws, bears, changes


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
    said = "On clean images the hardened encoder loses 1.3 ± 0.5 points; under the damage it gains 51 ± 1 points."
    assert sentence(changed(clean=-0.013)) == said
    said = said.replace("loses 1.3 ± 0.5 points", "shows no clear change (\N{MINUS SIGN}0.3 ± 0.5 points)")
    assert sentence(changed()) == said, "as the numbers below it say"
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
    alone, gated = (warning(changed(clean=-0.05), kept, gate=gate) for gate in (False, True))
    assert alone.endswith("harden with --keep both, which gives these to the original.")
    assert "--keep" not in gated and gated.endswith("held out to find where the gate opens.")


MIXTURE = "OneOf(RandomMask((0.0, 0.9)), GaussianNoise((0.0, 0.3)), JPEG((20, 90)))"


def test_each_kind_of_a_mixture_has_the_change_of_the_images_that_got_it() -> None:
    """Two draws of nine images, of which one could not be read in the second; who is right is a coin's affair."""
    index = torch.arange(9) * 7 + 3
    images = MemoryImages(torch.zeros(9, 1, 2, 2, dtype=torch.uint8), torch.zeros(9, dtype=torch.int64), index=index)
    places, coin = (torch.arange(9), torch.arange(8)), torch.Generator().manual_seed(0)

    def answers(place: torch.Tensor) -> Answers:
        right = {f"{model}/0/top1": torch.rand(len(place), generator=coin) < 0.5 for model in ("teacher", "hardened")}
        labels = {f"{model}/0/label": torch.zeros(len(place), dtype=torch.int64) for model in ("teacher", "hardened")}
        return Answers(place, {name: own.double() for name, own in right.items()} | labels)

    operator, draws = parse(MIXTURE), [answers(place) for place in places]
    part = Judgement(dict.fromkeys(("teacher", "hardened"), Head()), ("top1",), "own-head", None, [None, operator])
    found = Readings(images, {"0": part}, answers(places[0]), {repr(operator): draws}, None, None, True, 5, 4, {})
    (changed,) = changes(found, [], operator, ("teacher", "hardened"))
    assert [own.family for own in changed.kinds] == ["RandomMask", "GaussianNoise", "JPEG"]
    for number, own in enumerate(changed.kinds, 1):
        each: dict[int, list[tuple[float, float]]] = {}
        for run, (place, given) in enumerate(zip(places, draws, strict=True)):
            kinds = drawn(operator, random.fold(random.keys(5, index[place]), EVAL_STREAM, run)).kind
            for row in (kinds == number).nonzero().flatten().tolist():
                pair = (float(given["teacher/0/top1"][row]), float(given["hardened/0/top1"][row]))
                each.setdefault(int(place[row]), []).append(pair)
        means = [[statistics.mean(column) for column in zip(*pairs, strict=True)] for pairs in each.values()]
        assert own.change.images == len(means) > 0
        assert (own.change.before, own.change.after) == pytest.approx(
            tuple(statistics.mean(column) for column in zip(*means, strict=True))
        )
        if len(means) > 1:
            spread = statistics.stdev(after - before for before, after in means) / math.sqrt(len(means))
            assert own.change.errors[2] == pytest.approx(spread)
    (alone,) = changes(
        replace(found, damaged={repr(parse("RandomMask(0.5)")): draws}),
        [],
        parse("RandomMask(0.5)"),
        ("teacher", "hardened"),
    )
    assert alone.damaged is not None and not alone.kinds


def test_a_kind_that_the_original_bears_better_is_named(tmp_path: Path) -> None:
    kinds = (("RandomMask", 0.9), ("GaussianNoise", 0.3), ("JPEG", 0.3995))
    of_kinds = tuple(KindChange(name, Change(0.4, after, (0.01, 0.01, 0.005), 9)) for name, after in kinds)
    mixed = replace(changed(), kinds=of_kinds)
    said = warning(mixed, None)
    assert said.startswith("Under Gaussian noise alone it loses 10 ± 1 points") and "missing" not in said
    assert "JPEG" not in said, "no more than the choice of the images explains"
    save_list(tmp_path, CURVE, [mixed])
    lines = summary_lines(tmp_path)
    assert [line.split("  ")[1] for line in lines[4:7]] == ["missing pixels", "Gaussian noise", "JPEG compression"]
    assert "90.0 ± 1.0" in lines[4] and said in lines
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"verb": "harden", "operator": MIXTURE}))
    record = {"metric": "top1", "value": 0.4, "model": "teacher", "data": "toys", "protocol": "a", "images": 9}
    (tmp_path / "results.json").write_text(json.dumps({"records": [record]}))
    page = write_report(tmp_path).read_text("utf-8")
    assert "Under Gaussian noise alone" in page and page.index("by the kind that each got") < page.index("90.0 ± 1.0")


def test_the_promise_is_one_line() -> None:
    assert (
        promise_words(Promise(0.95, 0.971, 500, True)) == "Promised 0.95, reached 0.971 on 500 clean validation images"
    )
    broken = Promise(0.95, 0.9, 500, False, 0.926, measure="cosine")
    assert "Promised 0.95, reached 0.900 (cosine) on" in promise_words(broken)
    assert promise_beside(broken) == "The most at any look was 0.926."


def test_page_and_terminal_lead_with_the_four_numbers(tmp_path: Path) -> None:
    assert summary_lines(tmp_path) == []
    save_list(tmp_path, CURVE, [changed(clean=-0.05)])
    save_part(tmp_path, PROMISE, Promise(0.95, 0.9, 500, False))
    lines = summary_lines(tmp_path)
    assert [line.split()[0] for line in lines[1:4]] == ["original", "clean", "under"]
    assert lines[-1] == "Promised 0.95, reached 0.900 on 500 clean validation images: not kept"
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
    monkeypatch.setattr(before_after, "_measures", lambda _: [Measured(*own) for own in measured])
    found: Any = None
    assert bears(found, RandomMask(0.5), "teacher") == expected
