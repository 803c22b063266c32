"""What held-out images make of a gauge's numbers: an interval that holds, a probability that is one, a limit of what is
strange."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from weatherproof.encoders.gauge.gauge import BINS, Gauge
from weatherproof.encoders.gauge.sample import Sample

COVERAGE = 0.9
STRANGE = 0.01  # share of images such as training saw that are called unlike them
WORSE = 0.01  # share of images at the worst level of training that are called worse
_FEWEST = 12  # rows from which a bin has a mean and variances of its own
_FAR = 1e9  # a level that is never reached


@torch.no_grad()
def calibrate(gauge: Gauge, taught: Sample, held: Sample, worst: Sample | None) -> None:
    """Set what the network's numbers are turned into readings with.

    Args:
        taught: what the network learned from; it gives what each bin looks like.
        held: other images. Their share beyond the network's own quantiles moves these until 9 of 10 levels lie between
            them (split conformal prediction of quantiles, Romano et al. 2019), by kind, and within training's levels
            and beyond them apart. Of damaged and clean images the logit is fitted (Platt 1999).
        worst: these other images at exactly the worst level of their kind, which is next to never drawn: one in a
            hundred is called worse, and one unlike. None: no kind has levels.
    """
    _probability(gauge, held)
    _interval(gauge, held)
    _likeness(gauge, taught.part(taught.seen))
    gauge.limit.copy_(_quantile(_strangeness(gauge, held.part(held.seen)), 1 - STRANGE))
    if worst is not None:
        _reach(gauge, worst)
        _widen(gauge, worst)


def _probability(gauge: Gauge, held: Sample) -> None:
    """Newton's steps on the weighted cross-entropy, from Platt's targets, which keep what is separable finite."""
    logit = gauge.outputs(gauge.normal(held.rows))[:, 0].double()
    hurt = held.kind > 0
    many, few = hurt.sum(), (~hurt).sum()
    target = torch.where(hurt, (many + 1) / (many + 2), 1 / (few + 2)).double()
    weight = held.weight.double()
    design = torch.stack([logit, torch.ones_like(logit)], dim=1)
    line = torch.tensor([1.0, 0.0], dtype=torch.float64)

    def loss(at: Float[Tensor, "2"]) -> float:
        return float(F.binary_cross_entropy_with_logits(design @ at, target, weight))

    for _ in range(50):
        chance = torch.sigmoid(design @ line)
        slope = (weight * (chance - target)) @ design / len(target)
        curvature = design.T @ (design * (weight * chance * (1 - chance))[:, None]) / len(target)
        step = torch.linalg.solve(curvature + 1e-9 * torch.eye(2, dtype=torch.float64), slope)
        while loss(line - step) > loss(line) and step.abs().max() > 1e-9:
            step = step / 2
        line = line - step
        if step.abs().max() < 1e-8:
            break
    gauge.platt.copy_(line)


def _interval(gauge: Gauge, held: Sample) -> None:
    outputs = gauge.outputs(gauge.normal(held.rows))
    for place in range(len(gauge.settings.kinds)):
        own = (held.kind == 1 + place) & ~held.severity.isnan()
        quantiles = gauge.quantiles(outputs[own], torch.full((int(own.sum()),), place))
        severity = held.severity[own]
        for side in (0, 1):
            here = (quantiles[:, 1] > 1) == bool(side)
            if here.any():
                low, high = quantiles[here, 0] - severity[here], severity[here] - quantiles[here, 2]
                gauge.widening[place, side] = torch.stack([_quantile(one, (1 + COVERAGE) / 2) for one in (low, high)])


def _reach(gauge: Gauge, worst: Sample) -> None:
    """As far as training's levels reach: where the low end of the interval lies for all but one in a hundred of the
    images at the worst level."""
    outputs = gauge.outputs(gauge.normal(worst.rows))
    which = gauge.likeliest(outputs)
    low = gauge.interval(outputs, which)[:, 0]
    for place in range(len(gauge.settings.kinds)):
        own = low[(which == place) & (worst.kind == 1 + place)]
        if len(own):
            gauge.worst[place] = _quantile(own, 1 - WORSE).clamp(min=1)


def _likeness(gauge: Gauge, seen: Sample) -> None:
    """Axes along which images of one bin are uncorrelated, of variance 1; each bin's mean and variances along them."""
    normal = gauge.normal(seen.rows)
    outputs = gauge.outputs(normal)
    which = gauge.likeliest(outputs)
    middle = gauge.interval(outputs, which)[:, 1]
    gauge.edges.fill_(_FAR)
    for place in range(len(gauge.settings.kinds)):
        own = middle[(which == place) & (seen.kind == 1 + place)]
        if not gauge.none[place].isnan() and len(own) >= _FEWEST * BINS:
            gauge.edges[place] = own.quantile(torch.arange(1, BINS) / BINS)
    bins = gauge.bins(which, middle, seen.kind == 0)
    means, counts = torch.zeros_like(gauge.means), bins.bincount(minlength=len(gauge.means))
    means.index_add_(0, bins, normal).div_(counts.clamp(min=1)[:, None])
    inside = normal - means[bins]
    values, axes = torch.linalg.eigh(inside.T.double() @ inside.double() / len(inside))
    gauge.whitening.copy_(axes / (values + 1e-3 * values.mean()).sqrt())
    white = inside @ gauge.whitening
    sums = torch.zeros_like(means).index_add_(0, bins, white * white)
    # a handful of images says little of a variance: 1, which it is on average, counts as as many more
    gauge.variances.copy_((sums + _FEWEST) / (counts + _FEWEST)[:, None])
    everything = normal.mean(dim=0)
    gauge.means.copy_(torch.where(counts[:, None] > 0, means, everything) @ gauge.whitening)


def _widen(gauge: Gauge, worst: Sample) -> None:
    """Widens a bin until the images in it that are at the worst level of its kind, and so at its edge, are within the
    limit, too."""
    strangeness, bins = _strangeness(gauge, worst), gauge.bins(*_told(gauge, worst))
    for bin_ in range(1, len(gauge.variances)):
        own = strangeness[(bins == bin_) & (worst.kind == 1 + (bin_ - 1) // BINS)]
        if len(own) >= _FEWEST:
            gauge.variances[bin_] *= (_quantile(own, 1 - STRANGE) / gauge.limit).clamp(min=1)


def _strangeness(gauge: Gauge, seen: Sample) -> Float[Tensor, "batch"]:
    return gauge.unlike(gauge.normal(seen.rows), *_told(gauge, seen))


def _told(gauge: Gauge, seen: Sample) -> tuple[Int64[Tensor, "batch"], Float[Tensor, "batch"], Bool[Tensor, "batch"]]:
    """Likeliest kind, severity, and whether it is clean."""
    outputs = gauge.outputs(gauge.normal(seen.rows))
    which = gauge.likeliest(outputs)
    return which, gauge.interval(outputs, which)[:, 1], gauge.damage(outputs) < 0.5


def _quantile(values: Float[Tensor, "n"], share: float) -> Float[Tensor, ""]:
    """The smallest value that one more of the same kind exceeds with probability 1 - share at most."""
    place = math.ceil(share * (len(values) + 1))
    return values.sort().values[min(place, len(values)) - 1]
