"""What `reproduce --check` says of weights: of files, of those under other names, and of what is published by name."""

import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from weatherproof import load_encoder
from weatherproof.encoders.load import check_weights
from weatherproof.encoders.weights import read_checkpoint
from weatherproof.errors import InputError
from weatherproof.studies import STUDIES
from weatherproof.studies.lab.recipes import Given
from weatherproof.studies.lab.store import Recipe
from weatherproof.studies.needs import find
from weatherproof.studies.needs.check import lacks
from weatherproof.studies.needs.find import HERE, LATER, MISSING, Need
from weatherproof.studies.needs.weights import _other_names, weight_needs


def models_of(name: str) -> list[Recipe]:
    cells = (cell for own in STUDIES[name].at("paper").cells.values() if own is not None for cell in own.cells)
    return list(dict.fromkeys(cell.model for cell in cells))


def write_header(file: Path, shapes: Mapping[str, Sequence[int]]) -> None:
    """A safetensors file of zeros, which takes no room on a disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    told = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(len(told).to_bytes(8, "little") + told)
        stream.truncate(8 + len(told) + end)


def test_weights_are_opened_and_held_against_their_network(tmp_path: Path) -> None:
    models, file = models_of("table-1"), tmp_path / "resnet101-imagenet1k-v1.safetensors"

    def need() -> Need:
        return next(need for need in weight_needs(models, str(tmp_path)) if file.name in need.name)

    mended = f"remove it, then weatherproof prepare weights torchvision:resnet101 --out {file}"
    file.touch()
    assert need().state == MISSING and "not a readable safetensors file" in need().text and mended in need().text
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, file)
    assert need().state == MISSING and "do not fit torchvision:resnet101" in need().text and mended in need().text
    with torch.device("meta"):
        shapes = torchvision.models.resnet101().state_dict()
    write_header(file, {name: list(value.shape) for name, value in shapes.items()})
    assert (need().state, need().text) == (HERE, "178.7 MB")


@pytest.mark.parametrize("called", ["resnet101-63fe2227.pth", "resnet101-imagenet1k-v1.pth"])
def test_weights_under_other_names_are_found(called: str, tmp_path: Path) -> None:
    """By torchvision's own name of the file, and by another ending; not those of another network, nor of another
    release."""
    models, wanted = [Given("torchvision:resnet101@$DATA/resnet101-imagenet1k-v1.safetensors", 224)], tmp_path / called

    def need() -> Need:
        (found,) = weight_needs(models, str(tmp_path))
        assert found.state == MISSING
        return found

    target = tmp_path / "resnet101-imagenet1k-v1.safetensors"
    fetched = f"weatherproof prepare weights torchvision:resnet101 --out {target}"
    with torch.device("meta"):
        shapes = torchvision.models.resnet101().state_dict()
    state = {name: torch.zeros(()).expand(value.shape) for name, value in shapes.items()}
    torch.save(state, tmp_path / "resnet101-cd907fc2.pth")  # IMAGENET1K_V2
    torch.save(state, tmp_path / "resnet101.pth")
    assert need().text == fetched
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, wanted)
    assert need().text.startswith(f"{wanted}: the weights do not fit torchvision:resnet101")
    assert need().text.endswith(f"; or {fetched}")
    torch.save(state, wanted)
    made = f"weatherproof prepare weights {wanted} --out {target}"
    assert need().text == f"no {target}, and {wanted} has such weights: {made}"


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_clips_under_other_names_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's own file is a program, which is never read; the hub's lies in a folder of its repository's name."""
    models, target = [Given("open_clip:RN101@$DATA/clip-rn101.safetensors", 224)], tmp_path / "clip-rn101.safetensors"
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "RN101.pt")
    (found,) = weight_needs(models, str(tmp_path))
    assert f"{tmp_path}/RN101.pt is a TorchScript program, which is never read" in found.text
    assert found.text.endswith(f"; or weatherproof prepare weights open_clip:RN101/openai --out {target}")
    monkeypatch.setattr(find, "find_spec", lambda _: None)  # so that the network's names are not asked for
    folder = tmp_path / "resnet101_clip.openai"
    folder.mkdir()
    save_file({"visual.conv1.weight": torch.zeros(1)}, folder / "open_clip_model.safetensors")
    (found,) = weight_needs(models, str(tmp_path))
    assert found.text.endswith(f"prepare weights {folder}/open_clip_model.safetensors --out {target}")
    torch.save({"visual.conv1.weight": torch.zeros(1)}, tmp_path / "RN101.pt")
    (found,) = weight_needs(models, str(tmp_path))
    assert found.text.endswith(f"prepare weights {tmp_path}/RN101.pt --out {target}")


def test_names_that_libraries_give_their_files() -> None:
    for encoder, names in {
        "timm:tf_efficientnet_lite0": ("tf_efficientnet_lite0-0aa007d2.pth", "tf_efficientnet_lite0.in1k.safetensors"),
        "torchvision:resnet50": ("resnet50-0676ba61.pth", "w.bin"),
        "resnet20": ("w.pth",),
    }.items():
        found = [path.name for path in _other_names(encoder, Path("data/w.safetensors"))]
        assert {*names} <= {*found} and "w.safetensors" not in found


def test_a_file_that_only_wants_its_ending_changed(tmp_path: Path) -> None:
    models = [Given("resnet20@$DATA/resnet20-12fca82f.th", 32)]
    (tmp_path / "resnet20-12fca82f.safetensors").touch()
    (found,) = weight_needs(models, str(tmp_path))
    assert "no library publishes it" in found.text  # prepare writes no .th
    torch.save(load_encoder("resnet20@random", num_classes=10).state(), tmp_path / "resnet20-12fca82f.pth")
    (found,) = weight_needs(models, str(tmp_path))
    assert found.text.endswith(f"mv {tmp_path}/resnet20-12fca82f.pth {tmp_path}/resnet20-12fca82f.th")


def test_weights_whose_library_is_not_there_are_opened_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the network cannot be made is no fault of the file."""
    models = [Given("open_clip:RN101@$DATA/clip-rn101.safetensors", 224)]
    file = tmp_path / "clip-rn101.safetensors"
    save_file({"visual.conv1.weight": torch.zeros(1)}, file)
    monkeypatch.setattr(find, "find_spec", lambda _: None)
    assert [need.state for need in weight_needs(models, str(tmp_path))] == [HERE]
    file.write_bytes(b"")
    assert [need.state for need in weight_needs(models, str(tmp_path))] == [MISSING]


@pytest.mark.parametrize("network", ["resnet20", "small(width=4)"])
def test_the_outline_of_a_file_is_that_of_its_tensors(network: str, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    own = load_encoder(f"{network}@random", num_classes=10).state()
    save_file(own, file, {"source": "here"})
    outline, whole = read_checkpoint(file, outline=True), read_checkpoint(file)
    assert outline.metadata == whole.metadata == {"source": "here"}
    assert {k: v.shape for k, v in outline.plain().items()} == {k: v.shape for k, v in whole.plain().items()}
    assert sum(value.untyped_storage().nbytes() for value in outline.plain().values()) == 4 * len(own)
    check_weights(f"{network}@{file}")
    check_weights(f"{network}@{file}", num_classes=10)
    for classes in (5, 12):
        with pytest.raises(InputError, match="do not fit"):
            check_weights(f"{network}@{file}", num_classes=classes)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match="not a readable safetensors file"):
        check_weights(f"{network}@{file}")


def test_weights_by_name_are_looked_for_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    models = models_of("zero-shot")
    found = {need.name: need for need in weight_needs(models, None)}
    assert {*found} == {"open_clip:RN101/openai", "open_clip:ViT-B-32/openai"}
    for need in found.values():
        assert need.state == LATER and "the first run fetches it from timm/" in need.text and not lacks([need])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for need in weight_needs(models, None):
        assert need.state == MISSING and "HF_HUB_OFFLINE is set" in need.text and "hf download timm/" in need.text
    (alone,) = weight_needs([Given("torchvision:resnet18")], None)
    assert alone.state == LATER and "download.pytorch.org" in alone.text  # no hub, which may be offline
    file = tmp_path / "torch/checkpoints" / alone.text.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(2_000_000))
    assert [need.text for need in weight_needs([Given("torchvision:resnet18")], None)] == ["2.0 MB in the cache"]
    assert weight_needs([Given("torchvision:resnet18@random"), Given("small")], None) == []
