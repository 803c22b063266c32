"""A finished encoder in a folder: encoder.safetensors with the weights, encoder.json with all that rebuilds it, and
beside them its gauge, where it has one."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

import weatherproof
from weatherproof.encoders.encoder import Encoder
from weatherproof.encoders.gauge.folder import forget_gauge, save_gauge
from weatherproof.encoders.messages import settings_of
from weatherproof.encoders.origin import Origin
from weatherproof.encoders.preprocessing import Preprocessing
from weatherproof.errors import InputError
from weatherproof.files import replacing
from weatherproof.sizes import Size

WEIGHTS, SETTINGS = "encoder.safetensors", "encoder.json"
FORMAT = 1


@dataclass(frozen=True)
class GateSettings:
    """What encoder.json says of a gate.

    Attributes:
        low, high: extents of damage between which the hardened encoder takes over, of each kind that the gauge tells; a
            single one: of all kinds.
        adapter: the text of the adapter that makes the hardened encoder of the original; None: it has all its weights.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    adapter: str | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON. Where all kinds have the same extents these are one number, as in files that know no other."""
        same = len({*zip(self.low, self.high, strict=True)}) == 1
        low, high = (ends[0] if same else list(ends) for ends in (self.low, self.high))
        return {"low": low, "high": high, "adapter": self.adapter}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "GateSettings":
        """The inverse, after a journey through JSON. Raises `KeyError`, `TypeError` or `ValueError` for others."""
        low, high = (
            tuple(map(float, ends if isinstance(ends, list) else [ends]))
            for ends in (settings["low"], settings["high"])
        )
        adapter = settings["adapter"]
        return cls(low, high, None if adapter is None else str(adapter))


@dataclass(frozen=True)
class Saved:
    """What encoder.json says."""

    name: str
    options: dict[str, Any]
    feature_dim: int
    num_classes: int | None
    preprocessing: Preprocessing
    gate: GateSettings | None = None
    origins: tuple[Origin, ...] = ()

    def preprocessing_for(self, size: Size | None) -> Preprocessing:
        """The preprocessing, for another input size if one is given."""
        return self.preprocessing if size is None else replace(self.preprocessing, size=size)


def save_encoder(encoder: Encoder, folder: str | Path, *, provenance: Mapping[str, Any]) -> None:
    """Write encoder.safetensors and encoder.json, each in one step: a reader never sees half a file; and its gauge's
    files, where it has one.

    Args:
        folder: made if it is not there.
        provenance: where the weights come from, anything that JSON can hold.
    """
    folder = Path(folder)
    settings = {
        "format": FORMAT,
        "weatherproof": weatherproof.__version__,
        "name": encoder.name,
        "options": encoder.options,
        "feature_dim": encoder.feature_dim,
        "num_classes": encoder.num_classes,
        "preprocessing": asdict(encoder.preprocessing),
        **({"origins": [asdict(origin) for origin in encoder.origins]} if encoder.origins else {}),
        **encoder.extra_settings(),
        "provenance": dict(provenance),
    }
    forget_gauge(folder)
    write_tensors(folder, WEIGHTS, encoder.state(), SETTINGS, settings)
    if encoder.fitted_gauge is not None:
        save_gauge(encoder.fitted_gauge, folder, folder / WEIGHTS)


def write_tensors(
    folder: Path, weights: str, tensors: Mapping[str, Tensor], about: str, settings: Mapping[str, Any]
) -> None:
    """Write a safetensors file and the JSON that belongs to it, each in one step, in a folder that is made where it is
    missing."""
    folder.mkdir(parents=True, exist_ok=True)
    # safetensors takes neither shared nor strided memory: every tensor becomes a plain copy
    plain = {k: torch.empty(v.shape, dtype=v.dtype).copy_(v) for k, v in tensors.items()}
    # bytes and then a file, since safetensors' own writer leaves a file that only its owner may read
    numbers, text = save(plain, metadata={"format": "pt"}), json.dumps(settings, indent=2) + "\n"
    with replacing(folder / about, len(text)) as words, replacing(folder / weights, len(numbers)) as file:
        words.write(text.encode())
        words.flush()  # a disk that is full refuses both
        file.write(numbers)


def read(folder: Path) -> Saved:
    """What encoder.json in a run folder says.

    Raises:
        InputError: a file is missing, damaged or of another format.
    """
    missing = [name for name in (SETTINGS, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} is no finished run: {' and '.join(missing)} missing")
    with settings_of(folder / SETTINGS, "an encoder", FORMAT) as settings:
        classes = settings["num_classes"]
        return Saved(
            name=str(settings["name"]),
            options=dict(settings["options"]),
            feature_dim=int(settings["feature_dim"]),
            num_classes=None if classes is None else int(classes),
            preprocessing=Preprocessing.from_dict(settings["preprocessing"]),
            gate=GateSettings.from_dict(settings["gate"]) if "gate" in settings else None,
            origins=tuple(map(Origin.from_dict, settings.get("origins", ()))),
        )
