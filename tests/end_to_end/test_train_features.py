"""Feature contrastive learning and its rivals from the command line: what comes out, going on, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from html_page import Strict

import weatherproof as wp
from weatherproof.evaluation.suites.contamination import trained_on
from weatherproof.methods import LABELLED, SECOND_TERM
from weatherproof.views.contamination import corruptions_in

from .conftest import Command, results

SMALL = "small(width=4, channels=3)"
QUICK: dict[str, Any] = {"encoder": SMALL, "batch_size": 8, "workers": 0, "device": "cpu"}
OPTIONS = ("--encoder", SMALL, "--epochs", 2, "--batch-size", 8, "--workers", 0, "--device", "cpu")
pytestmark = pytest.mark.filterwarnings("ignore:.*randomly initialised")
PICTURES = {"utility_maps.safetensors", "utility_images.safetensors", "utility_curve.json"}


@pytest.fixture(scope="module")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every training with labels, its second term from the second of three epochs on."""
    folder = tmp_path_factory.mktemp("train")
    made = {}
    for method in LABELLED:
        settings = {"start_epoch": 1, "weight": 0.01} if method in SECOND_TERM else {}
        made[method] = folder / method
        wp.train(method, photos, epochs=3, out=made[method], **settings, **QUICK)
    return made


@pytest.mark.parametrize("method", LABELLED)
def test_every_training_leaves_a_whole_run(runs: dict[str, Path], method: str) -> None:
    run = runs[method]
    assert {file.name for file in run.iterdir()} >= PICTURES | {"encoder.safetensors", "readout.safetensors"}
    assert {record["model"] for record in results(run)} == {method}
    page = (run / "report.html").read_text()
    Strict(page)
    assert "What counts in the image" in page
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    if method in SECOND_TERM:
        assert log[0]["weight"] == 0 and log[0]["contrast"] == 0
        assert log[-1]["weight"] == pytest.approx(0.01) and log[-1]["contrast"] > 0
        assert yaml.safe_load((run / "recipe.yaml").read_text())["sigma"] > 0
    noisy = "gaussian" in method or "fcl" in method
    assert ("gaussian_noise" in corruptions_in(trained_on(run))) == noisy  # the audit says so


def test_the_classifier_of_a_run_goes_on(runs: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    """With a rate of next to nothing it is what it was; with a new classifier it would not be."""
    out = tmp_path / "on"
    wp.train("fcl", photos, **QUICK | {"encoder": str(runs["supervised"])}, head="own", epochs=1, lr=1e-30, out=out)
    before, after = (wp.readouts.load_readout(folder) for folder in (runs["supervised"], out))
    assert before is not None and after is not None
    assert all(before.head.state_dict()[n].equal(v) for n, v in after.head.state_dict().items())
    before_and_after = json.loads((out / "utility_curve.json").read_text())
    assert "start" in json.dumps(before_and_after)
    wp.train("fcl", photos, **QUICK | {"encoder": str(runs["supervised"])}, epochs=1, lr=1e-30, out=tmp_path / "new")
    new = wp.readouts.load_readout(tmp_path / "new")
    assert new is not None and not new.head.weight.equal(before.head.weight)  # type: ignore[attr-defined, union-attr]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("fcl", "--k", 769), "k is 769, but an image has 768 (3 x 16 x 16) elements: choose at most 384"),
        (("fcl", "--k", 0), "k counts elements of an image: 1 or more, got 0"),
        (("fcl", "--weight=-1"), "multiplies the sum of the second term over a batch"),
        (("fcl", "--sigma", 0), "sigma must be a positive number"),
        (("fcl", "--temperature", 0), "temperature must be a positive number"),
        (("fcl", "--start-epoch=-1"), "start_epoch counts epochs, 0 or more"),
        (("fcl", "--start-epoch=30"), "start_epoch 30 is not before the end of"),
        (("supervised", "--sigma", 0.5), "supervised has no sigma"),
        (("xe-gaussian", "--k", 5), "xe-gaussian has no k: it takes sigma, weight"),
        (("fcl", "--head", "own"), "brings; small has none"),
        (("flc",), "did you mean fcl?"),
    ],
)
def test_bad_settings_leave_nothing(
    weatherproof: Command, here: Path, photos: Path, options: tuple[Any, ...], said: str
) -> None:
    status, out, err = weatherproof("train", options[0], photos, *OPTIONS, *options[1:])
    assert (status, out) == (2, "") and said in err.splitlines()[-1]
    assert list(here.iterdir()) == []
