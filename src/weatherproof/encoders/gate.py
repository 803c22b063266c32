"""Original and hardened behind one gate: which of them looks at an image is the gauge's to say."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from weatherproof.encoders.adapters import Adapted, Adapter, merged, parse
from weatherproof.encoders.adapters.folder import body_hash
from weatherproof.encoders.encoder import Encoder
from weatherproof.encoders.folder import GateSettings
from weatherproof.encoders.gauge import Gauge
from weatherproof.encoders.maps import MapPlace
from weatherproof.encoders.preprocessing import Preprocessing
from weatherproof.errors import InputError
from weatherproof.types import Images, Maps

_Pass = Callable[[Images], tuple[Tensor, ...]]  # of an encoder
_HARDENED, _ADAPTER = "hardened.", "adapter."  # before the names of tensors that the original does not have


class Gated(Encoder):
    """An encoder that is its original for clean images, to the bit, and its hardened form for damaged ones.

    The raw embedding is (1 - w) original + w hardened, where w is `opened` of what the gauge reads. Each of the two
    runs on the images that need it alone, so that a batch of one kind costs one pass. The classifier is the one of
    both. `state()` is the original's, and beside it what the hardened one has of its own. Made by `gated`.

    Args:
        original: its network is taken, not copied.
        hardened: the same network with other weights, or an adapter on the very same.
        low, high: extents, as the gauge tells them, one for each of its kinds: of an image that it takes for the kind w
            is 0 up to `low`, and 1 from `high` on.
    """

    def __init__(
        self, original: Encoder, hardened: Encoder, gauge: Gauge, low: tuple[float, ...], high: tuple[float, ...]
    ) -> None:
        super().__init__(
            original.name, original.body, original.head, feature_dim=original.feature_dim,
            preprocessing=original.preprocessing, names=original.names, num_classes=original.num_classes,
            options=original.options,
        )  # fmt: skip
        self.hardened, self.low, self.high = hardened, low, high
        self.origins = original.origins
        self.set_gauge(gauge)
        self.requires_grad_(False)
        self.train(original.training)

    @property
    def original(self) -> Encoder:
        """The encoder behind the gate that clean images see; it shares all weights."""
        return self.around(self.body, self.head).train(self.training)

    @property
    def _adapter(self) -> Adapter | None:
        return self.hardened.adapter if isinstance(self.hardened, Adapted) else None

    def share(self, images: Images) -> Float[Tensor, "batch"]:
        """How much of each embedding is the hardened encoder's, from 0 to 1. Raises what the gauge raises."""
        reading = self.gauge(images)
        low, high = by_kind(torch.tensor([self.low, self.high], device=reading.kind.device), reading.kind)
        return opened(reading.extent, reading.beyond, low, high)

    def set_preprocessing(self, preprocessing: Preprocessing) -> None:
        super().set_preprocessing(preprocessing)
        hardened = self._modules.get("hardened")
        if isinstance(hardened, Encoder):
            hardened.set_preprocessing(preprocessing)

    def _raw(self, images: Images) -> Tensor:
        whole = super()._raw
        (raw,) = self._behind(images, lambda rows: (whole(rows),), lambda rows: (self.hardened._raw(rows),))
        return raw

    def _raw_and_map(self, images: Images, place: MapPlace) -> tuple[Tensor, Maps]:
        original, hardened = self.original, self.hardened
        raw, maps = self._behind(
            images, lambda rows: original._raw_and_map(rows, place), lambda rows: hardened._raw_and_map(rows, place)
        )
        return raw, maps

    def _behind(self, images: Images, original: _Pass, hardened: _Pass) -> tuple[Tensor, ...]:
        """What both give, each for the images that need it, blended row by row."""
        share = self.share(images)
        few, many = ~(share >= 1), share > 0  # a share that is no number is the original's affair
        if not bool(many.any()):
            return original(images)
        if not bool(few.any()):
            return hardened(images)
        pairs = zip(original(images[few]), hardened(images[many]), strict=True)
        return tuple(_blended(share, few, many, *pair) for pair in pairs)

    def requires_grad_(self, requires_grad: bool = True) -> "Gated":
        """Raises `InputError` where something is to train: a gate is put on what is finished."""
        if requires_grad:
            raise InputError(
                f"{self.name} is a gate before two finished encoders, and does not train: take the hardened one alone, "
                "RUN/hardened of its run folder (in Python encoder.hardened), or encoder.original"
            )
        super().requires_grad_(False)
        return self

    def state(self) -> dict[str, Tensor]:
        return super().state() | self._hardened_state()

    def _hardened_state(self) -> dict[str, Tensor]:
        body = self.names.body
        if self._adapter is not None:
            return {_ADAPTER + body + name: value for name, value in self._adapter.state().items()}
        return {_HARDENED + body + name: value for name, value in self.hardened.body.state_dict().items()}

    def load_state(self, state: Mapping[str, Tensor], *, source: str | None = None) -> None:
        """Copy weights in, as `state` gives them. Raises `InputError` as that of a plain encoder does."""
        adapter = self._adapter
        prefix = _HARDENED if adapter is None else _ADAPTER
        original = {name: value for name, value in state.items() if not name.startswith(prefix)}
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        self.original.load_state(original, source=source)
        if adapter is None:
            head = {name: value for name, value in original.items() if self.names.is_head(name)}
            self.hardened.load_state(own | head, source=source)
        else:
            bare = {name.removeprefix(self.names.body): value for name, value in own.items()}
            adapter.load_state(bare, source=source or f"the weights for {self.name}")

    def extra_settings(self) -> dict[str, Any]:
        text = None if self._adapter is None else self._adapter.text
        return {"gate": GateSettings(self.low, self.high, text).to_dict()}

    def extra_repr(self) -> str:
        low, high = (", ".join(f"{end:g}" for end in ends) for ends in (self.low, self.high))
        return f"{super().extra_repr()}, low=({low}), high=({high})"


def _blended(
    share: Float[Tensor, "batch"], few: Bool[Tensor, "batch"], many: Bool[Tensor, "batch"], original: Tensor,
    hardened: Tensor,
) -> Tensor:  # fmt: skip
    """(1 - share) original + share hardened, of rows of those images alone that each was asked about."""
    rows = original.new_zeros(len(share), *original.shape[1:])
    rows[few] = original
    rows[many & ~few] = hardened[~few[many]]
    between = few & many
    weight = share[between].to(rows.dtype).view(-1, *[1] * (rows.ndim - 1))
    rows[between] = (1 - weight) * original[many[few]] + weight * hardened[few[many]]
    return rows


def opened(
    extent: Float[Tensor, "*any"],
    beyond: Bool[Tensor, "*any"],
    low: Float[Tensor, "*#any"],
    high: Float[Tensor, "*#any"],
) -> Float[Tensor, "*any"]:
    """How far a gate is open: 0 up to `low`, 1 from `high` on, between them 3 x^2 - 2 x^3 (smoothstep). Where the gauge
    says beyond, 1 as soon as the image is more than `low` damaged."""
    x = ((extent - low) / (high - low)).clamp(0, 1)
    return torch.where(beyond & (extent > low), 1.0, x * x * (3 - 2 * x))


def by_kind(ends: Float[Tensor, "2 kinds"], kind: Int64[Tensor, "batch"]) -> Float[Tensor, "2 batch"]:
    """Of each image the low and high of the kind that it is taken for; a clean one's do not matter: its extent is 0."""
    return ends[:, (kind - 1).clamp(min=0)]


def gated(
    original: Encoder,
    hardened: Encoder,
    gauge: Gauge | None,
    low: float | Sequence[float],
    high: float | Sequence[float],
) -> Gated:
    """Original and hardened behind one module with one state dict and one forward; they share no memory with those that
    are given, except for weights that an adapter leaves as they are, which are there once.

    Args:
        hardened: the original with other weights, or with an adapter on.
        gauge: of the damage that it was hardened against, which is copied.
        low, high: extents of damage, as `fit_gate` finds them: one for each kind that the gauge tells, in its order, or
            a number for all.

    Raises:
        InputError: no gauge, low and high in the wrong order or of another number than there are kinds, two encoders
            that are not of one build, an adapter that belongs to other weights, or one that is a gate itself.
    """
    if gauge is None:
        raise InputError(
            f"a gate asks a gauge how damaged an image is, and {hardened.name} was hardened without one: harden it "
            "again with a gauge, or fit one with fit_gauge"
        )
    _check(original, hardened)
    return _behind_a_gate(original, hardened, gauge, _of_each_kind(low, gauge), _of_each_kind(high, gauge))


def _of_each_kind(ends: float | Sequence[float], gauge: Gauge) -> tuple[float, ...]:
    kinds = gauge.kinds[1:]
    given = (float(ends),) * len(kinds) if isinstance(ends, int | float) else tuple(map(float, ends))
    if len(given) != len(kinds):
        raise InputError(
            f"a gate opens at an extent of each of the {len(kinds)} kinds that its gauge tells ({', '.join(kinds)}), "
            f"got {len(given)}: give as many, or one number for all"
        )
    return given


def _behind_a_gate(
    original: Encoder, hardened: Encoder, gauge: Gauge, low: tuple[float, ...], high: tuple[float, ...]
) -> Gated:
    for least, most in zip(low, high, strict=True):
        if not 0 <= least < most < float("inf"):
            raise InputError(f"a gate opens from low to high, 0 <= low < high, got {least:g} and {most:g}")
    plain = merged(original)
    if isinstance(hardened, Adapted):
        hardened = _on(plain, hardened)
    else:
        hardened = hardened.clone()
        hardened.set_gauge(None)
    return Gated(plain, hardened, copy.deepcopy(gauge), low, high)


def reopened(encoder: Encoder, settings: GateSettings, gauge: Gauge | None, *, source: str) -> Gated:
    """A gate as it was saved, before its weights are loaded into it: numbers that are there until then mean nothing.
    Raises `InputError`."""
    if gauge is None:
        raise InputError(f"{source} holds a gate without its gauge: gauge.json is missing there")
    hardened = encoder.clone() if settings.adapter is None else parse(settings.adapter).attach(encoder)
    low, high = (_of_each_kind(ends[0] if len(ends) == 1 else ends, gauge) for ends in (settings.low, settings.high))
    return _behind_a_gate(encoder, hardened, gauge, low, high)


def _check(original: Encoder, hardened: Encoder) -> None:
    if isinstance(original, Gated) or isinstance(hardened, Gated):
        raise InputError(f"{original.name} is a gate already: give what is behind it, encoder.original or .hardened")
    for what in ("name", "options", "preprocessing", "feature_dim"):
        one, other = getattr(original, what), getattr(hardened, what)
        if one != other:
            raise InputError(f"a gate stands before one network with two sets of weights: {what} is {one} and {other}")
    heads = [head.state_dict() if head is not None else {} for head in (original.head, hardened.head)]
    if heads[0].keys() != heads[1].keys() or not all(torch.equal(v, heads[1][k]) for k, v in heads[0].items()):
        raise InputError(f"behind a gate is one classifier, and those of the two {original.name} differ")


def _on(original: Encoder, hardened: Adapted) -> Adapted:
    """The adapter that is on, on the original's own modules."""
    adapter = hardened.adapter
    if adapter is None or hardened.active is None:
        raise InputError(f"{hardened.name} has no adapter on: there is nothing hardened behind the gate")
    if body_hash(hardened) != body_hash(original):
        raise InputError(f"the adapter of {hardened.name} belongs to other weights than the original's")
    return Adapted(original, {hardened.active: copy.deepcopy(adapter)}, hardened.active)
