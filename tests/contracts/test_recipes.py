"""What every verb writes into recipe.yaml, `--config` reads again: the same verb with the same settings."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import nn

import weatherproof as wp
from weatherproof import cli
from weatherproof.encoders.folder import save_encoder
from weatherproof.encoders.origin import Origin
from weatherproof.readouts import Readout
from weatherproof.readouts.store import save_readout
from weatherproof.training import RunFolder

NO_RUN = ("compare", "doctor", "prepare", "embed")  # that of `embed` is hidden, until it is done
MASK = "RandomMask(0.5)"
CALLS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {  # MODEL: one that came from a hub, with a classifier
    "demo": ((), {"seeds": 2}),
    "harden": (("MODEL", "digits"), {"operator": MASK, "size": "32x40"}),
    "pretrain": (("simclr", "digits"), {"labels": [0.5, 1.0]}),
    "train fcl": (("fcl", "digits"), {}),
    "train adversarial": (("adversarial", "digits"), {}),
    "finetune": (("MODEL", "digits"), {}),
    "probe": (("MODEL", "digits"), {}),
    "audit operator": (("MODEL", "digits"), {"operator": MASK, "size": 32}),
    "audit suite": (("MODEL", "digits"), {"suite": "noisy", "size": 32}),
    "audit attack": (("MODEL", "digits"), {"attack": ["PGD(L2(0.5))", "PGD(Linf(8/255))"], "size": 32}),
    "corrupt": (("digits",), {"corruptions": ["fog"]}),
    "export": (("MODEL",), {"to": "torch", "size": 32}),
    "shard": (("digits",), {}),
    "reproduce": (("figure-4",), {"seeds": 2, "cells": "1/2", "precision": "bf16-mixed"}),
}


class Opened(Exception):
    """A run folder is there: the recipe is written."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "run"
    folder.mkdir()
    encoder = wp.load_encoder("small@random", seed=1)
    encoder.origins = (Origin("org/small/model.safetensors", "aa", commit="c0ffee"),)
    save_encoder(encoder, folder, provenance={})
    readout = Readout(nn.Linear(encoder.feature_dim, 10), tuple("0123456789"), "probe")
    save_readout(readout, folder, provenance={})
    return folder


def written(monkeypatch: pytest.MonkeyPatch, verb: str, given: tuple[Any, ...], options: dict[str, Any]) -> str:
    """The recipe.yaml of a verb, which is stopped there."""
    begin = RunFolder.open.__func__  # type: ignore[attr-defined]

    def stop(cls: type[RunFolder], *words: Any, **more: Any) -> None:
        raise Opened((begin(cls, *words, **more).path / "recipe.yaml").read_text(encoding="utf-8"))

    with monkeypatch.context() as patch, pytest.raises(Opened) as opened:
        patch.setattr(RunFolder, "open", classmethod(stop))
        getattr(wp, verb)(*given, **options)
    return str(opened.value)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.filterwarnings("ignore:small.* no weights given")
def test_config_runs_a_recipe_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Path, call: str) -> None:
    verb, (given, options), file = call.partition(" ")[0], CALLS[call], tmp_path / "recipe.yaml"
    words = tuple(str(model) if word == "MODEL" else word for word in given)
    file.write_text(written(monkeypatch, verb, words, {**options, "out": tmp_path / "out"}), encoding="utf-8")
    assert ("commits" in file.read_text(encoding="utf-8")) == ("MODEL" in given)
    read, more, _ = cli._parse(verb, getattr(wp, verb), ["--config", str(file), "--out", str(tmp_path / "again")])
    again = yaml.safe_load(written(monkeypatch, verb, tuple(read), more))
    first = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert {**again, "out": ""} == {**first, "out": ""}


def test_every_verb_has_its_row() -> None:
    assert {*cli.VERBS} == {call.partition(" ")[0] for call in CALLS} | {*NO_RUN}
