"""What a source becomes: files, labels, classes, splits, and what is said when something is missing."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weatherproof.data import FileImages, MemoryImages, load_images
from weatherproof.data.class_lists import IMAGENET_100, IMAGENET_100B
from weatherproof.errors import InputError


def put(root: Path, *names: str, size: tuple[int, int] = (4, 4)) -> Path:
    """One small image for each name; its grey level is its place in the list."""
    for level, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size, level).save(path)
    return root


def level(images: MemoryImages | FileImages) -> list[int]:
    return [int(image[0, 0, 0]) for image, _, _ in images]


# --- folders


def test_split_folders_with_classes(tmp_path: Path) -> None:
    put(tmp_path, "train/dog/1.png", "train/cat/2.png", "train/cat/1.png", "val/dog/1.png", "val/eel/x.png")
    train, test = load_images(tmp_path), load_images(f"folder:{tmp_path}", "test")
    assert train.classes == test.classes == ("cat", "dog", "eel")  # a label means the same in both
    assert (level(train), train.labels.tolist(), train.index.tolist()) == ([2, 1, 0], [0, 0, 1], [0, 1, 2])
    assert (level(test), test.labels.tolist()) == ([3, 4], [1, 2])
    assert (train.name, test.name) == (f"{tmp_path.name}/train", f"{tmp_path.name}/val")
    assert train.image_size == (4, 4) and train.channels == 3
    assert isinstance(train, MemoryImages)


def test_the_same_files_and_labels_as_torchvisions_image_folder(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    put(tmp_path, "train/b/2.png", "train/b/10.png", "train/A/z.PNG", "train/a/z.png", "test/a/1.png")
    oracle, images = ImageFolder(tmp_path / "train"), load_images(tmp_path)
    assert list(images.classes) == oracle.classes
    assert images.labels.tolist() == oracle.targets
    assert level(images) == [image.getpixel((0, 0))[0] for image, _ in oracle]


def test_three_splits(tmp_path: Path) -> None:
    put(tmp_path, "train/a.png", "val/a.png", "test/a.png")
    assert [level(load_images(tmp_path, split)) for split in ("train", "val", "test")] == [[0], [1], [2]]
    assert load_images(tmp_path).labels.tolist() == [-1]
    assert load_images(tmp_path).classes == ()


def test_an_unlabeled_split(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.png", "test/b/1.png", "unlabeled/many/1.png", "unlabeled/2.png")
    images = load_images(tmp_path, "unlabeled")
    assert images.labels.tolist() == [-1, -1] and sorted(level(images)) == [2, 3]
    assert images.classes == load_images(tmp_path).classes == ("a", "b")


def test_a_class_called_train(tmp_path: Path) -> None:
    put(tmp_path, "car/1.png", "train/1.png", "bus/1.png")
    assert load_images(tmp_path, "all").classes == ("bus", "car", "train")


def test_hidden_other_and_linked_files(tmp_path: Path) -> None:
    root = put(tmp_path / "set", "a/1.png", "a/.hidden.png", ".cache/1.png", "a/deep/2.jpg", "b/1.png")
    (root / "a/notes.txt").write_text("no image")
    put(tmp_path / "elsewhere", "1.png")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "a/loop").symlink_to(root / "a")
    images = load_images(root, "all")
    assert images.classes == ("a", "b", "linked")
    assert images.labels.tolist() == [0, 0, 1, 2]


def test_the_hold_out_is_stable_and_the_rest_is_train(tmp_path: Path) -> None:
    names = [f"{name}/{i:03}.png" for name in ("a", "b") for i in range(200)]
    put(tmp_path, *names)

    def split() -> tuple[set[str], set[str]]:
        listed = [load_images(tmp_path, s, memory_budget=0) for s in ("train", "test")]
        assert sorted(torch.cat([x.index for x in listed]).tolist()) == list(range(sum(map(len, listed))))
        return set(listed[0].paths), set(listed[1].paths)

    train, test = split()
    assert not train & test and len(train | test) == 400
    for name in ("a", "b"):
        share = sum(f"/{name}/" in path for path in test) / 200
        assert 0.12 < share < 0.28  # 0.2 +- 2.8 standard errors
    put(tmp_path, "a/0000.png", "b/zzz.png", "c/new.png")
    more_train, more_test = split()
    assert train <= more_train and test <= more_test


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/readme.txt").write_text("")
    (tmp_path / "file.png").write_text("")
    put(tmp_path, "trained/train/a.png")
    for source, split, message in (
        (tmp_path / "gone", "train", "no folder .*gone"),
        (tmp_path / "empty", "train", r"no images in .*empty: looked for \.jpg .*, found nothing"),
        (tmp_path / "docs", "train", r"found 1 entry \(readme.txt\)"),
        (tmp_path / "file.png", "train", "is a file"),
        (tmp_path / "trained", "test", r"no split 'test': expected test/ or val/ or validation/, found train/"),
        (tmp_path / "docs", "dev", "no split 'dev'"),
        ("folder:", "train", "names no folder"),
        ("mnsit:x", "train", "unknown image source 'mnsit': did you mean mnist"),
        ("digit", "train", "no folder 'digit': expected .* digits"),
        ("digits", "dev", "digits has no split 'dev'"),
        (f"cifar10:{tmp_path / 'empty'}", "train", "put train/ and test/ there, or the folder cifar-10-batches-py"),
        (f"cifar100:{tmp_path / 'empty'}", "train", "cifar-100-python"),
        (f"stl10:{tmp_path / 'empty'}", "train", "stl10_binary"),
        (f"mnist:{tmp_path / 'empty'}", "train", "no train-images-idx3-ubyte"),
        (f"imagenet:{tmp_path / 'empty'}", "train", "put train/ and val/ there"),
        (f"imagenet:{tmp_path / 'trained'}", "train", "expected ImageNet's class folders .* no class folders"),
        (f"mnist:{tmp_path / 'gone'}", "train", "no folder"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            load_images(source, split)
        assert "\n" not in str(caught.value)


def test_empty_class_folders_and_loose_images_are_said(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "loose.png")
    (tmp_path / "b").mkdir()
    with pytest.warns(UserWarning) as caught:
        images = load_images(tmp_path, "all")
    assert images.classes == ("a",)
    assert any("no images in 1 folders" in str(w.message) and str(w.message).endswith(": b") for w in caught)
    assert any("1 images lie beside the class folders" in str(w.message) for w in caught)


def test_imagenet_subsets_take_their_classes_in_order(tmp_path: Path) -> None:
    assert len(set(IMAGENET_100)) == len(set(IMAGENET_100B)) == 100
    assert not set(IMAGENET_100) & set(IMAGENET_100B)
    assert [IMAGENET_100[i] for i in (53, 8, 68, 40, 21)] == [  # the label shift table of the paper
        "n03062245", "n01978455", "n03785016", "n02326432", "n02093428",
    ]  # fmt: skip
    put(
        tmp_path,
        "val/n00000001/1.png",
        *[f"{split}/{wnid}/1.png" for split in ("train", "val") for wnid in IMAGENET_100],
    )
    images = load_images(f"imagenet100:{tmp_path}", "test")
    assert images.classes == IMAGENET_100
    assert images.labels.tolist() == list(range(100))
    assert images.name == "imagenet100/val"
    assert len(load_images(f"imagenet:{tmp_path}", "val").classes) == 101
    with pytest.raises(InputError, match="lacks 100 of 100 classes"):
        load_images(f"imagenet100b:{tmp_path}")
    put(tmp_path, "train/dog/1.png")
    with pytest.raises(InputError, match="got a folder dog/"):
        load_images(f"imagenet:{tmp_path}")


def test_covid_xray_is_its_binary_task(tmp_path: Path) -> None:
    put(tmp_path, *[f"{task}/{s}/{c}/1.png" for task in ("binary", "other") for s in ("train", "test") for c in "xy"])
    assert load_images(f"covid-xray:{tmp_path}", "test").name == "covid-xray/binary/test"
    assert load_images(f"covid-xray:{tmp_path}/other").name == "covid-xray/other/train"


# --- in memory or in files, good or bad


def test_memory_budget_and_sizes_decide_where_images_live(tmp_path: Path) -> None:
    put(tmp_path / "one", *[f"{i}.png" for i in range(10)])
    assert isinstance(load_images(tmp_path / "one", "all", memory_budget=10 * 48), MemoryImages)
    files = load_images(tmp_path / "one", "all", memory_budget=10 * 48 - 1)
    assert isinstance(files, FileImages) and files.image_size == (4, 4)
    assert level(files) == list(range(10))
    put(tmp_path / "one", "z.png", size=(5, 4))
    mixed = load_images(tmp_path / "one", "all")
    assert isinstance(mixed, FileImages) and mixed.image_size is None
    assert mixed[10][0].shape == (3, 4, 5)
    with pytest.raises(InputError, match="different sizes"):
        mixed.read(torch.tensor([0, 10]))
    resized = load_images(tmp_path / "one", "all", size=3, channels=1)
    assert isinstance(resized, MemoryImages) and resized.image_size == (3, 3) and resized.channels == 1


def test_bad_files_are_left_out_counted_and_named(tmp_path: Path) -> None:
    put(tmp_path, *[f"{i:02}.png" for i in range(40)])
    (tmp_path / "07.png").write_bytes((tmp_path / "07.png").read_bytes()[:40])
    (tmp_path / "09.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"^2 of 40 images \(5.0%\) .* left out: first .*07.png: ") as caught:
        images = load_images(tmp_path, "all")
    assert len(caught) == 1
    assert [Path(path).name for path in images.bad] == ["07.png", "09.png"]
    assert len(images) == 38
    assert images.index.tolist() == level(images) == [i for i in range(40) if i not in (7, 9)]
    with pytest.raises(
        InputError, match=r"2 of 40 images \(5.0%\) .* more than the 4.0% that are left out: first .*07"
    ):
        load_images(tmp_path, "all", max_bad=0.04)


def test_only_bad_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(InputError, match="2 of 2 images"):
        load_images(tmp_path, "all", max_bad=1.0)


# --- arrays


def test_digits() -> None:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    train, test = load_images("digits"), load_images("digits", "val")
    assert (len(train), len(test)) == (1437, 360)
    assert sorted(train.index.tolist() + test.index.tolist()) == list(range(1797))
    assert test.name == "digits/test" and test.classes == tuple("0123456789")
    assert (test.channels, test.image_size) == (1, (32, 32))
    assert test.labels.tolist() == labels[test.index.numpy()].tolist()
    shares = test.labels.bincount() / torch.from_numpy(labels).bincount()
    assert ((shares - 0.2).abs() < 0.01).all()
    shrunk = test.read(torch.arange(360)).reshape(360, 8, 4, 8, 4).float().mean((2, 4)).flatten(1)
    original = torch.from_numpy(pixels[test.index.numpy()]).float()
    assert torch.corrcoef(torch.stack([shrunk.flatten(), original.flatten()]))[0, 1] > 0.97
    assert load_images("digits", size=16, channels=3).read(torch.arange(2)).shape == (2, 3, 16, 16)


def test_arrays_too_large_to_resize_are_resized_when_read() -> None:
    now, later = (load_images("digits", "test", 64, crop_fraction=0.875, memory_budget=b) for b in (2**30, 2**16))
    assert later.image_size == now.image_size == (64, 64)
    assert later.pixels.shape[-1] == 32
    positions = torch.tensor([3, 200, 5])
    assert torch.equal(now.read(positions), later.read(positions))
    assert torch.equal(now.subset(positions).read(torch.tensor([1])), later.subset(positions).read(torch.tensor([1])))


def idx(data: np.ndarray) -> bytes:
    return struct.pack(f">HBB{data.ndim}I", 0, 8, data.ndim, *data.shape) + data.tobytes()


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_files(tmp_path: Path, packed: bool) -> None:
    pixels, labels = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28), np.array([7, 0, 9], np.uint8)
    for name, data in (("t10k-images-idx3-ubyte", idx(pixels)), ("t10k-labels-idx1-ubyte", idx(labels))):
        if packed:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (tmp_path / name).write_bytes(data)
    images = load_images(f"mnist:{tmp_path}", "test")
    assert np.array_equal(images.read(torch.arange(3))[:, 0], pixels)
    assert images.labels.tolist() == [7, 0, 9]


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\x08\x03", idx(np.zeros((2, 28, 28), np.uint8))[:-1], b"\0\0\x0d\x01\0\0\0\0"]
)
def test_a_broken_idx_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(data)
    with pytest.raises(InputError, match="not an IDX file"):
        load_images(f"mnist:{tmp_path}")


def test_cifar_batches_that_are_not_the_published_ones_are_never_unpickled(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    trap = b"cos\nmkdir\n(V" + os.fsencode(tmp_path / "sprung") + b"\ntR."  # a pickle that makes a folder when loaded
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(trap)
    for source in (tmp_path, folder):
        with pytest.raises(InputError, match="not the published cifar10"):
            load_images(f"cifar10:{source}")
    assert not (tmp_path / "sprung").exists()


def test_stl10_binary_files(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 96, 96), np.uint8)
    root = tmp_path / "stl10_binary"
    root.mkdir()
    (root / "test_X.bin").write_bytes(pixels.transpose(0, 1, 3, 2).tobytes())
    (root / "test_y.bin").write_bytes(bytes([1, 10, 3, 2]))
    (root / "unlabeled_X.bin").write_bytes(pixels.transpose(0, 1, 3, 2).tobytes())
    images = load_images(f"stl10:{tmp_path}", "test")
    assert np.array_equal(images.read(torch.arange(4)), pixels)
    assert images.labels.tolist() == [0, 9, 2, 1]
    assert load_images(f"stl10:{tmp_path}", "unlabeled").labels.tolist() == [-1] * 4
    with pytest.raises(InputError, match=r"train_X.bin"):
        load_images(f"stl10:{tmp_path}")


def test_an_image_set_is_returned_as_it_is() -> None:
    images = MemoryImages(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    assert load_images(images) is images


# --- the real ones


@pytest.mark.data
def test_mnist_is_torchvisions(data_dir: Path) -> None:
    from torchvision.datasets import MNIST

    oracle = MNIST(data_dir / "mnist", train=False)
    images = load_images(f"mnist:{data_dir / 'mnist'}", "test")
    assert torch.equal(images.read(torch.arange(len(images)))[:, 0], oracle.data)
    assert torch.equal(images.labels, oracle.targets)


@pytest.mark.slow
@pytest.mark.data
def test_counts_of_the_real_sets(data_dir: Path) -> None:
    def counts(source: str, split: str) -> list[int]:
        return load_images(source, split, memory_budget=0).labels.bincount().tolist()

    assert counts(f"cifar10:{data_dir / 'cifar10'}", "train") == [5000] * 10
    assert counts(f"cifar10:{data_dir / 'cifar10'}", "test") == [1000] * 10
    assert counts(f"imagenet:{data_dir / 'imagenette'}", "train") == [400] * 10
    assert counts(f"folder:{data_dir / 'imagenette'}", "test") == [150] * 10
    assert counts(f"covid-xray:{data_dir / 'covid-xray'}", "train") == [49, 49]
    assert counts(f"covid-xray:{data_dir / 'covid-xray'}/three_class", "test") == [50, 50, 50]
    assert sum(counts(str(data_dir / "dtd10"), "train")) == 792


@pytest.mark.data
def test_cifar10_pixels_are_pillows(data_dir: Path) -> None:
    images = load_images(f"cifar10:{data_dir / 'cifar10'}", "test")
    paths = sorted((data_dir / "cifar10/test/ship").iterdir())
    first = int((images.labels == images.classes.index("ship")).nonzero()[0])
    for offset in (0, 500, 999):
        with Image.open(paths[offset]) as image:
            assert np.array_equal(images[first + offset][0], np.asarray(image).transpose(2, 0, 1))
