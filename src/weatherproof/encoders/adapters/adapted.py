"""An encoder with adapters: tensors that stand in for some of its network's, beside weights that nothing moves."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from weatherproof.encoders.adapters.low_rank import LowRank
from weatherproof.encoders.encoder import Encoder
from weatherproof.encoders.stand_ins import passed_with
from weatherproof.encoders.weights import check_fit
from weatherproof.errors import InputError, unknown


@dataclass(frozen=True)
class _Finished:
    """Changed weights, and of which tensors they were made: where these lie, how often they were written to, and what
    they are."""

    of: tuple[tuple[int, int, torch.dtype, torch.device], ...]
    weights: dict[str, Tensor]


class Adapter(nn.Module):
    """What stands in for some of a network's tensors, by their names in it.

    Args:
        text: of the adaptation that made it: "LoRA(16)".
        own: tensors of its own: parameters, which train, and statistics, which move in training.
        changes: of weights that stay.
    """

    def __init__(self, text: str, own: Mapping[str, Tensor], changes: Mapping[str, LowRank]) -> None:
        super().__init__()
        self.text = text
        self._finished: _Finished | None = None
        self.own, self.changes = nn.Module(), nn.ModuleDict()
        for name, value in own.items():
            if isinstance(value, nn.Parameter):
                self.own.register_parameter(_key(name), value)
            else:
                self.own.register_buffer(_key(name), value)
        for name, change in changes.items():
            self.changes[_key(name)] = change

    def tensors(self, body: nn.Module) -> dict[str, Tensor]:
        """What the network computes with instead of its own, by their names. Of an adapter that does not train, changed
        weights are made once and kept until one of their tensors is another or written to."""
        own = {**self.own._parameters, **self.own._buffers}
        whole = {_name(key): value for key, value in own.items() if value is not None}
        changes = {_name(key): change for key, change in self.changes.items()}
        weights = {name: body.get_parameter(name) for name in changes}
        parts = [*weights.values(), *self.changes.parameters()]
        if any(part.requires_grad or part.is_inference() for part in parts):
            return whole | {name: change(weights[name]) for name, change in changes.items()}
        of = tuple((part.data_ptr(), part._version, part.dtype, part.device) for part in parts)
        if self._finished is None or self._finished.of != of:
            with torch.inference_mode(False), torch.no_grad():
                self._finished = _Finished(of, {name: change(weights[name]) for name, change in changes.items()})
        return whole | self._finished.weights

    def _apply(self, *args: Any, **options: Any) -> Self:
        """Moved or cast, its weights are others, even where they lie at the same address."""
        self._finished = None
        return super()._apply(*args, **options)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_finished": None}

    def state(self) -> dict[str, Tensor]:
        """Its tensors by the names of those that they stand in for: "norm.weight", "fc.weight.up"."""
        return {_name(key.partition(".")[2]): value for key, value in self.state_dict().items()}

    def load_state(self, state: Mapping[str, Tensor], *, source: str) -> None:
        """Copy `state` of an adapter of the same kind in.

        Raises:
            InputError: missing, unexpected or misshapen tensors, or numbers that are not finite; it is then unchanged.
        """
        own = self.state()
        check_fit(f"{self.text} in {source}", own, state)
        strange = [name for name, value in state.items() if not bool(value.isfinite().all())]
        if strange:
            raise InputError(f"{source}: {strange[0]} holds numbers that are not finite: did its training diverge?")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(state[name])


def _key(name: str) -> str:
    """Of a tensor in a module, whose keys may have no dots."""
    return name.replace(".", "/")


def _name(key: str) -> str:
    return key.replace("/", ".")


class Adapted(Encoder):
    """An encoder whose network may compute with an adapter's tensors in place of its own.

    With none on it is its base bit for bit. `state()` is that of the encoder as it is switched: with an adapter on, the
    changed weights.

    Args:
        base: its network is taken, not copied.
        adapters: by name: several damages share the network.
        active: the name of the one that is on; None: none is.

    Raises:
        InputError: no adapter of that name, or a base that is a gate.
    """

    def __init__(self, base: Encoder, adapters: Mapping[str, Adapter], active: str | None) -> None:
        if base.extra_settings():  # a second network, which this one would not have
            raise InputError(
                f"{base.name} is a gate before two encoders, and an adapter changes one: give what is behind it, "
                "encoder.original or encoder.hardened"
            )
        super().__init__(
            base.name, base.body, base.head, feature_dim=base.feature_dim, preprocessing=base.preprocessing,
            names=base.names, num_classes=base.num_classes, options=base.options,
        )  # fmt: skip
        self.origins = base.origins
        if active is not None and active not in adapters:
            raise unknown("adapter", active, adapters)
        self.adapters, self.active = nn.ModuleDict(adapters), active
        self.train(base.training)

    @property
    def adapter(self) -> Adapter | None:
        """The one that is on."""
        found = None if self.active is None else self.adapters[self.active]
        assert found is None or isinstance(found, Adapter)
        return found

    def _network(self, pixels: Tensor) -> Tensor:
        if self.adapter is None:
            return super()._network(pixels)
        tensors = self.adapter.tensors(self.body)
        if self.training:  # what else moves in training (spectral norms, centres) moves in copies: the base stays
            tensors |= {name: own.clone() for name, own in self.body.named_buffers() if name not in tensors}
        raw: Tensor = passed_with(self.body, tensors, (pixels,))
        return raw

    def requires_grad_(self, requires_grad: bool = True) -> "Adapted":
        """Of the adapter that is on: the network's own weights, and other adapters, never train.

        Raises:
            InputError: something is to train, and no adapter is on.
        """
        super().requires_grad_(False)
        if self.adapter is not None:
            self.adapter.requires_grad_(requires_grad)
        elif requires_grad:
            raise InputError(f"{self.name} has no adapter on that could train: switch one on, {_some(self)}")
        return self

    def state(self) -> dict[str, Tensor]:
        state = super().state()
        if self.adapter is None:
            return state
        with torch.no_grad():
            changed = self.adapter.tensors(self.body)
        own = self.body.state_dict(keep_vars=True)
        by_tensor = {id(own.get(name)): value for name, value in changed.items()}
        tied = {name: by_tensor[id(value)] for name, value in own.items() if id(value) in by_tensor}
        return state | {self.names.body + name: value.detach() for name, value in (changed | tied).items()}

    def load_state(self, state: Mapping[str, Tensor], *, source: str | None = None) -> None:
        """Raises `InputError`: weights belong to the base, and what an adapter adds to them in a file of its own."""
        raise InputError(
            f"{source or 'weights'} cannot be loaded into {self.name} with adapters: load them without, then attach one"
        )


def _some(encoder: Adapted) -> str:
    return f"switched(encoder, NAME) with NAME {' or '.join(encoder.adapters)}"


def switched(encoder: Adapted, active: str | None) -> Adapted:
    """The same encoder, sharing all weights, with another adapter on; None: with none, which is the base.

    Raises:
        InputError: no adapter of that name.
    """
    made = Adapted(encoder, {name: own for name, own in encoder.adapters.items() if isinstance(own, Adapter)}, active)
    made.set_gauge(encoder.fitted_gauge)
    return made


def merged(encoder: Encoder) -> Encoder:
    """A plain encoder, a copy, with the adapter that is on folded into its weights: it computes the same numbers, and
    knows nothing of adapters. Of an encoder without adapters a copy."""
    if not isinstance(encoder, Adapted):
        return encoder.clone()
    plain = encoder.around(copy.deepcopy(encoder.body), copy.deepcopy(encoder.head))
    folded = encoder.state()
    with torch.no_grad():
        for name, value in plain.state().items():
            value.copy_(folded[name])
    plain.set_gauge(copy.deepcopy(encoder.fitted_gauge))
    return plain.train(encoder.training)


def same_weights(encoder: Encoder) -> Encoder:
    """An encoder that shares its weights with this one: modules, their mode and their statistics are its own."""
    return copy.deepcopy(encoder, {id(parameter): parameter for parameter in encoder.parameters()})
