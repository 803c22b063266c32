"""`load_encoder` by name, from the cache, against the library's own pretrained loading from the same cache.

Ours hashes the file while the network is built, and looks at every number of it; random weights, which would be
overwritten, are left out. transformers maps its file and reads no number of it before the first pass.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from benchmarks.measure import Row, in_turn
from weatherproof.encoders import load_encoder

LIMIT = 1.1  # of the library's own time
_PIXELS = {"image_processor_type": "ViTImageProcessor", "size": 224, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


@dataclass(frozen=True)
class Case:
    """One network: its text, what makes it with random weights, and how its library loads it."""

    text: str
    make: Callable[[], nn.Module]
    theirs: Callable[[], object]


def run(device: str, repeats: int = 7) -> list[Row]:
    """Loading happens on the CPU, whatever the device."""
    rows = []
    for case in _cases():
        with tempfile.TemporaryDirectory() as folder, _cached(case, Path(folder)):
            ours, floor = in_turn(lambda own=case: load_encoder(own.text), case.theirs, repeats)
        count = sum(weight.numel() for weight in case.make().parameters())
        what = f"load_encoder({case.text!r}), {count / 1e6:.0f} M weights"
        rows.append(Row(what, f"{case.text.partition(':')[0]} itself", "ms", _ms(ours), _ms(floor), limit=LIMIT))
    return rows


def _ms(seconds: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(1000 * one for one in seconds)


def _cases() -> list[Case]:
    import timm
    from torchvision import models

    def by_timm(name: str) -> Case:
        return Case(f"timm:{name}", lambda: timm.create_model(name), lambda: timm.create_model(name, pretrained=True))

    resnet50 = models.ResNet50_Weights.IMAGENET1K_V1
    cases = [
        by_timm("resnet18"), by_timm("vit_small_patch16_224"), by_timm("vit_base_patch16_224"),
        Case(
            "torchvision:resnet50/IMAGENET1K_V1", models.resnet50, lambda: models.resnet50(weights=resnet50)
        ),
    ]  # fmt: skip
    try:
        import transformers
    except ImportError:
        return cases
    small = transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=224)
    repo = "weatherproof/dinov2-small"
    theirs: Callable[[], object] = lambda: transformers.AutoModel.from_pretrained(repo)  # noqa: E731
    return [*cases, Case(f"transformers:{repo}", lambda: transformers.Dinov2Model(small), theirs)]


@contextmanager
def _cached(case: Case, folder: Path) -> Iterator[None]:
    """Inside, the weights lie in the cache, where no network is asked: those of a network with random weights."""
    from huggingface_hub import constants

    network = case.make()
    library, _, name = case.text.partition(":")
    kept: dict[str, Any] = {"HF_HUB_CACHE": constants.HF_HUB_CACHE, "HF_HUB_OFFLINE": constants.HF_HUB_OFFLINE}
    home = torch.hub.get_dir()
    constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE = str(folder / "hub"), True
    torch.hub.set_dir(str(folder / "torch"))
    try:
        if library == "torchvision":
            yield from _for_torchvision(network, folder)
        elif library == "timm":
            import timm

            repo = timm.get_pretrained_cfg(name).hf_hub_id
            _publish(folder / "hub", repo, {"model.safetensors": save(network.state_dict())})
            yield
        else:
            network.save_pretrained(folder / "files")  # type: ignore[operator]
            files = {file.name: file.read_bytes() for file in (folder / "files").iterdir()}
            _publish(folder / "hub", name, files | {"preprocessor_config.json": json.dumps(_PIXELS).encode()})
            yield
    finally:
        for setting, value in kept.items():
            setattr(constants, setting, value)
        torch.hub.set_dir(home)


def _for_torchvision(network: nn.Module, folder: Path) -> Iterator[None]:
    """torchvision's file says its hash in its name, and ours has another."""
    from torchvision import models

    checkpoints = folder / "torch" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(network.state_dict(), checkpoints / "new.pth")
    digest = hashlib.sha256((checkpoints / "new.pth").read_bytes()).hexdigest()
    name = f"resnet50-{digest[:8]}.pth"
    (checkpoints / "new.pth").rename(checkpoints / name)
    published = models.ResNet50_Weights.IMAGENET1K_V1.value
    before = published.url
    object.__setattr__(published, "url", f"https://download.pytorch.org/models/{name}")
    try:
        yield
    finally:
        object.__setattr__(published, "url", before)


def _publish(cache: Path, repo: str, files: dict[str, bytes]) -> None:
    """As the hub's client lays its cache out."""
    home, commit = cache / f"models--{repo.replace('/', '--')}", "0" * 40
    for part in ("refs", "blobs", f"snapshots/{commit}"):
        (home / part).mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    for name, data in files.items():
        blob = home / "blobs" / hashlib.sha256(data).hexdigest()
        blob.write_bytes(data)
        (home / "snapshots" / commit / name).symlink_to(Path("../../blobs") / blob.name)
