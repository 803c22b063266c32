"""What is kept of each image: its embedding, and what else was asked for."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from weatherproof.encoders import Encoder, MapPlace, map_place
from weatherproof.errors import InputError
from weatherproof.processor import Precision
from weatherproof.readouts import require_embeddings
from weatherproof.sizes import in_pixels
from weatherproof.spec import component
from weatherproof.types import Images

EMBEDDING, PATCHES, LOGITS = "embedding", "patches", "logits"
GAUGED = ("level", "low", "high", "kind", "damaged", "extent", "beyond")  # of `Reading`
_TYPES: Mapping[str, torch.dtype] = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
_TOP = torch.finfo(torch.float16).max


@component
class Asked:
    """What is to be kept beside the embeddings, and in which numbers.

    Args:
        half: embeddings and patches as float16, else float32.
        patches: the last map or the patch tokens, [rows, columns, channels].
        gauge: what the encoder's gauge says: `GAUGED`.
        logits: of its own classifier, as float32.
        precision: in which the network computes.
    """

    half: bool = False
    patches: bool = False
    gauge: bool = False
    logits: bool = False
    precision: Precision = "32-true"


@dataclass(frozen=True, eq=False)
class Eye:
    """Looks at batches. Made by `eye_of`."""

    encoder: Encoder
    asked: Asked
    place: MapPlace | None

    def __call__(self, images: Images) -> dict[str, Tensor]:
        """By column a row an image, on the CPU. The encoder is in evaluation mode already.

        Raises:
            InputError: what is no finite number, or too large for float16.
        """
        with self._precision(images.device):
            seen = self.encoder.see(images, judged=self.asked.logits, place=self.place)
        found = {EMBEDDING: self._stored(seen.embeddings)}
        if seen.maps is not None:
            found[PATCHES] = self._stored(seen.maps.movedim(1, -1))
        if seen.logits is not None:
            found[LOGITS] = seen.logits.float()
        if self.asked.gauge:
            reading = self.encoder.gauge(images)
            found |= {name: getattr(reading, name) for name in GAUGED}
        return {name: rows.cpu().contiguous() for name, rows in found.items()}

    def _stored(self, rows: Tensor) -> Tensor:
        rows = rows.float()
        require_embeddings(self.encoder.name, rows.flatten(1))
        if not self.asked.half:
            return rows
        if bool((rows.abs() > _TOP).any()):
            raise InputError(f"{self.encoder.name} gives numbers beyond {_TOP:,.0f}, float16's largest: leave out half")
        return rows.half()

    def _precision(self, device: torch.device) -> AbstractContextManager[object]:
        wanted = _TYPES.get(self.asked.precision)
        return nullcontext() if wanted is None else torch.autocast(device.type, wanted)


def eye_of(encoder: Encoder, asked: Asked, image_size: tuple[int, int]) -> Eye:
    """What looks at images of this size. Raises `InputError` where the encoder has not what is asked for."""
    if asked.logits and encoder.head is None:
        raise InputError(f"{encoder.name} has no classifier of its own: leave out logits")
    if asked.gauge:
        _ = encoder.own_gauge  # which says what to do
    place = None
    if asked.patches:
        try:
            place = map_place(encoder, image_size)
        except InputError:
            raise InputError(
                f"{encoder.name} keeps no positions apart at {in_pixels(image_size)} pixels, so that there are no "
                "patches: leave out patches, or read larger images"
            ) from None
    return Eye(encoder, asked, place)
