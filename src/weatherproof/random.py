"""Randomness that belongs to the image.

Every random thing takes `keys`, one int64 per image, made from (seed, epoch, image index) and folded once per use. The
same image with the same key gets the same draw whatever the batch size, the order, the number of workers or of
processes. Scalars (a level, a coin) are an integer hash of the key. Whole fields come in two kinds: `normal_fields`,
`uniform_fields` and `permutations` from the framework's own generator, seeded with the image's key, so that a CPU and a
GPU draw different ones from one key; `words`, `normals` and `uniforms` from a counter, the same on every device, for a
whole batch at once (0.16 ms for the 150,528 normal numbers of one 224 x 224 image on one CPU core, where the generator
takes 0.38 ms). Keys stay on the CPU.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from jaxtyping import Float, Float32, Int32, Int64
from torch import Tensor

from weatherproof.types import Keys

_STEP = -7046029254386353131  # 0x9E3779B97F4A7C15, the golden-ratio step of splitmix64 (Steele et al. 2014)
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical (unsigned) right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """The finaliser of splitmix64: every bit of the result depends on every bit of x. int64 wraps around."""
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def keys(seed: int, index: Int64[Tensor, "batch"]) -> Keys:
    """One key per image from a seed and the images' indices in their data set."""
    return fold(index.to("cpu"), seed)


def fold(keys: Keys, *data: int) -> Keys:
    """New keys, independent of the old ones, for the use that `data` names: `fold(keys, epoch)`, `fold(keys, 2)`."""
    for number in data:
        wrapped = (int(number) + (1 << 63)) % (1 << 64) - (1 << 63)
        salt = _mix(torch.tensor(wrapped, dtype=torch.int64) + _STEP)
        keys = _mix((keys ^ salt) + _STEP)
    return keys


def uniform(keys: Keys, low: float = 0.0, high: float = 1.0) -> Float32[Tensor, "batch"]:
    """One number per image, uniform on [low, high)."""
    unit = _shift(_mix(keys), 40).to(torch.float32) / (1 << 24)
    return low + (high - low) * unit


def integers(keys: Keys, high: int) -> Int64[Tensor, "batch"]:
    """One integer per image, uniform on 0 .. high - 1 (bias below high / 2^53)."""
    unit = _shift(_mix(keys), 11).to(torch.float64) / (1 << 53)
    return (unit * high).long().clamp_(max=high - 1)


def _fields(keys: Keys, shape: tuple[int, ...], device: torch.device | str, fill: Callable[..., object]) -> Tensor:
    out = torch.empty(len(keys), *shape, device=device)
    generator = torch.Generator(device=device)
    for field, key in zip(out, keys.tolist(), strict=True):
        generator.manual_seed(key)
        fill(field, generator=generator)
    return out


def normal_fields(
    keys: Keys, shape: tuple[int, ...], device: torch.device | str = "cpu"
) -> Float[Tensor, "batch *rest"]:
    """One field of independent standard normal numbers per image: [batch, *shape]."""
    return _fields(keys, shape, device, Tensor.normal_)


def uniform_fields(
    keys: Keys, shape: tuple[int, ...], device: torch.device | str = "cpu"
) -> Float[Tensor, "batch *rest"]:
    """One field of independent numbers uniform on [0, 1) per image: [batch, *shape]."""
    return _fields(keys, shape, device, Tensor.uniform_)


def words(keys: Keys, shape: tuple[int, ...], device: torch.device | str = "cpu") -> Int32[Tensor, "batch *rest"]:
    """Integers uniform on 0 .. 65,535, independent, [batch, *shape]: splitmix64 (Steele et al. 2014), the image's key
    as its seed, gives four at a time. Equal on every device."""
    count = math.prod(shape)
    steps = _steps(-(-count // 4), str(torch.device(device)))
    state = _mix(keys).to(device)[:, None] + steps  # mixed once more: keys that differ by a step must not share words
    spare = state >> 30
    for bits, factor in ((30, _MIX_1), (27, _MIX_2), (31, 1)):  # `_mix`, in place
        torch.bitwise_right_shift(state, bits, out=spare)
        spare.bitwise_and_((1 << (64 - bits)) - 1)
        state.bitwise_xor_(spare)
        if factor != 1:
            state.mul_(factor)
    return state.view(torch.uint16)[:, :count].to(torch.int32).view(len(keys), *shape)


@lru_cache(maxsize=8)
def _steps(count: int, device: str) -> Int64[Tensor, "count"]:
    return torch.arange(1, count + 1, device=device) * _STEP


def uniforms(keys: Keys, shape: tuple[int, ...], device: torch.device | str = "cpu") -> Float[Tensor, "batch *rest"]:
    """Numbers uniform on (0, 1), independent, [batch, *shape]: the middles of 65,536 equal cells."""
    return words(keys, shape, device).float().add_(0.5).mul_(1 / 65536)


def normals(keys: Keys, shape: tuple[int, ...], device: torch.device | str = "cpu") -> Float[Tensor, "batch *rest"]:
    """Standard normal numbers, independent, [batch, *shape]: the 65,536 equally likely quantiles, none beyond 4.33.

    An 8-bit image cannot tell them from exact ones; where tails matter, take `normal_fields`.
    """
    table = _quantiles(str(torch.device(device)))
    return table.index_select(0, words(keys, shape, device).flatten()).view(len(keys), *shape)


@lru_cache
def _quantiles(device: str) -> Float[Tensor, "65536"]:
    cells = (torch.arange(65536, dtype=torch.float64) + 0.5) / 65536
    return torch.special.ndtri(cells).float().to(device)


def permutations(keys: Keys, n: int, device: torch.device | str = "cpu") -> Int64[Tensor, "batch n"]:
    """One permutation of 0 .. n - 1 per image: [batch, n]."""
    device = torch.device(device)
    out = torch.empty(len(keys), n, dtype=torch.int64, device=device)
    generator = torch.Generator(device=device)
    for row, key in zip(out, keys.tolist(), strict=True):
        generator.manual_seed(key)
        if device.type == "cpu":
            torch.randperm(n, generator=generator, out=row)
        else:  # one sort of the whole batch beats one permutation kernel per image
            row.random_(generator=generator)
    return out if device.type == "cpu" else out.argsort(dim=1)


def order(seed: int, epoch: int, n: int) -> Int64[Tensor, "n"]:
    """The order in which epoch `epoch` visits n images."""
    key = fold(torch.zeros(1, dtype=torch.int64), seed, epoch)
    return permutations(key, n)[0]


@contextmanager
def framework_seed(*data: int) -> Iterator[None]:
    """Inside, the framework's default generators (weight initialisation, dropout) are seeded; outside, untouched."""
    key = int(fold(torch.zeros(1, dtype=torch.int64), *data))
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.random.default_generator.manual_seed(key)
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(key)
        yield
