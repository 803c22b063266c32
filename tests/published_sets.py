"""Data sets written out in small, in the layouts that torchvision leaves, and as the archives that it fetches."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat


def image(file: Path, shade: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(file)


def dtd(root: Path) -> None:
    for part, images in {"train1": (0, 1), "val1": (2,), "test1": (3,)}.items():
        lines = [f"{name}/{name}_{i}.png" for name in ("banded", "dotted") for i in images]
        (root / "dtd/dtd/labels").mkdir(parents=True, exist_ok=True)
        (root / "dtd/dtd/labels" / f"{part}.txt").write_text("\n".join(lines) + "\n")
        for shade, line in enumerate(lines):
            image(root / "dtd/dtd/images" / line, shade)


def pets(root: Path) -> None:
    for part, images in {"trainval": (0, 1), "test": (2,)}.items():
        names = [(f"{name}_{i}", label) for label, name in enumerate(("bengal", "pug"), 1) for i in images]
        folder = root / "oxford-iiit-pet"
        (folder / "annotations").mkdir(parents=True, exist_ok=True)
        (folder / "annotations" / f"{part}.txt").write_text("".join(f"{n} {k} 1 1\n" for n, k in names))
        for name, _ in names:
            image(folder / "images" / f"{name}.jpg", 9)


def food(root: Path) -> None:
    folder = root / "food-101"
    for part, images in {"train": (0, 1), "test": (2,)}.items():
        listed = {name: [f"{name}/{i}" for i in images] for name in ("pie", "soup")}
        (folder / "meta").mkdir(parents=True, exist_ok=True)
        (folder / "meta" / f"{part}.json").write_text(json.dumps(listed))
        for file in sum(listed.values(), []):  # noqa: RUF017 - four of them
            image(folder / "images" / f"{file}.jpg", 9)


def aircraft(root: Path) -> None:
    folder = root / "fgvc-aircraft-2013b/data"
    folder.mkdir(parents=True)
    (folder / "variants.txt").write_text("707-320\nA 380\n")
    for part, images in {"trainval": (0, 1), "test": (2,)}.items():
        lines = [f"{label}{i} {name}" for label, name in enumerate(("707-320", "A 380")) for i in images]
        (folder / f"images_variant_{part}.txt").write_text("\n".join(lines) + "\n")
        for line in lines:
            image(folder / "images" / f"{line.partition(' ')[0]}.jpg", 9)


def flowers(root: Path) -> None:
    folder = root / "flowers-102"
    for i in range(1, 7):
        image(folder / "jpg" / f"image_{i:05}.jpg", i)
    savemat(folder / "imagelabels.mat", {"labels": np.array([[1, 2] * 3])})
    ids = {"trnid": [[1, 2]], "valid": [[3, 4]], "tstid": [[5, 6]]}
    savemat(folder / "setid.mat", {name: np.array(own) for name, own in ids.items()})


def caltech101(root: Path) -> None:
    for name, count in {"BACKGROUND_Google": 3, "ant": 33, "bass": 31}.items():
        for i in range(count):
            image(root / "caltech101/101_ObjectCategories" / name / f"image_{i + 1:04}.jpg", min(255, 7 * i))


def caltech256(root: Path) -> None:
    for label, name in enumerate(("001.ak47", "002.flag"), 1):
        for i in range(61):
            image(root / "caltech256/256_ObjectCategories" / name / f"{label:03}_{i + 1:04}.jpg", i)


def sun397(root: Path) -> None:
    folder = root / "SUN397"
    (folder / "a").mkdir(parents=True)
    (folder / "ClassName.txt").write_text("/a/abbey\n/c/cabin/indoor\n")
    (folder / "Training_01.txt").write_text("/a/abbey/sun_1.jpg\n/c/cabin/indoor/sun_2.jpg\n")
    (folder / "Testing_01.txt").write_text("/c/cabin/indoor/sun_3.jpg\n")
    for line in ("a/abbey/sun_1.jpg", "c/cabin/indoor/sun_2.jpg", "c/cabin/indoor/sun_3.jpg"):
        image(folder / line, 9)


def imagenette(root: Path) -> None:
    for split, count in (("train", 2), ("val", 1)):
        for name in ("n01440764", "n02102040"):
            for i in range(count):
                image(root / "imagenette2" / split / name / f"{i}.JPEG", i)


def mnist(root: Path) -> None:
    folder = root / "MNIST/raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 3), ("t10k", 2)):
        sizes = b"".join(length.to_bytes(4, "big") for length in (count, 28, 28))
        pixels = bytes([0, 0, 8, 3]) + sizes + bytes(count * 28 * 28)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pixels))
        labels = bytes([0, 0, 8, 1]) + count.to_bytes(4, "big") + bytes(range(count))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))


def cifar10(root: Path) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        rows = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}
        (folder / name).write_bytes(pickle.dumps(rows))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [*map(str, range(10))]}))


# What writes a set, and how many images it has to train and to test.
SETS: dict[str, tuple[Callable[[Path], None], int, int]] = {
    "dtd": (dtd, 6, 2), "pets": (pets, 4, 2), "food101": (food, 4, 2), "aircraft": (aircraft, 4, 2),
    "flowers": (flowers, 4, 2), "caltech101": (caltech101, 60, 4), "caltech256": (caltech256, 120, 2),
    "sun397": (sun397, 2, 1), "imagenette": (imagenette, 4, 2), "mnist": (mnist, 3, 2), "cifar10": (cifar10, 10, 2),
}  # fmt: skip


def archives(name: str, root: Path) -> dict[str, bytes]:
    """What is published of a set, by the names of the files; `root` is empty."""
    SETS[name][0](root)
    if name == "flowers":
        folder = root / "flowers-102"
        mats = {file.name: file.read_bytes() for file in folder.glob("*.mat")}
        return {"102flowers.tgz": packed(folder / "jpg"), **mats}
    if name == "pets":
        folder = root / "oxford-iiit-pet"
        return {f"{part}.tar.gz": packed(folder / part) for part in ("images", "annotations")}
    if name == "caltech101":
        inner = packed(root / "caltech101/101_ObjectCategories")
        return {"caltech-101.zip": zipped({"caltech-101/101_ObjectCategories.tar.gz": inner})}
    if name == "sun397":
        lists = {file.name: file.read_bytes() for file in (root / "SUN397").glob("*_01.txt")}
        for file in lists:
            (root / "SUN397" / file).unlink()
        return {"SUN397.tar.gz": packed(root / "SUN397"), "Partitions.zip": zipped(lists)}
    if name == "mnist":
        return {file.name: file.read_bytes() for file in (root / "MNIST/raw").iterdir()}
    places = {
        "dtd": ("dtd-r1.0.1.tar.gz", "dtd/dtd"), "food101": ("food-101.tar.gz", "food-101"),
        "aircraft": ("fgvc-aircraft-2013b.tar.gz", "fgvc-aircraft-2013b"),
        "caltech256": ("256_ObjectCategories.tar", "caltech256/256_ObjectCategories"),
        "imagenette": ("imagenette2.tgz", "imagenette2"), "cifar10": ("cifar-10-python.tar.gz", "cifar-10-batches-py"),
    }  # fmt: skip
    file, folder_name = places[name]
    return {file: packed(root / folder_name, "w" if file.endswith(".tar") else "w:gz")}


def packed(folder: Path, mode: str = "w:gz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        archive.add(folder, folder.name)
    return stream.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()
