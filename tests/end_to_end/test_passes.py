"""A measurement embeds each image once with each encoder under each draw of each damage, and goes on where it was
stopped."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import weatherproof as wp
from weatherproof.encoders import Encoder
from weatherproof.evaluation import positions
from weatherproof.evaluation.engine.trials import Look
from weatherproof.verbs import measure

from .conftest import ALONE, results

TRAIN, TEST, DRAWS = 24, 12, 2
DAMAGE = "RandomMask(0.5)"
RUNGS = 7  # of RandomMask, DAMAGE among them
GALLERY = 12  # images, once more, as many as there are at most
QUICK: dict[str, Any] = {"realizations": DRAWS, "workers": 0, "batch_size": 8}
Verb = Callable[..., None]
MEASURED = TEST * (1 + RUNGS * DRAWS)
MIXTURE = "OneOf(RandomMask(0.5), GaussianNoise((0.1, 0.4)))"
LEVELS = 7 + 8  # of its kinds, each drawn once
FEW = TEST * (1 + DRAWS) // LEVELS  # images at each: no more in all than everything else


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


def harden(teacher: str, photos: Path, out: Path) -> None:
    wp.harden(teacher, photos, operator=DAMAGE, epochs=1, **QUICK, **ALONE, out=out)


def harden_on_a_mixture(teacher: str, photos: Path, out: Path) -> None:
    wp.harden(teacher, photos, operator=MIXTURE, epochs=1, **QUICK, **ALONE, out=out)


def harden_densely(teacher: str, photos: Path, out: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(positions, "MEMORY", 5 * 64 * 2 * 2 * 4)  # maps of 5 of the test images
        wp.harden(teacher, photos, operator=DAMAGE, dense=0.5, epochs=1, **QUICK, **ALONE, out=out)


def finetune(teacher: str, photos: Path, out: Path) -> None:
    wp.finetune(teacher, photos, operator=DAMAGE, epochs=1, **QUICK, out=out)


def train(teacher: str, photos: Path, out: Path, **settings: Any) -> None:
    wp.train("supervised", photos, encoder=teacher, operator=DAMAGE, epochs=1, **QUICK | settings, out=out)


def probe(teacher: str, photos: Path, out: Path, **settings: Any) -> None:
    wp.probe(teacher, photos, operator=DAMAGE, **QUICK | settings, out=out)


def audit(teacher: str, photos: Path, out: Path) -> None:
    wp.audit(teacher, photos, operator=DAMAGE, **QUICK, out=out)


def audit_beside_a_teacher(teacher: str, photos: Path, out: Path) -> None:
    probed = wp.probe(teacher, photos, labels=0.5, **QUICK, out=out / "probe").folder
    wp.audit(probed, photos, operator=DAMAGE, teacher=teacher, **QUICK, out=out / "audit")


@pytest.mark.parametrize(
    ("verb", "images"),
    [
        (harden, TRAIN + 2 * (MEASURED + GALLERY)),
        (harden_densely, TRAIN + 2 * (MEASURED + GALLERY)),
        (harden_on_a_mixture, TRAIN + 2 * (TEST * (1 + DRAWS) + FEW * LEVELS + GALLERY)),
        (finetune, TRAIN + 2 * (MEASURED + GALLERY)),
        (train, MEASURED + GALLERY),
        (probe, 4 * TRAIN + MEASURED + GALLERY),  # it is fitted on four draws
        (audit, MEASURED),
        (audit_beside_a_teacher, MEASURED + GALLERY + TEST),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_image_is_embedded_once(
    verb: Verb, images: int, teacher: str, photos: Path, tmp_path: Path, passes: list[int]
) -> None:
    verb(teacher, photos, tmp_path / "run")
    assert sum(passes) == images


@pytest.mark.parametrize(
    "verb", [harden, *(pytest.param(verb, marks=pytest.mark.slow) for verb in (harden_densely, probe, finetune))]
)
def test_a_measurement_that_is_stopped_goes_on(
    verb: Verb, teacher: str, photos: Path, tmp_path: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    verb(teacher, photos, tmp_path / "whole")
    whole, damaged, left = sum(passes), Look.damaged, [6]  # two batches of clean images, and two draws

    def stopping(look: Look, *args: Any) -> Tensor:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return damaged(look, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Look, "damaged", stopping)
        with pytest.raises(KeyboardInterrupt):
            verb(teacher, photos, tmp_path / "run")
    assert 0 < sum(passes) < whole and not (tmp_path / "run/results.json").exists()
    before = sum(passes)
    verb(teacher, photos, tmp_path / "run")
    assert sum(passes) == whole - before
    assert results(tmp_path / "run") == results(tmp_path / "whole")
    assert not (tmp_path / "run/measured").exists()


@pytest.mark.parametrize("verb", [probe, train])
def test_a_measurement_that_has_no_time_goes_on_with_more(
    verb: Verb, teacher: str, photos: Path, tmp_path: Path, passes: list[int]
) -> None:
    verb(teacher, photos, tmp_path / "whole")
    whole = sum(passes)
    verb(teacher, photos, tmp_path / "run", minutes=1e-6)
    told = json.loads((tmp_path / "run/results.json").read_text())
    assert told["notes"] == ["time was up: 6 of 7 damages were not reached; the same command goes on from here"]
    assert {r["operator"] for r in told["records"]} == {None, "RandomMask(0.5)"}
    done = sum(passes)
    verb(teacher, photos, tmp_path / "run")
    assert results(tmp_path / "run") == results(tmp_path / "whole")
    assert sum(passes) - GALLERY == whole - done < whole  # the pictures are made twice


@pytest.mark.slow
def test_processes_change_no_number(teacher: str, tmp_path: Path) -> None:
    """They share out blocks of 512 images."""
    settings: dict[str, Any] = {"operator": "RandomMask(0.5)", "realizations": 1, "workers": 0, "split": "train"}
    one, two = (
        wp.audit(teacher, "digits", processes=n, test_images=600, **settings, out=tmp_path / str(n)) for n in (1, 2)
    )
    assert list(one.records) == list(two.records)
