"""What tells one set of images from another."""

import io
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from weatherproof.data import MemoryImages, load_images
from weatherproof.data.digest import contents_digest

PIXELS = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def folder(path: Path) -> Path:
    for i, pixels in enumerate(PIXELS):
        place = path / ("cats" if i % 2 else "dogs") / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(place)
    return path


def test_images_in_memory() -> None:
    labels = torch.arange(6) % 2
    one = contents_digest(MemoryImages(PIXELS, labels))
    assert one == contents_digest(MemoryImages(PIXELS.clone(), labels, name="another name"))
    others = (
        MemoryImages(PIXELS.flip(0), labels), MemoryImages(PIXELS, 1 - labels), MemoryImages(PIXELS[:5], labels[:5]),
        MemoryImages(PIXELS, labels, ("cats", "dogs")), MemoryImages(PIXELS, labels, index=torch.arange(1, 7)),
    )  # fmt: skip
    assert len({one, *map(contents_digest, others)}) == 6


@pytest.mark.parametrize("budget", [0, 1 << 30])
def test_files(budget: int, tmp_path: Path) -> None:
    def of(path: Path) -> str:
        return contents_digest(load_images(str(path), "all", memory_budget=budget))

    here = folder(tmp_path / "here")
    one = of(here)
    shutil.copytree(here, tmp_path / "there", copy_function=shutil.copyfile)  # with other times
    assert of(tmp_path / "there") == one
    (here / "cats" / "1.png").rename(here / "cats" / "7.png")
    renamed = of(here)
    Image.new("RGB", (8, 8)).save(here / "cats" / "3.png")
    assert len({one, renamed, of(here)}) == 3


def test_packs(tmp_path: Path) -> None:
    files = sorted(folder(tmp_path / "here").rglob("*.png"))

    def of(name: str, more: bytes) -> str:
        with tarfile.open(tmp_path / name, "w") as tar:
            for i, path in enumerate(files):
                content = path.read_bytes() + more * (i == 2)
                about = tarfile.TarInfo(f"{i}.png")
                about.size = len(content)
                tar.addfile(about, io.BytesIO(content))
        return contents_digest(load_images(f"shards:{tmp_path / name}", "all", memory_budget=0))

    assert of("0.tar", b"") == of("1.tar", b"") != of("2.tar", b"more")
