"""From a file, or from stored pixels, to a uint8 image of the size and the channels that were asked for.

Every way of damage and of storage ends in one of two: a uint8 array [C, H, W], or `BadImage` with the reason.
"""

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from weatherproof.data import tiff
from weatherproof.data.hearing import speaking_of
from weatherproof.errors import InputError, shown
from weatherproof.progress import phase
from weatherproof.regular import irregular
from weatherproof.sizes import Size, sides
from weatherproof.texts import LARGEST_SIDE

Pixels = np.ndarray[Any, np.dtype[Any]]  # [C, H, W], of 8 bits, or of 16 where they are stored so

# What the extensions of `folders` stand for. Among the others that Pillow knows, one runs programs (EPS).
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")

ORIENTATION = 0x0112  # EXIF 2.3, tag "Orientation": how the camera was held
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)  # those that swap width and height
DRAFT = 2  # a JPEG decoder may shrink by powers of two down to this many times the size: Pillow's thumbnail() default
CHUNK = 64  # images per task of the thread pool: tasks cost little against it, and a change of size shows early


class BadImage(Exception):
    """This image cannot be read; the message is the reason."""


@dataclass(frozen=True)
class Decoder:
    """How an image is read.

    Args:
        size: the shorter side is resized (antialiased bilinear) to round(size / crop_fraction), then a centred
            size x size square is cut out, with the roundings of torchvision's Resize and CenterCrop. (rows, columns):
            the image is resized until it covers as many rows and columns, each over crop_fraction, in the same way.
            None: as stored.
        crop_fraction: the part of the resized shorter side that the square keeps.
        channels: 3 for RGB, 1 for grey (ITU-R 601 luma). Transparent parts turn white.
        longest: without a size, an image whose longer side is more pixels is shrunk to that, as a whole.

    Raises:
        InputError: a setting out of range.
    """

    size: Size | None = None
    crop_fraction: float = 1.0
    channels: int = 3
    longest: int | None = None

    def __post_init__(self) -> None:
        if self.longest is not None and (self.size is not None or not 1 <= self.longest <= LARGEST_SIDE):
            raise InputError(
                f"longest is a number of pixels, at least 1 and at most {LARGEST_SIDE:,}, instead of a size; got "
                f"{shown(self.longest)} and size {shown(self.size)}"
            )
        if self.size is not None and not all(1 <= side <= LARGEST_SIDE for side in sides(self.size)):
            raise InputError(
                f"size is a number of pixels, at least 1 and at most {LARGEST_SIDE:,}, or None for images as they are; "
                f"got {shown(self.size)}"
            )
        if not 0 < self.crop_fraction <= 1:
            raise InputError(f"crop_fraction lies in (0, 1]; got {self.crop_fraction}")
        if self.size is not None and not max(sides(self.size)) / self.crop_fraction <= 2 * LARGEST_SIDE:
            raise InputError(
                f"size {self.size} with crop_fraction {self.crop_fraction} makes images of more than "
                f"{2 * LARGEST_SIDE:,} pixels a side: give a larger crop_fraction"
            )
        self._check_channels()

    def _check_channels(self) -> None:
        if self.channels not in (1, 3):
            raise InputError(f"channels is 1 (grey) or 3 (RGB); got {self.channels}")

    def file(self, path: str, content: bytes | None = None) -> Pixels:
        """Decode one image file, upright. Raises `BadImage`.

        Args:
            content: its bytes, where they are at hand; `path` is then what the image is called.
        """
        try:
            with speaking_of(path), opened(path, content) as image:
                _require_right(image, path, content)
                stored = image.size
                draft = image.draft(None, self._least(stored)) if self.size or self.longest else None
                image.load()  # turns a TIFF upright by itself: only a draft's own size is not to be trusted
                full = stored if draft else image.size
                turn = _orientation(image)
                shown: Image.Image = _eight_bits(image) if image.mode.startswith(("I", "F")) else image
                upright = shown.transpose(UPRIGHT[turn]) if turn in UPRIGHT else shown
                return self._finish(upright, full[::-1] if turn in SIDEWAYS else full)
        except Exception as error:  # decoders meet hostile bytes with errors of every kind; none may end a run
            reason = _reason(error)
            if isinstance(error, UnidentifiedImageError) or "unknown raw mode" in reason:
                reason = tiff.refusal_of_file(path, content) or reason
            raise BadImage(reason) from None

    def array(self, pixels: Pixels) -> Pixels:
        """The same for stored pixels [C, H, W]."""
        if self.keeps(pixels.shape):
            return pixels
        image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        return self._finish(image, image.size)

    def keeps(self, shape: tuple[int, ...]) -> bool:
        """Whether stored pixels of shape [..., C, H, W] are already as they should be."""
        if self.longest is not None:
            return shape[-3] == self.channels and max(shape[-2:]) <= self.longest
        wanted = (self.channels, *(sides(self.size) if self.size is not None else shape[-2:]))
        return tuple(shape[-3:]) == wanted and (self.size is None or self._covered == sides(self.size))

    def whole(self, full: tuple[int, int]) -> tuple[int, int]:
        """The sides, in either order, of a whole image with these, with no more than `longest` pixels."""
        most = max(full)
        if self.longest is None or most <= self.longest:
            return full
        first, second = (max(1, round(side * self.longest / most)) for side in full)
        return first, second

    def _least(self, stored: tuple[int, int]) -> tuple[int, int]:
        """To which sides, at least, a JPEG may be shrunk while it is decoded."""
        if self.size is not None:
            least = max(self._covered) * DRAFT
            return least, least
        first, second = self.whole(stored)
        return first * DRAFT, second * DRAFT

    @property
    def _covered(self) -> tuple[int, int]:
        """The rows and columns that the resized image covers."""
        assert self.size is not None
        rows, columns = sides(self.size)
        return round(rows / self.crop_fraction), round(columns / self.crop_fraction)

    def _finish(self, image: Image.Image, full: tuple[int, int]) -> Pixels:
        image = self._fit(_plain(image, "RGB" if self.channels == 3 else "L"), full)
        pixels = np.asarray(image)
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)

    def _fit(self, image: Image.Image, full: tuple[int, int]) -> Image.Image:
        """Resize and centre crop in one step, so that a very long image is never enlarged as a whole.

        Args:
            full: (width, height) of the upright image in the file, which decides the proportions; `image` may be a
                draft of it.
        """
        if self.size is None:
            fitted = self.whole(full)
            return image if fitted == image.size else image.resize(fitted, Image.Resampling.BILINEAR)
        (tall, wide), (rows, columns) = self._covered, sides(self.size)
        one, least = (wide, full[0]) if wide * full[1] >= tall * full[0] else (tall, full[1])  # which side fits exactly
        width, height = max(wide, int(one * full[0] / least)), max(tall, int(one * full[1] / least))
        left, top = round((width - columns) / 2), round((height - rows) / 2)
        x, y = image.width / width, image.height / height
        if x == y == 1:
            return image.crop((left, top, left + columns, top + rows))
        right, bottom = min((left + columns) * x, image.width), min((top + rows) * y, image.height)
        return image.resize((columns, rows), Image.Resampling.BILINEAR, (left * x, top * y, right, bottom))


@dataclass(frozen=True)
class PlaneDecoder(Decoder):
    """A `Decoder` of stored pixels of any number of channels, of 8 or 16 bits: each channel is resized by itself, and
    none is converted."""

    def _check_channels(self) -> None:
        pass

    def array(self, pixels: Pixels) -> Pixels:
        if self.keeps(pixels.shape):
            return pixels
        deep = pixels.dtype != np.uint8  # which Pillow resizes as floats alone
        planes = [Image.fromarray(plane.astype(np.float32) if deep else plane) for plane in pixels]
        fitted = np.stack([np.asarray(self._fit(plane, plane.size)) for plane in planes])
        return fitted.round().astype(pixels.dtype) if deep else fitted


def header_size(path: str, content: bytes | None = None) -> tuple[int, int] | None:
    """(height, width) of the upright image from its header alone; None where that cannot be read."""
    try:
        with speaking_of(path), opened(path, content) as image:
            width, height = image.size
            lies = image.format != "TIFF" and _orientation(image) in SIDEWAYS  # a TIFF gives its upright size
            return (width, height) if lies else (height, width)
    except Exception:  # as in `Decoder.file`; decoding it will give the reason
        return None


def decode_all(
    read: Callable[[int], Pixels], count: int, budget: int, name: str = "images"
) -> tuple[Pixels, dict[int, str]] | None:
    """Read images 0 .. count - 1 into one array [n, C, H, W], on all cores, and the reasons of the bad ones.

    The rows of bad images are left out. None: the images differ in size, or need more than `budget` bytes.

    Args:
        name: what they are called, for whoever waits.
    """
    bad: dict[int, str] = {}
    first = None
    for position in range(count):
        try:
            first = read(position)
            break
        except BadImage as error:
            bad[position] = str(error)
    if first is None:
        return np.empty((0, 0, 0, 0), np.uint8), bad
    if first.nbytes * count > budget:
        return None
    pixels = np.empty((count, *first.shape), first.dtype)

    def fill(start: int) -> bool:
        for position in range(start, min(start + CHUNK, count)):
            try:
                image = read(position)
            except BadImage as error:
                bad[position] = str(error)
                continue
            if image.shape != pixels.shape[1:]:
                return False
            pixels[position] = image
        meter.advance(min(CHUNK, count - start))
        return True

    with phase(f"reading {name}", count) as meter, ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        if not all(pool.map(fill, range(len(bad), count, CHUNK))):
            pool.shutdown(cancel_futures=True)
            return None
    if bad:
        pixels = np.delete(pixels, list(bad), axis=0)
    return pixels, dict(sorted(bad.items()))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # broken metadata of a readable image
        return 1


def opened(path: str, content: bytes | None = None) -> Image.Image:
    """An image file with its header read. Raises `BadImage` for what is no regular file, else what Pillow raises."""
    if content is not None:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    if kind := irregular(path):  # a named pipe would block for ever
        raise BadImage(f"it is {kind}, no regular file")
    return Image.open(path, formats=FORMATS)


def _require_right(image: Image.Image, path: str, content: bytes | None = None) -> None:
    """Raises `BadImage` for an opened image whose pixels Pillow would give otherwise than they are meant."""
    if reason := tiff.refusal(image) or _refusal_of_jpeg2000(image, path, content):
        raise BadImage(reason)
    tiff.mend_palette(image)


def _refusal_of_jpeg2000(image: Image.Image, path: str, content: bytes | None) -> str | None:
    """Pillow's colours of more than 8 bits turn white into black, and its white of fewer is grey."""
    if image.format != "JPEG2000":
        return None
    content = Path(path).read_bytes() if content is None else content
    at = content.find(b"\xff\x4f\xff\x51")  # ISO/IEC 15444-1, A.5.1: SOC and SIZ, with Csiz and Ssiz further on
    count = int.from_bytes(content[at + 40 : at + 42], "big")
    bits = [(depth & 127) + 1 for depth in content[at + 42 : at + 42 + 3 * count : 3]]
    if min(bits) < 8 or (count > 1 and max(bits) > 8):
        return f"JPEG 2000 of {'/'.join(str(b) for b in dict.fromkeys(bits))} bits: save it with 8, or grey with 16"
    return None


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """Any mode of 8 bits to RGB or L, transparency laid over white."""
    if image.mode == "La":  # Pillow converts it to LA alone
        image = image.convert("LA")
    if image.mode == "LAB":  # likewise, to RGB alone
        image = image.convert("RGB")
    if image.has_transparency_data:
        cut_out = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), cut_out)
    return image if image.mode == mode else image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Deep integers (white is 65535, or what a TIFF's bits can hold) and floats in [0, 1] to 8 bits, rounded."""
    deep, (top, inverted) = np.asarray(image), tiff.white(image)
    if not (deep.min() >= 0 and deep.max() <= top):
        raise BadImage(f"pixels of mode {image.mode} from {deep.min()} to {deep.max()}: expected 0 to {top:g}")
    levels = np.round(deep * (255 / top)).astype(np.uint8)
    if inverted:
        levels = 255 - levels
    clear = image.info.get("transparency")  # of a PNG with 16 bits: the level that is transparent
    return Image.fromarray(np.where(deep == clear, np.uint8(255), levels) if isinstance(clear, int) else levels)


def _reason(error: Exception) -> str:
    match error:
        case UnidentifiedImageError():
            return "not an image that Pillow can read"
        case FileNotFoundError():
            return "no such file (a broken link?)"
        case OSError():
            return error.strerror or str(error)
        case BadImage():
            return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())
