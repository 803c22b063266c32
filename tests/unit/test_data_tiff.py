"""TIFFs of every depth and photometric interpretation: as tifffile reads them, or refused with a reason."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from weatherproof.data.decoding import BadImage, Decoder

Tags = dict[int, tuple[int, ...]]
SIDES = (6, 8)
KINDS = {1: "B", 3: "H", 4: "I"}


def written(path: Path, data: bytes, size: tuple[int, int], bits: int, photometric: int, more: Tags, order: str) -> str:
    """A TIFF of one strip, written by hand: tifffile and Pillow do not write every kind."""
    width, height = size
    long = (273, 279, 256, 257, 278)
    tags = {256: (width,), 257: (height,), 258: (bits,), 259: (1,), 262: (photometric,), 273: (0,), 277: (1,)}
    tags |= {278: (height,), 279: (len(data),)} | more
    head = 8 + 2 + 12 * len(tags) + 4
    for _ in range(2):  # the second time with the place of the data, known by then
        body, extra = b"", b""
        for tag, values in sorted(tags.items()):
            kind = 4 if tag in long else 3
            raw = struct.pack(order + KINDS[kind] * len(values), *values)
            if len(raw) > 4:
                raw, extra = struct.pack(order + "I", head + len(extra)), extra + raw
            body += struct.pack(order + "HHI", tag, kind, len(values)) + raw.ljust(4, b"\0")
        tags[273] = (head + len(extra),)
    mark = b"II" if order == "<" else b"MM"
    start = struct.pack(order + "2sHIH", mark, 42, 8, len(tags))
    path.write_bytes(start + body + struct.pack(order + "I", 0) + extra + data)
    return str(path)


def packed(levels: np.ndarray, bits: int) -> bytes:
    """Rows of levels, each of `bits` bits, the highest first; a row ends at a whole byte."""
    places = np.arange(bits - 1, -1, -1)
    return np.packbits((levels[..., None] >> places & 1).reshape(len(levels), -1).astype(np.uint8), axis=1).tobytes()


def ramp(dtype: str, channels: int = 1) -> np.ndarray:
    """From black to white, another one in each channel."""
    top = 1.0 if dtype[0] == "f" else float(np.iinfo(dtype).max)
    values = np.linspace(0, top, SIDES[0] * SIDES[1] * channels).reshape(channels, *SIDES).transpose(1, 2, 0)
    return np.ascontiguousarray(values.squeeze()).astype(dtype)


def light(path: str) -> np.ndarray:
    """Luminous intensity from 0 to 1 as tifffile's pixels and tags give it."""
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        pixels = page.asarray().astype(float)
        top = 1.0 if page.sampleformat == 3 else 2.0**page.bitspersample - 1
        return 1 - pixels / top if page.photometric == 0 else pixels / top


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f2", "f4", "f8", "i1", "i2", "i4"])
def test_grey_is_as_tifffile_reads_it_or_refused(
    tmp_path: Path, dtype: str, photometric: str, compression: str | None, order: str
) -> None:
    path = str(tmp_path / "a.tif")
    tifffile.imwrite(path, ramp(dtype), photometric=photometric, byteorder=order, compression=compression)
    try:
        pixels = Decoder(channels=1).file(path)[0]
    except BadImage as error:
        assert dtype != "u1" and (dtype, photometric) != ("u2", "minisblack")
        assert dtype != "f4" or (compression, order) == ("zlib", ">")
        assert "TIFF" in str(error)
        return
    assert np.abs(pixels - 255 * light(path)).max() <= 0.51
    assert pixels.min() == 0 and pixels.max() == 255


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("extra", [None, "unspecified", "unassalpha", "assocalpha"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_colour_is_as_tifffile_reads_it_or_refused(
    tmp_path: Path, dtype: str, extra: str | None, planar: str, compression: str | None, order: str
) -> None:
    path = str(tmp_path / "a.tif")
    pixels = ramp(dtype, 3 if extra is None else 4)
    if extra == "assocalpha":  # colours times alpha, which cannot be above it
        pixels[..., :3] = np.minimum(pixels[..., :3], pixels[..., 3:])
    stored = pixels if planar == "contig" else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    tifffile.imwrite(
        path, stored, photometric="rgb", planarconfig=planar, byteorder=order, compression=compression,
        extrasamples=None if extra is None else [extra],
    )  # fmt: skip
    try:
        found = Decoder().file(path)
    except BadImage:
        assert dtype == "f4" or planar == "separate"
        return
    truth = light(path)
    truth = truth.transpose(2, 0, 1) if planar == "contig" else truth
    if extra in ("unassalpha", "assocalpha"):
        truth = truth[:3] * (truth[3] if extra == "unassalpha" else 1) + 1 - truth[3]
    assert np.abs(found - 255 * truth[:3]).max() <= 2.01  # Pillow divides by alpha in 8 bits, and multiplies again


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_ink_is_light_that_is_missing(tmp_path: Path, dtype: str, planar: str) -> None:
    path, ink = str(tmp_path / "a.tif"), ramp(dtype, 4)
    stored = ink if planar == "contig" else np.ascontiguousarray(ink.transpose(2, 0, 1))
    tifffile.imwrite(path, stored, photometric="separated", planarconfig=planar)
    if (dtype, planar) == ("u2", "separate"):
        with pytest.raises(BadImage, match="separate planes with 16 bits"):
            Decoder().file(path)
        return
    share = ink.astype(float) / np.iinfo(dtype).max
    truth = (1 - share[..., :3]) * (1 - share[..., 3:])
    assert np.abs(Decoder().file(path).transpose(1, 2, 0) - 255 * truth).max() <= 2


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 10, 12, 14, 16])
def test_the_highest_level_of_any_depth_is_white_or_refused(
    tmp_path: Path, bits: int, photometric: int, compressed: bool, order: str
) -> None:
    levels = np.tile(np.linspace(0, 2**bits - 1, 16).round().astype(int), (3, 1))
    data = levels.astype(order + "u2").tobytes() if bits == 16 else packed(levels, bits)
    more: Tags = {259: (8,)} if compressed else {}
    data = zlib.compress(data) if compressed else data
    path = written(tmp_path / "a.tif", data, (16, 3), bits, photometric, more, order)
    expected = levels * (255 / (2**bits - 1))
    try:
        pixels = Decoder(channels=1).file(path)[0]
    except BadImage as error:
        assert bits in (10, 12, 14) or (bits, photometric, order) == (16, 0, ">")
        assert f"a TIFF with 1 x {bits} bits" in str(error)
        return
    assert np.abs(pixels - (expected if photometric else 255 - expected)).max() <= 0.51


def test_twelve_bits_are_not_sixteen(tmp_path: Path) -> None:
    levels = np.array([[0, 2048, 4095, 4095]])
    path = written(tmp_path / "a.tif", packed(levels, 12), (4, 1), 12, 1, {}, "<")
    assert Decoder(channels=1).file(path).ravel().tolist() == [0, 128, 255, 255]


def test_32_bits_that_would_all_be_black_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 4095]], np.uint32))
    with pytest.raises(BadImage, match="32-bit pixels up to 4095 of 4294967295 are black"):
        Decoder().file(str(tmp_path / "a.tif"))


def test_signed_integers_have_no_white(tmp_path: Path) -> None:
    for dtype in ("i1", "i2", "i4"):
        tifffile.imwrite(tmp_path / "a.tif", ramp(dtype))
        with pytest.raises(BadImage, match="signed integers"):
            Decoder().file(str(tmp_path / "a.tif"))


@pytest.mark.parametrize("scale", [1, 257])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_colours_of_a_palette_in_8_or_16_bits(tmp_path: Path, bits: int, scale: int) -> None:
    colours = np.array([[10, 20, 30, 250], [0, 90, 91, 92], [7, 8, 200, 10]])
    table = np.zeros((3, 2**bits), int)
    table[:, :4] = colours * scale
    data = packed(np.array([[0, 1, 2, 3]]), bits)
    path = written(tmp_path / "a.tif", data, (4, 1), bits, 3, {320: tuple(table.ravel().tolist())}, "<")
    assert Decoder().file(path)[:, 0].tolist() == colours.tolist()


def test_uncompressed_ycbcr_is_jpegs_or_refused(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    three: Tags = {258: (8, 8, 8), 277: (3,)}
    path = written(tmp_path / "a.tif", pixels.tobytes(), (4, 4), 8, 6, three | {530: (1, 1)}, "<")
    expected = np.asarray(Image.fromarray(pixels, "YCbCr").convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(Decoder().file(path), expected)
    with pytest.raises(BadImage, match="subsampled YCbCr"):
        Decoder().file(written(tmp_path / "b.tif", pixels.tobytes(), (4, 4), 8, 6, three, "<"))


@pytest.mark.parametrize("channels", [1, 3])
def test_cielab_under_d50_is_scikit_images_or_refused(tmp_path: Path, channels: int) -> None:
    from skimage.color import rgb2xyz, xyz2lab

    colours = np.random.default_rng(0).integers(60, 200, (6, 8, 3)).astype(np.uint8)
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    d65, d50 = np.array([0.95047, 1, 1.08883]), np.array([0.96422, 1, 0.82521])
    adapted = np.linalg.inv(bradford) @ np.diag((bradford @ d50) / (bradford @ d65)) @ bradford
    levels = xyz2lab(rgb2xyz(colours) @ adapted.T, illuminant="D50")
    lab = np.round(levels * (2.55, 1, 1)).astype(int).astype(np.uint8)  # a and b in two's complement
    tifffile.imwrite(tmp_path / "a.tif", lab, photometric="cielab")
    expected = Image.fromarray(colours).convert("L" if channels == 1 else "RGB")
    found = Decoder(channels=channels).file(str(tmp_path / "a.tif")).transpose(1, 2, 0).squeeze().astype(int)
    assert np.abs(found - np.asarray(expected)).max() <= 5  # a and b are whole numbers
    for kind, planes in (("cielab", "separate"), ("icclab", "contig")):
        stored = lab if planes == "contig" else np.ascontiguousarray(lab.transpose(2, 0, 1))
        tifffile.imwrite(tmp_path / "b.tif", stored, photometric=kind, planarconfig=planes)
        with pytest.raises(BadImage, match="CIELab|ICCLab"):
            Decoder(channels=channels).file(str(tmp_path / "b.tif"))


@pytest.mark.parametrize("extra", ["unspecified", "unassalpha", "assocalpha"])
def test_grey_with_alpha(tmp_path: Path, extra: str) -> None:
    pixels = ramp("u1", 2)
    pixels[..., 0] = np.minimum(pixels[..., 0], pixels[..., 1])
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig", extrasamples=[extra])
    grey, alpha = pixels[..., 0] / 255, pixels[..., 1] / 255
    truth = grey if extra == "unspecified" else (grey * alpha if extra == "unassalpha" else grey) + 1 - alpha
    assert np.abs(Decoder(channels=1).file(str(tmp_path / "a.tif"))[0] - 255 * truth).max() <= 2


@pytest.mark.parametrize("white", [1, 31, 255, 1023, 4095, 65535])
def test_pgm_and_ppm_of_any_white(tmp_path: Path, white: int) -> None:
    levels = np.linspace(0, white, 8).round().astype(int)
    data = levels.astype(">u2" if white > 255 else "u1")
    (tmp_path / "a.pgm").write_bytes(b"P5 8 1 %d\n" % white + data.tobytes())
    (tmp_path / "b.pgm").write_bytes(b"P2 8 1 %d\n" % white + " ".join(map(str, levels)).encode())
    (tmp_path / "c.ppm").write_bytes(b"P6 8 1 %d\n" % white + np.repeat(data, 3).tobytes())
    for name in ("a.pgm", "b.pgm", "c.ppm"):
        assert np.abs(Decoder(channels=1).file(str(tmp_path / name)).ravel() - levels * 255 / white).max() <= 0.51


def test_the_transparent_level_of_a_deep_png_is_white(tmp_path: Path) -> None:
    deep = np.array([[0, 4095, 32768]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png", transparency=4095)
    assert Decoder(channels=1).file(str(tmp_path / "a.png")).ravel().tolist() == [0, 255, 128]
