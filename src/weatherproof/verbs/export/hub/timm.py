"""timm's layout: config.json and model.safetensors, for `timm.create_model("local-dir:FOLDER", pretrained=True)`."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof.encoders.libraries.timm import create_timm
from weatherproof.encoders.messages import one_line
from weatherproof.errors import InputError
from weatherproof.files import write_atomically
from weatherproof.random import framework_seed
from weatherproof.sizes import sides
from weatherproof.verbs.export.hub.layout import Outputs, Written, write_weights
from weatherproof.verbs.export.hub.licence import licence_on_hub
from weatherproof.verbs.export.subject import Subject

_KEPT = ("fixed_input_size", "pool_size", "first_conv", "classifier", "license")  # of timm's own configuration


def layout(subject: Subject, folder: Path) -> Written:
    """Raises `InputError` where timm's network does not take the weights."""
    import timm

    encoder = subject.encoder
    name, preprocessing = encoder.name.removeprefix("timm:"), encoder.preprocessing
    side, classes = preprocessing.size, (encoder.num_classes or 0) if encoder.head is not None else 0
    with framework_seed(0), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of padding, which is said where the encoder is loaded
        model, own, arguments = create_timm(timm, encoder.name, name, encoder.options | {"num_classes": classes}, side)
    arguments = {key: value for key, value in arguments.items() if key != "num_classes"}
    size = sides(side or 1)
    settings: dict[str, Any] = {
        "architecture": str(own.get("architecture") or name.partition(".")[0]),
        "num_classes": classes,
        "num_features": int(model.num_features),
        "model_args": arguments,
        "pretrained_cfg": {key: own[key] for key in _KEPT if own.get(key) is not None}
        | {
            "tag": "weatherproof",
            "custom_load": False,
            "input_size": [preprocessing.channels, *size],
            "interpolation": preprocessing.interpolation,
            "crop_pct": 1.0,
            "crop_mode": "squash",
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "num_classes": classes,
        },
    }
    if size != tuple(own["input_size"][1:]):
        settings["pretrained_cfg"].pop("pool_size", None)
    try:
        model.load_state_dict(encoder.state())
    except RuntimeError as error:
        raise InputError(f"timm's {name} does not take these weights: {one_line(error)}") from None
    write_weights(folder / "model.safetensors", encoder.state())
    write_atomically(folder / "config.json", json.dumps(settings, indent=2) + "\n")

    def load() -> Outputs:
        with framework_seed(0):
            whole = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
            bare = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
        return _outputs(whole, bare, bool(classes))

    licence = own.get("license")
    return Written(
        "timm", load, ('timm.create_model("local-dir:FOLDER", pretrained=True)',),
        licence=f"{licence}, as timm states for {name}" if licence else licence_on_hub(encoder),
        tags=("timm", "image-classification"),
    )  # fmt: skip


def _outputs(whole: nn.Module, bare: nn.Module, judged: bool) -> Outputs:
    """With what timm itself says of pixels."""
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(whole)
    mean, std = (torch.tensor(config[name]).view(-1, 1, 1) for name in ("mean", "std"))

    @torch.inference_mode()
    def run(images: Tensor) -> Mapping[str, Tensor]:
        pixels = (images - mean) / std
        outputs = {"embedding": bare(pixels)}
        return outputs | {"logits": whole(pixels)} if judged else outputs

    return run
