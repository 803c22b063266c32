"""One image through a suite: clean, and under every corruption at every severity, as one file of a run folder.

`strip.safetensors` holds uint8 tensors, channels x height x width with 1 or 3 channels: "clean", and "fog/3" for fog at
severity 3. They are stored at the size at which the page shows them.
"""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.reports import words
from weatherproof.reports.files import write_atomically
from weatherproof.reports.suite import SEVERITIES, in_order

FILE = "strip.safetensors"
SHOWN = 96  # pixels of the longer side on the page
SMALL = 64  # images up to here are shown as blocks, not smoothed
QUALITY = 92  # of JPEG: 96 images of 96 pixels are 0.9 MB on the page, as PNG 2.6 MB

Picture = UInt8[Tensor, "channels height width"]
AnyPicture = UInt8[Tensor, "_ _ _"]  # of a shape that is still to be looked at


@dataclass(frozen=True)
class StripRow:
    """One corruption: a data address for each severity, None where it was not drawn."""

    name: str
    images: tuple[str | None, ...]


@dataclass(frozen=True)
class Strip:
    """What the page shows."""

    clean: str
    severities: tuple[int, ...]
    rows: tuple[StripRow, ...]
    pixelated: bool
    stored: tuple[int, int]  # height and width
    limit: int = SHOWN


def save_strip(folder: Path | str, clean: Picture, parts: Mapping[tuple[str, int], AnyPicture]) -> Path:
    """Write the strip of a run; returns the file. Images larger than the page shows them are made smaller.

    Args:
        folder: the run folder.
        clean: the image, 8 bits, 1 or 3 channels.
        parts: by (corruption, severity), the same image corrupted; all of one shape.

    Raises:
        InputError: no parts, or a part of another shape.
    """
    from safetensors.torch import save

    if not parts:
        raise InputError("a strip needs at least one corrupted image, got none")
    for (name, severity), image in parts.items():
        if image.shape != clean.shape:
            raise InputError(f"{name} at severity {severity} is {tuple(image.shape)}, expected {tuple(clean.shape)}")
    named = {f"{name}/{severity}": image for (name, severity), image in parts.items()}
    tensors = {
        name: _smaller(image).clone(memory_format=torch.contiguous_format)
        for name, image in {"clean": clean, **named}.items()
    }
    return write_atomically(Path(folder) / FILE, save(tensors))


def read_strip(folder: Path) -> Strip | None:
    """The strip of a run folder; None where it has none.

    Raises:
        InputError: the file is not what `save_strip` writes.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    file = folder / FILE
    if not file.is_file():
        return None
    try:
        tensors = load(file.read_bytes())
    except SafetensorError as error:
        raise InputError(f"{str(file)!r} cannot be read ({error}): remove it, or make the run again") from None
    found = {name: _place(name) for name in tensors if name != "clean"}
    if "clean" not in tensors or not all(map(_is_picture, tensors.values())) or None in found.values():
        raise InputError(f"{str(file)!r} is not a strip of images: remove it, or make the run again")
    places = {place: _address(tensors[name]) for name, place in found.items() if place is not None}
    severities = tuple(sorted({*SEVERITIES, *(severity for _, severity in places)}))
    height, width = tensors["clean"].shape[1:]
    return Strip(
        clean=_address(tensors["clean"]),
        severities=severities,
        rows=tuple(
            StripRow(words.corruption_words(name), tuple(places.get((name, severity)) for severity in severities))
            for name in in_order({name for name, _ in places})
        ),
        pixelated=max(height, width) <= SMALL,
        stored=(height, width),
    )


def _place(name: str) -> tuple[str, int] | None:
    corruption, _, severity = name.rpartition("/")
    return (corruption, int(severity)) if corruption and severity.isdecimal() else None


def _is_picture(image: Tensor) -> bool:
    return image.dtype == torch.uint8 and image.ndim == 3 and image.shape[0] in (1, 3) and image.numel() > 0


def _smaller(image: Picture) -> AnyPicture:
    """The image with its longer side at most `SHOWN`."""
    height, width = image.shape[1:]
    ratio = SHOWN / max(height, width)
    if ratio >= 1:
        return image.cpu()
    size = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    made = torch.nn.functional.interpolate(
        image[None].cpu().float(), size, mode="bilinear", antialias=True, align_corners=False
    )
    return made[0].round().clamp(0, 255).byte()


def _address(image: Picture) -> str:
    """A data address: PNG for images whose pixels can be told apart on the page, otherwise JPEG, a third as long."""
    from PIL import Image

    pixels = image.permute(1, 2, 0).contiguous()
    picture = Image.fromarray(pixels.squeeze(2).numpy() if pixels.shape[2] == 1 else pixels.numpy())
    file = io.BytesIO()
    if max(picture.size) <= SMALL:
        kind = "png"
        picture.save(file, "PNG", optimize=True)
    else:
        kind = "jpeg"
        picture.save(file, "JPEG", quality=QUALITY, subsampling=0)  # colours at full size: noise has them
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
