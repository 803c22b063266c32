"""Randomness that belongs to the image.

Every random thing takes `keys`, one int64 per image, made from (seed, epoch, image index) and folded once per use. The
same image with the same key gets the same draw whatever the batch size, the order, the number of workers or of
processes. Scalars (a level, a coin) are an integer hash of the key. Whole fields come in two kinds: `normal_fields`,
`uniform_fields` and `permutations` from the framework's own generator, seeded with the image's key, so that a CPU and a
GPU draw different ones from one key; `words`, `shorts`, `normals` and `uniforms` from a counter, the same on every
device, for a whole batch at once (0.13 ms for the 150,528 normal numbers of one 224 x 224 image on one CPU core, where
the generator takes 0.38 ms). Keys stay on the CPU.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Float32, Int16, Int32, Int64, UInt64
from torch import Tensor

from weatherproof.types import Keys

_STEP = np.uint64(0x9E3779B97F4A7C15)  # the golden-ratio step of splitmix64 (Steele et al. 2014)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_FACTOR_1 = 0x85EBCA6B - (1 << 32)  # the multipliers of MurmurHash3's 32-bit finaliser (Appleby 2011), as int32
_FACTOR_2 = 0xC2B2AE35 - (1 << 32)
_MOST_CACHED = 1 << 20  # lanes of `words`: 4 MB


def _mix(x: UInt64[np.ndarray, "*any"]) -> UInt64[np.ndarray, "*any"]:
    """The finaliser of splitmix64: every bit of the result depends on every bit of x. NumPy, since PyTorch has no
    unsigned shift and takes three times as long to begin with an array of a few numbers."""
    x = (x ^ (x >> 30)) * _MIX_1
    x = (x ^ (x >> 27)) * _MIX_2
    return x ^ (x >> 31)


def _unsigned(keys: Keys) -> UInt64[np.ndarray, "*any"]:
    return keys.numpy().view(np.uint64)


def keys(seed: int, index: Int64[Tensor, "batch"]) -> Keys:
    """One key per image from a seed and the images' indices in their data set."""
    return fold(index.to("cpu"), seed)


def fold(keys: Keys, *data: int) -> Keys:
    """New keys, independent of the old ones, for the use that `data` names: `fold(keys, epoch)`, `fold(keys, 2)`."""
    state = _unsigned(keys)
    for number in data:
        state = _mix((state ^ _salt(int(number))) + _STEP)
    return torch.from_numpy(state.view(np.int64)) if data else keys


@lru_cache(maxsize=1 << 12)
def _salt(number: int) -> np.uint64:
    return _mix(np.array([number % (1 << 64)], np.uint64) + _STEP)[0]


def uniform(keys: Keys, low: float = 0.0, high: float = 1.0) -> Float32[Tensor, "batch"]:
    """One number per image, uniform on [low, high)."""
    unit = torch.from_numpy((_mix(_unsigned(keys)) >> 40).astype(np.float32)).div_(1 << 24)
    return low + (high - low) * unit


def integers(keys: Keys, high: int) -> Int64[Tensor, "batch"]:
    """One integer per image, uniform on 0 .. high - 1 (bias below high / 2^53)."""
    unit = torch.from_numpy((_mix(_unsigned(keys)) >> 11).astype(np.float64)).div_(1 << 53)
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
    """Integers uniform on 0 .. 65,535, independent, [batch, *shape], equal on every device."""
    return _words(keys, shape, device).view(torch.uint16).to(torch.int32)


def shorts(keys: Keys, shape: tuple[int, ...], device: torch.device | str = "cpu") -> Int16[Tensor, "batch *rest"]:
    """`words` in 16 bits: uniform on -32,768 .. 32,767, a word from 32,768 on less 65,536."""
    return _words(keys, shape, device)


def _words(keys: Keys, shape: tuple[int, ...], device: torch.device | str) -> Int16[Tensor, "batch *rest"]:
    """32-bit lanes of two words each. Lane i is MurmurHash3's finaliser (Appleby 2011) of i + 1, to which the image's
    key comes, half of it before each of two more multiplications."""
    count = math.prod(shape)
    halves = torch.from_numpy(_mix(_unsigned(keys)).view(np.int32)).to(device)
    low, high = halves.view(-1, 2, 1).unbind(1)
    lane = _lanes(-(-count // 2), torch.device(device)) ^ low
    spare = torch.empty_like(lane)
    _fold_down(lane.mul_(_FACTOR_1), 13, spare).bitwise_xor_(high)
    _fold_down(lane.mul_(_FACTOR_2), 16, spare)
    return lane.view(torch.int16)[:, :count].reshape(len(keys), *shape)


def _fold_down(x: Int32[Tensor, "*any"], bits: int, spare: Int32[Tensor, "*any"]) -> Int32[Tensor, "*any"]:
    """x ^= x >> bits, the shift unsigned, in place."""
    torch.bitwise_right_shift(x, bits, out=spare)
    return x.bitwise_xor_(spare.bitwise_and_((1 << (32 - bits)) - 1))


def _lanes(count: int, device: torch.device) -> Int32[Tensor, "count"]:
    """The hash of each lane's number, the same for all keys: kept, but for sizes that memory would feel."""
    return _hashed(count, device) if count > _MOST_CACHED else _cached_lanes(count, device)


def _hashed(count: int, device: torch.device) -> Int32[Tensor, "count"]:
    x = torch.arange(1, count + 1, dtype=torch.int32, device=device)
    spare = torch.empty_like(x)
    _fold_down(x, 16, spare)
    _fold_down(x.mul_(_FACTOR_1), 13, spare)
    return _fold_down(x.mul_(_FACTOR_2), 16, spare)


_cached_lanes = lru_cache(maxsize=8)(_hashed)


def uniforms(keys: Keys, shape: tuple[int, ...], device: torch.device | str = "cpu") -> Float[Tensor, "batch *rest"]:
    """Numbers uniform on (0, 1), independent, [batch, *shape]: the middles of 65,536 equal cells."""
    return words(keys, shape, device).float().add_(0.5).mul_(1 / 65536)


def normals(keys: Keys, shape: tuple[int, ...], device: torch.device | str = "cpu") -> Float[Tensor, "batch *rest"]:
    """Standard normal numbers, independent, [batch, *shape]: the 65,536 equally likely quantiles, none beyond 4.33.

    An 8-bit image cannot tell them from exact ones; where tails matter, take `normal_fields`.
    """
    table = quantiles(torch.device(device))
    return table.index_select(0, words(keys, shape, device).flatten()).view(len(keys), *shape)


@lru_cache
def quantiles(device: torch.device) -> Float[Tensor, "65536"]:
    """The standard normal number that `normals` makes of each word."""
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
    key = int(fold(torch.zeros(1, dtype=torch.int64, device="cpu"), *data))
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.random.default_generator.manual_seed(key)
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(key)
        yield


def framework_replay(device: torch.device) -> Callable[[], AbstractContextManager[None]]:
    """Inside what the result gives when called, the framework's default generators draw once more what they draw from
    now on (a second pass with the same dropout); outside, untouched."""
    here = torch.get_rng_state()
    there = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    @contextmanager
    def replay() -> Iterator[None]:
        with torch.random.fork_rng(devices=[] if there is None else [device]):
            torch.set_rng_state(here)
            if there is not None:
                torch.cuda.set_rng_state(there, device)
            yield

    return replay
