"""Test images that are training images: found by what they hold, and by what they nearly hold."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from weatherproof.data import FileImages, ImageSet, MemoryImages, load_images
from weatherproof.data import duplicates as looking
from weatherproof.data.decoding import Decoder
from weatherproof.data.duplicates import called, duplicates
from weatherproof.data.files import BadFiles
from weatherproof.evaluation import near_duplicates as nearly
from weatherproof.evaluation.near_duplicates import Seen, near_duplicates
from weatherproof.operators import GaussianNoise
from weatherproof.readouts import Logistic, embed, fit_probe
from weatherproof.verbs.overlap import overlap


def picture(seed: int, side: int = 32) -> np.ndarray:
    """A few soft shapes, as photographs have."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def put(root: Path, **files: int) -> Path:
    """A picture by seed for every name, `train_a` being train/a.png."""
    for name, seed in files.items():
        path = root / f"{name.replace('_', '/')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed)).save(path)
    return root


def in_memory(*seeds: int, side: int = 32) -> MemoryImages:
    pixels = np.stack([picture(seed, side) for seed in seeds]).transpose(0, 3, 1, 2)
    return MemoryImages(torch.from_numpy(np.ascontiguousarray(pixels)), name="mine", index=torch.tensor(seeds))


def sets(root: Path, **reading: Any) -> tuple[MemoryImages | FileImages, MemoryImages | FileImages]:
    return tuple(load_images(root, split, **reading) for split in ("train", "test"))  # type: ignore[return-value]


@pytest.mark.parametrize("reading", [{}, {"memory_budget": 0}, {"size": 16}, {"size": 16, "memory_budget": 0}], ids=str)
def test_equal_files_are_found_under_any_name(tmp_path: Path, reading: dict[str, Any]) -> None:
    put(tmp_path, train_a=1, train_b=2, train_c=3, train_z=2, test_x=4, test_y=2, test_z=3)
    (tmp_path / "test/linked.png").symlink_to(tmp_path / "train/a.png")
    os.link(tmp_path / "train/c.png", tmp_path / "test/again.png")
    train, test = sets(tmp_path, **reading)
    assert isinstance(train, FileImages) == ("memory_budget" in reading)
    pairs = duplicates(train, test).tolist()
    found = {Path(called(test, i)).name: Path(called(train, k)).name for i, k in pairs}
    assert found == {"linked.png": "a.png", "again.png": "c.png", "y.png": "b.png", "z.png": "c.png"}
    assert [i for i, _ in pairs] == sorted(i for i, _ in pairs)


def test_sets_of_which_one_lies_in_memory(tmp_path: Path) -> None:
    put(tmp_path, train_a=1, train_b=2, train_c=3, test_x=2)
    train, test = load_images(tmp_path, "train", memory_budget=0), load_images(tmp_path, "test")
    assert isinstance(train, FileImages) and isinstance(test, MemoryImages)
    assert duplicates(train, test).tolist() == [[0, 1]]
    assert duplicates(train, in_memory(9, 3, 1)).tolist() == [[1, 2], [2, 0]]  # no files: by pixels
    assert duplicates(in_memory(3, 2), train.subset(torch.tensor([1, 2]))).tolist() == [[0, 1], [1, 0]]


def test_one_picture_in_two_formats_is_the_same_in_memory(tmp_path: Path) -> None:
    put(tmp_path, train_a=1, train_b=2)
    (tmp_path / "test").mkdir()
    Image.fromarray(picture(2)).save(tmp_path / "test/other.bmp")
    assert duplicates(*sets(tmp_path)).tolist() == [[0, 1]]
    assert duplicates(*sets(tmp_path, memory_budget=0)).tolist() == []  # other bytes


def test_only_files_that_may_be_equal_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(name: str, *blocks: bytes) -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"".join(blocks))

    def files(folder: str) -> FileImages:
        paths = sorted(map(str, (tmp_path / folder).iterdir()))
        return FileImages(
            paths, torch.full((len(paths),), -1), (), name="x", index=torch.arange(len(paths)), decoder=Decoder(),
            image_size=None, bad_files=BadFiles("x", len(paths), 1.0),
        )  # fmt: skip

    end = b"e" * 1024
    fill("train/another size", b"a" * 5000)
    fill("train/another end", b"b" * 3000, b"f" * 1024)
    fill("train/another start", b"c" * 3000, end)
    fill("train/equal", b"d" * 3000, end)
    fill("train/small", b"s")
    fill("test/1", b"d" * 3000, end)
    fill("test/2", b"s")
    (tmp_path / "train/gone").symlink_to(tmp_path / "nothing")
    (tmp_path / "train/folder").mkdir()
    os.mkfifo(tmp_path / "train/pipe")  # opening it would never end
    read: list[str] = []
    content = looking._content
    monkeypatch.setattr(looking, "_content", lambda path: read.append(Path(path).name) or content(path))
    train, test = files("train"), files("test")
    pairs = duplicates(train, test).tolist()
    assert [(Path(test.paths[i]).name, Path(train.paths[k]).name) for i, k in pairs] == [("1", "equal"), ("2", "small")]
    assert sorted(read) == ["1", "2", "another start", "equal", "small"]


def test_images_in_memory_are_compared_by_their_pixels() -> None:
    train, test = in_memory(1, 2, 3, 2), in_memory(7, 2, 3)
    assert duplicates(train, test).tolist() == [[1, 1], [2, 2]]
    assert duplicates(train, train).tolist() == [[0, 0], [1, 1], [2, 2], [3, 1]]
    assert called(test, 0) == "image 7 of mine"
    white = MemoryImages(torch.full((2, 3, 4, 6), 255, dtype=torch.uint8))
    assert duplicates(white, white).tolist() == [[0, 0], [1, 0]]  # an image without a feature is one, too
    turned = MemoryImages(torch.full((2, 3, 6, 4), 255, dtype=torch.uint8))
    assert duplicates(white, turned).tolist() == []  # as many equal bytes, but no equal image
    strided = MemoryImages(train.pixels.transpose(2, 3))  # as STL-10 lies in its file
    assert duplicates(strided, MemoryImages(strided.pixels[1:3].contiguous())).tolist() == [[0, 1], [1, 2]]


def test_sets_that_are_resized_when_they_are_read() -> None:
    sizes = [2**30, 2**16]
    train, test = (load_images("digits", "test", 64, memory_budget=budget) for budget in sizes)
    some = torch.arange(0, len(test), 40)
    for known, asked in ((train, test), (test, train), (test, test)):
        assert duplicates(known.subset(some), asked.subset(some[3:5])).tolist() == [[0, 3], [1, 4]]


def test_what_must_be_decoded_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Read:
        """A set of the user's own kind."""

        def __init__(self, images: MemoryImages) -> None:
            self.images, self.reads = images, 0
            self.name, self.classes, self.labels, self.index = images.name, images.classes, images.labels, images.index
            self.bad, self.image_size, self.channels = images.bad, images.image_size, images.channels

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, i: int) -> tuple[torch.Tensor, int, int]:
            return self.images[i]

        def subset(self, positions: torch.Tensor) -> "Read":
            return Read(self.images.subset(positions))

        def read(self, positions: torch.Tensor) -> torch.Tensor:
            self.reads += len(positions)
            return self.images.read(positions)

    monkeypatch.setattr(looking, "MOST_READ", 5)
    train = Read(in_memory(*range(9)))
    assert duplicates(train, in_memory(0, 1, 4)).tolist() == [[0, 0], [2, 4]]
    assert train.reads == 5


@pytest.mark.parametrize("source", ["digits", "synthetic-digits"])
def test_the_built_in_sets_share_no_image(source: str) -> None:
    assert len(duplicates(load_images(source, "train"), load_images(source, "test"))) == 0


# nearly


class Flat(nn.Module):
    """The pixels about their mean: an encoder of sorts."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) - images.flatten(1).mean(dim=1, keepdim=True)


class Blind(nn.Module):
    """Everything is alike."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(images), 4)


def near(
    train: MemoryImages, test: MemoryImages, encoder: nn.Module, positions: torch.Tensor | None = None
) -> list[list[int]]:
    return among(seen_by(encoder, train, positions), encoder, train, test)


def seen_by(encoder: nn.Module, train: MemoryImages, positions: torch.Tensor | None = None) -> Seen:
    positions = torch.arange(len(train)) if positions is None else positions
    seen = Seen(len(positions))
    embed(encoder, train.subset(positions), batch_size=3, seen=lambda found, places: seen(found, positions[places]))
    return seen


def among(seen: Seen, encoder: nn.Module, train: ImageSet, test: ImageSet) -> list[list[int]]:
    queries, _ = embed(encoder, test)
    return near_duplicates(seen, train, test, queries, torch.arange(len(test))).tolist()


def jpeg(pixels: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


def resized(pixels: np.ndarray) -> np.ndarray:
    small = Image.fromarray(pixels).resize((48, 48), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((64, 64), Image.Resampling.BILINEAR))


def brighter(pixels: np.ndarray) -> np.ndarray:
    return (pixels * 0.9 + 20).astype(np.uint8)


@pytest.mark.parametrize("change", [jpeg, resized, brighter], ids=lambda change: change.__name__)
def test_a_changed_copy_is_near_and_an_equal_one_is_not(change: Callable[[np.ndarray], np.ndarray]) -> None:
    train = in_memory(*range(10), side=64)
    copies = [picture(20, 64), change(picture(7, 64)), picture(3, 64), change(picture(2, 64))]
    test = MemoryImages(torch.from_numpy(np.stack(copies).transpose(0, 3, 1, 2).copy()))
    assert duplicates(train, test).tolist() == [[2, 3]]
    assert near(train, test, Flat()) == [[1, 7], [3, 2]]
    assert near(train, test, Flat(), torch.tensor([1, 4, 7, 9])) == [[1, 7]]  # of those that it has seen


def test_an_encoder_that_sees_no_difference_raises_no_alarm() -> None:
    assert near(in_memory(*range(10)), in_memory(*range(10, 20)), Blind()) == []


def test_images_without_contrast_are_no_near_duplicates() -> None:
    grey = [MemoryImages(torch.full((3, 3, 8, 8), level, dtype=torch.uint8)) for level in (90, 91)]
    assert near(grey[0], grey[1], Blind()) == []
    red = [MemoryImages(torch.zeros(3, 3, 8, 8, dtype=torch.uint8)) for _ in range(2)]
    for images, level in zip(red, (200, 190), strict=True):
        images.pixels[:, 0] = level  # a plain colour: channels differ, places do not
    assert near(red[0], red[1], Blind()) == []


def test_digits_that_look_alike_are_no_duplicates() -> None:
    train, test = load_images("digits"), load_images("digits", "test")
    assert near(train, test, Flat()) == []


def test_every_other_embedding_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearly, "MOST", 4)
    train = in_memory(*range(10), side=64)
    seen = seen_by(Flat(), train)
    assert seen.step == 3 and seen.rows.tolist() == [0, 3, 6, 9]
    expected = torch.nn.functional.normalize(Flat()(train.read(torch.tensor([0, 3, 6, 9])) / 255), dim=1)
    torch.testing.assert_close(seen.features, expected, atol=1e-3, rtol=0)
    test = MemoryImages(torch.from_numpy(np.stack([jpeg(picture(i, 64)) for i in (6, 7)]).transpose(0, 3, 1, 2).copy()))
    assert among(seen, Flat(), train, test) == [[0, 6]]


def test_files_that_cannot_be_read_and_further_draws_are_not_counted(tmp_path: Path) -> None:
    put(tmp_path, **{f"train_{name}_{i}": 10 * k + i for k, name in enumerate("ab") for i in range(6)})
    (tmp_path / "train/a/2.png").write_bytes(b"not an image")
    (tmp_path / "test").mkdir()
    Image.fromarray(picture(14)).save(tmp_path / "test/copy.jpg", quality=90)
    train, test = load_images(tmp_path, max_bad=0.5, memory_budget=0), load_images(tmp_path / "test", "all", size=32)
    seen, labelled = Seen(12), torch.tensor([0, 1, 2, 3, 8, 10, 11])
    with pytest.warns(UserWarning, match="cannot be read"):
        fit_probe(
            Flat(), train, num_classes=2, labels=labelled, fit=Logistic(3), operator=GaussianNoise(0.02), batch_size=3,
            seen=seen,
        )  # fmt: skip
    assert seen.rows.tolist() == [0, 1, 3, 8, 10, 11] and len(seen.features) == 6
    assert among(seen, Flat(), train, test) == [[0, 10]]
    seen = Seen(12)
    fit_probe(Flat(), train, num_classes=2, fit=Logistic(3), operator=GaussianNoise(0.02), batch_size=5, seen=seen)
    assert seen.rows.tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert among(seen, Flat(), train, test) == [[0, 10]]


# what is said


def test_the_count_is_of_the_images_that_are_measured() -> None:
    train, test = in_memory(*range(10)), in_memory(*range(8, 18))
    with pytest.warns(UserWarning, match=r"^2 of the 10 test images are training images too \(20.0%\)") as told:
        notes = overlap(train, test, None)
    assert [str(one.message) for one in told] == notes
    assert notes[0].endswith("the first: image 8 of mine is image 8 of mine")
    with pytest.warns(UserWarning, match="^1 of the 4 test images"):
        overlap(train, test, 4)
    assert overlap(train, in_memory(20, 21), None) == []
