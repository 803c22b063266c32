"""What a gauge learns from: statistics of images, clean and damaged, and what their keys say was done to them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from weatherproof import random
from weatherproof.data import ImageSet, batches
from weatherproof.encoders.gauge.gauge import Gauge, squeezed
from weatherproof.encoders.gauge.statistics import Rows
from weatherproof.operators.combine import OneOf
from weatherproof.operators.drawn import Drawn, Kind, drawn, kinds
from weatherproof.progress import phase
from weatherproof.protocols import Operator
from weatherproof.types import Images, Keys

_BATCH = 128


@dataclass(frozen=True)
class Look:
    """One way to look at every image.

    Attributes:
        operator: None: as it is.
        seen: whether training sees such.
    """

    operator: Operator | None
    seen: bool


@dataclass(frozen=True)
class Sample:
    """
    Attributes:
        rows: the statistics of each image.
        index: of the image in its source.
        kind: 0: nothing was done; else 1 + the kind's place in the gauge; -1: a kind that the gauge does not know.
        level: in the operator's unit; NaN where nothing was done or where it cannot be told.
        severity: as inside `Gauge`; 0 where nothing was done, NaN where it cannot be told.
        seen: whether training sees such.
    """

    rows: Rows
    index: Int64[Tensor, "batch"]
    kind: Int64[Tensor, "batch"]
    level: Float[Tensor, "batch"]
    severity: Float[Tensor, "batch"]
    seen: Bool[Tensor, "batch"]

    def __len__(self) -> int:
        return len(self.kind)

    def part(self, chosen: Bool[Tensor, "batch"]) -> "Sample":
        return Sample(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @property
    def weight(self) -> Float[Tensor, "batch"]:
        """Clean images count as much as all damaged ones; 1 on average."""
        clean = self.kind == 0
        shares = torch.where(clean, 0.5 / clean.sum().clamp(min=1), 0.5 / (~clean).sum().clamp(min=1))
        return shares.float() * len(self)


def looks(operator: Operator, found: Sequence[Kind], ends: Sequence[float | None]) -> tuple[Look, ...]:
    """Every image as it is, twice with the operator's damage, twice with levels that it does not draw: between none and
    its mildest, and between its worst and the end of each kind."""
    further = []
    for kind, end in zip(found, ends, strict=True):
        if kind.scale is None or end is None:
            continue
        mild, worst = kind.span
        further += [kind.between(*pair) for pair in ((kind.scale.none, mild), (worst, end)) if pair[0] != pair[1]]
    trained = [Look(None, True), Look(operator, True), Look(operator, True)]
    return (*trained, *([Look(OneOf(*further), False)] * 2 if further else []))


def worst(found: Sequence[Kind]) -> tuple[Look, ...]:
    """Every image twice at exactly the worst level of a kind that is drawn; where no kind has levels, no look."""
    ends = [kind.between(kind.span[1], kind.span[1]) for kind in found if kind.scale is not None]
    return (Look(OneOf(*ends), True),) * 2 if ends else ()


def sample(
    gauge: Gauge,
    images: ImageSet,
    ways: Sequence[Look],
    *,
    seed: int,
    device: str | torch.device = "cpu",
    workers: int = 0,
) -> Sample:
    """The images, looked at in each of these ways; the draws belong to the image, the seed and the way's place."""
    parts = []
    with phase("what the gauge sees", len(images)) as meter:
        for batch in batches(images, _BATCH, device=device, workers=workers):
            for place, way in enumerate(ways):
                keys = random.fold(random.keys(seed, batch.index), place)
                parts.append(_looked(gauge, batch.images, batch.index, keys, way))
            meter.advance(len(batch.index))
    return Sample(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Sample)))


@torch.no_grad()
def _looked(gauge: Gauge, images: Images, index: Int64[Tensor, "batch"], keys: Keys, way: Look) -> Sample:
    damaged = images if way.operator is None else way.operator(images, keys)
    draws = _drawn_places(gauge, way.operator, keys)
    none = torch.cat([torch.zeros(1), gauge.none.cpu()])[draws.kind.clamp(min=0)]
    top = torch.cat([torch.ones(1), gauge.top.cpu()])[draws.kind.clamp(min=0)]
    severity = squeezed(((draws.level.float() - none) / (top - none)).clamp(min=0))
    severity[draws.kind == 0] = 0
    severity[draws.kind < 0] = torch.nan
    return Sample(
        gauge.look(damaged).cpu(),
        index,
        draws.kind,
        draws.level.float(),
        severity,
        torch.full(draws.kind.shape, way.seen),
    )


def _drawn_places(gauge: Gauge, operator: Operator | None, keys: Keys) -> Drawn:
    """What was drawn, its kinds by their place in the gauge."""
    if operator is None:
        return Drawn(torch.zeros_like(keys), torch.full((len(keys),), torch.nan, dtype=torch.float64))
    draws = drawn(operator, keys)
    place_of = {name: place for place, name in enumerate(gauge.kinds)}
    places = torch.tensor([0, *(place_of.get(kind.name, -1) for kind in kinds(operator))])
    return Drawn(places[draws.kind], draws.level)
