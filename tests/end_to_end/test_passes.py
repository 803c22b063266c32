"""A measurement embeds each image once with each encoder under each draw of each damage, and goes on where it was
stopped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import weatherproof as wp
from weatherproof.encoders import Encoder
from weatherproof.evaluation.engine.trials import Look
from weatherproof.verbs import measure

from .conftest import results

TRAIN, TEST, DRAWS = 1437, 60, 2
DAMAGE = "RandomMask(0.5)"
RUNGS = 6  # of RandomMask, DAMAGE among them
GALLERY = 12  # images, once more
QUICK: dict[str, Any] = {"realizations": DRAWS, "test_images": TEST, "workers": 0}
MEASURED = TEST * (1 + RUNGS * DRAWS)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images have gone through an encoder since the measurement was made, batch by batch."""
    counted: list[int] = []
    embed, begin = Encoder._raw, measure.Measurement.__init__

    def counting(encoder: Encoder, images: Tensor) -> Tensor:
        counted.append(len(images))
        return embed(encoder, images)

    def beginning(*args: Any, **settings: Any) -> None:
        counted.clear()
        begin(*args, **settings)

    monkeypatch.setattr(Encoder, "_raw", counting)
    monkeypatch.setattr(measure.Measurement, "__init__", beginning)
    return counted


def harden(teacher: str, out: Path) -> None:
    wp.harden(teacher, "digits", operator=DAMAGE, epochs=0.1, **QUICK, out=out)


def finetune(teacher: str, out: Path) -> None:
    wp.finetune(teacher, "digits", operator=DAMAGE, epochs=0.1, **QUICK, out=out)


def train(teacher: str, out: Path) -> None:
    wp.train("supervised", "digits", encoder=teacher, operator=DAMAGE, epochs=0.1, **QUICK, out=out)


def probe(teacher: str, out: Path) -> None:
    wp.probe(teacher, "digits", operator=DAMAGE, **QUICK, out=out)


def audit(teacher: str, out: Path) -> None:
    wp.audit(teacher, "digits", operator=DAMAGE, **QUICK, out=out)


def audit_beside_a_teacher(teacher: str, out: Path) -> None:
    probed = wp.probe(teacher, "digits", labels=0.1, **QUICK, out=out / "probe").folder
    wp.audit(probed, "digits", operator=DAMAGE, teacher=teacher, **QUICK, out=out / "audit")


@pytest.mark.parametrize(
    ("verb", "images"),
    [
        (harden, TRAIN + 2 * (MEASURED + GALLERY)),
        (finetune, TRAIN + 2 * (MEASURED + GALLERY)),
        (train, MEASURED + GALLERY),
        (probe, MEASURED + GALLERY),
        (audit, MEASURED),
        (audit_beside_a_teacher, MEASURED + GALLERY + TEST),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_image_is_embedded_once(
    verb: Callable[[str, Path], None], images: int, teacher: str, tmp_path: Path, passes: list[int]
) -> None:
    verb(teacher, tmp_path / "run")
    assert sum(passes) == images


def test_a_probe_s_training_images_are_embedded_once_a_draw(
    teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    embed = Encoder._raw
    monkeypatch.setattr(Encoder, "_raw", lambda own, images: (counted.append(len(images)), embed(own, images))[1])
    probe(teacher, tmp_path)
    assert sum(counted) - 2 == 4 * TRAIN + MEASURED + GALLERY  # two images are tried first


@pytest.mark.parametrize("verb", [harden, probe, finetune])
def test_a_measurement_that_is_stopped_goes_on(
    verb: Callable[[str, Path], None], teacher: str, tmp_path: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    verb(teacher, tmp_path / "whole")
    whole, damaged, left = sum(passes), Look.damaged, [5]

    def stopping(look: Look, *args: Any) -> Tensor:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return damaged(look, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Look, "damaged", stopping)
        with pytest.raises(KeyboardInterrupt):
            verb(teacher, tmp_path / "run")
    assert 0 < sum(passes) < whole and not (tmp_path / "run/results.json").exists()
    before = sum(passes)
    verb(teacher, tmp_path / "run")
    assert sum(passes) == whole - before
    assert results(tmp_path / "run") == results(tmp_path / "whole")
    assert not (tmp_path / "run/measured").exists()
