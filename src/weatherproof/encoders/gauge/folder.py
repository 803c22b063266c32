"""A gauge in a run folder: gauge.safetensors with its numbers, gauge.json with what rebuilds it and whose it is."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save

import weatherproof
from weatherproof.encoders.gauge.gauge import Gauge, Settings
from weatherproof.encoders.messages import one_line
from weatherproof.encoders.weights import check_fit, read_weights
from weatherproof.errors import InputError, shown
from weatherproof.files import write_atomically
from weatherproof.texts import Malformed, read_json

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
    about = {
        "format": FORMAT,
        "weatherproof": weatherproof.__version__,
        **gauge.settings.to_dict(),
        "numbers": hashlib.sha256(numbers).hexdigest(),
        "encoder": _sha256(encoder),
    }
    write_atomically(folder / NUMBERS, numbers)
    write_atomically(folder / ABOUT, json.dumps(about, indent=2) + "\n")


def read_gauge(folder: Path, encoder: Path) -> Gauge | None:
    """The gauge of a run folder; None where it has none.

    Raises:
        InputError: a file is missing, damaged or of another format, or belongs to another encoder.
    """
    path = folder / ABOUT
    if not path.is_file():
        return None
    if not (folder / NUMBERS).is_file():
        raise InputError(f"{folder} has a {ABOUT} and no {NUMBERS}: {_remedy(path)}")
    try:
        about = read_json(path)
        if about["format"] != FORMAT:
            raise InputError(f"{path} has format {shown(about['format'])}, expected {FORMAT}: update weatherproof")
        gauge = Gauge(Settings.from_dict(about))
        numbers, owner = str(about["numbers"]), str(about["encoder"])
    except InputError:
        raise
    except Malformed as error:
        raise InputError(f"{path} is not readable JSON (truncated?): {error}") from None
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InputError(f"{path} does not describe a gauge: {type(error).__name__} {one_line(error)}") from None
    if owner != _sha256(encoder):
        raise InputError(f"{path} belongs to another encoder than {encoder}: {_remedy(path)}")
    if numbers != _sha256(folder / NUMBERS):
        raise InputError(f"{folder / NUMBERS} is not the one that {path} was written with: {_remedy(path)}")
    state = read_weights(folder / NUMBERS)
    check_fit(f"the gauge of {path}", gauge.state_dict(), state)
    for name, values in state.items():
        if values.dtype != torch.float32 or not values.isfinite().all():
            raise InputError(f"{folder / NUMBERS}: {name} holds other than finite float32 numbers: {_remedy(path)}")
    gauge.load_state_dict(state)
    return gauge


def _remedy(path: Path) -> str:
    return f"harden again, or remove {path.name} to go without a gauge"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
