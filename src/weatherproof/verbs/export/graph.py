"""An encoder with all that stands on it as one plain module, from pixels to named outputs, that can be traced."""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from weatherproof.encoders import Encoder, MapPlace, Preprocessing, Reading, map_place
from weatherproof.encoders.adapters import merged
from weatherproof.encoders.gate import Gated, by_kind, opened
from weatherproof.errors import InputError
from weatherproof.readouts import Readout

Pixels = Literal["float", "uint8"]

GAUGE = tuple(field.name for field in fields(Reading))
MEANINGS = {
    "embedding": "the embedding, not normalised",
    "logits": "of the run's readout where it has one, else of the network's own classifier",
    "own_logits": "of the network's own classifier, beside those of the readout",
    "patches": "the last map, or the last tokens as one: channels, rows, columns",
    "level": "of the damage, in the unit of its kind; NaN where it cannot be told",
    "low": "between low and high the level lies for 9 of 10 images",
    "high": "see low",
    "kind": "which damage, an index into the kinds; 0: clean",
    "damaged": "the probability that anything happened",
    "extent": "0: clean; 1: the worst that training saw",
    "beyond": "worse than what training saw, or unlike it",
    "weight": "how much of the embedding is the hardened network's, from 0 (the original alone) to 1",
}


@dataclass(frozen=True)
class Shape:
    """What images go in.

    Attributes:
        height, width: of the input; of one that is resized, that of the network.
        resized: images of any size go in, and are resized inside.
        pixels: float in [0, 1], or uint8 from 0 to 255.
    """

    height: int
    width: int
    resized: bool
    pixels: Pixels = "float"


def resizes(encoder: Encoder) -> bool:
    """Whether images of any size become images of one size before anything else looks at them."""
    gauge = encoder.fitted_gauge
    return encoder.preprocessing.size is not None and (
        gauge is None or gauge.settings.preprocessing.size == encoder.preprocessing.size
    )


class Graph(nn.Module):
    """Images [batch, channels, height, width] to a dict of outputs, each with one row an image.

    The numbers are those of the encoder: preprocessing inside, adapters folded into the weights. Behind a gate both
    networks look at every image, and the weight chooses row by row, since a graph cannot split a batch by what is in
    it: where the weight is 0 or 1 an image has one network's numbers alone, as in the encoder.
    """

    def __init__(self, encoder: Encoder, readout: Readout | None, shape: Shape) -> None:
        super().__init__()
        self.shape, self.channels = shape, encoder.preprocessing.channels
        self.interpolation = encoder.preprocessing.interpolation
        self.has_gauge, self.has_gate = encoder.fitted_gauge is not None, isinstance(encoder, Gated)
        self.gauge = encoder.own_gauge if self.has_gauge else nn.Identity()
        self.original: Encoder = merged(encoder.original if isinstance(encoder, Gated) else encoder)
        self.original.set_gauge(None)
        self.hardened = merged(encoder.hardened) if isinstance(encoder, Gated) else nn.Identity()
        self.ends = torch.tensor([encoder.low, encoder.high]) if isinstance(encoder, Gated) else torch.zeros(2, 1)
        self.readout = nn.Identity() if readout is None else readout.head
        self.has_readout, self.unit_length = readout is not None, readout is not None and readout.unit_length
        self.place = place_of(encoder, shape)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        pixels = images.float() / 255 if self.shape.pixels == "uint8" else images
        if self.shape.resized:
            side = (self.shape.height, self.shape.width)
            pixels = nn.functional.interpolate(pixels, side, mode=self.interpolation, antialias=True)
        gauged: dict[str, Tensor] = {}
        if self.has_gauge:
            reading = self.gauge.reading(self.gauge.look(pixels))  # type: ignore[operator]
            gauged = {name: getattr(reading, name) for name in GAUGE}
        seen = self._embedding_and_map(self.original, pixels)
        if self.has_gate:
            low, high = by_kind(self.ends, gauged["kind"])
            gauged["weight"] = opened(gauged["extent"], gauged["beyond"], low, high)
            pairs = zip(seen, self._embedding_and_map(self.hardened, pixels), strict=True)
            seen = [_mixed(gauged["weight"], *pair) for pair in pairs]
        embedding = _pooled(seen[0])
        outputs = {"embedding": embedding}
        own = None if self.original.head is None else self.original.head(seen[0]).flatten(1)
        if self.has_readout:
            rows = nn.functional.normalize(embedding, dim=1) if self.unit_length else embedding
            outputs["logits"] = self.readout(rows)
        if own is not None:
            outputs["own_logits" if self.has_readout else "logits"] = own
        if self.place is not None:
            outputs["patches"] = seen[1]
        return outputs | gauged

    def _embedding_and_map(self, encoder: Any, pixels: Tensor) -> list[Tensor]:
        """The raw embedding, and the map where there is one."""
        return [encoder._raw(pixels)] if self.place is None else [*encoder._raw_and_map(pixels, self.place)]


def _mixed(weight: Tensor, original: Tensor, hardened: Tensor) -> Tensor:
    wide = weight.view(-1, *[1] * (original.ndim - 1))
    between = (1 - wide) * original + wide * hardened
    return torch.where(wide > 0, torch.where(wide >= 1, hardened, between), original)


def _pooled(raw: Tensor) -> Tensor:
    return raw.mean(dim=(2, 3)) if raw.ndim == 4 else raw


def place_of(encoder: Encoder, shape: Shape) -> MapPlace | None:
    """Where the encoder's map is; None where it keeps no positions apart."""
    try:
        return map_place(encoder, (shape.height, shape.width))
    except InputError:
        return None


@torch.inference_mode()
def expected(encoder: Encoder, readout: Readout | None, images: Tensor, *, place: MapPlace | None) -> dict[str, Tensor]:
    """The same outputs by the encoder itself, not by the graph. `encoder` is in evaluation mode.

    Args:
        images: float or uint8, as they go into the graph.
        place: of the map, from `place_of`.
    """
    pixels = images.float() / 255 if images.dtype == torch.uint8 else images
    seen = encoder.see(pixels, judged=encoder.head is not None, place=place)
    outputs = {"embedding": seen.embeddings}
    if readout is not None:
        rows = nn.functional.normalize(seen.embeddings, dim=1) if readout.unit_length else seen.embeddings
        outputs["logits"] = readout.head(rows)
    if seen.logits is not None:
        outputs["own_logits" if readout is not None else "logits"] = seen.logits
    if seen.maps is not None:
        outputs["patches"] = seen.maps
    if encoder.fitted_gauge is not None:
        reading = encoder.gauge(pixels)
        outputs |= {name: getattr(reading, name) for name in GAUGE}
    if isinstance(encoder, Gated):
        outputs["weight"] = encoder.share(pixels)
    return outputs


def without_size(preprocessing: Preprocessing) -> Preprocessing:
    """The same for images of any size."""
    return replace(preprocessing, size=None)
