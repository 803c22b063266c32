"""A readout on disk, beside its encoder: readout.safetensors (its weights) and readout.json (classes, provenance)."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
KIND = "zero-shot"  # of a readout from words


@dataclass(frozen=True)
class Spoken:
    """Where a readout from words comes from.

    Attributes:
        said: what stands for each class in a prompt.
        prompts: templates, each with one {}.
        text, digest: of the `TowerSource`: the encoder whose text tower read them, and its weights.
    """

    said: tuple[str, ...]
    prompts: tuple[str, ...]
    text: str
    digest: str

    @property
    def note(self) -> str:
        """What belongs beside numbers that rest on it: other words or prompts give other numbers."""
        content = json.dumps([self.said, self.prompts], ensure_ascii=True)
        prompts = f"{len(self.prompts)} prompts" if len(self.prompts) > 1 else f"one prompt, {self.prompts[0]!r}"
        return (
            f"{len(self.said):,} classes by words, of {self.text} with {prompts} "
            f"(words {hashlib.sha256(content.encode()).hexdigest()[:12]}): no label was used"
        )


@dataclass(frozen=True)
class Readout:
    """A linear layer, or an `MLPHead`, on embeddings with the words for its outputs.

    Attributes:
        unit_length: the layer expects embeddings of unit length.
        kind: "probe", "end-to-end", "zero-shot": what a record calls it.
        spoken: of one from words; None: it was fitted.
    """

    head: nn.Module
    classes: tuple[str, ...]
    kind: str = "probe"
    unit_length: bool = False
    label_fraction: float | None = None
    spoken: Spoken | None = None


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
        **({} if readout.spoken is None else {"spoken": asdict(readout.spoken)}),
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
        fraction, classes = meta["label_fraction"], tuple(meta["classes"])
        spoken = _spoken(meta["spoken"], classes) if "spoken" in meta else None
        return Readout(head, classes, str(meta["kind"]), bool(meta["unit_length"]), fraction, spoken)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"the readout in {folder} cannot be read ({type(error).__name__}: {error})") from None


def readout_hash(readout: Readout) -> str:
    """64 hexadecimal digits, equal for readouts of equal weights and classes."""
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous() for name, value in readout.head.state_dict().items()}
    return hashlib.sha256(save(tensors) + json.dumps(readout.classes).encode()).hexdigest()


def _spoken(meta: Mapping[str, Any], classes: tuple[str, ...]) -> Spoken:
    said, prompts = tuple(map(str, meta["said"])), tuple(map(str, meta["prompts"]))
    if len(said) != len(classes) or not prompts:
        raise ValueError(f"{len(said)} words and {len(prompts)} prompts for {len(classes)} classes")
    return Spoken(said, prompts, str(meta["text"]), str(meta["digest"]))


def _empty(tensors: Mapping[str, Tensor]) -> nn.Module:
    """A head of the shape of these weights."""
    if "weight" in tensors:
        classes, features = tensors["weight"].shape
        return nn.Linear(features, classes)
    (hidden, features), classes = tensors["first.weight"].shape, len(tensors["second.weight"])
    return MLPHead(features, classes, hidden)
