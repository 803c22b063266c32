"""The adaptations: what of an encoder trains, and what stays."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from weatherproof.encoders.adapters.adapted import Adapted, Adapter, merged, same_weights
from weatherproof.encoders.adapters.low_rank import LowRank
from weatherproof.encoders.encoder import Encoder
from weatherproof.errors import InputError, shown
from weatherproof.random import framework_seed
from weatherproof.spec import component
from weatherproof.spec import parse as _parse

HARDENED = "hardened"  # the name of an adapter, unless it is given another
_NEW = 0x6C6F7261  # seed of new factors: "lora"
_MOST_RANK = 4096  # of any weight that encoders have


@runtime_checkable
class Adaptation(Protocol):
    """How a student is made of its teacher."""

    def attach(self, encoder: Encoder, *, name: str = HARDENED, seed: int = 0) -> Encoder: ...


@component
class Full:
    """Everything trains: the student is a copy."""

    def attach(self, encoder: Encoder, *, name: str = HARDENED, seed: int = 0) -> Encoder:
        """A copy that shares nothing."""
        return encoder.clone()


@component
class Norms:
    """The norm layers alone: scales, offsets, and the statistics of those that keep some (batch norm)."""

    def attach(self, encoder: Encoder, *, name: str = HARDENED, seed: int = 0) -> Adapted:
        """An encoder that shares all weights with this one but those of its norm layers.

        Raises:
            InputError: it has no norm layers with weights, or is a gate.
        """
        names = (own for own, _ in _norms(encoder.body, "_parameters"))
        weights = {own: nn.Parameter(value.detach().clone()) for own, value in _named(encoder.body, names)}
        if not weights:
            raise InputError(
                f"Norms() trains norm layers, and {encoder.name} has none with weights: take LoRA(16) or Full()"
            )
        return _adapted(encoder, name, Adapter(repr(self), weights | _statistics(encoder.body), {}))


@component
class LoRA:
    """Low-rank changes of the weights of attention and linear layers, and the statistics of batch norm.

    Where these hold less than half of the body's weights, as in convolutional networks, its convolutions (all but
    grouped ones) are changed, too, each kernel as a matrix with a row for each output.

    Args:
        rank: of each change; at most what the weight itself can have.
    """

    rank: int

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= _MOST_RANK:
            raise InputError(f"the rank of LoRA is a whole number from 1 to {_MOST_RANK:,}, got {self.rank}")

    def attach(self, encoder: Encoder, *, name: str = HARDENED, seed: int = 0) -> Adapted:
        """An encoder that shares all weights with this one, and at first gives what it gives.

        Args:
            seed: of the factors that are drawn.

        Raises:
            InputError: it has no weights that could be changed, or is a gate.
        """
        body = encoder.body
        weights = dict(_linear(body))
        if 2 * sum(map(Tensor.numel, weights.values())) < sum(map(Tensor.numel, body.parameters())):
            weights |= dict(_convolutions(body))
        if not weights:
            raise InputError(
                f"{self!r} changes linear layers or convolutions, and {encoder.name} has none: take Norms() or Full()"
            )
        with framework_seed(seed, _NEW):
            changes = {own: LowRank(value, self.rank) for own, value in weights.items()}
        return _adapted(encoder, name, Adapter(repr(self), _statistics(body), changes))


FULL = Full()
TABLE = {"LoRA": LoRA, "Norms": Norms, "Full": Full}


def parse(text: str | Adaptation) -> Adaptation:
    """An adaptation from its text; an adaptation is returned as it is. Raises `InputError`."""
    if isinstance(text, str):
        return _parse(text, TABLE, "adapter")
    if not isinstance(text, Adaptation):
        raise InputError(f"expected the adapter as a text such as LoRA(16), or with an attach(), got {shown(text)}")
    return text


def _adapted(encoder: Encoder, name: str, adapter: Adapter) -> Adapted:
    """One adapter on what the encoder is now: what an adapter of its own has changed is folded in first."""
    if not name or "." in name:
        raise InputError(f"an adapter's name has no dots, got {name!r}")
    base = merged(encoder) if isinstance(encoder, Adapted) else same_weights(encoder)
    return Adapted(base, {name: adapter}, name)


def _named(body: nn.Module, names: Iterator[str]) -> Iterator[tuple[str, Tensor]]:
    """Those that the body has, each weight once, under the name that it goes by."""
    known = dict(body.named_parameters())
    yield from ((name, known[name]) for name in names if name in known)


def _linear(body: nn.Module) -> Iterator[tuple[str, Tensor]]:
    of_attention = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
    kinds = {nn.Linear: ("weight",), nn.MultiheadAttention: of_attention}
    return _named(body, _inside(body, kinds))


def _convolutions(body: nn.Module) -> Iterator[tuple[str, Tensor]]:
    grouped = {name for name, module in body.named_modules() if getattr(module, "groups", 1) != 1}
    kinds: dict[type[nn.Module], tuple[str, ...]] = {nn.Conv1d: ("weight",), nn.Conv2d: ("weight",)}
    found = _inside(body, kinds)
    return _named(body, (name for name in found if name.rpartition(".")[0] not in grouped))


def _inside(body: nn.Module, kinds: dict[type[nn.Module], tuple[str, ...]]) -> Iterator[str]:
    for path, module in body.named_modules():
        for kind, weights in kinds.items():
            if isinstance(module, kind):
                yield from (f"{path}.{weight}".removeprefix(".") for weight in weights)


def _norms(body: nn.Module, of: str) -> Iterator[tuple[str, Tensor]]:
    """What norm layers hold themselves. They are known by the name of their class: libraries have their own."""
    for path, module in body.named_modules():
        if any("Norm" in kind.__name__ for kind in type(module).__mro__):
            own = vars(module)[of].items()
            yield from ((f"{path}.{name}".removeprefix("."), value) for name, value in own if value is not None)


def _statistics(body: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in _norms(body, "_buffers")}
