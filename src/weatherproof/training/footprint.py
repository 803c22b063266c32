"""What a training step needs of memory, counted tensor by tensor, so that a larger batch can be foretold."""

import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class Footprint:
    """Bytes of all tensors at the peak of a step: fixed + batch x per_image.

    Attributes:
        fixed: weights of all networks, gradients, what the optimizer keeps.
        per_image: what each image of the batch (of the micro-batch, where there are some) adds.
    """

    fixed: int
    per_image: int

    def largest_batch(self, memory: int) -> int:
        """How many images fit into so many bytes; 0: not even one."""
        return max(0, (memory - self.fixed) // self.per_image)


class _Live(TorchDispatchMode):
    """Counts the bytes of tensors that are made inside, while they live."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        before = {id(one.untyped_storage()) for one in _tensors((args, *kwargs.values()))}
        out = func(*args, **kwargs)
        for one in _tensors((out,)):
            self._see(one.untyped_storage(), before)
        return out

    def _see(self, storage: torch.UntypedStorage, before: set[int]) -> None:
        if id(storage) in self.known or id(storage) in before:
            return
        size, key = storage.nbytes(), id(storage)
        self.known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def _tensors(values: Iterable[object]) -> Iterator[Tensor]:
    """Those among an operator's arguments or results; ten times as quick as PyTorch's walk over any tree."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def peak_bytes(work: Callable[[], object]) -> int:
    """Bytes of tensors that live at the same time, at most, of those that `work` makes. What an operator's own kernel
    needs inside, and what an allocator loses, is not among them."""
    with _Live() as live:
        work()
    return live.peak


class _Operations(TorchDispatchMode):
    """Counts floating-point operations; torch's own counter follows modules, which a gradient of a gradient forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func.overloadpacket)) is not None:
            self.count += formula(*args, **(kwargs or {}), out_val=out)
        return out


def operations(work: Callable[[], object]) -> int:
    """Floating-point operations of convolutions and matrix products in `work`: a multiplication and an addition are
    two."""
    with _Operations() as counted:
        work()
    return counted.count


def footprint(
    step: Callable[[int], object], weights: Iterable[Tensor], trained: Iterable[Tensor], *, states: int = 2,
    sizes: tuple[int, int] = (2, 4),
) -> Footprint:  # fmt: skip
    """The footprint of `step(batch)`, a forward and a backward pass that adds to the gradients that are there.

    Args:
        weights: all that is in memory anyway: parameters and buffers of all networks.
        trained: those that the optimizer moves; their gradients are 0 before, and there after.
        states: tensors that the optimizer keeps for each: 2 of Adam, 1 of SGD with momentum.
        sizes: two batches that are tried. The peak is a straight line in the batch where activations are most of it.
    """
    trained = list(trained)
    here = {weight.untyped_storage()._cdata: weight.untyped_storage().nbytes() for weight in weights}
    kept_bytes = sum(here.values()) + (1 + states) * sum(one.numel() * one.element_size() for one in trained)
    for one in trained:
        if one.grad is None:
            one.grad = torch.zeros_like(one)
    few, many = (peak_bytes(lambda size=size: step(size)) for size in sizes)  # type: ignore[misc]
    per_image = max(1, (many - few) // (sizes[1] - sizes[0]))
    return Footprint(kept_bytes + max(0, few - sizes[0] * per_image), per_image)
