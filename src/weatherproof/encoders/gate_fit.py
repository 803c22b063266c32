"""Where a gate opens: learned from images and their damage, without labels."""

import copy
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
from weatherproof.encoders.layout import quick_convolutions
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
CLEAN_LOST = 0.005  # of clean images: by how much their accuracy may fall, or how many may get another embedding
SHUT = (1e6, 2e6)  # low and high of a gate that no image opens
_STREAM = 0x67617465  # of the keys, beside those of training and of measuring: "gate"
_PLACES = 24  # extents that are tried as low and high

Loss = Callable[[Tensor, Tensor], float]  # of cosines to all clean embeddings, and of how far the gate is open


@dataclass(frozen=True)
class Clean:
    """What the gauge says of the clean images, and what the original makes of them.

    Attributes:
        kind: the place among the gauge's kinds of the one that an image is taken for.
        answers: None where they are not compared.
        lost: by how much the original thinks the hardened encoder's answer less probable than its own, so that the
            sum is by how many images accuracy would fall, were it right about that; 1 where answers are not compared.
    """

    kind: Int64[Tensor, "n"]
    extent: Float[Tensor, "n"]
    embeddings: Embeddings
    answers: Logits | None
    lost: Float[Tensor, "n"]

    def least(self, kind: int, limit: float = CLEAN_LOST) -> float:
        """The extent from which on a gate may open for a kind: that of the clean images that are taken for it, but for
        those that look the most damaged of all, as many as lose the limit."""
        order = self.extent.argsort(descending=True, stable=True)
        kept = order[self.lost[order].cumsum(0) > limit * len(order)]
        own = self.extent[kept][self.kind[kept] == kind]
        return float(own.max()) if len(own) else 0.0


@dataclass(frozen=True)
class Damaged:
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

    def taken_for(self, kind: int) -> "Damaged":
        """Those that the gauge takes for a kind."""
        own = self.kind == kind
        answers = tuple(logits[own] for logits in self.answers)
        return Damaged(
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

    Only pairs count by which the accuracy on clean images falls by at most 0.5 points, as the original's own
    probabilities have it: an image that gets another answer loses the difference of the two. By embeddings, that leave
    at most 0.5 % of the clean images to anything but the original. Both over all kinds together. `SHUT` is among them:
    where the hardened encoder is no gain under a kind, or no image is taken for it, no image of that kind is given to
    it.

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
    chosen, judged = at_most(images, most), by == "answers"
    device = next(original.parameters()).device
    require_damages(operator, chosen, device)
    gauge = copy.deepcopy(gauge).to(device)
    clean, damaged = observed(
        original, hardened, chosen, operator, gauge, judged=judged, seed=seed, batch_size=batch_size, workers=workers
    )
    found = [
        best_extents(clean, own, clean.least(kind), by_answers(clean, own) if judged else by_neighbours(clean, own))
        if len((own := damaged.taken_for(kind)).image)
        else SHUT
        for kind in range(len(gauge.kinds) - 1)
    ]
    low, high = zip(*found, strict=True)
    return low, high


def observed(
    original: Encoder,
    hardened: Encoder,
    images: ImageSet,
    operator: Operator,
    gauge: Gauge,
    *,
    judged: bool,
    seed: int = 0,
    batch_size: int = 128,
    workers: int = 0,
) -> tuple[Clean, Damaged]:
    """Images, and each of them damaged once by each kind at a level from none to the worst.

    Args:
        judged: whether there are answers.
    """
    ways, device = from_none(operator), next(original.parameters()).device
    whole, parts, count = list[tuple[Tensor, ...]](), list[tuple[Tensor, ...]](), 0
    models, waits = (original, hardened, gauge), phase("where the gate opens", len(images))
    with quick_convolutions(*models), evaluating(*models), waits as meter:
        for batch in batches(images, batch_size, device=device, workers=workers):
            keys = random.fold(random.keys(seed, batch.index), _STREAM)
            place = count + torch.arange(len(keys))
            both = [encoder.see(batch.images, judged=judged) for encoder in (original, hardened)]
            whole.append((_lost(*both), *_columns(gauge(batch.images), both[0])))
            for way in ways:
                damaged = way(batch.images, keys)
                seen = [encoder.see(damaged, judged=judged) for encoder in (original, hardened)]
                parts.append((place, *_columns(gauge(damaged), *seen)))
            count += len(keys)
            meter.advance(len(keys))
    lost, kind, extent, _, embeddings, *answers = map(torch.cat, zip(*whole, strict=True))
    clean = Clean(kind, extent, embeddings, answers[0] if answers else None, lost)
    image, kind, extent, beyond, before, after, *answers = map(torch.cat, zip(*parts, strict=True))
    return clean, Damaged(image, kind, extent, beyond, before, after, tuple(answers))


def from_none(operator: Operator) -> tuple[Operator, ...]:
    """Each kind of damage at levels from none to the worst that the operator draws; one without a level as it is."""
    return tuple(
        own.operators[0] if own.scale is None else own.between(own.scale.none, own.span[1]) for own in kinds(operator)
    )


def _lost(original: Outputs, hardened: Outputs) -> Float[Tensor, "batch"]:
    """How probable the original's answer is, less how probable the hardened encoder's, by the original."""
    if original.logits is None or hardened.logits is None:
        return torch.ones(len(original.embeddings), dtype=torch.float64)
    probable = original.logits.double().softmax(dim=1)
    answers = torch.stack([original.logits.argmax(dim=1), hardened.logits.argmax(dim=1)], dim=1)
    own, other = probable.gather(1, answers).cpu().unbind(1)
    return (own - other).nan_to_num(1.0)


def _columns(reading: Reading, *outputs: Outputs) -> tuple[Tensor, ...]:
    """Kind, from 0 on, extent and beyond of images, their embeddings by each encoder, and its answers where there are
    any."""
    columns = ((reading.kind - 1).clamp(min=0), reading.extent, reading.beyond)
    numbers = [one.embeddings for one in outputs] + [one.logits for one in outputs if one.logits is not None]
    return (*(one.cpu() for one in columns), *(one.double().cpu() for one in numbers))


def best_extents(clean: Clean, damaged: Damaged, least: float, loss: Loss) -> tuple[float, float]:
    """Low and high of the smallest loss for images of one kind, from the least extent on, or `SHUT`."""
    places = F.normalize(clean.embeddings, dim=1)
    original, hardened = damaged.original @ places.T, damaged.hardened @ places.T

    def of(pair: Tensor) -> float:
        share = opened(damaged.extent, damaged.beyond, *pair).double()[:, None]
        length = torch.lerp(damaged.original, damaged.hardened, share).norm(dim=1, keepdim=True).clamp(min=1e-12)
        return loss(torch.lerp(original, hardened, share) / length, share)

    low, high = min(_pairs(damaged, least), key=of).tolist()
    return low, high


def by_neighbours(clean: Clean, damaged: Damaged, nearness: float = NEARNESS) -> Loss:
    """The share of the clean images nearest to each image, itself left out, that are not the nearest any more, and
    nearness (1 - mean cosine)."""
    places, image = F.normalize(clean.embeddings, dim=1), damaged.image
    count = min(NEIGHBOURS, len(places) - 1)

    def nearest(cosines: Tensor, own: Tensor) -> Tensor:
        return cosines.scatter(1, own[:, None], -torch.inf).topk(count).indices

    near = torch.zeros(len(places), len(places), dtype=torch.bool)
    near.scatter_(1, nearest(places @ places.T, torch.arange(len(places))), True)

    def loss(cosines: Tensor, share: Tensor) -> float:
        kept = near[image].gather(1, nearest(cosines, image)).double().mean() if count else 1.0
        return float(1 - kept + nearness * (1 - cosines.gather(1, image[:, None]).mean()))

    return loss


def by_answers(clean: Clean, damaged: Damaged) -> Loss:
    """The contrastive loss, and the share of images that get another answer than their clean image."""
    assert clean.answers is not None, "no answers were asked for"
    answers, (before, after) = clean.answers.argmax(dim=1)[damaged.image], damaged.answers

    def loss(cosines: Tensor, share: Tensor) -> float:
        blended = torch.lerp(before, after, share)  # what a gate answers, exactly where the classifier is linear
        otherwise = (blended.argmax(dim=1) != answers).double().mean()
        return float(F.cross_entropy(cosines / TEMPERATURE, damaged.image) + otherwise)

    return loss


def _pairs(damaged: Damaged, least: float) -> Iterator[Tensor]:
    """`SHUT`, and each low and high from the least extent on."""
    most = torch.maximum(damaged.extent.max(), torch.tensor(1.0)).clamp(min=least + 0.01)
    yield torch.tensor(SHUT)
    yield from torch.linspace(least, float(most), _PLACES)[torch.combinations(torch.arange(_PLACES))]
