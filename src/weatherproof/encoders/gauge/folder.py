"""A gauge in a run folder: gauge.safetensors with its numbers, gauge.json with what rebuilds it and whose it is."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

import weatherproof
from weatherproof.encoders.digests import sha256_of
from weatherproof.encoders.gauge.gauge import Gauge, Settings
from weatherproof.encoders.messages import settings_of
from weatherproof.encoders.weights import check_fit, read_weights
from weatherproof.errors import InputError
from weatherproof.files import write_atomically

NUMBERS, ABOUT = "gauge.safetensors", "gauge.json"
FORMAT = 1


def forget_gauge(folder: Path) -> None:
    """A folder whose encoder is about to be another has no gauge. What is left without gauge.json is none."""
    (folder / ABOUT).unlink(missing_ok=True)


def save_gauge(gauge: Gauge, folder: Path, encoder: Path) -> None:
    """Write both files, gauge.json last: without it there is no gauge.

    Args:
        encoder: the weights file that the gauge belongs to.
    """
    numbers = save({k: v.detach().cpu().contiguous() for k, v in gauge.state_dict().items()}, {"format": "pt"})
    settings = gauge.settings.to_dict()
    about = {
        "format": FORMAT,
        "weatherproof": weatherproof.__version__,
        **settings,
        "numbers": _with_settings(numbers, settings),
        "encoder": sha256_of(encoder),
    }
    write_atomically(folder / NUMBERS, numbers)
    write_atomically(folder / ABOUT, json.dumps(about, indent=2) + "\n")


def read_gauge(folder: Path, encoder: Path, *, needed: bool = False) -> Gauge | None:
    """The gauge of a run folder; None where it has none.

    Args:
        encoder: the weights file that it must belong to.
        needed: the encoder is a gate, which is none without it.

    Raises:
        InputError: a file is missing, damaged or of another format, or belongs to another encoder.
    """
    path = folder / ABOUT
    remedy = "harden again" if needed else f"harden again, or remove {ABOUT} to go without a gauge"
    if not path.is_file():
        return None
    if not (folder / NUMBERS).is_file():
        raise InputError(f"{folder} has a {ABOUT} and no {NUMBERS}: {remedy}")
    with settings_of(path, "a gauge", FORMAT) as about:
        gauge = Gauge(Settings.from_dict(about))
        settings = {name: about[name] for name in gauge.settings.to_dict()}
        numbers, owner = str(about["numbers"]), str(about["encoder"])
    if owner != sha256_of(encoder):
        raise InputError(f"{path} belongs to another encoder than {encoder}: {remedy}")
    if numbers != _with_settings((folder / NUMBERS).read_bytes(), settings):
        raise InputError(f"{folder / NUMBERS} and {path} are not as they were written together: {remedy}")
    state = {"worst": torch.ones(len(gauge.settings.kinds)), **read_weights(folder / NUMBERS)}  # that of older gauges
    check_fit(f"the gauge of {path}", gauge.state_dict(), state)
    for name, values in state.items():
        if values.dtype != torch.float32 or not values.isfinite().all():
            raise InputError(f"{folder / NUMBERS}: {name} holds other than finite float32 numbers: {remedy}")
    gauge.load_state_dict(state)
    return gauge


def _with_settings(numbers: bytes, settings: Mapping[str, Any]) -> str:
    """SHA-256 of both: what the numbers mean stands in the settings."""
    return hashlib.sha256(numbers + json.dumps(settings, sort_keys=True).encode()).hexdigest()
