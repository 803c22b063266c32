"""What is kept of a block of images under several labels, as one safetensors file that is whole or not there."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from weatherproof.errors import InputError
from weatherproof.files import write_atomically
from weatherproof.names import utf8_path

Parts = dict[str, Tensor]  # by the part's name, which has no blank


def read_block(path: Path, plan: str) -> dict[str, Parts]:
    """By label, what the file holds; nothing where it is not there.

    Raises:
        InputError: it is of another plan, or cannot be read.
    """
    from safetensors import safe_open

    if not path.is_file():
        return {}
    try:
        with utf8_path(path) as there, safe_open(there, "pt") as file:
            found = (file.metadata() or {}).get("plan")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except Exception as error:  # whatever a damaged file makes of the reader
        raise InputError(f"{path} cannot be read, delete it to measure its images again: {error}") from error
    if found != plan:
        raise InputError(
            f"{path} holds answers of another model, or to other images or conditions: delete it, or choose another "
            f"folder"
        )
    blocks: dict[str, Parts] = {}
    for name, tensor in tensors.items():
        label, _, part = name.rpartition(" ")
        blocks.setdefault(label, {})[part] = tensor
    return blocks


def write_block(path: Path, plan: str, blocks: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Replace the file, whole or not at all."""
    from safetensors.torch import save

    tensors = {f"{label} {part}": tensor for label, parts in blocks.items() for part, tensor in parts.items()}
    write_atomically(path, save(tensors, metadata={"plan": plan}))


def weights_digest(classifier: object) -> str:
    """Equal where all weights and buffers are; the same for everything that is no `nn.Module`."""
    found = hashlib.sha256()
    if isinstance(classifier, nn.Module):
        for value in classifier.state_dict().values():
            if isinstance(value, Tensor):
                found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
