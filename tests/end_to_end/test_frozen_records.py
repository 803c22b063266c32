"""Every verb gives the numbers that it gave: small runs on the digits, to the bit (studies: tests/contracts)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from frozen import compare

import weatherproof as wp

from .conftest import results

SMALL = "small(width=4)"
MEASURED: dict[str, Any] = {"device": "cpu", "workers": 0, "test_images": 60}
DRAWN = {**MEASURED, "realizations": 2}
TRAINED = {**DRAWN, "epochs": 1, "batch_size": 128}
MIXED = "Chain(Sometimes(GaussianBlur((1, 2)), 0.8), GaussianNoise((0.05, 0.5)))"
RUNS: dict[str, Callable[[Path], object]] = {
    "train": lambda home: wp.train("supervised", "digits", encoder=SMALL, **TRAINED, out=home / "train"),
    "train-fcl": lambda home: wp.train("fcl", "digits", encoder=SMALL, k=8, **TRAINED, out=home / "train-fcl"),
    "train-noise": lambda home: wp.train(
        "supervised", "digits", encoder=SMALL, tikhonov=0.01, labels=0.2, operator=MIXED, **TRAINED,
        out=home / "train-noise",
    ),
    "train-adversarial": lambda home: wp.train(
        "adversarial", "digits", encoder=SMALL, attack="PGD(Linf(0.1), steps=2)", **TRAINED,
        out=home / "train-adversarial",
    ),
    "harden": lambda home: wp.harden(home / "train", "digits", **TRAINED, out=home / "harden"),
    "harden-mixed": lambda home: wp.harden(
        home / "train", "digits", operator=MIXED, objective="NTXent(0.1)", **TRAINED, out=home / "harden-mixed"
    ),
    "probe": lambda home: wp.probe(home / "harden", "digits", labels=0.1, **DRAWN, out=home / "probe"),
    "probe-damaged": lambda home: wp.probe(
        home / "harden", "digits", operator="RandomMask(0.75)", **DRAWN, out=home / "probe-damaged"
    ),
    "finetune": lambda home: wp.finetune(
        home / "harden", "digits", regularizer=["SimilarityMatrix(0.1)"], operator="GaussianNoise(0.3)", **TRAINED,
        out=home / "finetune",
    ),
    "pretrain": lambda home: wp.pretrain(
        "simclr", "digits", encoder=SMALL, epochs=1, batch_size=128, labels=[0.1, 1.0], **MEASURED,
        out=home / "pretrain",
    ),
    "pretrain-urrl": lambda home: wp.pretrain(
        "mocov2", "digits", encoder=SMALL, views="urrl", queue=256, epochs=1, batch_size=128, **MEASURED,
        out=home / "pretrain-urrl",
    ),
    "audit": lambda home: wp.audit(
        home / "harden", "digits", operator="RandomMask((0.5, 0.95))", teacher=home / "train", **DRAWN,
        out=home / "audit",
    ),
    "audit-suite": lambda home: wp.audit(
        home / "train", "digits", suite="common-15", **MEASURED, out=home / "audit-suite"
    ),
    "audit-attack": lambda home: wp.audit(
        home / "train", "digits", attack=["PGD(L2(0.5), steps=3)", "LogBarrier('l2', outer=2, inner=3)"], curve=True,
        **MEASURED, out=home / "audit-attack",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frozen")


@pytest.mark.xdist_group("frozen")  # later runs stand on earlier ones
@pytest.mark.filterwarnings("ignore:.*randomly initialised", "ignore:.*no weights given")
@pytest.mark.parametrize("name", RUNS)
def test_frozen(name: str, home: Path) -> None:
    RUNS[name](home)
    compare(f"verb-{name}", results(home / name))
