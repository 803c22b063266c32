"""JPEG, there and back, by libjpeg itself."""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

Pixels = UInt8[np.ndarray, "height width channels"]
Codec = Callable[[Pixels, int], Pixels]

_WORTH_A_THREAD = 1 << 12  # pixels: a smaller image's codec takes 20 us, which handing it to a thread costs as well


def jpeg(
    images: UInt8[Tensor, "batch channels height width"], quality: Sequence[int]
) -> UInt8[Tensor, "batch channels height width"]:
    """Encodes each image (one channel or three, on the CPU) and decodes it: YCbCr, 4:2:0, standard tables at the
    `quality` of each.

    Works on as many images at a time as the framework may use threads; the codec runs outside the interpreter's lock.
    """
    through, out = fastest(), np.empty(images.shape, np.uint8)

    def some(part: range) -> None:
        for place in part:
            _planes(through(_pixels(images[place].numpy()), quality[place]), out[place])

    threads = min(torch.get_num_threads(), len(images))
    everything = range(len(images))
    if threads <= 1 or images.shape[-2:].numel() < _WORTH_A_THREAD:
        some(everything)
    else:
        list(_pool(os.getpid(), threads).map(some, [everything[first::threads] for first in range(threads)]))
    return torch.from_numpy(out)


# Channel by channel NumPy moves bytes in a third of the time of a transposition.


def _pixels(planes: UInt8[np.ndarray, "channels height width"]) -> Pixels:
    out = np.empty((*planes.shape[1:], len(planes)), np.uint8)
    for channel, plane in enumerate(planes):
        out[..., channel] = plane
    return out


def _planes(pixels: Pixels, out: UInt8[np.ndarray, "channels height width"]) -> None:
    for channel, plane in enumerate(out):
        plane[:] = pixels[..., channel]


@lru_cache(maxsize=1)
def fastest() -> Codec:
    """torchvision's codec where it has one, else Pillow's. Both are libjpeg-turbo and their results are equal.

    torchvision's takes a quarter of the time at 32 x 32 pixels (0.02 against 0.09 ms) and two thirds at 224 x 224 (0.19
    against 0.28 ms), since it has no file objects and headers to handle in Python. But since version 0.29 it is
    deprecated, to be removed; its operators are called here because its functions warn of that at each call.
    """
    import torchvision  # noqa: F401 (registers the operators; slow to import, so only where a codec is needed)

    known = all(hasattr(torch.ops.image, name) for name in ("encode_jpeg", "decode_jpeg"))
    return with_torchvision if known else with_pillow


def with_torchvision(pixels: Pixels, quality: int) -> Pixels:
    unchanged = 0  # torchvision.io.ImageReadMode: as many channels as the file has
    file = torch.ops.image.encode_jpeg(torch.from_numpy(pixels).permute(2, 0, 1), quality)
    return torch.ops.image.decode_jpeg(file, unchanged).permute(1, 2, 0).numpy()


def with_pillow(pixels: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).reshape(pixels.shape)


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Kept, since starting threads takes as long as an image; by process, since a forked one has none of them."""
    return ThreadPoolExecutor(threads, thread_name_prefix="jpeg")
