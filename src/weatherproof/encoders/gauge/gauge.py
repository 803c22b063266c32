"""How damaged an image is, what its damage is, and whether training saw such: read off statistics of its pixels."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from weatherproof.encoders.gauge.statistics import LEAST, Rows, statistics
from weatherproof.encoders.preprocessing import Preprocessing, to_input
from weatherproof.errors import InputError
from weatherproof.types import Images

HIDDEN = 48  # units of each of the two hidden layers
_ROWS = 16  # of a product; whatever they hold, so many floats end where a line of a cache does
BINS = 6  # of the levels of a kind, each with what its images look like
MOST_KINDS = 1000
LEARNED = (
    "first_weight", "first_bias", "second_weight", "second_bias", "third_weight", "third_bias", "direct_weight",
)  # fmt: skip


@dataclass(frozen=True)
class KindScale:
    """A kind of damage as a gauge tells it.

    Attributes:
        name: "RandomMask", "fog", or the text of an operator without a level.
        none: the level at which nothing happens; None: this kind has no level that could be told.
        top: the worst level that training saw.
        end: the worst level that the gauge was shown.
    """

    name: str
    none: float | None = None
    top: float | None = None
    end: float | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "KindScale":
        """From JSON. Raises `KeyError`, `TypeError` or `ValueError` for others."""
        ends = [values[name] for name in ("none", "top", "end")]
        if ends == [None, None, None]:
            return cls(str(values["name"]))
        none, top, end = map(float, ends)
        if not all(map(math.isfinite, (none, top, end))) or (top - none) * (end - top) < 0 or top == none:
            raise ValueError(f"levels {none}, {top}, {end} do not go from none by a top to an end")
        return cls(str(values["name"]), none, top, end)


@dataclass(frozen=True)
class Settings:
    """What a gauge is beside its numbers."""

    kinds: tuple[KindScale, ...]
    preprocessing: Preprocessing

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "Settings":
        """The inverse, after a journey through JSON. Raises `KeyError`, `TypeError` or `ValueError` for others."""
        kinds = tuple(KindScale.from_dict(kind) for kind in settings["kinds"][:MOST_KINDS])
        if not 0 < len(kinds) == len(settings["kinds"]):
            raise ValueError(f"expected from 1 to {MOST_KINDS} kinds")
        return cls(kinds, Preprocessing.from_dict(settings["preprocessing"]))


@dataclass(frozen=True)
class Reading:
    """What a gauge says of each image.

    Attributes:
        level: in the unit of the kind's operator, of a clean image the level at which nothing happens; NaN where it
            cannot be told: of a kind without levels; of a clean image where the kinds differ in that level (JPEG's is
            100, a mask's 0), for it is of none of them; of a damaged one that is unlike anything training saw, where it
            would be that at which nothing happens.
        low, high: between them the level lies for 9 of 10 images; NaN where it cannot be told.
        kind: index into the gauge's `kinds`; 0: clean.
        damaged: the probability that anything happened, calibrated on images of which half are clean.
        extent: 0: clean; 1: the worst that training saw; beyond it more. Of a damaged image without a level, `damaged`.
        beyond: worse than what training saw, or unlike anything it saw.
    """

    level: Float[Tensor, "batch"]
    low: Float[Tensor, "batch"]
    high: Float[Tensor, "batch"]
    kind: Int64[Tensor, "batch"]
    damaged: Float[Tensor, "batch"]
    extent: Float[Tensor, "batch"]
    beyond: Bool[Tensor, "batch"]


class Gauge(nn.Module):
    """Images in [0, 1] -> `Reading`. Made by `fit_gauge`; all its numbers are buffers, so that one state dict holds it,
    and `Gauge(settings)` is ready to take one.

    Inside, levels are severities: 0 at none, 1 at the worst level that training saw, above it logarithms, which keep
    both parts in sight, 1 + log(x) for x times as far from none.

    Args:
        settings: the kinds of damage, and the size and channels of the images that it sees.
    """

    centre: Tensor
    scale: Tensor
    first_weight: Tensor
    first_bias: Tensor
    second_weight: Tensor
    second_bias: Tensor
    third_weight: Tensor
    third_bias: Tensor
    direct_weight: Tensor
    none: Tensor
    top: Tensor
    end: Tensor
    furthest: Tensor
    platt: Tensor
    widening: Tensor
    edges: Tensor
    whitening: Tensor
    means: Tensor
    variances: Tensor
    limit: Tensor
    worst: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.kinds = ("clean", *(kind.name for kind in settings.kinds))
        untouched = {kind.none for kind in settings.kinds}
        shared = untouched.pop() if len(untouched) == 1 else None
        self.untouched = math.nan if shared is None else shared  # the level of a clean image
        kinds, features = len(settings.kinds), _width()
        outputs = 1 + kinds + 3 * kinds  # clean or not, which, and for each the quantiles 5 %, 50 % and 95 %
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("first_weight", torch.zeros(features, HIDDEN))
        self.register_buffer("first_bias", torch.zeros(HIDDEN))
        self.register_buffer("second_weight", torch.zeros(HIDDEN, HIDDEN))
        self.register_buffer("second_bias", torch.zeros(HIDDEN))
        self.register_buffer("third_weight", torch.zeros(HIDDEN, outputs))
        self.register_buffer("third_bias", torch.zeros(outputs))
        self.register_buffer("direct_weight", torch.zeros(features, outputs))
        for name in ("none", "top", "end"):
            given = [getattr(kind, name) for kind in settings.kinds]
            values = torch.tensor([torch.nan if value is None else value for value in given])
            self.register_buffer(name, values, persistent=False)
        furthest = squeezed((self.end - self.none) / (self.top - self.none)).nan_to_num(1.0)
        self.register_buffer("furthest", furthest, persistent=False)  # the end as a severity
        self.register_buffer("platt", torch.tensor([1.0, 0.0]))
        self.register_buffer("widening", torch.zeros(kinds, 2, 2))  # kind, inside or beyond, low or high
        self.register_buffer("edges", torch.zeros(kinds, BINS - 1))
        self.register_buffer("whitening", torch.zeros(features, features))
        self.register_buffer("means", torch.zeros(1 + kinds * BINS, features))
        self.register_buffer("variances", torch.ones(1 + kinds * BINS, features))
        self.register_buffer("limit", torch.ones(()))
        self.register_buffer("worst", torch.ones(kinds))  # of a severity's low end, as far as training's levels reach

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Gauge":
        """Goes to other devices, and stays in float32 whatever precision the encoder is given."""
        return super()._apply(lambda own: own.to(fn(own).device), recurse)

    @torch.no_grad()
    def forward(self, images: Images) -> Reading:
        """
        Raises:
            InputError: what an encoder would refuse, too; images of less than 12 pixels a side.
        """
        with torch.autocast(images.device.type, enabled=False):
            return self.reading(self.look(images))

    def look(self, images: Images) -> Rows:
        """The statistics of images as an encoder sees them. Raises what calling it raises."""
        seen = to_input(images, self.settings.preprocessing)
        if not seen.shape[0]:
            return seen.new_zeros(0, _width(), dtype=torch.float32)
        if min(seen.shape[2:]) < LEAST:
            raise InputError(f"a gauge needs images of at least {LEAST} pixels a side, got {list(seen.shape[2:])}")
        return statistics(seen.float())

    def reading(self, rows: Rows) -> Reading:
        """What the statistics of images say."""
        normal = self.normal(rows)
        outputs = self.outputs(normal)
        damaged = self.damage(outputs)
        which = self.likeliest(outputs)
        clean = damaged < 0.5
        hurt = ~clean
        interval = self.interval(outputs, which)
        low, middle, _ = interval.unbind(1)
        strange = ~(self.unlike(normal, which, middle, clean) <= self.limit)  # what is no number is unlike anything
        none, times = self.none[which], stretched(interval)
        known = ~(none.isnan() | (strange & hurt & (middle == 0)))
        has_level = known & hurt if math.isnan(self.untouched) else known
        levels = (none[:, None] + times * (self.top[which] - none)[:, None]).masked_fill_(
            ~has_level[:, None], torch.nan
        )
        levels[:, :2].masked_fill_(clean[:, None], self.untouched)
        first, level, last = levels.unbind(1)
        return Reading(
            level=level,
            low=torch.minimum(first, last),
            high=torch.maximum(first, last),
            kind=(1 + which).masked_fill_(clean, 0),
            damaged=damaged,
            extent=torch.where(known, times[:, 1], damaged).masked_fill_(clean, 0.0),
            beyond=strange | (known & hurt & (low > self.worst[which])),
        )

    def normal(self, rows: Rows) -> Rows:
        return ((rows - self.centre) / self.scale).clamp_(-20, 20)

    def outputs(self, normal: Rows) -> Float[Tensor, "batch outputs"]:
        """The network's: the logit of damage, the logits of the kinds, and the quantiles of their severities. It has
        two hidden layers, and a way past them: a share of black pixels is a level as it is."""
        rows = _in_blocks(normal)
        hidden = _layer(rows, self.first_weight, self.first_bias).relu_()
        hidden = _layer(hidden, self.second_weight, self.second_bias).relu_()
        past = _layer(rows, self.direct_weight, self.third_bias)
        return _layer(hidden, self.third_weight, past).flatten(0, 1)[: normal.shape[0]]

    def damage(self, outputs: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch"]:
        """Its probability."""
        slope, offset = self.platt.unbind()
        return torch.sigmoid(outputs[:, 0] * slope + offset)

    def likeliest(self, outputs: Float[Tensor, "batch outputs"]) -> Int64[Tensor, "batch"]:
        """The kind of damage, should there be any: from 0 on."""
        return outputs[:, 1 : 1 + len(self.settings.kinds)].argmax(dim=1)

    def quantiles(
        self, outputs: Float[Tensor, "batch outputs"], which: Int64[Tensor, "batch"]
    ) -> Float[Tensor, "batch 3"]:
        """Of the severity, in order, should the kind be this one."""
        kinds = len(self.settings.kinds)
        own = outputs[:, 1 + kinds :].unflatten(1, (kinds, 3)).gather(1, which[:, None, None].expand(-1, 1, 3))
        return own[:, 0].sort(dim=1).values

    def interval(
        self, outputs: Float[Tensor, "batch outputs"], which: Int64[Tensor, "batch"]
    ) -> Float[Tensor, "batch 3"]:
        """The quantiles, the outer ones moved as far as held-out images ask for, all between none and the end."""
        low, middle, high = self.quantiles(outputs, which).unbind(1)
        below, above = self.widening[which, (middle > 1).long()].unbind(1)
        end = self.furthest[which]
        middle = middle.clamp(min=0).minimum(end)
        low = (low - below).clamp_(min=0).minimum(middle)
        high = (high + above).minimum(end).maximum(middle)
        return torch.stack([low, middle, high], dim=1)

    def bins(
        self, which: Int64[Tensor, "batch"], middle: Float[Tensor, "batch"], clean: Bool[Tensor, "batch"]
    ) -> Int64[Tensor, "batch"]:
        """Among which of the images that training saw an image is compared: 0: clean ones; else those of its kind, of
        about its level."""
        place = (middle[:, None] > self.edges[which]).sum(dim=1)
        return place.add_(which, alpha=BINS).add_(1).masked_fill_(clean, 0)

    def unlike(
        self, normal: Rows, which: Int64[Tensor, "batch"], middle: Float[Tensor, "batch"], clean: Bool[Tensor, "batch"]
    ) -> Float[Tensor, "batch"]:
        """The mean squared distance to those, in their standard deviations, along axes that are uncorrelated."""
        place = self.bins(which, middle, clean)
        rows = _in_blocks(normal)
        white = torch.bmm(rows, self.whitening.expand(rows.shape[0], -1, -1)).flatten(0, 1)[: normal.shape[0]]
        away = white - self.means[place]
        return (away * away / self.variances[place]).mean(dim=1)


def _in_blocks(rows: Rows) -> Float[Tensor, "blocks few statistics"]:
    """Rows for products of one size, the last ones of zeros: a product of another size may sum in another order.

    In a graph that is traced for another program (`torch.export`), whose products are its own affair, all rows at once.
    """
    if torch.compiler.is_compiling():
        return rows[None]
    return F.pad(rows, (0, 0, 0, -len(rows) % _ROWS)).view(-1, _ROWS, rows.shape[1])


def _layer(
    rows: Float[Tensor, "blocks few inputs"], weight: Float[Tensor, "inputs outputs"], bias: Float[Tensor, "..."]
) -> Float[Tensor, "blocks few outputs"]:
    return torch.baddbmm(bias, rows, weight.expand(rows.shape[0], -1, -1))


def squeezed(times: Tensor) -> Tensor:
    """How many times as far from none as the top, as a severity: x, above 1 1 + log(x)."""
    return torch.where(times > 1, 1 + times.clamp(min=1).log(), times)


def stretched(severity: Tensor) -> Tensor:
    """The inverse of `squeezed`."""
    return torch.where(severity > 1, (severity.clamp(min=1) - 1).exp(), severity)


def _width() -> int:
    return statistics(torch.zeros(1, 3, LEAST, LEAST)).shape[1]
