"""Learn a gauge from training images and the keys of their damage: no labels, no encoder."""

from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from weatherproof import random
from weatherproof.data import ImageSet, batches
from weatherproof.data.images import at_most
from weatherproof.encoders.gauge.calibration import calibrate
from weatherproof.encoders.gauge.gauge import LEARNED, Gauge, KindScale, Settings
from weatherproof.encoders.gauge.sample import Sample, looks, sample, worst
from weatherproof.encoders.preprocessing import Preprocessing
from weatherproof.errors import InputError
from weatherproof.operators.damages import require_damages
from weatherproof.operators.drawn import Kind, kinds
from weatherproof.progress import phase
from weatherproof.protocols import Operator

FEWEST = 60  # images: fewer leave no hundredth of anything
_DRAWN, _WORST, _HELD = 0x6175, 0x776F, 0x6865  # of the keys, beside those of training and of measuring
_TIMES = 3.0  # as far from none as the worst trained level: up to there the gauge is shown what lies beyond
_STEPS, _BATCH, _RATE = 1500, 512, 4e-3
_QUANTILES = (0.05, 0.5, 0.95)


def fit_gauge(
    images: ImageSet,
    operator: Operator,
    *,
    preprocessing: Preprocessing,
    seed: int = 0,
    most: int = 3000,
    device: str | torch.device = "cpu",
    workers: int = 0,
) -> Gauge:
    """A gauge of the damage that an operator draws.

    Each image is looked at as it is, with the operator's damage and with levels that the operator does not draw, from
    none to three times as far as its worst or to the family's end. From the operator's keys it is known what each got
    (`operators.drawn`). Two thirds of the images teach a small network; the others calibrate it (`calibration`).

    Args:
        images: the training images, without augmentation.
        operator: the damage. Of one without a level (a `Chain` of several, an own function) the gauge learns whether
            there is any, no level.
        preprocessing: of the encoder: the images' size and channels as it sees them.
        most: look at no more images than these, evenly spaced.
        device: where images are damaged and looked at; the gauge itself learns, and comes back, on the CPU.

    Raises:
        InputError: fewer than 60 images, or a damage that does nothing.
    """
    chosen = at_most(images, most)
    if len(chosen) < FEWEST:
        raise InputError(f"a gauge learns from at least {FEWEST} images, got {len(chosen)}: give more")
    require_damage(operator)
    require_damages(operator, chosen, device)
    found = kinds(operator)
    side = min(next(batches(chosen, 1)).images.shape[2:])
    scales = tuple(_scale_of(kind, side) for kind in found)
    gauge = Gauge(Settings(scales, preprocessing))
    ways = looks(operator, found, [kind.end for kind in scales])
    see = partial(sample, gauge, device=device, workers=workers)
    drawn = see(chosen, ways, seed=_stream(seed, _DRAWN))
    if not (drawn.seen & (drawn.kind > 0)).any():
        raise InputError(f"{operator!r} damages no image: a gauge has nothing to learn from it")
    held = _is_held(drawn.index)
    taught, calibration = drawn.part(~held), drawn.part(held)
    _teach(gauge, taught, seed)
    others, ends = chosen.subset(_is_held(chosen.index).nonzero().flatten()), worst(found)
    calibrate(gauge, taught, calibration, see(others, ends, seed=_stream(seed, _WORST)) if ends else None)
    return gauge


def _stream(seed: int, name: int) -> int:
    return int(random.fold(torch.tensor([seed]), name))


def _is_held(index: Int64[Tensor, "batch"]) -> Bool[Tensor, "batch"]:
    """Which images calibrate: a third, whichever others there are."""
    return random.uniform(random.keys(_HELD, index)) < 1 / 3


def require_damage(operator: Operator) -> None:
    """Raise `InputError` where the worst level of a kind is none."""
    for kind in kinds(operator):
        if kind.scale is not None and kind.span[1] == kind.scale.none:
            raise InputError(f"{kind.operators[0]!r} does nothing to an image: a gauge needs a level at which it does")


def _scale_of(kind: Kind, side: int) -> KindScale:
    if kind.scale is None:
        return KindScale(kind.name)
    return KindScale(kind.name, kind.scale.none, kind.span[1], kind.end(_TIMES, side))


def _teach(gauge: Gauge, taught: Sample, seed: int) -> None:
    """Cross-entropy of damage and of its kind, and the quantiles' loss of the severity (Koenker & Bassett 1978)."""
    spread = taught.rows.std(dim=0)
    gauge.centre.copy_(taught.rows.mean(dim=0))
    gauge.scale.copy_(torch.where(spread > 1e-6, spread, 1.0))
    normal, weight = gauge.normal(taught.rows), taught.weight
    generator = torch.Generator().manual_seed(seed)
    learned = {name: gauge.get_buffer(name) for name in LEARNED}
    for name, weights in learned.items():
        if name.endswith("weight"):
            weights.uniform_(-(len(weights) ** -0.5), len(weights) ** -0.5, generator=generator).mul_(
                name != "direct_weight"
            )
        weights.requires_grad_(True)
    optimizer = torch.optim.Adam(learned.values(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_STEPS)
    with torch.enable_grad(), phase("the gauge", _STEPS, "steps") as meter:
        for _ in range(_STEPS):
            picked = torch.randint(len(taught), (min(_BATCH, len(taught)),), generator=generator)
            optimizer.zero_grad(set_to_none=True)
            outputs = gauge.outputs(normal[picked])
            _loss(gauge, outputs, taught.kind[picked], taught.severity[picked], weight[picked]).backward()
            optimizer.step()
            schedule.step()
            meter.advance(1)
    for weights in learned.values():
        weights.requires_grad_(False)
        weights.grad = None


def _loss(
    gauge: Gauge,
    outputs: Float[Tensor, "batch outputs"],
    kind: Int64[Tensor, "batch"],
    severity: Float[Tensor, "batch"],
    weight: Float[Tensor, "batch"],
) -> Float[Tensor, ""]:
    kinds = len(gauge.settings.kinds)
    hurt = (kind > 0).float()
    damage = F.binary_cross_entropy_with_logits(outputs[:, 0], hurt, weight)
    which = F.cross_entropy(outputs[:, 1 : 1 + kinds], (kind - 1).clamp(min=0), reduction="none")
    quantiles = outputs[:, 1 + kinds :].view(-1, kinds, 3)
    away = severity[:, None, None].nan_to_num(0.0) - quantiles
    shares = outputs.new_tensor(_QUANTILES)
    pinball = torch.maximum(shares * away, (shares - 1) * away).sum(dim=2)
    own = F.one_hot((kind - 1).clamp(min=0), kinds) * hurt[:, None] + 0.25 / kinds * (1 - hurt)[:, None]
    levels = (pinball * own * ~gauge.none.isnan()).sum(dim=1)
    return damage + (which * hurt * weight).mean() + 4 * (levels * weight).mean()
