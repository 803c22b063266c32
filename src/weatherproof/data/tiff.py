"""What a TIFF's tags say of its pixels, where Pillow leaves it out: which level is white, and what it reads wrongly.

TIFF 6.0 (Adobe, 1992): BitsPerSample 258, Compression 259, PhotometricInterpretation 262, FillOrder 266,
PlanarConfiguration 284, ColorMap 320, SampleFormat 339, YCbCrSubSampling 530, ReferenceBlackWhite 532.
"""

import struct
import sys
from pathlib import Path
from typing import Any

from PIL import ImagePalette
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

WHITE_32 = 2.0**32 - 1
WHITE_IS_ZERO, BLACK_IS_ZERO, YCBCR = 0, 1, 6
_PHOTOMETRIC = {
    0: "white is zero", 1: "black is zero", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab",
    9: "ICCLab", 10: "ITULab", 32803: "colour filter array", 32844: "LogL", 32845: "LogLuv", 34892: "linear raw",
}  # fmt: skip
_SAMPLES = {1: "unsigned", 2: "signed", 3: "floating-point", 4: "undefined", 5: "complex", 6: "complex"}


def white_level(image: TiffImageFile) -> float:
    """The level of white in pixels that Pillow gives as integers or floats; negative where that is black."""
    bits = _numbers(image.tag_v2.get(258, 1))[0]
    top = 1.0 if image.mode == "F" else 2.0**bits - 1
    return -top if image.tag_v2.get(262, WHITE_IS_ZERO) == WHITE_IS_ZERO else top


def why_misread(image: TiffImageFile) -> str | None:
    """Why Pillow would read an image wrongly that it opens; None where it reads it rightly."""
    tags = image.tag_v2
    raw = image.info.get("compression") == "raw"
    bits, kinds = _numbers(tags.get(258, 1)), _numbers(tags.get(339, 1))
    if 2 in kinds:
        return "a TIFF of signed integers, whose black and white are not defined: save it as unsigned ones"
    if raw and tags.get(284, 1) == 2 and not _is_plain(tags, bits):
        return f"an uncompressed TIFF of separate planes with {max(bits)} bits: save it interleaved, or compressed"
    if tags.get(284, 1) == 2 and image.mode == "LAB":
        return "a TIFF of separate planes with CIELab: save it interleaved, or as RGB"
    if not raw and image.mode == "F" and tags.prefix != (b"II" if sys.byteorder == "little" else b"MM"):
        return "a compressed TIFF with floating-point samples of the other byte order: save it uncompressed"
    if raw and tags.get(262) == YCBCR:
        if tuple(tags.get(530, (2, 2))) != (1, 1):
            return "an uncompressed TIFF with subsampled YCbCr: save it as RGB"
        if tuple(map(float, tags.get(532, _FULL_RANGE))) != _FULL_RANGE:
            return "an uncompressed TIFF with YCbCr of a reduced range: save it as RGB"
    return None


def _is_plain(tags: ImageFileDirectory_v2, bits: tuple[int, ...]) -> bool:
    """Whether the pixels of a plane need no unpacking and no inversion, which Pillow would forget."""
    photometric = tags.get(262, WHITE_IS_ZERO)
    whole = max(bits) == 8 or (max(bits) == 1 and photometric == BLACK_IS_ZERO)
    return whole and photometric != WHITE_IS_ZERO and tags.get(266, 1) == 1


_FULL_RANGE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)


def mend_palette(image: TiffImageFile) -> None:
    """Colours are 16-bit levels, of which Pillow takes the upper byte; some writers put 8-bit ones there."""
    colours = image.tag_v2.get(320)
    if image.mode in ("P", "PA") and colours and max(colours) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))


def why_unknown(path: str) -> str | None:
    """Why Pillow does not open a file that is a TIFF; None for any other file."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(8)
            if head[:4] not in (b"II*\0", b"MM\0*"):
                return None
            tags = ImageFileDirectory_v2(head)
            file.seek(struct.unpack("<I" if head[:2] == b"II" else ">I", head[4:])[0])
            tags.load(file)
            bits, kinds = _numbers(tags.get(258, 1)), _numbers(tags.get(339, 1))
            photometric = tags.get(262, WHITE_IS_ZERO)
    except Exception:  # a damaged file, which is reason enough
        return None
    depth = " + ".join(map(str, bits)) if len({*bits}) > 1 else f"{len(bits)} x {bits[0]}"
    return (
        f"a TIFF with {depth} bits, {_SAMPLES.get(kinds[0], 'unknown')}, {_PHOTOMETRIC.get(photometric, photometric)}, "
        "which Pillow cannot read: save it with 8 or 16 bits, grey or RGB"
    )


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (int(value),)
