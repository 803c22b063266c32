"""Networks whose weights are about to be loaded need no random ones first, which take longer than reading a file."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_RANDOM = {"uniform_", "normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_"}


class Unfilled(TorchFunctionMode):
    """Inside, what would be filled with random numbers stays as it is, or becomes a constant. All of it has to be
    loaded afterwards."""

    _depth: ClassVar[int] = 0

    @classmethod
    def active(cls) -> bool:
        """Whether this is inside of one."""
        return cls._depth > 0

    def __enter__(self) -> "Unfilled":
        Unfilled._depth += 1
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        Unfilled._depth -= 1
        super().__exit__(*error)

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init" and func.__name__ in _RANDOM:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        # a constant that every bound of a truncated distribution allows: what draws until it fits must come to an end
        if func is Tensor.normal_:
            return args[0].fill_(float(kwargs.get("mean", args[1] if len(args) > 1 else 0.0)))
        if func is Tensor.uniform_:
            return args[0].fill_(float(kwargs.get("from", args[1] if len(args) > 1 else 0.0)))
        if func is Tensor.erfinv_:
            return args[0]
        return func(*args, **kwargs)


def on_meta(module: torch.nn.Module, shape: Sequence[int]) -> Any:
    """What a module gives for pixels of a shape, in shapes alone: nothing is computed. Whatever it raises says that
    this module needs numbers."""
    # a copy: what is swapped in and out of a module that stands at two places may not come back
    memo = {id(value): value.to("meta") for value in (*module.parameters(), *module.buffers())}
    with torch.no_grad():
        return copy.deepcopy(module, memo)(torch.zeros(*shape, device="meta"))
