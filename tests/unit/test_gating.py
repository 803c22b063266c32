"""What the page of a hardening says of the kinds of damage that its gauge knows, and of those that it never saw."""

import pytest

from weatherproof import operators
from weatherproof.encoders import Gauge, Preprocessing
from weatherproof.encoders.gauge import KindScale, Settings
from weatherproof.operators import drawn
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
    assert [name for text in _OTHERS for name, _ in _unlike(gauge, text, 32)] == ["RandomMask", "fog", "pixelate"]
