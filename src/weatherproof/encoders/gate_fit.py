"""Where a gate opens: learned from images and their damage, without labels."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
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
from weatherproof.types import Embeddings, Logits

TEMPERATURE = 0.1  # of the contrastive loss, as in hardening
NEARNESS = 6.0  # weight of 1 - the mean cosine beside it, where no answers are compared
CLEAN_LOST = 0.005  # of clean images, for which the gate may open at all
SHUT = (1e6, 2e6)  # low and high of a gate that no image opens
_STREAM = 0x67617465  # of the keys, beside those of training and of measuring: "gate"
_PLACES = 24  # extents that are tried as low and high


@dataclass(frozen=True)
class _Seen:
    """Of each image what the gauge says, and what the original makes of the clean image, original and hardened of the
    damaged one."""

    clean_extent: Float[Tensor, "n"]
    extent: Float[Tensor, "n"]
    beyond: Bool[Tensor, "n"]
    clean: Embeddings
    original: Embeddings
    hardened: Embeddings
    answers: tuple[Logits, ...]  # of the same three, where they are compared


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
    tried. Taken is that whose embeddings of the damaged images find the original's of the same images clean best, by
    the contrastive loss of temperature 0.1 which hardening minimises, and that is nearest to the original otherwise,
    for what tells images apart best is not always near enough for what was fitted on the original. The smallest sum of
    that loss and

    - by answers: the share of images to which the gate answers otherwise than the original does to the clean image. How
      sure the answers are does not count: hardened ones are less so, and right more often.
    - by embeddings: 6 (1 - mean cosine). A mixture's cosine is above that of either, and its guesses may be worse: it
      would not do alone.

    Only pairs count that leave at most 0.5 % of the clean images to anything but the original, and `SHUT` among them:
    where the hardened encoder is no gain anywhere, no image is given to it.

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
    parts = list[tuple[Tensor, ...]]()
    with evaluating(original, hardened, gauge), phase("where the gate opens", len(chosen)) as meter:
        for batch in batches(chosen, batch_size, device=device, workers=workers):
            damaged = mild(batch.images, random.fold(random.keys(seed, batch.index), _STREAM))
            reading = gauge(damaged)
            told = (gauge(batch.images).extent, reading.extent, reading.beyond)
            looks = ((original, batch.images), (original, damaged), (hardened, damaged))
            seen = [encoder.see(images, judged=by == "answers") for encoder, images in looks]
            made = [one.embeddings for one in seen] + [one.logits for one in seen if one.logits is not None]
            parts.append((*(one.cpu() for one in told), *(one.double().cpu() for one in made)))
            meter.advance(len(batch.index))
    clean_extent, extent, beyond, clean, before, after, *answers = map(torch.cat, zip(*parts, strict=True))
    low, high = _best(_Seen(clean_extent, extent, beyond, clean, before, after, tuple(answers)))
    return float(low), float(high)


def from_none(operator: Operator) -> Operator:
    """The same kinds of damage, each at levels from none to the worst that the operator draws; one without a level as
    it is."""
    mild = [
        own.operators[0] if own.scale is None else own.between(own.scale.none, own.span[1]) for own in kinds(operator)
    ]
    return mild[0] if len(mild) == 1 else OneOf(*mild)


def _best(seen: _Seen) -> Tensor:
    places = F.normalize(seen.clean, dim=1)
    original, hardened = seen.original @ places.T, seen.hardened @ places.T

    def loss(pair: Tensor) -> float:
        share = opened(seen.extent, seen.beyond, *pair).double()[:, None]
        length = torch.lerp(seen.original, seen.hardened, share).norm(dim=1, keepdim=True).clamp(min=1e-12)
        cosines = torch.lerp(original, hardened, share) / length
        found = F.cross_entropy(cosines / TEMPERATURE, torch.arange(len(cosines)))
        if not seen.answers:
            return float(found + NEARNESS * (1 - cosines.diagonal().mean()))
        wanted, before, after = seen.answers
        given = torch.lerp(before, after, share)  # what a gate answers, exactly where the classifier is linear
        return float(found + (given.argmax(dim=1) != wanted.argmax(dim=1)).double().mean())

    return min(_pairs(seen), key=loss)


def _pairs(seen: _Seen) -> Iterator[Tensor]:
    """`SHUT`, and each low and high that leave all but so few clean images to the original."""
    least = seen.clean_extent.double().quantile(1 - CLEAN_LOST, interpolation="higher").float()
    most = torch.maximum(seen.extent.max(), torch.tensor(1.0)).clamp(min=float(least) + 0.01)
    yield torch.tensor(SHUT)
    yield from torch.linspace(float(least), float(most), _PLACES)[torch.combinations(torch.arange(_PLACES))]
