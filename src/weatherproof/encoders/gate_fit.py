"""Where a gate opens: learned from images and their damage, without labels."""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Literal

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
from weatherproof.types import Images

TEMPERATURE = 0.1  # of the contrastive loss, as in hardening
NEARNESS = 6.0  # weight of 1 - the mean cosine beside it
CLEAN_LOST = 0.005  # of clean images, that may be given another answer, or another embedding, than the original's
CLEAN_OPEN = 0.05  # of clean images, for which the gate may open at all where answers can be compared
SHUT = (1e6, 2e6)  # low and high of a gate that no image opens
_STREAM = 0x67617465  # of the keys, beside those of training and of measuring: "gate"
_PLACES = 24  # extents that are tried as low and high


@dataclass(frozen=True)
class _Looks:
    """Of each image what the gauge says, and what both encoders make of it: logits, or embeddings."""

    extent: Float[Tensor, "n"]
    beyond: Bool[Tensor, "n"]
    original: Float[Tensor, "n d"]
    hardened: Float[Tensor, "n d"]

    def share(self, low: Tensor, high: Tensor) -> Float[Tensor, "n 1"]:
        """How much of each is the hardened encoder's."""
        return opened(self.extent, self.beyond, low, high).double()[:, None]

    def blended(self, low: Tensor, high: Tensor) -> Float[Tensor, "n d"]:
        """What a gate gives; of logits exactly where the classifier is linear."""
        return torch.lerp(self.original, self.hardened, self.share(low, high))


def fit_gate(
    original: Encoder,
    hardened: Encoder,
    images: ImageSet,
    operator: Operator,
    gauge: Gauge | None,
    *,
    by: Literal["answers", "embeddings"] | None = None,
    seed: int = 0,
    most: int = 500,
    batch_size: int = 128,
    workers: int = 0,
) -> tuple[float, float]:
    """(low, high) for `gated`: the extents between which the hardened encoder takes over.

    Every image is damaged once, at a level drawn evenly from none to the worst of its kind. Of 24 extents, each pair is
    tried, and the best for what the original makes of these same images clean is taken:

    - by answers: the smallest mean Kullback-Leibler divergence from the original's softmax on the clean image to the
      gate's on the damaged one. Only pairs count that change the answer of at most 0.5 % of the clean images, and open
      for at most 5 % of them.
    - by embeddings: the smallest sum of the contrastive loss of temperature 0.1, which hardening minimises, and
      6 (1 - mean cosine). Neither term would do alone: a mixture's cosine is above that of either and its guesses may
      be worse; and what tells images apart best is not always near enough to the original for what was fitted on it.
      Only pairs count that leave at most 0.5 % of the clean images to anything but the original.

    `SHUT` counts too: where the hardened encoder is no gain anywhere, no image is given to it.

    Args:
        images: held out from training; labels are not looked at.
        operator: what the hardened encoder was trained on.
        gauge: of this damage.
        by: default: answers of a network that has a classifier, embeddings of one that has none.
        most: look at no more images than these, evenly spaced.

    Raises:
        InputError: no images, no gauge, or no classifier whose answers could be compared.
    """
    if gauge is None:
        raise InputError(
            f"where a gate opens is said in a gauge's extents, and {hardened.name} was hardened without one"
        )
    if not len(images):
        raise InputError(f"{images.name} holds no images: where a gate opens is found on some that are held out")
    by = by or ("embeddings" if original.head is None else "answers")
    if by == "answers" and original.head is None:
        raise InputError(f"{original.name} has no classifier whose answers could be compared: give by='embeddings'")
    chosen, mild = at_most(images, most), from_none(operator)
    device = next(original.parameters()).device
    gauge = copy.deepcopy(gauge).to(device)
    before, after = (encoder.logits if by == "answers" else encoder.forward for encoder in (original, hardened))
    looks = list[tuple[_Looks, _Looks]]()
    with evaluating(original, hardened, gauge), phase("where the gate opens", len(chosen)) as meter:
        for batch in batches(chosen, batch_size, device=device, workers=workers):
            damaged = mild(batch.images, random.fold(random.keys(seed, batch.index), _STREAM))
            looks.append((_look(gauge, before, after, batch.images), _look(gauge, before, after, damaged)))
            meter.advance(len(batch.index))
    best = _by_answers if by == "answers" else _by_embeddings
    low, high = best(*(_joined(parts) for parts in zip(*looks, strict=True)))
    return float(low), float(high)


def from_none(operator: Operator) -> Operator:
    """The same kinds of damage, each at levels from none to the worst that the operator draws; one without a level as
    it is."""
    mild = [
        own.operators[0] if own.scale is None else own.between(own.scale.none, own.span[1]) for own in kinds(operator)
    ]
    return mild[0] if len(mild) == 1 else OneOf(*mild)


def _look(
    gauge: Gauge, original: Callable[[Images], Tensor], hardened: Callable[[Images], Tensor], images: Images
) -> _Looks:
    reading = gauge(images)
    made = (original(images), hardened(images))
    return _Looks(reading.extent.cpu(), reading.beyond.cpu(), *(one.double().cpu() for one in made))


def _joined(parts: Iterable[_Looks]) -> _Looks:
    parts = list(parts)
    return _Looks(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(_Looks)))


def _by_answers(clean: _Looks, damaged: _Looks) -> Tensor:
    wanted, answers = clean.original.softmax(dim=1), clean.original.argmax(dim=1)

    def loss(low: Tensor, high: Tensor) -> Tensor:
        changed = clean.blended(low, high).argmax(dim=1) != answers
        if float(changed.double().mean()) > CLEAN_LOST:
            return torch.tensor(torch.inf, dtype=torch.float64)
        return F.cross_entropy(damaged.blended(low, high), wanted)  # the divergence, and what no gate changes

    return _best(_pairs(clean, damaged, CLEAN_OPEN), loss)


def _by_embeddings(clean: _Looks, damaged: _Looks) -> Tensor:
    places = F.normalize(clean.original, dim=1)
    original, hardened = damaged.original @ places.T, damaged.hardened @ places.T

    def loss(low: Tensor, high: Tensor) -> Tensor:
        length = damaged.blended(low, high).norm(dim=1, keepdim=True).clamp(min=1e-12)
        cosines = torch.lerp(original, hardened, damaged.share(low, high)) / length
        found = F.cross_entropy(cosines / TEMPERATURE, torch.arange(len(cosines)))
        return found + NEARNESS * (1 - cosines.diagonal().mean())

    return _best(_pairs(clean, damaged, CLEAN_LOST), loss)


def _pairs(clean: _Looks, damaged: _Looks, lost: float) -> Iterator[Tensor]:
    """`SHUT`, and each low and high that give at most so large a part of the clean images to anything but the
    original."""
    least = clean.extent.double().quantile(1 - lost, interpolation="higher").float()
    most = torch.maximum(damaged.extent.max(), torch.tensor(1.0)).clamp(min=float(least) + 0.01)
    yield torch.tensor(SHUT)
    yield from torch.linspace(float(least), float(most), _PLACES)[torch.combinations(torch.arange(_PLACES))]


def _best(pairs: Iterable[Tensor], loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    return min(pairs, key=lambda pair: float(loss(*pair)))
