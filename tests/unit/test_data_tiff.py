"""TIFFs of every depth and meaning: each is read as it is meant, or refused with a reason."""

import io
import itertools
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from weatherproof.data.decoding import BadImage, Decoder

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
GREY_WHITE_IS_ZERO, GREY, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6


def packed(rows: np.ndarray, bits: int, kind: int, order: str) -> bytes:
    if kind == FLOAT:
        return rows.astype(f"{order}f{bits // 8}").tobytes()
    if bits in (8, 16, 32):
        return rows.astype(f"{order}{'i' if kind == SIGNED else 'u'}{bits // 8}").tobytes()
    single = (rows[..., None] >> np.arange(bits)[::-1]) & 1  # the highest bit first, each row from a new byte
    return np.packbits(single.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def tiff(
    values: np.ndarray,
    bits: int,
    photometric: int,
    *,
    kind: int = UNSIGNED,
    order: str = "<",
    planes: bool = False,
    compressed: bool = False,
    extra: Sequence[int] = (),
    reversed_bits: bool = False,
    tags: Sequence[tuple[int, Sequence[int]]] = (),
) -> bytes:
    """A TIFF 6.0 file of values [height, width, samples], in one strip or one for each plane."""
    height, width, samples = values.shape
    parts = np.moveaxis(values, -1, 0)[..., None] if planes else values[None]
    strips = [packed(part.reshape(height, -1), bits, kind, order) for part in parts]
    if compressed:
        strips = [zlib.compress(strip) for strip in strips]
    if reversed_bits:
        strips = [bytes(int(f"{byte:08b}"[::-1], 2) for byte in strip) for strip in strips]
    body, offsets = b"", []
    for strip in strips:
        offsets.append(8 + len(body))
        body += strip + b"\0" * (len(strip) % 2)
    fields = {
        256: [width], 257: [height], 258: [bits] * samples, 259: [8 if compressed else 1], 262: [photometric],
        266: [2 if reversed_bits else 1], 273: offsets, 277: [samples], 278: [height],
        279: [len(strip) for strip in strips], 284: [2 if planes else 1], 339: [kind] * samples, **dict(tags),
    }  # fmt: skip
    if extra:
        fields[338] = list(extra)
    entries = b""
    for tag, numbers in sorted(fields.items()):
        long = tag in (273, 279)
        data = struct.pack(order + ("I" if long else "H") * len(numbers), *numbers)
        if len(data) > 4:
            place = struct.pack(order + "I", 8 + len(body))
            body += data + b"\0" * (len(data) % 2)
        else:
            place = data.ljust(4, b"\0")
        entries += struct.pack(order + "HHI", tag, 4 if long else 3, len(numbers)) + place
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(body))
    return head + body + struct.pack(order + "H", len(fields)) + entries + b"\0" * 4


def decoded(path: Path, content: bytes) -> np.ndarray:
    path.write_bytes(content)
    return Decoder().file(str(path)).transpose(1, 2, 0)


def some(bits: int, samples: int, kind: int = UNSIGNED) -> np.ndarray:
    draw = np.random.default_rng(bits)
    if kind == FLOAT:
        return draw.random((5, 13, samples)).astype(np.float32)
    values = draw.integers(0, 2 ** (bits - (kind == SIGNED)), (5, 13, samples))
    values[0, 0], values[0, 1] = values.max(), 0
    return values


def test_the_white_of_twelve_bits_is_4095(tmp_path: Path) -> None:
    values = np.linspace(0, 4095, 64).round().astype(int).reshape(8, 8, 1)
    for compressed in (False, True):
        pixels = decoded(tmp_path / "a.tif", tiff(values, 12, GREY, compressed=compressed))
        assert np.array_equal(pixels, np.round(values / 4095 * 255).repeat(3, -1))


def test_a_file_is_read_as_it_is_meant_or_refused(tmp_path: Path) -> None:
    read = 0
    depths = [(UNSIGNED, bits) for bits in (1, 2, 4, 8, 10, 12, 14, 16, 24)] + [(SIGNED, 8), (SIGNED, 16)]
    depths += [(FLOAT, 16), (FLOAT, 32), (FLOAT, 64)]
    looks = [(GREY_WHITE_IS_ZERO, 1, ()), (GREY, 1, ()), (GREY, 2, (0,)), (GREY, 2, (2,)), (RGB, 3, ()), (RGB, 4, (0,))]
    looks += [(RGB, 4, (2,)), (CMYK, 4, ()), (CMYK, 5, (0,)), (PALETTE, 1, ()), (PALETTE, 2, (0,)), (RGB, 5, (2, 0))]
    for (kind, bits), (photometric, samples, extra), order, planes, compressed, reversed_bits in itertools.product(
        depths, looks, "<>", (False, True), (False, True), (False, True)
    ):
        if (bits == 24 and photometric != GREY) or (photometric == PALETTE and (bits > 8 or kind != UNSIGNED)):
            continue
        if reversed_bits and (compressed or kind != UNSIGNED):
            continue
        values = some(bits, samples, kind)
        colours = np.random.default_rng(0).integers(0, 256, (3, 2 ** min(bits, 8)))
        content = tiff(
            values, bits, photometric, kind=kind, order=order, planes=planes, compressed=compressed, extra=extra,
            reversed_bits=reversed_bits,
            tags=[(320, (colours * 257).ravel().tolist())] if photometric == PALETTE else (),
        )  # fmt: skip
        try:
            pixels = decoded(tmp_path / "a.tif", content)
        except BadImage:
            continue
        read += 1
        share = values / {UNSIGNED: 2**bits - 1, SIGNED: 2 ** (bits - 1) - 1, FLOAT: 1}[kind]
        colour = share[..., : {RGB: 3, CMYK: 4}.get(photometric, 1)]
        if photometric == GREY_WHITE_IS_ZERO:
            colour = 1 - colour
        elif photometric == PALETTE:
            colour = (colours / 255)[:, values[..., 0]].transpose(1, 2, 0)
        elif photometric == CMYK:
            colour = (1 - colour[..., :3]) * (1 - colour[..., 3:])
        if 2 in extra:  # the rest shines through in white
            alpha = share[..., samples - len(extra), None]
            colour = colour * alpha + 1 - alpha
        about = 1 if 2 not in extra and photometric != CMYK else 3
        case = (kind, bits, photometric, samples, extra, order, planes, compressed, reversed_bits)
        assert np.abs(colour * 255 - pixels).max() <= about, case
    assert read > 150


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
def test_a_grey_file_of_tifffiles_is_read_as_tifffile_reads_it(
    tmp_path: Path, dtype: type, byteorder: str, compression: str | None, tile: tuple[int, int] | None
) -> None:
    draw = np.random.default_rng(0)
    values = draw.random((40, 50)) if dtype is np.float32 else draw.integers(0, np.iinfo(dtype).max + 1, (40, 50))
    for photometric in ("minisblack", "miniswhite"):
        file = io.BytesIO()
        tifffile.imwrite(
            file, values.astype(dtype), byteorder=byteorder, compression=compression, tile=tile, photometric=photometric
        )
        top = 1 if dtype is np.float32 else np.iinfo(dtype).max
        expected = tifffile.imread(io.BytesIO(file.getvalue())) * (255 / top)
        try:
            pixels = decoded(tmp_path / "a.tif", file.getvalue())[..., 0]
        except BadImage as error:
            assert byteorder == ">" and (compression or photometric == "miniswhite"), error
            assert str(error).startswith(f"TIFF of {np.dtype(dtype).itemsize * 8} bits (")
            continue
        assert np.abs(pixels - (expected if photometric == "minisblack" else 255 - expected)).max() <= 0.5001


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_colour_file_of_tifffiles_is_read_as_tifffile_reads_it(
    tmp_path: Path, dtype: type, planes: str, compression: str | None
) -> None:
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (40, 50, 3)).astype(dtype)
    file, stored = io.BytesIO(), values if planes == "contig" else np.moveaxis(values, -1, 0)
    tifffile.imwrite(file, stored, photometric="rgb", planarconfig=planes, compression=compression)
    read = tifffile.imread(io.BytesIO(file.getvalue()))
    expected = (read if planes == "contig" else np.moveaxis(read, 0, -1)) / (np.iinfo(dtype).max / 255)
    if (dtype, planes, compression) == (np.uint16, "separate", None):
        with pytest.raises(BadImage, match=r"^TIFF of 16 bits \(unsigned, RGB\): save it with 8 .*, not in planes$"):
            decoded(tmp_path / "a.tif", file.getvalue())
    else:
        assert np.abs(decoded(tmp_path / "a.tif", file.getvalue()) - expected).max() <= 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tiff(some(24, 1), 24, GREY), r"TIFF of 24 bits \(unsigned, BlackIsZero\): save it with 8 or 16 bits"),
        (tiff(some(10, 1), 10, GREY), r"TIFF of 10 bits \(unsigned, BlackIsZero\)"),
        (tiff(some(12, 1), 12, GREY, order=">"), r"TIFF of 12 bits"),
        (tiff(some(16, 1, SIGNED), 16, GREY, kind=SIGNED), r"TIFF of 16 bits \(signed, BlackIsZero\)"),
        (tiff(some(8, 1, SIGNED), 8, GREY, kind=SIGNED), r"TIFF of 8 bits \(signed, BlackIsZero\)"),
        (tiff(some(64, 1, FLOAT), 64, GREY, kind=FLOAT), r"TIFF of 64 bits \(floats, BlackIsZero\)"),
        (tiff(some(32, 3, FLOAT), 32, RGB, kind=FLOAT), r"TIFF of 32 bits \(floats, RGB\)"),
        (tiff(some(8, 3), 8, YCBCR, planes=True), r"TIFF of 8 bits \(unsigned, YCbCr\)"),
        (tiff(some(8, 1), 8, 32803), r"TIFF of 8 bits \(unsigned, colour filter array\)"),
        (tiff(some(8, 4), 8, CMYK, tags=[(332, [2])]), r"TIFF of 8 bits \(unsigned, CMYK\)"),  # inks of other colours
        (tiff(some(8, 3), 8, YCBCR, tags=[(530, [2, 2])]), r"TIFF of 8 bits \(unsigned, YCbCr\)"),
        (tiff(some(8, 3), 8, YCBCR, tags=[(279, [120])]), r"TIFF of 8 bits \(unsigned, YCbCr\)"),  # two by two, unsaid
        (tiff(some(31, 1), 32, GREY), r"pixels of mode I from 0 to \d+: expected 0 to 65535"),
        (tiff(some(32, 1, FLOAT) + 7, 32, GREY, kind=FLOAT), r"pixels of mode F from 7.* expected 0 to 1"),
        (tiff(some(32, 1, FLOAT), 32, GREY, kind=FLOAT, order=">", compressed=True), "TIFF of 32 .* little-endian"),
        (tiff(some(8, 1), 8, GREY)[:60], "not an image that Pillow can read"),
    ],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_what_is_not_read_is_refused_with_its_depth(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=f"^{reason}"):
        decoded(tmp_path / "a.tif", content)


def test_integers_of_32_bits_hold_16(tmp_path: Path) -> None:
    values = np.array([[0, 257, 65535]], np.int32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert Decoder(channels=1).file(str(tmp_path / "a.tif")).ravel().tolist() == [0, 1, 255]


def test_a_palette_of_8_bits_keeps_its_colours(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (3, 256))
    values = some(8, 1)
    for scale in (1, 257):
        content = tiff(values, 8, PALETTE, tags=[(320, (colours * scale).ravel().tolist())])
        assert np.array_equal(decoded(tmp_path / "a.tif", content), colours[:, values[..., 0]].transpose(1, 2, 0))


def test_grey_that_its_alpha_has_multiplied_already(tmp_path: Path) -> None:
    values = np.array([[[100, 200], [0, 0], [255, 255]]])
    pixels = decoded(tmp_path / "a.tif", tiff(values, 8, GREY, extra=(1,)))
    assert np.abs(pixels[0, :, 0] - [155, 255, 255]).max() <= 1


def test_uncompressed_ycbcr_of_full_range(tmp_path: Path) -> None:
    values = some(8, 3)
    expected = np.asarray(Image.fromarray(values.astype(np.uint8), "YCbCr").convert("RGB"))
    for tags in ((), [(530, [1, 1])]):
        assert np.array_equal(decoded(tmp_path / "a.tif", tiff(values, 8, YCBCR, tags=tags)), expected)
