"""Every verb gives the numbers that it gave: small runs on the digits, to the bit (studies: tests/contracts)."""

from collections.abc import Callable
from functools import cache
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
PAPER: dict[str, Any] = {"keep": "hardened", "keep_clean": 0.0, "lean": False, "curriculum": 0.0}
MIXED = "Chain(Sometimes(GaussianBlur((1, 2)), 0.8), GaussianNoise((0.05, 0.5)))"
RunFolderOf = Callable[[str], Path]  # the run folder of another of these runs
RUNS: dict[str, Callable[[RunFolderOf, Path], object]] = {
    "train": lambda made, out: wp.train("supervised", "digits", encoder=SMALL, **TRAINED, out=out),
    "train-fcl": lambda made, out: wp.train("fcl", "digits", encoder=SMALL, k=8, **TRAINED, out=out),
    "train-noise": lambda made, out: wp.train(
        "supervised", "digits", encoder=SMALL, tikhonov=0.01, labels=0.2, operator=MIXED, **TRAINED,
        out=out,
    ),
    "train-adversarial": lambda made, out: wp.train(
        "adversarial", "digits", encoder=SMALL, attack="PGD(Linf(0.1), steps=2)", **TRAINED,
        out=out,
    ),
    "harden": lambda made, out: wp.harden(
        made("train"), "digits", operator="RandomMask((0.5, 0.95))", **PAPER, **TRAINED, out=out
    ),
    "harden-mixed": lambda made, out: wp.harden(
        made("train"), "digits", operator=MIXED, objective="NTXent(0.1)", **PAPER, **TRAINED, out=out
    ),
    "probe": lambda made, out: wp.probe(made("harden"), "digits", labels=0.1, **DRAWN, out=out),
    "probe-damaged": lambda made, out: wp.probe(
        made("harden"), "digits", operator="RandomMask(0.75)", **DRAWN, out=out
    ),
    "finetune": lambda made, out: wp.finetune(
        made("harden"), "digits", regularizer=["SimilarityMatrix(0.1)"], operator="GaussianNoise(0.3)", **TRAINED,
        out=out,
    ),
    "pretrain": lambda made, out: wp.pretrain(
        "simclr", "digits", encoder=SMALL, epochs=1, batch_size=128, labels=[0.1, 1.0], **MEASURED,
        out=out,
    ),
    "pretrain-urrl": lambda made, out: wp.pretrain(
        "mocov2", "digits", encoder=SMALL, views="urrl", queue=256, epochs=1, batch_size=128, **MEASURED,
        out=out,
    ),
    "audit": lambda made, out: wp.audit(
        made("harden"), "digits", operator="RandomMask((0.5, 0.95))", teacher=made("train"), **DRAWN,
        out=out,
    ),
    "audit-suite": lambda made, out: wp.audit(
        made("train"), "digits", suite="common-15", **MEASURED, out=out
    ),
    "audit-attack": lambda made, out: wp.audit(
        made("train"), "digits", attack=["PGD(L2(0.5), steps=3)", "LogBarrier('l2', outer=2, inner=3)"], curve=True,
        **MEASURED, out=out,
    ),
}  # fmt: skip

LONG = ("pretrain", "pretrain-urrl", "audit-suite", "audit-attack")  # of kinds that others stand for


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolderOf:
    """Gives the folder of a run; each is made once, and before it those that it stands on."""
    home = tmp_path_factory.mktemp("frozen")

    @cache
    def run(name: str) -> Path:
        RUNS[name](run, home / name)
        return home / name

    return run


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in RUNS])
def test_frozen(name: str, run_folder: RunFolderOf) -> None:
    compare(f"verb-{name}", results(run_folder(name)))
