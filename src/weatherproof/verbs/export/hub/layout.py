"""What a layout writes, and what it says of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from weatherproof.encoders import Encoder, Preprocessing
from weatherproof.encoders.adapter import multiples
from weatherproof.encoders.padding import padding_of
from weatherproof.errors import InputError
from weatherproof.files import write_atomically
from weatherproof.sizes import in_pixels
from weatherproof.verbs.export.subject import Subject

UNKNOWN = "unknown: look at the base model"
Outputs = Callable[[Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Written:
    """A folder as a library wants it.

    Attributes:
        library: its name, as the hub calls it.
        load: loads the network by the library alone; images of the network's size, in [0, 1], to its embedding and,
            where it has a classifier, its logits.
        usage: lines of Python that load it from `FOLDER`.
        licence: of the base model as the library states it.
        notes: what is not in it, in sentences.
    """

    library: str
    load: Callable[[], Outputs]
    usage: tuple[str, ...]
    licence: str = UNKNOWN
    notes: tuple[str, ...] = ()
    tags: tuple[str, ...] = field(default=())


Layout = Callable[[Subject, Path], Written]


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """A safetensors file, in one step; tensors that share memory are written each by itself."""
    plain = {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
    write_atomically(path, save(plain, metadata={"format": "pt"}))


def require_no_padding(encoder: Encoder, library: str) -> None:
    """Raise `InputError` for a network that sees more than its images: its library, which does not pad them, would give
    other numbers."""
    padding = padding_of(encoder.body)
    if padding is not None:
        size, patch = encoder.preprocessing.size or 1, padding.patch
        raise InputError(
            f"{encoder.name} is padded at {in_pixels(size)} pixels, which its patch of {in_pixels(patch)} does not "
            f"divide, and {library} does not pad: give a --size of {multiples(size, patch)}, or export it with --to "
            "onnx or --to torch"
        )


def outputs_of(encoder: Encoder) -> Outputs:
    """What `Written.load` gives, by the encoder itself."""

    @torch.inference_mode()
    def run(images: Tensor) -> dict[str, Tensor]:
        seen = encoder.see(images, judged=encoder.head is not None)
        outputs = {"embedding": seen.embeddings}
        return outputs if seen.logits is None else outputs | {"logits": seen.logits}

    return run


def normalised(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Pixels as a network that does not normalise wants them."""
    mean, std = (torch.tensor(own).view(-1, 1, 1) for own in (preprocessing.mean, preprocessing.std))
    return (images - mean) / std
