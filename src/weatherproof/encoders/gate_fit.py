"""Where a gate opens: learned from images and their damage, without labels."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from weatherproof import random
from weatherproof.data import ImageSet, batches
from weatherproof.data.images import at_most
from weatherproof.encoders.encoder import Encoder, Outputs
from weatherproof.encoders.gate import opened
from weatherproof.encoders.gauge import Gauge, Reading
from weatherproof.errors import InputError
from weatherproof.modes import evaluating
from weatherproof.operators.damages import require_damages
from weatherproof.operators.drawn import kinds
from weatherproof.progress import phase
from weatherproof.protocols import Operator
from weatherproof.types import Embeddings, Logits

TEMPERATURE = 0.1  # of the contrastive loss, as in hardening
NEIGHBOURS = 10  # of each clean image, that an embedding should have, too, where no answers are compared
NEARNESS = 2.5  # weight of 1 - the mean cosine beside the share of them that it has not
CLEAN_LOST = 0.005  # of clean images, for which the gate may open at all
SHUT = (1e6, 2e6)  # low and high of a gate that no image opens
_STREAM = 0x67617465  # of the keys, beside those of training and of measuring: "gate"
_PLACES = 24  # extents that are tried as low and high

_Lost = Callable[[Tensor, Tensor], float]  # of cosines to all clean embeddings, and of how far the gate is open


@dataclass(frozen=True)
class _Clean:
    """What the gauge says of the clean images, and what the original makes of them.

    Attributes:
        kind: the place among the gauge's kinds of the one that an image is taken for.
        answers: None where they are not compared.
    """

    kind: Int64[Tensor, "n"]
    extent: Float[Tensor, "n"]
    embeddings: Embeddings
    answers: Logits | None

    def least(self, kind: int) -> float:
        """The extent from which on a gate may open for a kind: that of the clean images that are taken for it, but for
        those 0.5 % of all that look the most damaged."""
        kept = self.extent.argsort(stable=True)[: 1 + math.ceil((1 - CLEAN_LOST) * (len(self.extent) - 1))]
        own = self.extent[kept][self.kind[kept] == kind]
        return float(own.max()) if len(own) else 0.0


@dataclass(frozen=True)
class _Damaged:
    """The same of damaged images, of which both make something.

    Attributes:
        image: which of the clean images each was.
        answers: of original and hardened; none where they are not compared.
    """

    image: Int64[Tensor, "m"]
    kind: Int64[Tensor, "m"]
    extent: Float[Tensor, "m"]
    beyond: Bool[Tensor, "m"]
    original: Embeddings
    hardened: Embeddings
    answers: tuple[Logits, ...]

    def taken_for(self, kind: int) -> "_Damaged":
        own = self.kind == kind
        answers = tuple(given[own] for given in self.answers)
        return _Damaged(
            self.image[own], self.kind[own], self.extent[own], self.beyond[own], self.original[own], self.hardened[own],
            answers,
        )  # fmt: skip


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
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(low, high) for `gated`: of each kind that the gauge tells the extents between which the hardened encoder takes
    over.

    Every image is damaged once by each kind, at a level drawn evenly from none to the worst. A kind's extents are found
    among the images that the gauge takes for it, whatever was done to them. Of 24 extents, each pair is tried. Taken is
    the one of the smallest sum of two, over the damaged images:

    - by answers: the contrastive loss of temperature 0.1 by which embeddings find the original's of the same images
      clean, which hardening minimises; and the share of images to which the gate answers otherwise than the original
      does to the clean image. How sure the answers are does not count: hardened ones are less so, and right more often.
    - by embeddings: the share of the ten clean images nearest to the clean one that are not the ten nearest any more;
      and 2.5 (1 - mean cosine) to its clean embedding. What is among the same images is not always near enough for what
      was fitted on the original; and a mixture's cosine is above that of either, though its guesses may be worse. (The
      contrastive loss would not do: hardened encoders hold images further apart, the clean ones, too.)

    Only pairs count that leave at most 0.5 % of the clean images to anything but the original, over all kinds together,
    and `SHUT` among them: where the hardened encoder is no gain under a kind, or no image is taken for it, no image of
    that kind is given to it.

    Args:
        images: held out from training; labels are not looked at.
        operator: what the hardened encoder was trained on.
        gauge: of this damage.
        by: default: answers of a network that has a classifier, embeddings of one that has none.
        most: look at no more images than these, evenly spaced.

    Raises:
        InputError: no images, no gauge, a damage that does nothing, or no classifier whose answers could be compared.
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
    chosen, ways, judged = at_most(images, most), from_none(operator), by == "answers"
    device = next(original.parameters()).device
    require_damages(operator, chosen, device)
    gauge = copy.deepcopy(gauge).to(device)
    whole, parts, count = list[tuple[Tensor, ...]](), list[tuple[Tensor, ...]](), 0
    with evaluating(original, hardened, gauge), phase("where the gate opens", len(chosen)) as meter:
        for batch in batches(chosen, batch_size, device=device, workers=workers):
            keys = random.fold(random.keys(seed, batch.index), _STREAM)
            place = count + torch.arange(len(keys))
            whole.append(_told(gauge(batch.images), original.see(batch.images, judged=judged)))
            for way in ways:
                damaged = way(batch.images, keys)
                seen = [encoder.see(damaged, judged=judged) for encoder in (original, hardened)]
                parts.append((place, *_told(gauge(damaged), *seen)))
            count += len(keys)
            meter.advance(len(keys))
    kind, extent, _, embeddings, *wanted = map(torch.cat, zip(*whole, strict=True))
    clean = _Clean(kind, extent, embeddings, wanted[0] if wanted else None)
    image, kind, extent, beyond, before, after, *answers = map(torch.cat, zip(*parts, strict=True))
    every = _Damaged(image, kind, extent, beyond, before, after, tuple(answers))
    found = [_best(clean, every.taken_for(own), clean.least(own)) for own in range(len(gauge.kinds) - 1)]
    low, high = zip(*found, strict=True)
    return low, high


def from_none(operator: Operator) -> tuple[Operator, ...]:
    """Each kind of damage at levels from none to the worst that the operator draws; one without a level as it is."""
    return tuple(
        own.operators[0] if own.scale is None else own.between(own.scale.none, own.span[1]) for own in kinds(operator)
    )


def _told(reading: Reading, *seen: Outputs) -> tuple[Tensor, ...]:
    """Kind, from 0 on, extent and beyond of images, their embeddings by each encoder, and its answers where there are
    any."""
    told = ((reading.kind - 1).clamp(min=0), reading.extent, reading.beyond)
    made = [one.embeddings for one in seen] + [one.logits for one in seen if one.logits is not None]
    return (*(one.cpu() for one in told), *(one.double().cpu() for one in made))


def _best(clean: _Clean, seen: _Damaged, least: float) -> tuple[float, float]:
    """Low and high for the images of one kind."""
    if not len(seen.image):
        return SHUT
    places = F.normalize(clean.embeddings, dim=1)
    original, hardened = seen.original @ places.T, seen.hardened @ places.T
    lost = _neighbours_lost(places, seen.image) if clean.answers is None else _answers_lost(clean.answers, seen)

    def loss(pair: Tensor) -> float:
        share = opened(seen.extent, seen.beyond, *pair).double()[:, None]
        length = torch.lerp(seen.original, seen.hardened, share).norm(dim=1, keepdim=True).clamp(min=1e-12)
        return lost(torch.lerp(original, hardened, share) / length, share)

    low, high = min(_pairs(seen, least), key=loss).tolist()
    return low, high


def _neighbours_lost(clean: Embeddings, image: Int64[Tensor, "m"]) -> _Lost:
    """Of each image those nearest to it, itself left out."""
    own, count = torch.arange(len(clean)), min(NEIGHBOURS, len(clean) - 1)

    def nearest(cosines: Tensor, image: Tensor) -> Tensor:
        return cosines.scatter(1, image[:, None], -torch.inf).topk(count).indices

    near = torch.zeros(len(clean), len(clean), dtype=torch.bool).scatter(1, nearest(clean @ clean.T, own), True)

    def lost(cosines: Tensor, share: Tensor) -> float:
        found = near[image].gather(1, nearest(cosines, image)).double().mean() if count else 1.0
        return float(1 - found + NEARNESS * (1 - cosines.gather(1, image[:, None]).mean()))

    return lost


def _answers_lost(clean: Logits, seen: _Damaged) -> _Lost:
    wanted, (before, after) = clean.argmax(dim=1)[seen.image], seen.answers

    def lost(cosines: Tensor, share: Tensor) -> float:
        given = torch.lerp(before, after, share)  # what a gate answers, exactly where the classifier is linear
        otherwise = (given.argmax(dim=1) != wanted).double().mean()
        return float(F.cross_entropy(cosines / TEMPERATURE, seen.image) + otherwise)

    return lost


def _pairs(seen: _Damaged, least: float) -> Iterator[Tensor]:
    """`SHUT`, and each low and high from the least extent on."""
    most = torch.maximum(seen.extent.max(), torch.tensor(1.0)).clamp(min=least + 0.01)
    yield torch.tensor(SHUT)
    yield from torch.linspace(least, float(most), _PLACES)[torch.combinations(torch.arange(_PLACES))]
