"""What Pillow and libtiff say while images are decoded: counted, the first with its file."""

import logging
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from weatherproof.data import batches, load_images
from weatherproof.data.decoding import BadImage, Decoder
from weatherproof.data.hearing import listening, speaking_of

BROKEN_EXIF = b"Exif\0\0II*\0\xff\xff\xff\xff"


def pictures(root: Path, count: int = 30, odd: int = 3) -> Path:
    """JPEG files; every `odd`-th has metadata that Pillow warns of."""
    root.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        exif = {"exif": BROKEN_EXIF} if i % odd == odd - 1 else {}
        Image.new("RGB", (8, 8), (8 * i, 0, 0)).save(root / f"{i:02}.jpg", **exif)
    return root


def test_one_line_for_all_images_that_pillow_warns_of(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set")
    text = rf"^Pillow warned of 10 of 30 images in 'set/all', which are used: first {root}/02.jpg: Corrupt EXIF data"
    with pytest.warns(UserWarning, match=text) as caught:
        images = load_images(root, "all")
    assert len(caught) == 1 and "\n" not in str(caught[0].message)
    assert len(images) == 30 and not images.bad


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_said_in_workers_comes_back(tmp_path: Path, workers: int) -> None:
    images = load_images(pictures(tmp_path / "set"), "all", memory_budget=0)
    with pytest.warns(UserWarning, match="Pillow warned of 10 of 30 images .* first .*02.jpg: Corrupt EXIF") as caught:
        found = list(batches(images, 4, workers=workers))
    assert len(caught) == 1
    assert sum(len(batch.index) for batch in found) == 30
    list(batches(images, 4, workers=workers))  # known by now: no second warning


def test_corrupted_images_likewise(tmp_path: Path) -> None:
    for severity in (1, 2):
        pictures(tmp_path / f"set/fog/{severity}/n01440764", 6)
    with pytest.warns(UserWarning, match="Pillow warned of 4 of 12 images in 'imagenet-c'") as caught:
        list(batches(load_images(f"imagenet-c:{tmp_path / 'set'}"), 5))
    assert len(caught) == 1


def test_an_image_that_cannot_be_read_is_counted_once(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set", 40, odd=40)
    whole = (root / "39.jpg").read_bytes()
    (root / "39.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match=r"1 of 40 images \(2.5%\)") as caught:
        load_images(root, "all")
    assert len(caught) == 1


def test_an_image_near_the_limit_of_pixels_is_used_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = pictures(tmp_path / "set", 3, odd=50)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 63)
    with pytest.warns(UserWarning, match="Pillow warned of 3 of 3 images .*decompression bomb"):
        assert len(load_images(root, "all")) == 3


def test_libtiff_is_heard_and_does_not_write_to_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tif"
    Image.new("L", (64, 64), 9).save(path, compression="tiff_adobe_deflate")
    data = bytearray(path.read_bytes())
    with Image.open(path) as image:
        start = image.tag_v2[273][0]
    data[start : start + 20] = b"\xff" * 20
    path.write_bytes(data)
    with listening(str(path)) as heard, pytest.raises(BadImage):
        Decoder().file(str(path))
    assert "ZIPDecode" in heard[str(path)]
    assert capfd.readouterr().err == ""


def test_logging_of_pillow_is_heard(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("PIL.TiffImagePlugin")
    with listening("a", "b") as heard, speaking_of("a"):
        logger.warning("more samples than %d", 3)
        logger.info("not this")
    assert heard == {"a": "more samples than 3"}
    assert capfd.readouterr().err == ""


def test_every_thread_speaks_of_its_own_file() -> None:
    names = [f"{i}.jpg" for i in range(200)]
    together = threading.Barrier(8)

    def speak(start: int) -> None:
        together.wait(10)
        for name in names[start::8]:
            with speaking_of(name):
                warnings.warn(f"about {name}", UserWarning, stacklevel=1)

    with listening(*names) as heard, ThreadPoolExecutor(8) as pool:
        list(pool.map(speak, range(8)))
    assert heard == {name: f"about {name}" for name in names}


def test_those_who_listen_at_the_same_time_hear_their_own_and_leave_no_trace() -> None:
    before = (warnings.showwarning, list(warnings.filters), list(logging.getLogger("PIL").handlers))
    inside, outside = threading.Event(), threading.Event()

    def first() -> dict[str, str]:
        with listening("a") as heard:
            inside.set()
            outside.wait(10)
            with speaking_of("a"):
                warnings.warn("one", UserWarning, stacklevel=1)
        return heard

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(first)
        inside.wait(10)
        with listening("b") as heard, speaking_of("b"):
            warnings.warn("two", UserWarning, stacklevel=1)
        outside.set()
        assert (other.result(), heard) == ({"a": "one"}, {"b": "two"})
    assert (warnings.showwarning, list(warnings.filters), list(logging.getLogger("PIL").handlers)) == before


def test_warnings_of_others_pass() -> None:
    with pytest.warns(UserWarning, match="not about an image"), listening("a") as heard:
        warnings.warn("not about an image", UserWarning, stacklevel=1)
    assert heard == {}
