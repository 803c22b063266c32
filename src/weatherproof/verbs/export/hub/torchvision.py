"""For torchvision: a state dict under its own names, and the three lines that load it."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from weatherproof.encoders.messages import one_line
from weatherproof.encoders.padding import pad, padding_of
from weatherproof.errors import InputError
from weatherproof.files import write_atomically
from weatherproof.random import framework_seed
from weatherproof.sizes import nearest, shorter, sides
from weatherproof.verbs.export.hub.layout import UNKNOWN, Outputs, Written, normalised, write_weights
from weatherproof.verbs.export.subject import Subject

_CLASSES = 1000  # torchvision's default


def layout(subject: Subject, folder: Path) -> Written:
    """Raises `InputError` where torchvision's network does not take the weights."""
    from torchvision import models

    encoder = subject.encoder
    name, _, tag = encoder.name.removeprefix("torchvision:").partition("/")
    side, headless = encoder.preprocessing.size, encoder.head is None
    arguments: dict[str, Any] = {"num_classes": encoder.num_classes or _CLASSES}
    padding, beside = padding_of(encoder.body), list[str]()
    if name.startswith("vit_"):
        arguments["image_size"] = side
    if padding is not None:
        arguments["image_size"] = larger = shorter(nearest(side or 1, padding.patch)[1])
        rest = larger - shorter(side or 1)
        beside.append(
            f"images = torch.nn.functional.pad(images, (0, {rest}, 0, {rest}))  # until its patch divides them"
        )
    if name.startswith("maxvit_"):
        arguments["input_size"] = [*sides(side or 1)]
    if name.startswith(("inception", "googlenet")):
        arguments |= {"aux_logits": False, "init_weights": True}
    head = encoder.names.head or ""
    strict = not headless
    settings = {
        "library": "torchvision",
        "architecture": name,
        "arguments": arguments,
        "classifier": None if headless else head,
        "preprocessing": {
            "mean": list(encoder.preprocessing.mean), "std": list(encoder.preprocessing.std), "size": side,
            "interpolation": encoder.preprocessing.interpolation, "antialias": True, "crop": "squash",
        },
    }  # fmt: skip
    write_weights(folder / "model.safetensors", encoder.state())
    write_atomically(folder / "config.json", json.dumps(settings, indent=2) + "\n")

    def load() -> Outputs:
        with framework_seed(0):
            model = models.get_model(name, weights=None, **arguments).eval()
        try:
            found = model.load_state_dict(load_file(folder / "model.safetensors"), strict=strict)
        except RuntimeError as error:
            raise InputError(f"torchvision's {name} does not take these weights: {one_line(error)}") from None
        strange = [*found.unexpected_keys, *(key for key in found.missing_keys if not key.startswith(f"{head}."))]
        if strange:
            raise InputError(f"torchvision's {name} does not take these weights: {strange[0]} is on one side alone")
        if padding is not None:
            pad(model, padding)
        return _outputs(model, head, subject, headless)

    more = "".join(f", {key}={value!r}" for key, value in arguments.items())
    weights = {own.name: own for own in models.get_model_weights(name)}
    licence = weights[tag].meta.get("license") if tag else None
    return Written(
        "torchvision", load,
        (
            "import safetensors.torch, torch, torchvision",
            f'model = torchvision.models.get_model("{name}", weights=None{more})',
            'model.load_state_dict(safetensors.torch.load_file("FOLDER/model.safetensors")'
            + (")" if strict else f", strict=False)  # {head}, its classifier, stays random"),
            "mean, std = (torch.tensor(own).view(-1, 1, 1) for own in "
            f"({list(encoder.preprocessing.mean)}, {list(encoder.preprocessing.std)}))",
            "images = (images - mean) / std  # images in [0, 1], at the size of config.json",
            *beside,
        ),
        licence=f"{licence}, as torchvision states for {name}/{tag}" if licence else UNKNOWN,
        tags=("torchvision", "image-classification"),
    )  # fmt: skip


def _outputs(model: nn.Module, head: str, subject: Subject, headless: bool) -> Outputs:
    """The logits, and as embedding what goes into the classifier."""
    inside: list[Tensor] = []
    model.get_submodule(head).register_forward_pre_hook(lambda _, given: inside.append(given[0]))

    @torch.inference_mode()
    def run(images: Tensor) -> dict[str, Tensor]:
        inside.clear()
        logits = model(normalised(images, subject.encoder.preprocessing))
        raw = inside[0]
        outputs = {"embedding": raw.mean(dim=(2, 3)) if raw.ndim == 4 else raw}
        return outputs if headless else outputs | {"logits": logits}

    return run
