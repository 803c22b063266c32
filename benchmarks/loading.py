"""`load_encoder` by name, from the cache, against the library's own pretrained loading from the same cache.

Ours looks at every number of the file; random weights, which would be overwritten, are left out. transformers maps its
file, as ours then does, and reads no number of it before the first pass. The first time, ours computes the file's hash,
too, while the network is built; as long as the file stays as it is, that is kept. open_clip builds both towers.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from benchmarks.measure import Row, in_turn
from weatherproof.encoders import load_encoder
from weatherproof.encoders.libraries.open_clip import open_clip_place
from weatherproof.files import own_cache

_SETTLED = 2.5  # seconds, after which a file's hash is kept
LIMIT = 1.1  # of the library's own time
_PIXELS = {"image_processor_type": "ViTImageProcessor", "size": 224, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


@dataclass(frozen=True)
class Case:
    """One network: its text, what makes it with random weights, and how its library loads it."""

    text: str
    make: Callable[[], nn.Module]
    theirs: Callable[[], object]
    repeats: int = 9


def run(device: str) -> list[Row]:
    """Loading happens on the CPU, whatever the device."""
    with quiet():
        return [row for case in _cases() for row in _rows(case)]


def _rows(case: Case) -> Iterator[Row]:
    count = sum(weight.numel() for weight in case.make().parameters())
    what = f"load_encoder({case.text!r}), {count / 1e6:.0f} M weights"
    against = f"{case.text.partition(':')[0]} itself"

    def ours() -> object:
        return load_encoder(case.text)

    with tempfile.TemporaryDirectory() as folder, _cached(case, Path(folder)):

        def first() -> object:
            shutil.rmtree(own_cache() / "hashes", ignore_errors=True)
            return ours()

        time.sleep(_SETTLED)
        for name, work, limit in ((what, ours, LIMIT), (f"{what}, the first time", first, None)):
            times = in_turn(work, case.theirs, case.repeats)
            yield Row(name, against, "ms", _ms(times[0]), _ms(times[1]), limit=limit)


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, the libraries draw no bars of progress and warn of nothing."""
    logging.disable(logging.WARNING)
    if find_spec("transformers"):
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


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
    if find_spec("open_clip"):
        cases.append(_by_open_clip("ViT-B-32", "laion2b_s34b_b79k"))
    if not find_spec("transformers"):
        return cases
    import transformers

    small = transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=224)
    repo = "weatherproof/dinov2-small"
    theirs: Callable[[], object] = lambda: transformers.AutoModel.from_pretrained(repo)  # noqa: E731
    return [*cases, Case(f"transformers:{repo}", lambda: transformers.Dinov2Model(small), theirs)]


def _by_open_clip(name: str, tag: str) -> Case:
    import open_clip

    def theirs() -> object:
        return open_clip.create_model(name, pretrained=tag)

    return Case(f"open_clip:{name}/{tag}", lambda: open_clip.create_model(name), theirs, repeats=5)


@contextmanager
def _cached(case: Case, folder: Path) -> Iterator[None]:
    """Inside, the weights lie in the cache, where no network is asked: those of a network with random weights."""
    from huggingface_hub import constants

    network = case.make()
    library, _, name = case.text.partition(":")
    before: dict[str, Any] = {"HF_HUB_CACHE": constants.HF_HUB_CACHE, "HF_HUB_OFFLINE": constants.HF_HUB_OFFLINE}
    home = torch.hub.get_dir()
    constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE = str(folder / "hub"), True
    torch.hub.set_dir(str(folder / "torch"))
    own = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    try:
        if library == "torchvision":
            yield from _for_torchvision(network, folder)
        elif library == "timm":
            import timm

            repo = timm.get_pretrained_cfg(name).hf_hub_id
            _publish(folder / "hub", repo, {"model.safetensors": save(network.state_dict())})
            yield
        elif library == "open_clip":
            place = open_clip_place(name)
            _publish(folder / "hub", place.repo, {place.files[0]: save(network.state_dict())})
            yield
        else:
            network.save_pretrained(folder / "files")  # type: ignore[operator]
            files = {file.name: file.read_bytes() for file in (folder / "files").iterdir()}
            _publish(folder / "hub", name, files | {"preprocessor_config.json": json.dumps(_PIXELS).encode()})
            yield
    finally:
        for setting, value in before.items():
            setattr(constants, setting, value)
        torch.hub.set_dir(home)
        del os.environ["XDG_CACHE_HOME"]
        os.environ |= {} if own is None else {"XDG_CACHE_HOME": own}


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
