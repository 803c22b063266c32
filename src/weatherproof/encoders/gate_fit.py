"""Where a gate opens: learned from images and their damage, without labels."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from weatherproof import random
from weatherproof.data import ImageSet, batches
from weatherproof.data.images import at_most
from weatherproof.encoders.encoder import Encoder
from weatherproof.encoders.gate import opened
from weatherproof.encoders.gauge import Gauge
from weatherproof.errors import InputError
from weatherproof.modes import evaluating
from weatherproof.operators import OneOf
from weatherproof.operators.drawn import kinds
from weatherproof.progress import phase
from weatherproof.protocols import Operator
from weatherproof.types import Embeddings

TEMPERATURE = 0.1  # of the contrastive loss, as in hardening
CLEAN_LOST = 0.005  # of clean images, for which the gate may open at all
_STREAM = 0x67617465  # of the keys, beside those of training and of measuring: "gate"
_PLACES = 24  # extents that are tried as low and high
SHUT = (1e6, 2e6)  # low and high of a gate that no image opens
NEARNESS = 6.0  # weight of 1 - the mean cosine beside the contrastive loss


@dataclass(frozen=True)
class _Seen:
    """Of each image what the gauge says, and embeddings: what the original makes of the clean image, and what original
    and hardened make of the damaged one."""

    clean_extent: Float[Tensor, "n"]
    extent: Float[Tensor, "n"]
    beyond: Bool[Tensor, "n"]
    clean: Embeddings
    original: Embeddings
    hardened: Embeddings


def fit_gate(
    original: Encoder,
    hardened: Encoder,
    images: ImageSet,
    operator: Operator,
    gauge: Gauge | None,
    *,
    seed: int = 0,
    most: int = 500,
    batch_size: int = 128,
    workers: int = 0,
) -> tuple[float, float]:
    """(low, high) for `gated`: the extents between which the hardened encoder takes over.

    Every image is damaged once, at a level drawn evenly from none to the worst of its kind. Of 24 extents, each pair is
    tried; taken is the one whose embeddings find the original's of their own clean images best among those of all these
    images, and lie near them: the smallest sum of the contrastive loss of temperature 0.1, which hardening minimises,
    and 6 (1 - mean cosine). Only pairs count that leave at most 0.5 % of the clean images to anything but the original,
    and `SHUT` among them: where the hardened encoder is no gain anywhere, no image is given to it.

    Neither term would do alone: a mixture's cosine is above that of either and its guesses may be worse; and what tells
    images apart best is not always near enough to the original for what was fitted on it.

    Args:
        images: held out from training; labels are not looked at.
        operator: what the hardened encoder was trained on.
        gauge: of this damage.
        most: look at no more images than these, evenly spaced.

    Raises:
        InputError: no images, or no gauge.
    """
    if gauge is None:
        raise InputError(
            f"where a gate opens is said in a gauge's extents, and {hardened.name} was hardened without one"
        )
    if not len(images):
        raise InputError(f"{images.name} holds no images: where a gate opens is found on some that are held out")
    chosen = at_most(images, most)
    device = next(original.parameters()).device
    gauge = copy.deepcopy(gauge).to(device)
    parts = []
    with evaluating(original, hardened, gauge), phase("where the gate opens", len(chosen)) as meter:
        for part in _look(original, hardened, chosen, from_none(operator), gauge, seed, batch_size, workers):
            parts.append(part)
            meter.advance(len(part.extent))
    seen = _Seen(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(_Seen)))
    return _best(seen)


def from_none(operator: Operator) -> Operator:
    """The same kinds of damage, each at levels from none to the worst that the operator draws; one without a level as
    it is."""
    mild = [
        own.operators[0] if own.scale is None else own.between(own.scale.none, own.span[1]) for own in kinds(operator)
    ]
    return mild[0] if len(mild) == 1 else OneOf(*mild)


def _look(
    original: Encoder, hardened: Encoder, images: ImageSet, operator: Operator, gauge: Gauge, seed: int,
    batch_size: int, workers: int,
) -> Iterator[_Seen]:  # fmt: skip
    device = next(original.parameters()).device
    for batch in batches(images, batch_size, device=device, workers=workers):
        damaged = operator(batch.images, random.fold(random.keys(seed, batch.index), _STREAM))
        reading = gauge(damaged)
        found = (gauge(batch.images).extent, reading.extent, reading.beyond)
        embedded = (original(batch.images), original(damaged), hardened(damaged))
        yield _Seen(*(one.cpu() for one in found), *(one.double().cpu() for one in embedded))


def _best(seen: _Seen) -> tuple[float, float]:
    least = seen.clean_extent.double().quantile(1 - CLEAN_LOST, interpolation="higher").float()
    most = torch.maximum(seen.extent.max(), torch.tensor(1.0)).clamp(min=float(least) + 0.01)
    places = torch.linspace(float(least), float(most), _PLACES)
    pairs = torch.cat([torch.tensor([SHUT]), places[torch.combinations(torch.arange(_PLACES))]])
    clean = F.normalize(seen.clean, dim=1)
    original, hardened = seen.original @ clean.T, seen.hardened @ clean.T
    losses = []
    for low, high in pairs:
        w = opened(seen.extent, seen.beyond, low, high).double()[:, None]
        length = ((1 - w) * seen.original + w * seen.hardened).norm(dim=1, keepdim=True).clamp(min=1e-12)
        cosines = ((1 - w) * original + w * hardened) / length
        found = F.cross_entropy(cosines / TEMPERATURE, torch.arange(len(cosines)))
        losses.append(found + NEARNESS * (1 - cosines.diagonal().mean()))
    low, high = pairs[int(torch.stack(losses).argmin())]
    return float(low), float(high)
