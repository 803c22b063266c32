"""What a gauge says of images that come one after the other, in windows and as records."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from weatherproof.data import ImageSet
from weatherproof.encoders.gauge import Gauge, Reading
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.engine.run import Measured, Settings, run, weights_digest
from weatherproof.evaluation.engine.trials import Columns, Look, Models
from weatherproof.evaluation.metrics.standard_errors import binomial_error
from weatherproof.evaluation.record import Record, protocol_facts, protocol_hash
from weatherproof.readouts import evaluating

GAUGE = "the gauge"
READOUT = "gauge"  # what records of it say
DRIFT_METRICS = ("beyond", "damaged", "clean", "level")
PROBABILITY = "damage_probability"  # in place of "level" where the gauge tells none
_WINDOWS, _FEWEST = 50, 20  # windows unless the user says their size, and images that each of them has then


@dataclass(frozen=True)
class Gauging:
    """The trial of a gauge: the columns of `Reading`, and "least" and "most", the ends of its interval as extents."""

    label: ClassVar[str] = GAUGE
    words: ClassVar[str] = GAUGE
    positions: ClassVar[None] = None

    def __call__(self, models: Models, look: Look) -> Columns:
        gauge = models[GAUGE]
        assert isinstance(gauge, Gauge)
        with evaluating(gauge):
            reading = gauge(look.images)
        least, most = extents(gauge, reading).unbind(1)
        return asdict(reading) | {"least": least, "most": most}


def extents(gauge: Gauge, reading: Reading) -> Float[Tensor, "batch 2"]:
    """Both ends of each interval, 0 at none and 1 at the worst that training saw, as `Reading.extent` is; the extent
    itself where an image is clean, or of a kind without a level."""
    which = (reading.kind - 1).clamp(min=0)
    none, top = gauge.none[which], gauge.top[which]
    ends = (torch.stack([reading.low, reading.high], dim=1) - none[:, None]) / (top - none)[:, None]
    own = reading.extent[:, None].expand_as(ends)
    return torch.where((reading.kind == 0)[:, None] | ends.isnan(), own, ends).sort(dim=1).values


def gauge_images(gauge: Gauge, images: ImageSet, settings: Settings, *, files: str, title: str) -> Measured:
    """What a gauge says of every image.

    Args:
        files: changes where the images' files do.
        title: of the work, for whoever waits.

    Raises:
        InputError: images that the gauge cannot see, and what the engine refuses.
    """
    facts = {"files": files or None, "weights": weights_digest(gauge)}
    return run({GAUGE: gauge}, [Gauging()], images, settings, name="gauge", title=title, facts=facts)


def tells_levels(gauge: Gauge) -> bool:
    """Whether any of the kinds of damage that it knows has a level."""
    return any(kind.none is not None for kind in gauge.settings.kinds)


def drift_records(answers: Answers, images: ImageSet, model: str, files: str, *, levels: bool = True) -> list[Record]:
    """`DRIFT_METRICS` over all images: the shares that are beyond what training saw, damaged, and clean, with binomial
    standard errors; and the mean extent, 0 where all are clean and 1 where all are as damaged as the worst that
    training saw, with s / sqrt(n).

    Args:
        levels: the gauge tells levels. Else there is, in place of the extent, the mean probability of damage.
    """
    count, facts = len(answers), protocol_facts(images, None, (), None, gauge=True, files=files or None)

    def record(metric: str, value: float, error: float | None) -> Record:
        return Record(
            metric=metric, value=value, stderr=error, images=count, model=model, readout=READOUT, data=images.name,
            protocol=protocol_hash(metric=metric, images=count, **facts),
        )  # fmt: skip

    damaged = answers["kind"] > 0
    shares = {"beyond": answers["beyond"], "damaged": damaged, "clean": ~damaged}
    means = {name: float(own.double().mean()) for name, own in shares.items()}
    extent = answers["extent" if levels else "damaged"].double()
    spread = float(extent.std() / count**0.5) if count > 1 else None
    return [
        *(record(name, share, binomial_error(share, count)) for name, share in means.items()),
        record("level" if levels else PROBABILITY, float(extent.mean()), spread),
    ]


def windows(count: int, size: int | None) -> Sequence[Int64[Tensor, "m"]]:
    """The places of `count` images in windows that follow on one another.

    Args:
        size: images in each; a rest of less than half goes to the last one. None: up to 50 windows of at least 20
            images, as even as they can be.
    """
    places = torch.arange(count)
    if size is None:
        return places.tensor_split(max(1, min(_WINDOWS, count // _FEWEST)))
    parts = list(places.split(size))
    if len(parts) > 1 and 2 * len(parts[-1]) < size:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def suspects(answers: Answers, most: int) -> Int64[Tensor, "m"]:
    """Rows of the most suspicious images: those beyond what training saw, else the damaged ones, at most so many.

    In turn from each kind of damage, and from those that look clean, the one of the largest extent, then of the largest
    probability of damage; equal ones in their order.
    """
    beyond, extent, damaged = (answers[name].double() for name in ("beyond", "extent", "damaged"))
    chosen = (beyond if bool(beyond.any()) else (answers["kind"] > 0).double()).nonzero().flatten()
    for worse in (damaged, extent):
        chosen = chosen[worse[chosen].argsort(descending=True, stable=True)]
    kinds = answers["kind"][chosen]
    turn = torch.zeros_like(kinds)
    for kind in kinds.unique():
        turn[kinds == kind] = torch.arange(int((kinds == kind).sum()))
    return chosen[turn.argsort(stable=True)][:most]
