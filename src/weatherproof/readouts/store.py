"""A readout on disk, beside its encoder: readout.safetensors (its weights) and readout.json (classes, provenance)."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from weatherproof.encoders import Encoder, save_encoder
from weatherproof.encoders.numbers import check_numbers
from weatherproof.errors import InputError
from weatherproof.files import write_atomically
from weatherproof.names import utf8_path
from weatherproof.readouts.classifier import Classifier, UnitLength
from weatherproof.readouts.mlp import MLPHead
from weatherproof.texts import read_json

WEIGHTS, META = "readout.safetensors", "readout.json"


@dataclass(frozen=True)
class Readout:
    """A linear layer, or an `MLPHead`, on embeddings with the words for its outputs.

    Attributes:
        unit_length: the layer expects embeddings of unit length.
        kind: "probe", "end-to-end": what a record calls it.
    """

    head: nn.Module
    classes: tuple[str, ...]
    kind: str = "probe"
    unit_length: bool = False
    label_fraction: float | None = None


def classifier_of(encoder: nn.Module, readout: Readout) -> Classifier:
    """The encoder with the readout on it, as one module from images to logits."""
    return Classifier(UnitLength(encoder) if readout.unit_length else encoder, readout.head)


def save_model(
    folder: str | os.PathLike[str],
    encoder: Encoder,
    readout: Readout,
    *,
    provenance: Mapping[str, Any],
    readout_provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write an encoder and what stands on it into a folder, the encoder last.

    Args:
        provenance: where the encoder's weights come from, anything that JSON can hold.
        readout_provenance: the same of the readout; None: the same.
    """
    save_readout(readout, folder, provenance=provenance if readout_provenance is None else readout_provenance)
    save_encoder(encoder, Path(folder), provenance=provenance)


def save_readout(readout: Readout, folder: str | os.PathLike[str], *, provenance: Mapping[str, Any]) -> None:
    """Write the readout into a folder, each file atomically, the weights first."""
    from safetensors.torch import save

    folder = Path(folder)
    tensors = {name: value.detach().cpu().contiguous() for name, value in readout.head.state_dict().items()}
    meta = {
        "format": 1,
        "kind": readout.kind,
        "classes": list(readout.classes),
        "unit_length": readout.unit_length,
        "label_fraction": readout.label_fraction,
        "provenance": dict(provenance),
    }
    for name, data in ((WEIGHTS, save(tensors)), (META, json.dumps(meta, indent=2, ensure_ascii=False))):
        write_atomically(folder / name, data)


def load_readout(folder: str | os.PathLike[str]) -> Readout | None:
    """The readout of a run folder, or None if it has none.

    Raises:
        InputError: the files are there but damaged, or hold weights that are not finite, quantised or constant.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    if not (folder / META).is_file():
        return None
    try:
        meta = read_json(folder / META)
        with utf8_path(folder / WEIGHTS) as file:
            tensors = load_file(file)
        head = _empty(tensors)
        head.load_state_dict(tensors)
        check_numbers(str(folder / WEIGHTS), head.state_dict(), tensors)
        fraction = meta["label_fraction"]
        return Readout(head, tuple(meta["classes"]), str(meta["kind"]), bool(meta["unit_length"]), fraction)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"the readout in {folder} cannot be read ({type(error).__name__}: {error})") from None


def _empty(tensors: Mapping[str, Tensor]) -> nn.Module:
    """A head of the shape of these weights."""
    if "weight" in tensors:
        classes, features = tensors["weight"].shape
        return nn.Linear(features, classes)
    (hidden, features), classes = tensors["first.weight"].shape, len(tensors["second.weight"])
    return MLPHead(features, classes, hidden)
