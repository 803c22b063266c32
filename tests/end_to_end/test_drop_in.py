"""A hardened torchvision network goes back into plain torchvision, its own classifier with it."""

import json
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torchvision.transforms.functional import normalize

import weatherproof as wp

from .conftest import ALONE, CLASSES, class_folders, results


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_0"])
def test_a_torchvision_classifier_comes_back_whole(name: str, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.get_model(name, weights=None, num_classes=len(CLASSES))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    save_file(before, tmp_path / "weights.safetensors")
    photos = class_folders(tmp_path / "photos", train=6, test=2, side=64)

    run = wp.harden(
        f"torchvision:{name}@{tmp_path / 'weights.safetensors'}", photos, size=64, epochs=1, batch_size=8,
        realizations=1, workers=0, classes_match=True, **ALONE, out=tmp_path / "run",
    )  # fmt: skip

    # without a label, and with its own head: before and after
    own = {r["model"] for r in results(run.folder) if (r["metric"], r["readout"]) == ("top1", "own-head")}
    assert own == {"teacher", "hardened"}

    after = load_file(run.folder / "encoder.safetensors")
    plain = torchvision.models.get_model(name, weights=None, num_classes=len(CLASSES))
    plain.load_state_dict(after)  # strict: every tensor, by its own name
    plain.eval()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    head = {"resnet18": "fc.", "squeezenet1_0": "classifier."}[name]
    for key in before:
        if key.startswith(head):
            assert torch.equal(before[key], after[key]), f"{key} was trained"

    settings = json.loads((run.folder / "encoder.json").read_text())["preprocessing"]
    images = wp.load_images(photos, "test", size=64).read(torch.arange(4)).float() / 255
    with torch.inference_mode():
        expected = plain(normalize(images, settings["mean"], settings["std"]))
        torch.testing.assert_close(run.encoder.eval().logits(images), expected, rtol=1e-4, atol=1e-4)
        again = wp.load_encoder(run.folder).eval()
        torch.testing.assert_close(again.logits(images), expected, rtol=1e-4, atol=1e-4)
