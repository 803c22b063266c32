"""What a file's numbers have to be like before anything is measured with them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from weatherproof.encoders.messages import shown, some
from weatherproof.errors import InputError

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_BEGINNING = 64  # numbers of a kernel, of which two differ in any that was trained


def check_numbers(source: str, expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Nothing, if the given tensors can be a trained network's.

    Weights and statistics have to be floating-point numbers of 16, 32 or 64 bits (whole numbers are quantised weights,
    whose scales a cast would lose) and finite, also after the cast to the network's own type. Of the matrices and
    kernels, which hold what a network has learned, at most half may be constant: one that starts at zero and was not
    trained, such as a new classifier or the last of a residual branch, is usual, a network of them is an empty file.
    Vectors (biases, batch norm's scales) may be constant, and counters may be of any type.

    Args:
        source: what the message calls them.
        expected: the network's own tensors, by name; others of the given are not looked at.

    Raises:
        InputError: with the names of the tensors, and how many numbers are wrong.
    """
    pairs = {name: (own, state[name]) for name, own in expected.items() if own.is_floating_point()}
    strange = [f"{shown(k)} is {_kind(v)}" for k, (_, v) in pairs.items() if v.dtype not in _FLOATS]
    if strange:
        raise InputError(
            f"{source}: expected floating-point weights, but {some(strange)}: convert quantised weights back first"
        )
    _check_finite(source, pairs)
    kernels = {k: v for k, (_, v) in pairs.items() if v.ndim >= 2 and v.numel() > 1}
    constant = [k for k, v in kernels.items() if _constant(v)]
    if 2 * len(constant) > len(kernels):
        raise InputError(
            f"{source}: {len(constant)} of {len(kernels)} weight matrices are constant ({some(constant)}): "
            "these are no trained weights"
        )


def check_finite(source: str, tensors: Mapping[str, Tensor]) -> None:
    """Nothing, if no tensor of 16, 32 or 64 bits has a NaN or infinite number; else an `InputError` that names it."""
    _check_finite(source, {name: (own, own) for name, own in tensors.items() if own.dtype in _FLOATS})


def _check_finite(source: str, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    lost = [why for k in _suspects(pairs) if (why := _not_finite(k, pairs[k][1], pairs[k][0].dtype))]
    if lost:
        raise InputError(f"{source}: the weights are not finite numbers, {some(lost)}: did its training diverge?")


def _constant(kernel: Tensor) -> bool:
    flat = kernel.flatten()
    return bool((flat[:_BEGINNING] == flat[0]).all()) and bool((flat == flat[0]).all())


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _suspects(pairs: Mapping[str, tuple[Tensor, Tensor]]) -> list[str]:
    """Which may hold a number that is not finite: their sums are not, and take a quarter of the time of looking at
    each number."""
    if not pairs:
        return []
    sums = torch.stack([value.to(own.dtype).sum().cpu() for own, value in pairs.values()])
    return [name for name, finite in zip(pairs, sums.isfinite().tolist(), strict=True) if not finite]


def _not_finite(name: str, tensor: Tensor, dtype: torch.dtype) -> str:
    """Nothing of one whose numbers are finite, and only too large for their sum."""
    cast = tensor.to(dtype)
    nan, infinite = int(cast.isnan().sum()), int(cast.isinf().sum())
    kinds = " and ".join(f"{count} {word}" for count, word in ((nan, "NaN"), (infinite, "infinite")) if count)
    return f"{shown(name)} has {kinds} of {cast.numel()}" if kinds else ""
