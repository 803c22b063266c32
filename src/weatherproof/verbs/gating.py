"""The gate of a hardening: its gauge, where it opens, and what the page says of it."""

from collections.abc import Iterator, Sequence

import torch

from weatherproof import operators, random
from weatherproof.data import Batch, ImageSet, MemoryImages, at_most, batches
from weatherproof.data.files import FileImages
from weatherproof.encoders import Encoder, Gauge, Reading
from weatherproof.encoders.gate import Gated, gated
from weatherproof.encoders.gate_fit import SHUT, fit_gate
from weatherproof.encoders.gauge import fit_gauge, gauge_summary
from weatherproof.encoders.gauge.calibration import COVERAGE
from weatherproof.encoders.gauge.fit import FEWEST, require_damage
from weatherproof.encoders.gauge.statistics import LEAST
from weatherproof.errors import InputError
from weatherproof.operators import KindLadder, drawn
from weatherproof.protocols import Operator
from weatherproof.reports.hardened.gauge import Gauged, GaugedKind, GaugedLevel
from weatherproof.reports.words.records import kind_words, listed
from weatherproof.sizes import sides
from weatherproof.verbs.options import Feed

_STREAM = 0x67617567  # of the keys of the levels that the page shows: "gaug"
_SHOWN, _KINDS = 300, 5  # images at each level of so many kinds; of more kinds all together no more than of these
# Kinds of damage that a page asks a gauge about beside its own.
_OTHERS = (
    "RandomMask(0.5)", "GaussianNoise(0.15)", "GaussianBlur(2.0)", "JPEG(15)", "Contrast(0.7)", "Corruption('fog', 3)",
    "Corruption('pixelate', 4)",
)  # fmt: skip


def require_a_gate(original: Encoder, images: ImageSet, operator: Operator) -> None:
    """Raise `InputError` where a gauge could not be learned."""
    require_damage(operator)
    side = min(sides(original.preprocessing.size or images.image_size or LEAST))
    if side < LEAST:
        raise InputError(
            f"a gate needs a gauge, which reads images of at least {LEAST} pixels a side, got {side}: give a larger "
            "--size, or --keep hardened for the hardened encoder alone"
        )
    if len(images) < FEWEST:
        files = isinstance(images, FileImages | MemoryImages) and images.paths
        folders = len(images.classes) if files else 0
        where = f" in {folders} class folder{'s' * (folders > 1)}, beside which images are left out" if folders else ""
        raise InputError(
            f"a gate needs a gauge, which learns from at least {FEWEST} images beside those held out; {images.name} "
            f"leaves {len(images)}{where}: give more images, or --keep hardened for the hardened encoder alone"
        )


def behind_a_gate(
    original: Encoder, hardened: Encoder, train: ImageSet, held: ImageSet, operator: Operator, feed: Feed
) -> Encoder:
    """Both behind one gate: the gauge learns from training images, and where it opens from images held out."""
    gauge = fit_gauge(
        train, operator, preprocessing=original.preprocessing, seed=feed["seed"], device=feed["device"],
        workers=feed["workers"],
    )  # fmt: skip
    low, high = fit_gate(
        original, hardened, held, operator, gauge, seed=feed["seed"], batch_size=feed["batch_size"],
        workers=feed["workers"],
    )  # fmt: skip
    return gated(original, hardened, gauge, low, high)


def gate_notes(encoder: Encoder, *, borne: bool) -> list[str]:
    """What must be said of a gate that stays shut, or does for some kinds of damage, and of kinds without a level.

    Args:
        borne: the original is as good under the damage as on clean images.
    """
    if not isinstance(encoder, Gated):
        return []
    return [*_shut_notes(encoder, borne), *_level_notes(encoder.own_gauge)]


def _level_notes(gauge: Gauge) -> list[str]:
    return [
        f"of {kind_words(kind.name)} the gauge tells whether an image is damaged, not how much: there is no curve"
        for kind in gauge.settings.kinds
        if kind.none is None
    ]


def _shut_notes(encoder: Gated, borne: bool) -> list[str]:
    kinds = encoder.own_gauge.kinds[1:]
    shut = [kind_words(name) for name, low in zip(kinds, encoder.low, strict=True) if low >= SHUT[0]]
    if not shut:
        return []
    if len(shut) < len(kinds):
        return [
            f"the gate stays shut for {listed(shut)}, and what the gauge takes for that gets the original: on images "
            "held out from training the hardened encoder is no gain over it there"
        ]
    words = "the gate stays shut, and all images get the original"
    if borne:
        return [f"{words}: it is as good under this damage as on clean images, so that there is nothing to gain"]
    return [
        f"{words}: on images held out from training the hardened encoder is no gain over it; train for longer, or with "
        "another learning rate"
    ]


def gauged(encoder: Encoder, images: ImageSet, operator: Operator, feed: Feed) -> Gauged:
    """What an encoder's gauge answers on images that it did not learn from, by true level, and which kind it says."""
    gauge = encoder.fitted_gauge
    assert gauge is not None, "there is no gate without a gauge"
    side = min(images.image_size) if images.image_size else 224
    first = next(batches(images, 1))
    strange = {words: other for text in _OTHERS for words, other in _unlike(gauge, text, side, first)}
    summary = gauge_summary(
        gauge, images, operator, unseen=strange, seed=feed["seed"], device=feed["device"], workers=feed["workers"]
    )
    ladders = operators.kind_ladders(operator, side)
    chosen = at_most(images, _SHOWN * _KINDS // max(_KINDS, len(ladders)))
    shown = tuple(GaugedKind(kind.family, tuple(_levels(gauge, kind, chosen, feed))) for kind in ladders)
    return Gauged(
        kinds=shown, images=summary.images, names=gauge.kinds, rows=tuple(row.kind for row in summary.confusion),
        confusion=tuple(tuple(row.said[name] for name in gauge.kinds) for row in summary.confusion),
        beyond=tuple(row.beyond for row in summary.confusion), worse=tuple(row.worse for row in summary.confusion),
        coverage=summary.coverage, asked=COVERAGE if summary.coverage is not None else None, told=summary.told,
        auc=summary.auc, calibration_error=summary.calibration_error,
    )  # fmt: skip


def _unlike(gauge: Gauge, text: str, side: int, some: Batch) -> Iterator[tuple[str, Operator]]:
    """A damage by its kind, where the gauge knows none that is called so, too, and it is made for such images: of their
    size, and of as many channels."""
    other = operators.parse(text)
    (kind,) = drawn.kinds(other)
    known = {kind_words(name) for name in gauge.kinds}
    if kind_words(kind.name) in known or not operators.ladder(other, side):
        return
    try:
        other(some.images, random.keys(0, some.index))
    except InputError:  # of other channels than it knows
        return
    yield kind.name, other


def _levels(gauge: Gauge, kind: KindLadder, images: ImageSet, feed: Feed) -> Iterator[GaugedLevel]:
    conditions: Sequence[tuple[float, Operator | None]] = ((0.0, None), *kind.rungs)
    for severity, operator in conditions:
        readings = [_read(gauge, batch, operator, feed["seed"]) for batch in _batches(images, feed)]
        yield _answered(gauge, kind.family, severity, readings)


def _batches(images: ImageSet, feed: Feed) -> Iterator[Batch]:
    return batches(images, feed["batch_size"], device=feed["device"], workers=feed["workers"])


def _read(gauge: Gauge, batch: Batch, operator: Operator | None, seed: int) -> Reading:
    keys = random.fold(random.keys(seed, batch.index), _STREAM)
    return gauge(batch.images if operator is None else operator(batch.images, keys))


def _answered(gauge: Gauge, family: str, severity: float, readings: Sequence[Reading]) -> GaugedLevel:
    kind, beyond, *levels = (
        torch.cat([getattr(one, name) for one in readings]) for name in ("kind", "beyond", "level", "low", "high")
    )
    place, several = gauge.kinds.index(family), len(gauge.kinds) > 2
    none = gauge.none[place - 1].to(kind.device)
    # an image called clean is at none; which kind's its interval would be is not known among several
    levels = [torch.where((kind == 0) & several, none, end) for end in levels]
    own = ((kind == place) | (kind == 0)) & ~levels[0].isnan()
    estimate, *interval = (float((end[own] - none).abs().mean()) if own.any() else None for end in levels)
    low, high = sorted(interval, key=lambda end: end or 0.0)  # of a quality the lower end is the severe one
    return GaugedLevel(
        severity, estimate, low, high, beyond=float(beyond.float().mean()), clean=float((kind == 0).float().mean()),
        images=len(kind),
    )  # fmt: skip
