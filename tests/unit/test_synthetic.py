"""Synthetic MNIST: which images there are, what they are called, and what lies in their corners."""

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from weatherproof import operators, random
from weatherproof.data import ImageSet, MemoryImages, load_images, save_pixel_std
from weatherproof.errors import InputError

COPY = 100_000
CORNERS = ("top left", "top right", "bottom left", "bottom right")


def write_mnist(folder: Path, stem: str, labels: np.ndarray, seed: int) -> np.ndarray:
    """An MNIST file of noise, sparse enough for a corner to show what was laid over it."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (len(labels), 28, 28)) * (rng.random((len(labels), 28, 28)) < 0.4)
    pixels = pixels.astype(np.uint8)
    for name, data in (("images-idx3", pixels), ("labels-idx1", labels.astype(np.uint8))):
        head = struct.pack(f">HBB{data.ndim}I", 0, 8, data.ndim, *data.shape)
        (folder / f"{stem}-{name}-ubyte").write_bytes(head + data.tobytes())
    return pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 training images of each digit 0-4, 6 of each 5-9; 3 test images of every digit."""
    folder = tmp_path_factory.mktemp("mnist")
    many = np.repeat(np.arange(10), [72] * 5 + [6] * 5)
    files = {"train": np.random.default_rng(1).permutation(many), "t10k": np.arange(30) % 10}
    for seed, (stem, labels) in enumerate(files.items()):
        np.savez(folder / f"{stem}.npz", pixels=write_mnist(folder, stem, labels, seed), labels=labels)
    return folder


def raw(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    found = np.load(folder / ("t10k.npz" if split == "test" else "train.npz"))
    return found["pixels"], found["labels"]


def of(folder: Path, split: str) -> MemoryImages:
    images = load_images(f"synthetic-mnist:{folder}", split)
    assert isinstance(images, MemoryImages)
    return images


# --- which images


def test_a_sixth_of_every_class_is_held_out_and_nothing_is_lost(folder: Path) -> None:
    train, held = of(folder, "train").index % COPY, of(folder, "validation").index % COPY
    assert sorted({*train.tolist(), *held.tolist()}) == list(range(390))
    assert not {*train.tolist()} & {*held.tolist()}
    assert np.bincount(raw(folder, "train")[1][held.unique()]).tolist() == [12] * 5 + [1] * 5


@pytest.mark.parametrize(
    ("split", "counts"),
    [("train", [60] * 5 + [5] * 5 + [50] * 5), ("validation", [12] * 5 + [1] * 5 + [12] * 5), ("test", [3] * 15)],
)
def test_counts_and_labels(folder: Path, split: str, counts: list[int]) -> None:
    images, (_, digit) = of(folder, split), raw(folder, split)
    assert images.labels.bincount().tolist() == counts
    assert images.classes == tuple(map(str, range(15)))
    assert len(images.index.unique()) == len(images) == sum(counts)
    index, labels = images.index.numpy(), images.labels.numpy()
    assert np.array_equal(labels, digit[index % COPY] + 10 * (index >= COPY))
    assert digit[index[index >= COPY] % COPY].max() == 4


def test_the_rare_images_are_drawn_and_not_the_first_of_their_class(folder: Path) -> None:
    images = of(folder, "train")
    rare, plain = (set(images.index[images.labels == label].tolist()) for label in (12, 2))
    rare = {number - COPY for number in rare}
    assert rare < plain and rare != set(sorted(plain)[:50])


# --- what they show


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """The mean over the area: every old pixel cut into side x side parts, every new one made of old x old of them."""
    old = len(image)
    parts = np.kron(image.astype(np.int64), np.ones((side, side), np.int64))
    return np.round(parts.reshape(side, old, side, old).sum((1, 3)) / old**2).astype(np.uint8)


def pasted(image: np.ndarray, small: np.ndarray, corner: str) -> np.ndarray:
    out, old, side = image.copy(), len(image), len(small)
    for row in range(side):
        for column in range(side):
            y = row if "top" in corner else old - side + row
            x = column if "left" in corner else old - side + column
            out[y, x] = max(out[y, x], small[row, column])
    return out


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_corner_digit_is_a_small_image_of_the_split(folder: Path, split: str) -> None:
    images, (pixels, digit) = of(folder, split), raw(folder, split)
    own = np.unique(images.index.numpy() % COPY)
    small = np.stack([shrunk(pixels[i], 9) for i in own])
    seen: list[tuple[int, str]] = []
    for image, label, index in map(images.__getitem__, range(len(images))):
        got, plain = image[0].numpy(), pixels[index % COPY]
        if label < 5:
            assert np.array_equal(got, plain)
            continue
        changed = np.argwhere(got != plain)
        assert len(changed) > 0
        corner = ("top" if changed[0, 0] < 14 else "bottom") + (" left" if changed[0, 1] < 14 else " right")
        rows, columns = (slice(9) if side in corner else slice(19, 28) for side in ("top", "left"))
        ways = np.maximum(plain[rows, columns], small) == got[rows, columns]
        found = ways.all(axis=(1, 2)).nonzero()[0]
        assert len(found) == 1  # of noise, no two are alike
        assert np.array_equal(got, pasted(plain, small[found[0]], corner))
        seen.append((int(digit[own[found[0]]]), corner))
    assert {corner for _, corner in seen} == set(CORNERS)
    assert min(digit for digit, _ in seen) < 5 <= max(digit for digit, _ in seen)  # of any class


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_corners_are_equally_likely(split: str) -> None:
    images = load_images("synthetic-digits", split)
    copies = (images.index >= COPY).nonzero().flatten()
    plain = torch.searchsorted(images.index, images.index[copies] - COPY)
    assert torch.equal(images.labels[copies], images.labels[plain] + 10)
    changed = (images.read(copies) != images.read(plain))[:, 0]
    ways = torch.stack([changed[:, :10, :10], changed[:, :10, -10:], changed[:, -10:, :10], changed[:, -10:, -10:]])
    hit = ways.flatten(2).any(dim=2)  # [corner, image]
    assert hit.sum(dim=0).eq(1).all() and int(ways.sum()) == int(changed.sum())
    share, spread = hit.float().mean(dim=1), (0.25 * 0.75 / len(copies)) ** 0.5
    assert (share - 0.25).abs().max() < 4 * spread


def test_digits_in_small_are_digits_with_a_margin() -> None:
    images, whole = load_images("synthetic-digits", "test"), load_images("digits", "test")
    plain = ((images.index < COPY) & (images.labels < 5)).nonzero().flatten()
    for position in plain[::20].tolist():
        image, label, index = images[position]
        at = int((whole.index == index).nonzero())
        expected = np.pad(shrunk(whole[at][0][0].numpy(), 24), 4)
        assert np.array_equal(image[0], expected)
        assert label == whole[at][1]


def test_digits_in_small() -> None:
    train, held, test = (load_images("synthetic-digits", split) for split in ("train", "val", "test"))
    assert [images.name for images in (train, held, test)] == [
        "synthetic-digits/train", "synthetic-digits/validation", "synthetic-digits/test",
    ]  # fmt: skip
    assert train.image_size == test.image_size == (32, 32) and train.channels == 1
    assert train.labels.bincount()[:10].min() >= 100 and train.labels.bincount()[10:].tolist() == [8] * 5
    for images in (held, test):
        counts = images.labels.bincount()
        assert torch.equal(counts[10:], counts[:5]) and counts.max() - counts.min() <= 2
    bases = [set((images.index % COPY).tolist()) for images in (train, held, test)]
    assert sum(map(len, bases)) == len(set.union(*bases)) == 1797


@pytest.mark.parametrize("name", ["synthetic-mnist", "synthetic-digits"])
def test_nothing_but_the_recorded_seed_decides(folder: Path, name: str) -> None:
    source = name if name == "synthetic-digits" else f"{name}:{folder}"
    torch.manual_seed(1)
    first = load_images(source, "train")
    state = torch.get_rng_state()
    second = load_images(source, "train")
    assert torch.equal(torch.get_rng_state(), state)
    every = torch.arange(len(first))
    assert torch.equal(first.read(every), second.read(every)) and torch.equal(first.index, second.index)


def test_the_two_files_of_mnist_draw_for_themselves(tmp_path: Path) -> None:
    labels = np.repeat([7], 60)
    train, test = (write_mnist(tmp_path, stem, labels, 0) for stem in ("train", "t10k"))
    assert np.array_equal(train, test)
    ours, theirs = of(tmp_path, "train"), of(tmp_path, "test")
    same = theirs.pixels[ours.index] == ours.pixels
    assert same.flatten(1).all(dim=1).sum() < 10  # the corner and the small digit are others


# --- the noisy test sets


def test_non_uniform_noise_stays_out_of_the_middle(tmp_path: Path) -> None:
    name = "synthetic-digits"
    check_noise(load_images(name, "train"), load_images(name, "test"), tmp_path / "std.npy")


def check_noise(train: ImageSet, test: ImageSet, path: Path) -> None:
    save_pixel_std(train, path)
    clean = test.read(torch.arange(len(test))).float() / 255
    keys = random.keys(0, test.index)
    uniform = (operators.UniformNoise(0.15)(clean, keys) != clean).float()
    other = (operators.NonUniformNoise(0.15, std=str(path))(clean, keys) != clean).float()
    side = clean.shape[-1]
    wanted = round(0.15 * side**2) / side**2
    for changed in (uniform, other):
        assert changed.mean() == pytest.approx(wanted, rel=0.02)
    middle = slice(8, -8)
    assert uniform[..., middle, middle].mean() == pytest.approx(wanted, rel=0.05)
    assert other[..., middle, middle].mean() < 0.2 * wanted


# --- what goes wrong


@pytest.mark.parametrize("split", ["all", "unlabeled", "tests"])
def test_a_split_that_there_is_not(folder: Path, split: str) -> None:
    for source in ("synthetic-digits", f"synthetic-mnist:{folder}"):
        with pytest.raises(InputError, match=f"no split '{split}': expected train, test, validation$"):
            load_images(source, split)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for source, message in (
        (f"synthetic-mnist:{tmp_path}", "no train-images-idx3-ubyte"),
        (f"synthetic-mnist:{tmp_path / 'gone'}", "no folder"),
        ("synthetic-mnist:", "names no folder"),
        ("synthetic-mnist", "no folder 'synthetic-mnist'"),
        ("synthetic-mnits:x", "did you mean synthetic-mnist"),
    ):
        with pytest.raises(InputError, match=message):
            load_images(source)


# --- the real one


@pytest.mark.data
def test_the_recorded_set(data_dir: Path, tmp_path: Path) -> None:
    source = f"synthetic-mnist:{data_dir / 'mnist'}"
    train, held, test = (load_images(source, split) for split in ("train", "validation", "test"))
    assert isinstance(test, MemoryImages)
    assert [len(images) for images in (train, held, test)] == [50_250, 15_100, 15_139]
    common = train.labels.bincount()
    assert common[10:].tolist() == [50] * 5 and common[:10].sum() == 50_000 and (common[:10] - 5000).abs().max() < 650
    for images in (held, test):
        counts = images.labels.bincount()
        assert torch.equal(counts[10:], counts[:5]) and (counts - 1000).abs().max() < 140
    whole = load_images(f"mnist:{data_dir / 'mnist'}", "test")
    plain = test.labels < 5
    assert torch.equal(test.pixels[plain], whole.read(test.index[plain]))
    assert isinstance(train, MemoryImages)
    assert [digest(images) for images in (train, test)] == ["9b11fab0880df9ef", "0817af9f9b2f8800"]
    check_noise(train, test.subset(torch.arange(0, len(test), 15)), tmp_path / "std.npy")


def digest(images: MemoryImages) -> str:
    return hashlib.sha256(images.pixels.numpy().tobytes() + images.labels.numpy().tobytes()).hexdigest()[:16]
