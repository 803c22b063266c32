"""Weights from files, tensors only: nothing in a weights file is ever executed."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from weatherproof.encoders.messages import one_line
from weatherproof.errors import InputError
from weatherproof.names import utf8_path

_WRAPPERS = ("state_dict", "model_state_dict", "model")  # under these keys training scripts keep the tensors
_PREFIXES = ("module.", "_orig_mod.")  # put in front by DistributedDataParallel and torch.compile
_NAMED = 3  # tensors named in a message, of each kind


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a weights file, on the CPU: safetensors, or .pt, .pth, .th with nothing but tensors inside.

    A checkpoint is unwrapped ("state_dict", "model") and prefixes of training wrappers ("module.") are stripped.

    Raises:
        InputError: no such file, damaged, or a pickle with objects in it.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: name the weights file in it, or give the run folder as the encoder")
    if not path.is_file():
        raise InputError(f"no weights file {str(path)!r}")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    tensors = _unwrap(content)
    if not tensors:
        raise InputError(f"{path} holds no named tensors: expected a state dict (name -> tensor)")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with utf8_path(path) as file:
            return load_file(file)
    except (SafetensorError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file (truncated?): {one_line(error)}") from None


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # read or refused, either is clear
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        if _holds_objects(path, str(error)):
            raise InputError(
                f"{path} holds Python objects, and only tensors are read, as objects could run code: "
                "convert it where you trust it, safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
            ) from None
        raise InputError(f"{path} is not a readable weights file (truncated?): {one_line(error)}") from None
    except (EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise InputError(f"{path} is not a readable weights file (truncated?): {one_line(error)}") from None


def _holds_objects(path: Path, message: str) -> bool:
    if "unsupported global" in message.lower() or "TorchScript" in message:
        return True
    with path.open("rb") as file:
        return file.read(1) == pickle.PROTO and "Unsupported oper" in message  # an instruction for objects


def _unwrap(content: Any) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping):
        return {}
    tensors = {name: value.detach() for name, value in content.items() if isinstance(value, Tensor)}
    for prefix in _PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def check_fit(name: str, expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Nothing, if every expected tensor is given in its shape and no other.

    Raises:
        InputError: how many tensors are missing, unexpected or misshapen, and the first few of each.
    """
    missing = [k for k in expected if k not in given]
    unexpected = [k for k in given if k not in expected]
    misshapen = [
        f"{k} is {list(given[k].shape)}, expected {list(v.shape)}"
        for k, v in expected.items()
        if k in given and given[k].shape != v.shape
    ]
    found = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    problems = [f"{len(names)} {word} ({_some(names)})" for word, names in found.items() if names]
    if problems:
        raise InputError(f"the weights do not fit {name}: {'; '.join(problems)}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
