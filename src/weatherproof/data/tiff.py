"""What the numbers in a TIFF mean, and which TIFFs Pillow reads otherwise than they are meant.

Pillow tells pixels by its modes alone, which say neither how many bits a file uses nor that white is its zero: the tags
of TIFF 6.0 do.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImagePalette
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from weatherproof.luma import LUMA

WIDTH, HEIGHT, BITS, PHOTOMETRIC, FILL_ORDER, LENGTHS, PLANES = 256, 257, 258, 262, 266, 279, 284
PALETTE, INKS, EXTRA, SAMPLE_FORMAT = 320, 332, 338, 339
COEFFICIENTS, SUBSAMPLING, BLACK_AND_WHITE = 529, 530, 532  # of YCbCr

WHITE_IS_ZERO, CMYK, YCBCR, LAB = 0, 5, 6, 8
PHOTOMETRICS = {
    0: "WhiteIsZero", 1: "BlackIsZero", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab",
    9: "ICCLab", 10: "ITULab", 32803: "colour filter array", 32844: "LogL", 32845: "LogLuv", 34892: "linear raw",
}  # fmt: skip
UNSIGNED, SIGNED = 1, 2
KINDS = {1: "unsigned", 2: "signed", 3: "floats", 4: "of no stated kind", 5: "complex", 6: "complex floats"}
FULL_RANGE = (0, 255, 128, 255, 128, 255)  # what JPEG's YCbCr has, and Pillow takes for granted


def white(image: Image.Image) -> tuple[float, bool]:
    """The largest value of an image of mode I or F, and whether it is black instead of white.

    Integers of 32 bits are taken for ones of 16 in a wider field, as Pillow writes them: no file is known to use all.
    """
    if not isinstance(image, TiffImageFile):
        return 1.0 if image.mode == "F" else 65535.0, False
    bits = _values(image.tag_v2, BITS, 1)[0]
    top = 1.0 if image.mode == "F" else 2.0 ** min(bits, 16) - 1
    return top, image.tag_v2.get(PHOTOMETRIC, WHITE_IS_ZERO) == WHITE_IS_ZERO


def refusal(image: Image.Image) -> str | None:
    """Why the pixels of an opened image would come out wrong; None: they are right, or it is no TIFF."""
    if not isinstance(image, TiffImageFile):
        return None
    tags = image.tag_v2
    bits, kind = max(_values(tags, BITS, 1)), _values(tags, SAMPLE_FORMAT, UNSIGNED)[0]
    photometric = tags.get(PHOTOMETRIC, WHITE_IS_ZERO)  # what Pillow assumes
    by_libtiff = bool(image.tile) and image.tile[0][0] == "libtiff"
    planes = tags.get(PLANES, 1) == 2
    if kind == SIGNED and bits < 32:
        return describe(tags)
    if tags.prefix == b"MM" and bits == 32 and (by_libtiff or planes):  # read in the machine's own order of bytes
        return f"{describe(tags)}, little-endian"
    if planes and (image.mode in ("LA", "La", "PA") or photometric == LAB):
        return f"{describe(tags)}, not in planes"
    if planes and by_libtiff and image.mode == "RGBA" and EXTRA not in tags:
        return f"{describe(tags)}, not in planes"
    if planes and not by_libtiff:  # read without what sets a depth, an order of bits or a zero apart from the usual one
        usual = photometric != WHITE_IS_ZERO and (bits == 8 or image.mode == "1")
        if not (usual or image.mode in ("I", "F")) or tags.get(FILL_ORDER, 1) == 2:
            return f"{describe(tags)}, not in planes"
    if photometric == CMYK and tags.get(INKS, 1) != 1:
        return describe(tags)
    if photometric == YCBCR and not by_libtiff and not _is_plain_ycbcr(tags):
        return describe(tags)
    return None


def mend_palette(image: Image.Image) -> None:
    """Let an opened image whose palette has 8 bits, where the standard asks for 16, keep its colours."""
    if isinstance(image, TiffImageFile) and image.mode in ("P", "PA"):
        colours = _values(image.tag_v2, PALETTE, 0)
        if max(colours) < 256:
            image.palette = ImagePalette.raw("RGB;L", bytes(colours))


def refusal_of_file(path: str, content: bytes | None = None) -> str | None:
    """Why Pillow does not open a TIFF; None where it is none, or is damaged."""
    try:
        with Path(path).open("rb") if content is None else io.BytesIO(content) as file:
            head = file.read(8)
            if head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
                return None
            tags = ImageFileDirectory_v2(head + file.read(8) if b"+" in head[2:4] else head)
            file.seek(tags.next)
            tags.load(file)
            return describe(tags) if BITS in tags and PHOTOMETRIC in tags else None
    except Exception:  # damaged, in one of the many ways
        return None


def describe(tags: Mapping[int, Any]) -> str:
    bits = "/".join(str(b) for b in dict.fromkeys(_values(tags, BITS, 1)))
    kind = _values(tags, SAMPLE_FORMAT, UNSIGNED)[0]
    photometric = tags.get(PHOTOMETRIC)
    which = f"{KINDS.get(kind, kind)}, {PHOTOMETRICS.get(photometric, photometric)}"  # type: ignore[arg-type]
    return f"TIFF of {bits} bits ({which}): save it with 8 or 16 bits, unsigned, grey or RGB"


def _is_plain_ycbcr(tags: Mapping[int, Any]) -> bool:
    pixels = tags.get(WIDTH, 0) * tags.get(HEIGHT, 0)
    whole = 3 * pixels <= sum(_values(tags, LENGTHS, 0))  # the standard's default would be two by two pixels a colour
    return (
        _values(tags, SUBSAMPLING, (1, 1) if whole else (2, 2)) == (1, 1)
        and tuple(_values(tags, BLACK_AND_WHITE, FULL_RANGE)) == FULL_RANGE
        and all(abs(a - b) < 0.001 for a, b in zip(_values(tags, COEFFICIENTS, LUMA), LUMA, strict=True))
    )


def _values(tags: Mapping[int, Any], tag: int, default: Any) -> tuple[Any, ...]:
    found = tags.get(tag, default)
    return found if isinstance(found, tuple) else (found,)
