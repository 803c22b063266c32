"""What the page of a hardening says of the kinds of damage that its gauge knows, and of those that it never saw."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from weatherproof import operators
from weatherproof.benchmark import COMMON_19
from weatherproof.data import MemoryImages, batches
from weatherproof.encoders import Gauge, Preprocessing
from weatherproof.encoders.gauge import KindScale, Settings
from weatherproof.operators import drawn
from weatherproof.reports import write_report
from weatherproof.reports.hardened.curve import CURVE, Change, Changed, Curve, ModelLevels
from weatherproof.reports.hardened.gauge import GAUGED, Gauged, GaugedKind, GaugedLevel
from weatherproof.reports.parts import save_list, save_part
from weatherproof.reports.words.records import axis_words, damage_words, kind_words
from weatherproof.verbs.gating import _OTHERS, _unlike

GREY = Preprocessing((0.0,), (1.0,), None, 1)
MIXED = "MixedChains(GaussianBlur((0.0, 2.0)), JPEG((20, 90)))"


@pytest.mark.parametrize(
    ("name", "title", "inside"),
    [
        ("RandomMask", "Missing pixels", "missing pixels"),
        ("JPEG", "JPEG compression", "JPEG compression"),
        ("jpeg_compression", "JPEG compression", "JPEG compression"),
        ("gaussian_blur", "Gaussian blur", "Gaussian blur"),
        ("contrast", "Low contrast", "low contrast"),
        ("shot_noise", "Shot noise", "shot noise"),
        ("clean", "Clean", "clean"),
        ("/my files/own.py:dead_columns", "dead_columns", "dead_columns"),
        ("dead_columns", "dead_columns", "dead_columns"),
        (MIXED, MIXED, MIXED),
    ],
)
def test_a_kind_is_called_by_its_words_and_a_users_own_by_its_name(name: str, title: str, inside: str) -> None:
    assert (damage_words(name), kind_words(name)) == (title, inside)
    assert name in ("RandomMask", "JPEG") or axis_words(name) == f"{inside}, severity"


def test_a_kind_that_a_gauge_knows_by_another_name_is_not_one_that_it_never_saw() -> None:
    family = (
        "OneOf(CommonCorruptions(only='noise'), Corruption('gaussian_blur', 2), Corruption('contrast', 2), JPEG(9))"
    )
    gauge = Gauge(Settings(tuple(KindScale(own.name) for own in drawn.kinds(operators.parse(family))), GREY))
    assert strangers(gauge, channels=1) == ["RandomMask", "fog", "pixelate"]


def strangers(gauge: Gauge, channels: int) -> list[str]:
    """The kinds that the page shows as never seen."""
    some = next(batches(MemoryImages(torch.randint(0, 256, (2, channels, 32, 32), dtype=torch.uint8)), 1))
    return [name for text in _OTHERS for name, _ in _unlike(gauge, text, 32, some)]


def test_of_images_of_more_channels_those_are_left_out_that_are_not_made_for_them() -> None:
    gauge = Gauge(Settings((KindScale("RandomMask"),), GREY))
    grey, coloured, four = (strangers(gauge, channels) for channels in (1, 3, 4))
    assert grey == coloured and len(grey) == len(_OTHERS) - 1
    assert [name for name in grey if name not in four] == ["JPEG"]


def test_a_mixture_of_many_kinds_has_small_curves_on_the_page(tmp_path: Path) -> None:
    def page(*names: str) -> str:
        change, run = Change(0.5, 0.6, (0.1, 0.1, 0.05), 9), tmp_path / str(len(names))
        levels = tuple(ModelLevels(model, (0.9, 0.5), (None, None)) for model in ("teacher", "hardened"))
        curves = tuple(Curve(name, ((1.0, 5.0),), (0.0, 5.0), levels, 9) for name in names)
        run.mkdir()
        save_list(run, CURVE, [Changed("top1", None, "CommonCorruptions()", "toys", change, change, curves)])
        answers = (GaugedLevel(0.0, 0.0, 0.0, 0.1, 0.0, 1.0, 9), GaugedLevel(5.0, 4.0, 3.0, 5.0, 0.0, 0.0, 9))
        known, none = ("clean", *names), (None,) * (1 + len(names))
        said = tuple(GaugedKind(name, answers) for name in names)
        shares = ((0.0,) * len(known),) * len(known)
        gauged = Gauged(said, 9, known, known, shares, none, worse=none, auc=0.9876, calibration_error=0.0123)
        save_part(run, GAUGED, gauged)
        record = {"metric": "top1", "value": 0.4, "model": "teacher", "data": "toys", "protocol": "a", "images": 9}
        (run / "recipe.yaml").write_text(yaml.safe_dump({"verb": "harden", "operator": "CommonCorruptions()"}))
        (run / "results.json").write_text(json.dumps({"records": [record]}))
        return write_report(run).read_text("utf-8")

    few, many = page("fog"), page(*COMMON_19)
    assert "trained on severity 1 to 5" in few and ">fog, severity<" in few and "What the gauge says there" not in few
    assert many.count("trained on severity 1 to 5") == 19 == many.count("<summary>What the gauge says there")
    assert 'class="hardened-grid many"' in many and 'class="confusion many"' in many
    assert "98.8\N{NO-BREAK SPACE}% of all pairs (AUC); that probability is off by 1.2 points on average" in few
    assert "From none to the worst" in few and "beyond</h2>" not in few
    assert 'class="hardened-grid single"' in few and 'class="confusion"' in few
