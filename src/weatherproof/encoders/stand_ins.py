"""A pass through a network with other tensors in the place of its own."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


def passed_with(
    module: nn.Module, tensors: Mapping[str, Tensor], args: tuple[Any, ...], options: Mapping[str, Any] | None = None
) -> Any:
    """What a module gives with these tensors in the place of its own, by their names in it; one that is tied is
    replaced wherever it is held. Afterwards the module is what it was: PyTorch's own tying leaves the tensors in a part
    that has two names."""
    held: dict[int, list[str]] = {}
    for path, part in module.named_modules():
        for name, own in (*part._parameters.items(), *part._buffers.items()):
            held.setdefault(id(own), []).append(f"{path}.{name}".removeprefix("."))
    tied = {name: names for names in held.values() for name in names}
    everywhere = {place: value for name, value in tensors.items() for place in tied[name]}
    return functional_call(module, everywhere, args, dict(options or {}), tie_weights=False)
