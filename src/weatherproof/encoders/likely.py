"""Whose weights a file holds that do not fit the network they were given for, where that can be told."""

import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weatherproof.encoders.checkpoint import Checkpoint
from weatherproof.encoders.encoder import Encoder
from weatherproof.encoders.messages import some
from weatherproof.encoders.native import ENCODERS

_SECONDS = 5.0  # of looking
_MOST = 3  # names
_NEAREST = 12  # networks of torchvision by their number of weights, of which a few share one, or of timm by name


def likely(name: str, file: Checkpoint) -> str:
    """What a message ends with: the networks whose tensors the file's are, by name and shape without those of the
    classifier; "" where there are none, or more than a few.

    Looked at are the networks written here, those of torchvision's with about as many weights, and those of timm's
    family of the one that was asked for, the most similar names first, for a few seconds at most.
    """
    shapes = {tuple(value.shape) for tensors in file.nodes.values() for value in tensors.values()}
    found: list[str] = []
    until = time.monotonic() + _SECONDS
    for text, make in _networks(name, file, found):
        if time.monotonic() > until or len(found) > _MOST:
            break
        with suppress(Exception), warnings.catch_warnings():  # one that cannot be built is not the one
            warnings.simplefilter("ignore")
            state = make()
            own = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
            body = {key: value for key, value in own.items() if value.ndim}
            if {tuple(value.shape) for value in body.values()} - shapes:  # quick, and a classifier may be another
                differing = [key for key, value in body.items() if tuple(value.shape) not in shapes]
                if len(differing) > 2:
                    continue
            if _holds(file, body):
                found.append(text)
    return f"; these are the weights of {some(found)}" if 0 < len(found) <= _MOST else ""


def _holds(file: Checkpoint, body: dict[str, Tensor]) -> bool:
    """Whether one mapping of the file has all tensors, but for a classifier's, and few others."""
    for tensors in file.nodes.values():
        for prefix in ("", "module.", "model.", "backbone."):
            given = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            given = {key: value for key, value in given.items() if not key.endswith("num_batches_tracked")}
            same = [key for key, value in body.items() if key in given and given[key].shape == value.shape]
            if len(body) - len(same) <= 2 and len(given) - len(same) <= 2 and len(same) > 2:
                return True
    return False


def _networks(name: str, file: Checkpoint, found: list[str]) -> Iterator[tuple[str, Callable[[], dict[str, Tensor]]]]:
    """Networks, the likeliest first, and what makes their tensors, in shapes alone; the rest of a family of timm only
    as long as nothing is found."""
    library, _, model = name.partition(":")

    def native(own: str) -> Callable[[], dict[str, Tensor]]:
        def make() -> dict[str, Tensor]:
            with torch.device("meta"):
                encoder: Encoder = ENCODERS[own](10)
            return encoder.state()

        return make

    yield from ((own, native(own)) for own in ENCODERS)
    from_timm = list(_of_timm(model, file)) if library == "timm" else []
    yield from from_timm[:_NEAREST]
    yield from _of_torchvision(file)
    for pair in from_timm[_NEAREST:]:
        if not found:
            yield pair


def _of_torchvision(file: Checkpoint) -> Iterable[tuple[str, Callable[[], dict[str, Tensor]]]]:
    from torchvision import models

    def made(own: str) -> Callable[[], dict[str, Tensor]]:
        def make() -> dict[str, Tensor]:
            with torch.device("meta"):
                network: Any = models.get_model(own, weights=None)
            return dict(network.state_dict())

        return make

    held = max(sum(value.numel() for value in tensors.values()) for tensors in file.nodes.values())

    def unlike(own: str) -> float:
        count: float = next(iter(models.get_model_weights(own))).meta["num_params"]
        return abs(math.log(count / max(1, held)))

    names = sorted(models.list_models(module=models), key=unlike)[:_NEAREST]
    return [(f"torchvision:{own}", made(own)) for own in names]


def _of_timm(model: str, file: Checkpoint) -> Iterable[tuple[str, Callable[[], dict[str, Tensor]]]]:
    import timm
    from timm.models import model_entrypoint

    bare = model.partition(".")[0]
    if not timm.is_model(bare):
        return []
    family = timm.list_models(module=model_entrypoint(bare).__module__.rpartition(".")[2])

    def made(own: str) -> Callable[[], dict[str, Tensor]]:
        def make() -> dict[str, Tensor]:
            with torch.device("meta"):
                network: Any = timm.create_model(own, pretrained=False)
            return dict(network.state_dict())

        return make

    def alike(own: str) -> float:
        return max(SequenceMatcher(None, own, other).ratio() for other in (bare, Path(file.path).stem))

    near = sorted(family, key=alike, reverse=True)
    return [(f"timm:{own}", made(own)) for own in near if own != bare]
