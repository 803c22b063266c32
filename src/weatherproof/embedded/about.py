"""What a file of embeddings says of itself: which encoder made them, of which images, and how."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from weatherproof.encoders import Encoder
from weatherproof.encoders.digests import add_tensors
from weatherproof.errors import InputError, shown
from weatherproof.sizes import Size, in_pixels, sides, size_of, size_words
from weatherproof.spec import fits, names_a_file
from weatherproof.texts import parse_json

FORMAT = 1
KEY = "weatherproof"  # of Parquet's key-value metadata, and of the member of an npz
_MAPPINGS = ("preprocessing", "left_out", "settings")
LARGEST = 1 << 24  # numbers of one image in a column: what no network gives


@dataclass(frozen=True)
class About:
    """What a file says of itself.

    Attributes:
        encoder: its text, as it was given.
        weights: `identity` of the encoder.
        features: numbers of an embedding.
        dtype: of embeddings and patches, "float32" or "float16".
        size: (height, width) in pixels of what the network saw.
        crop_fraction: of the images that were read, as `load_images` has it.
        preprocessing: of the encoder.
        precision: in which it was computed.
        data: what records call the images.
        images: rows of the file.
        left_out: by path, why a file could not be read; the first thousand.
        patches: (rows, columns, channels) of the map of each image, where there is one.
        kinds: of damage that the gauge tells, where it was asked.
        classes: of the logits, where there are any.
        settings: of the command that wrote it, so that the same one knows its own file.
        version: of this package.
    """

    encoder: str
    weights: str
    features: int
    dtype: str
    size: tuple[int, int]
    crop_fraction: float
    preprocessing: Mapping[str, Any]
    precision: str
    data: str
    images: int
    left_out: Mapping[str, str]
    patches: tuple[int, int, int] | None
    kinds: tuple[str, ...] | None
    classes: int | None
    settings: Mapping[str, Any]
    version: str

    def to_json(self) -> str:
        """One line, the same for the same work."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, file: str) -> "About":
        """The inverse. Raises `InputError` where it says something else.

        Args:
            file: the message's word for where it stood.
        """
        try:
            content = parse_json(text)
            if content["format"] != FORMAT:
                raise ValueError(f"format {shown(content['format'])}, this version reads {FORMAT}")
            values = {field.name: content[field.name] for field in fields(cls)}
            for name in ("size", "patches", "kinds"):
                values[name] = None if values[name] is None else tuple(values[name])
            about = cls(**values)
            for field in fields(cls):
                value = values[field.name]
                if not (isinstance(value, dict) if field.name in _MAPPINGS else fits(value, field.type)):
                    raise ValueError(f"{field.name} is {shown(value)}")
            if about.dtype not in ("float32", "float16") or not (0 < about.features <= LARGEST and about.images >= 0):
                raise ValueError(f"{shown(about.images)} embeddings of {shown(about.features)} numbers {about.dtype}")
            if min(about.size) < 1 or (about.patches and not 0 < torch.Size(about.patches).numel() <= LARGEST):
                raise ValueError(f"images of {about.size} pixels with patches {about.patches}")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{file} does not say what its embeddings are ({error}): write it again") from None
        return about

    def require(
        self, encoder: Encoder, weights: str, size: tuple[int, int], file: str, at: Callable[[Size | None], Encoder]
    ) -> None:
        """Raise `InputError` where embeddings of this encoder cannot be compared with those of the file.

        Args:
            weights: its `identity`.
            size: (height, width) of what the network sees now.
            file: what the message calls the file.
            at: the encoder once more, at another size of its own.
        """
        same = weights == self.weights or self._is_of(encoder)
        if self.size != size and (same or self._is_of_one(at)):
            raise InputError(
                f"{file} holds embeddings of images of {in_pixels(self.size)} pixels, and these are {in_pixels(size)}: "
                f"give --size {size_words(size_of(self.size))}"
            )
        if not same:
            raise InputError(
                f"{file} holds embeddings of another encoder, {shown(self.encoder)} with weights {self.weights[:12]}, "
                f"and those of {encoder.name} are {weights[:12]}: give that one, or embed the images again"
            )

    def _is_of(self, encoder: Encoder) -> bool:
        """Whether it is this encoder's, whatever size the images have."""
        return identity(encoder, {"size": self.preprocessing.get("size")}) == self.weights

    def _is_of_one(self, at: Callable[[Size | None], Encoder]) -> bool:
        """Whether it is that encoder's at the size that it had then: its positions may have been resampled."""
        try:
            return self._is_of(at(size_of(self.preprocessing.get("size"))))
        except InputError:  # it cannot have that size
            return False


def identity(encoder: Encoder, other: Mapping[str, Any] | None = None) -> str:
    """SHA-256 of what an encoder's embeddings depend on: names, shapes and bytes of all weights but the classifier's,
    its options and preprocessing, and of a gate the gauge that opens it. A file of one's own may move.

    Args:
        other: what its preprocessing is taken to say instead.
    """
    named = {} if names_a_file(encoder.name) else {"name": encoder.name}
    preprocessing = asdict(encoder.preprocessing) | dict(other or {})
    settings = named | {"options": encoder.options, "preprocessing": preprocessing, **encoder.extra_settings()}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=repr).encode())
    state = {name: value for name, value in encoder.state().items() if not encoder.names.is_head(name)}
    if encoder.extra_settings() and encoder.fitted_gauge is not None:
        state |= {f"gauge {name}": value for name, value in encoder.fitted_gauge.state_dict().items()}
    add_tensors(digest, state)
    return digest.hexdigest()


def network_size(encoder: Encoder, image_size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of what the network sees of images of a size."""
    return sides(encoder.preprocessing.size or image_size)
