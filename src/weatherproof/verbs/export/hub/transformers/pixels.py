"""What pixels a network of transformers expects, as the library's own processor of images reads it."""

import json
from pathlib import Path
from typing import Any

from weatherproof.encoders import Encoder
from weatherproof.encoders.libraries.transformers import cut_into_patches
from weatherproof.files import write_atomically
from weatherproof.sizes import sides

_RESAMPLING = {"bilinear": 2, "bicubic": 3}  # Pillow's numbers


def write_pixels(encoder: Encoder, vision: Any, folder: Path) -> None:
    """preprocessor_config.json: resize to rows and columns and normalise; of a network that takes patches in place of
    pixels, as many of them as the size has, of any shape.

    Args:
        vision: the library's network that sees the images.
    """
    preprocessing = encoder.preprocessing
    rows, columns = sides(preprocessing.size or 1)
    patches: dict[str, Any] = dict(patches_of(encoder, vision))
    config = {
        "image_processor_type": "Siglip2ImageProcessor" if patches else "ViTImageProcessor",
        "do_resize": True,
        **(patches or {"size": {"height": rows, "width": columns}}),
        "resample": _RESAMPLING[preprocessing.interpolation],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }
    write_atomically(folder / "preprocessor_config.json", json.dumps(config, indent=2) + "\n")


def patches_of(encoder: Encoder, vision: Any) -> dict[str, int]:
    """How many patches of which side the network takes in place of pixels; empty: it takes pixels."""
    patch = cut_into_patches(vision)
    rows, columns = sides(encoder.preprocessing.size or 1)
    return {} if patch is None else {"patch_size": patch, "max_num_patches": (rows // patch) * (columns // patch)}


def size_notes(encoder: Encoder, vision: Any) -> list[str]:
    """What the library's users have to know of the size."""
    if cut_into_patches(vision) is not None:
        return ["images that are no squares keep their shape there, and are squeezed here"]
    size = getattr(vision.config, "image_size", None)
    wanted = sides(encoder.preprocessing.size or 1)
    if size is None or (tuple(size) if isinstance(size, list | tuple) else (size, size)) == wanted:
        return []
    return ["at this size the network has to be asked with interpolate_pos_encoding=True"]
