"""One image at a time, against Pillow's and torchvision's own steps."""

import io
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from weatherproof.data.decoding import BadImage, Decoder, decode_all, header_size
from weatherproof.data.folders import EXTENSIONS
from weatherproof.errors import InputError


def picture(width: int, height: int, channels: int = 3) -> Image.Image:
    """Smooth colours, so that lossy formats and resizing stay close to the truth."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    planes = np.stack([x, y, (x + y) / 2, 1 - x][:channels], -1)
    return Image.fromarray(np.round(planes * 255).astype(np.uint8).squeeze())


def saved(image: Image.Image, path: Path, **options: object) -> str:
    image.save(path, **options)
    return str(path)


def hwc(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(1, 2, 0)


def test_an_image_as_it_is(tmp_path: Path) -> None:
    image = picture(7, 5)
    pixels = Decoder().file(saved(image, tmp_path / "a.png"))
    assert pixels.dtype == np.uint8
    assert np.array_equal(hwc(pixels), np.asarray(image))


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (64, 64), (33, 500), (20, 31)])
@pytest.mark.parametrize("crop_fraction", [1.0, 0.875])
def test_resizing_is_torchvisions_resize_and_centre_crop(
    tmp_path: Path, shape: tuple[int, int], crop_fraction: float
) -> None:
    from torchvision.transforms.v2 import CenterCrop, Compose, InterpolationMode, Resize

    image = picture(*shape)
    decoder = Decoder(64, crop_fraction)
    oracle = Compose([Resize(round(64 / crop_fraction), InterpolationMode.BILINEAR), CenterCrop(64)])
    expected = np.asarray(oracle(image)).astype(int)
    assert np.abs(hwc(decoder.file(saved(image, tmp_path / "a.png"))) - expected).max() <= 1
    assert np.abs(hwc(decoder.array(np.asarray(image).transpose(2, 0, 1))) - expected).max() <= 1


def test_a_big_jpeg_is_read_in_a_draft_and_looks_the_same(tmp_path: Path) -> None:
    image = picture(1601, 1203)
    path = saved(image, tmp_path / "a.jpg", quality=95)
    square = image.resize((int(64 * 1601 / 1203), 64), Image.Resampling.BILINEAR)
    left = round((square.width - 64) / 2)
    expected = np.asarray(square.crop((left, 0, left + 64, 64))).astype(int)
    assert np.abs(hwc(Decoder(64).file(path)) - expected).max() <= 4


def test_a_very_long_image_is_never_enlarged_as_a_whole(tmp_path: Path) -> None:
    pixels = Decoder(256).file(saved(picture(1, 60000), tmp_path / "a.png"))  # 256 x 15,360,000 as a whole
    assert pixels.shape == (3, 256, 256)


def test_one_pixel(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (1, 1), (10, 20, 30)), tmp_path / "a.png")
    assert Decoder().file(path).ravel().tolist() == [10, 20, 30]
    assert np.array_equal(Decoder(32).file(path)[:, 5, 7], [10, 20, 30])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [None, 16])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, size: int | None, name: str) -> None:
    image = picture(40, 24)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(image, tmp_path / name, exif=exif, **({"quality": 95} if name == "a.jpg" else {}))
    with Image.open(path) as stored:
        upright = ImageOps.exif_transpose(stored)
    assert header_size(path) == (upright.height, upright.width)
    expected = Decoder(size).array(np.asarray(upright).transpose(2, 0, 1)).astype(int)
    assert np.abs(Decoder(size).file(path) - expected).max() <= 1


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow says so, and goes on
def test_broken_exif_does_not_break_the_image(tmp_path: Path) -> None:
    path = saved(picture(8, 8), tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert Decoder().file(path).shape == (3, 8, 8)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "LA", "RGBA"])
def test_every_mode_becomes_rgb_or_grey(tmp_path: Path, mode: str) -> None:
    image = picture(6, 4).convert(mode)
    path = saved(image, tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(hwc(Decoder().file(path)), expected)
    assert np.array_equal(Decoder(channels=1).file(path)[0], np.asarray(Image.fromarray(expected).convert("L")))


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    image = picture(8, 8, channels=4)  # alpha falls from left to right
    colour, alpha = np.asarray(image)[..., :3] / 255, np.asarray(image)[..., 3:] / 255
    expected = 255 * (alpha * colour + 1 - alpha)
    assert np.abs(hwc(Decoder().file(saved(image, tmp_path / "a.png"))) - expected).max() <= 1


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_a_palette_with_a_transparent_colour(tmp_path: Path, transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 100, 0])
    image.putpixel((1, 0), 1)
    pixels = Decoder().file(saved(image, tmp_path / "a.png", transparency=transparency))
    assert hwc(pixels).tolist() == [[[255, 255, 255], [0, 100, 0]]]


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    deep = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    for name in ("a.png", "a.tif"):
        pixels = Decoder().file(saved(Image.fromarray(deep), tmp_path / name))
        assert pixels[0].tolist() == [[0, 0, 1, 1, 128, 255]]  # round(v / 257)


def test_floats_are_pixels_in_0_1(tmp_path: Path) -> None:
    path = saved(Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)), tmp_path / "a.tif")
    assert Decoder(channels=1).file(path).ravel().tolist() == [0, 128, 255]
    path = saved(Image.fromarray(np.array([[0.0, 7.0]], np.float32)), tmp_path / "b.tif")
    with pytest.raises(BadImage, match=r"from 0.0 to 7.0: expected 0 to 1"):
        Decoder().file(path)


def test_bad_files_have_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    picture(64, 64).save(stream, "JPEG")
    whole = stream.getvalue()
    for name, data, reason in (
        ("cut.jpg", whole[:-200], "truncated"),
        ("stump.jpg", whole[:100], "Truncated|cannot|not an image"),
        ("text.jpg", b"not an image", "not an image that Pillow can read"),
        ("empty.png", b"", "not an image that Pillow can read"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadImage, match=reason):
            Decoder().file(str(tmp_path / name))
    with pytest.raises(BadImage, match="no such file"):
        Decoder().file(str(tmp_path / "gone.jpg"))
    (tmp_path / "whole.jpg").write_bytes(whole)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow's limit, low enough for a small file
    with pytest.raises(BadImage, match="decompression bomb"):
        Decoder().file(str(tmp_path / "whole.jpg"))


def test_only_image_formats_are_opened(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(BadImage, match="not an image"):  # Pillow would hand it to Ghostscript
        Decoder().file(str(tmp_path / "a.jpg"))


@pytest.mark.parametrize(
    "name, stored",
    [
        *((f"a.{ending}", "JPEG") for ending in ("jpe", "jfif", "jif", "jfi")),
        *((f"a.{ending}", "JPEG2000") for ending in ("jp2", "j2k", "jpx", "jpf", "j2c", "jpc")),
        ("a.apng", "PNG"), ("a.avif", "AVIF"), ("a.pnm", "PPM"), ("a.JFIF", "JPEG"),
    ],
)  # fmt: skip
def test_formats_under_their_other_endings(tmp_path: Path, name: str, stored: str) -> None:
    assert name.lower().endswith(EXTENSIONS)
    image = picture(32, 24)
    path = saved(image, tmp_path / name, format=stored, **({"quality": 95} if stored in ("JPEG", "AVIF") else {}))
    with Image.open(path) as oracle:
        assert np.array_equal(hwc(Decoder().file(path)), np.asarray(oracle.convert("RGB")))


def test_bitmaps_and_floats_of_the_ppm_family(tmp_path: Path) -> None:
    (tmp_path / "a.pbm").write_bytes(b"P4 8 1\n\xaa")  # 1 is black
    assert Decoder(channels=1).file(str(tmp_path / "a.pbm")).ravel().tolist() == [0, 255] * 4
    (tmp_path / "a.pfm").write_bytes(b"Pf\n3 1\n-1.0\n" + np.array([0, 0.5, 1], "<f4").tobytes())
    assert Decoder(channels=1).file(str(tmp_path / "a.pfm")).ravel().tolist() == [0, 128, 255]
    assert {".pbm", ".pfm"} < {*EXTENSIONS}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_regular_file_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the address of a socket is short
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for a writer
    (tmp_path / "link.jpg").symlink_to(tmp_path / "pipe.jpg")
    (tmp_path / "null.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        for name, kind in (
            ("pipe.jpg", "a named pipe"), ("link.jpg", "a named pipe"), ("null.jpg", "a device"),
            ("folder.jpg", "a folder"), ("socket.jpg", "a socket"),
        ):  # fmt: skip
            with pytest.raises(BadImage, match=f"it is {kind}"):
                Decoder().file(str(tmp_path / name))
            assert header_size(str(tmp_path / name)) is None


@pytest.mark.parametrize("settings", [{"size": 0}, {"crop_fraction": 0.0}, {"crop_fraction": 1.1}, {"channels": 2}])
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        Decoder(**settings)


def test_decode_all_skips_the_bad_and_keeps_the_order() -> None:
    def read(position: int) -> np.ndarray:
        if position % 50 == 0:
            raise BadImage("every fiftieth")
        return np.full((1, 2, 2), position % 256, np.uint8)

    found = decode_all(read, 1000, budget=4000)
    assert found is not None
    pixels, bad = found
    assert list(bad) == list(range(0, 1000, 50))
    assert pixels[:, 0, 0, 0].tolist() == [p % 256 for p in range(1000) if p % 50]
    assert decode_all(read, 1000, budget=3999) is None
    assert decode_all(lambda i: np.zeros((1, 2, 2 + (i == 999)), np.uint8), 1000, budget=10**6) is None
