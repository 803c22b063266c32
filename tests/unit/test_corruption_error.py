"""Corruption errors and the contamination guard."""

import json
from pathlib import Path

import pytest

from weatherproof.benchmark import COMMON_15, COMMON_19
from weatherproof.errors import InputError
from weatherproof.evaluation import (
    ALEXNET,
    corruptions_in,
    mean_corruption_error,
    relative_mean_corruption_error,
)
from weatherproof.evaluation.metrics.corruption_error import ALEXNET_BY_SEVERITY, ALEXNET_CLEAN
from weatherproof.evaluation.suites.contamination import history, trained_on
from weatherproof.operators import GaussianNoise, RandomMask

MEANS = {  # as the benchmark's evaluation code prints them
    "gaussian_noise": 0.886428, "shot_noise": 0.894468, "impulse_noise": 0.922640, "defocus_blur": 0.819880,
    "glass_blur": 0.826268, "motion_blur": 0.785948, "zoom_blur": 0.798360, "snow": 0.866816, "frost": 0.826572,
    "fog": 0.819324, "brightness": 0.564592, "contrast": 0.853204, "elastic_transform": 0.646056,
    "pixelate": 0.717840, "jpeg_compression": 0.606500,
}  # fmt: skip


def test_the_severities_average_to_the_published_means() -> None:
    assert tuple(ALEXNET) == COMMON_19 and tuple(ALEXNET_BY_SEVERITY) == COMMON_15
    for name, mean in MEANS.items():
        assert len(ALEXNET_BY_SEVERITY[name]) == 5
        assert ALEXNET[name] == pytest.approx(mean, abs=1e-9), name
    assert sum(ALEXNET[name] for name in COMMON_15) / 15 == pytest.approx(0.788993, abs=5e-7)


def test_alexnet_is_one_and_a_perfect_classifier_zero() -> None:
    fifteen = {name: ALEXNET[name] for name in COMMON_15}
    assert mean_corruption_error(fifteen) == pytest.approx(1)
    assert relative_mean_corruption_error(fifteen, ALEXNET_CLEAN) == pytest.approx(1)
    perfect = dict.fromkeys(COMMON_15, 0.0)
    assert mean_corruption_error(perfect) == relative_mean_corruption_error(perfect, 0.0) == 0


def test_errors_are_divided_one_corruption_at_a_time() -> None:
    errors = {"fog": 0.5, "brightness": 0.3}
    fog, brightness = 0.819324, 0.564592
    assert mean_corruption_error(errors, allow_missing=True) == pytest.approx((0.5 / fog + 0.3 / brightness) / 2)
    relative = (0.3 / (fog - 0.435) + 0.1 / (brightness - 0.435)) / 2
    assert relative_mean_corruption_error(errors, 0.2, allow_missing=True) == pytest.approx(relative)
    # and below zero where damage helps
    assert relative_mean_corruption_error(errors, 0.4, allow_missing=True) < relative
    own = {"fog": 0.25, "brightness": 0.6}
    assert mean_corruption_error(errors, baseline=own) == pytest.approx((2 + 0.5) / 2)


def test_the_severities_are_averaged_before_dividing() -> None:
    """sum_s E / sum_s E_alex, which is not the mean of the ratios."""
    errors = (0.1, 0.2, 0.3, 0.5, 0.9)
    ratio = sum(errors) / sum(ALEXNET_BY_SEVERITY["snow"])
    assert mean_corruption_error({"snow": sum(errors) / 5}, allow_missing=True) == pytest.approx(ratio)
    ratios = [e / a for e, a in zip(errors, ALEXNET_BY_SEVERITY["snow"], strict=True)]
    assert abs(sum(ratios) / 5 - ratio) > 0.01


@pytest.mark.parametrize(
    "measure", [mean_corruption_error, lambda errors, **more: relative_mean_corruption_error(errors, 0.1, **more)]
)
def test_fourteen_of_the_fifteen_are_no_mean_corruption_error(measure) -> None:
    fourteen = {name: 0.5 for name in COMMON_15 if name != "glass_blur"}
    with pytest.raises(InputError, match="over 15 corruptions, missing: glass_blur; .* the 14 that are there"):
        measure(fourteen)
    assert 0 < measure(fourteen, allow_missing=True) < 2
    with pytest.raises(InputError, match="over 19 corruptions, missing: glass_blur, spatter;"):
        measure({name: 0.5 for name in COMMON_19 if name not in ("glass_blur", "spatter")})
    assert measure(dict.fromkeys(COMMON_19, 0.5)) > 0
    with pytest.raises(InputError, match="over 2 corruptions, missing: haze;"):
        mean_corruption_error({"fog": 0.5}, baseline={"fog": 0.5, "haze": 0.5})


def test_bad_errors() -> None:
    with pytest.raises(InputError, match="got none"):
        mean_corruption_error({})
    with pytest.raises(InputError, match="divide per cent by 100"):
        mean_corruption_error({"fog": 76.7})
    with pytest.raises(InputError, match="unknown corruption 'fgo': did you mean fog"):
        mean_corruption_error({"fgo": 0.5})
    with pytest.raises(InputError, match="unknown baseline 'resnet'"):
        mean_corruption_error({"fog": 0.5}, baseline="resnet")
    with pytest.raises(InputError, match="must be above 0.435"):
        relative_mean_corruption_error({"fog": 0.5}, 0.2, baseline={"fog": 0.4})


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("GaussianNoise((0.05, 0.5))", {"gaussian_noise"}),
        ("GaussianBlur", {"gaussian_blur"}),
        ("PatchGaussian(25, 0.1)", {"gaussian_noise"}),
        ("UniformNoise(0.15)", {"uniform_noise"}),
        ("NonUniformNoise(std='pixel-std.npy')", {"nonuniform_noise"}),
        ("Corruption('fog', 3)", {"fog"}),
        ("Corruption(name='jpeg_compression', severity=1)", {"jpeg_compression"}),
        ("Chain(Sometimes(GaussianBlur((1, 5)), 0.8), OneOf(Corruption('snow', 1), RandomMask(0.5)))",
         {"gaussian_blur", "snow"}),
        ("Chain('ops.py:mine', GaussianNoise(0.1))", {"gaussian_noise"}),
        ("RandomMask(0.5), GaussianNoise(0.1)", {"gaussian_noise"}),
        ("RandomMask((0.5, 0.95))", set()),
        ("'Corruption(\"fog\", 3)'", set()),
        ("Corruption(fog, 3)", set()),
        ("Corruption", set()),
        ("my/ops.py:fog", set()),
        ("GaussianNoise(", set()),
        ("__import__('os').system('GaussianNoise')", set()),
        ("", set()),
        (None, set()),
    ],
)  # fmt: skip
def test_seen(text: str | None, names: set[str]) -> None:
    assert corruptions_in(text) == names


def provenance(folder: Path, file: str = "encoder.json", **what: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / file).write_text(json.dumps({"provenance": what}))
    return folder


def test_a_run_remembers_what_it_was_trained_on(tmp_path: Path) -> None:
    first = provenance(tmp_path / "first", started_from="resnet20", trained_on="GaussianNoise(0.1)")
    assert trained_on(first) == "GaussianNoise(0.1)"
    provenance(first, "readout.json", operator="Corruption('fog', 1)", images="digits")
    assert trained_on(first) == "GaussianNoise(0.1), Corruption('fog', 1)"
    assert corruptions_in(trained_on(first)) == {"gaussian_noise", "fog"}
    provenance(first, "readout.json", operator="GaussianNoise(0.1)")
    assert trained_on(first) == "GaussianNoise(0.1)"


def test_a_later_run_remembers_those_before_it(tmp_path: Path) -> None:
    first = provenance(tmp_path / "first", trained_on="GaussianNoise(0.1)")
    assert history(first, RandomMask(0.5)) == "GaussianNoise(0.1), RandomMask(0.5)"
    assert history(str(first), None) == history(first, GaussianNoise(0.1)) == "GaussianNoise(0.1)"
    assert history("resnet20@weights.safetensors", RandomMask(0.5)) == "RandomMask(0.5)"
    assert history(object(), None) is None


def test_a_run_without_damage_and_what_is_no_run(tmp_path: Path) -> None:
    clean = provenance(tmp_path / "clean", encoder="resnet20@weights.safetensors", trained_on=None)
    assert trained_on(clean) is None
    assert trained_on(tmp_path) is None and trained_on(tmp_path / "nothing") is None
