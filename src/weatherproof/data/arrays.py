"""Data sets that come as arrays: scikit-learn's digits; MNIST, CIFAR and STL-10 as their authors publish them; npz."""

import gzip
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from weatherproof.data.folders import check_folder
from weatherproof.errors import InputError, shown

DIGITS_SIZE = 32  # pixels a side after enlarging: what small convolutional encoders take
DIGITS_SEED = 0  # of the one split there is
STL10_CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")  # class_names.txt


@dataclass(frozen=True, eq=False)
class Arrays:
    """Pixels uint8 or uint16 [n, C, H, W], int64 labels (-1 for none) and index, of one split."""

    pixels: Tensor
    labels: Tensor
    index: Tensor
    classes: tuple[str, ...]
    split: str


def known_split(split: str, what: str, *others: str) -> str:
    """ "train" or "test", or one of the others; "val" is the validation split, or the test split where there is none.

    Raises:
        InputError: anything else.
    """
    held_out = "validation" if "validation" in others else "test"
    name = held_out if split in ("val", "validation") else split
    if name not in ("train", "test", *others):
        raise InputError(f"{what} has no split {split!r}: expected {', '.join(('train', 'test', *others))}")
    return name


def digits(split: str) -> Arrays:
    """The 1,797 digits of scikit-learn (8x8, 17 levels), bilinearly enlarged to 32x32; a fixed fifth is test, and "all"
    are all."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    split = known_split(split, "digits", "all")
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=DIGITS_SEED)
    chosen = np.sort({"train": parts[0], "test": parts[1], "all": np.concatenate(parts)}[split])
    small = np.round(images[chosen].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    side = (DIGITS_SIZE, DIGITS_SIZE)
    large = np.stack([np.asarray(Image.fromarray(image).resize(side, Image.Resampling.BILINEAR)) for image in small])
    return Arrays(
        torch.from_numpy(large)[:, None],
        torch.from_numpy(labels[chosen].astype(np.int64)),
        torch.from_numpy(chosen.astype(np.int64)),
        tuple(map(str, range(10))),
        split,
    )


def mnist(folder: Path, split: str) -> Arrays:
    """MNIST (LeCun, Cortes and Burges) from its four IDX files, as they are or gzipped."""
    split = known_split(split, "mnist")
    stem = "train" if split == "train" else "t10k"
    pixels = torch.from_numpy(_idx(folder, f"{stem}-images-idx3-ubyte"))[:, None]
    labels = torch.from_numpy(_idx(folder, f"{stem}-labels-idx1-ubyte").astype(np.int64))
    if len(pixels) != len(labels):
        raise InputError(f"{folder}: {len(pixels)} images but {len(labels)} labels in the {split} files")
    return Arrays(pixels, labels, torch.arange(len(labels)), tuple(map(str, range(10))), split)


def _idx(root: Path, name: str) -> np.ndarray:
    """An IDX file of bytes: two zeros, the type (8), the number of dimensions, each length as 4 big-endian bytes."""
    places = [folder / (name + end) for folder in (root / "MNIST/raw", root / "raw", root) for end in ("", ".gz")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        check_folder(root)
        raise InputError(f"no {name} in {root} or {root / 'MNIST/raw'}: put the four MNIST files there (.gz will do)")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    rank = data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 else 0
    shape = tuple(np.frombuffer(data, ">i4", rank, 4).tolist()) if rank and len(data) >= 4 + 4 * rank else ()
    if not shape or len(data) != 4 + 4 * rank + math.prod(shape):
        raise InputError(f"{path} is not an IDX file of bytes, or not a whole one ({len(data)} bytes)")
    return np.frombuffer(bytearray(data), np.uint8, offset=4 + 4 * rank).reshape(shape)


def cifar(folder: Path, split: str, *, fine: bool) -> Arrays:
    """CIFAR-10 or CIFAR-100 (fine labels) from its "python version" (Krizhevsky, 2009).

    Those batches are pickles. torchvision opens them only after their MD5 sums equal the published ones, so nothing
    but the authors' own files is ever unpickled.
    """
    from torchvision.datasets import CIFAR10, CIFAR100

    name = "cifar100" if fine else "cifar10"
    split = known_split(split, name)
    kind = CIFAR100 if fine else CIFAR10
    try:
        read = kind(folder, train=split == "train", download=False)
    except RuntimeError:
        raise InputError(
            f"{folder / kind.base_folder} is incomplete or not the published {name}: get it again"
        ) from None
    pixels = torch.from_numpy(np.ascontiguousarray(read.data.transpose(0, 3, 1, 2)))
    return Arrays(pixels, torch.tensor(read.targets), torch.arange(len(pixels)), tuple(read.classes), split)


def stl10(folder: Path, split: str) -> Arrays:
    """STL-10 (Coates, Lee and Ng, 2011) from stl10_binary/: columns first, labels from 1; mapped, not read."""
    split = known_split(split, "stl10", "unlabeled")
    root = folder / "stl10_binary"
    path = root / f"{split}_X.bin"
    image_bytes = 3 * 96 * 96
    if not path.is_file() or path.stat().st_size % image_bytes:
        raise InputError(f"no {path}, or not a whole one: put the files of stl10_binary.tar.gz into {root}")
    count = path.stat().st_size // image_bytes
    columns = torch.from_file(str(path), shared=False, size=count * image_bytes, dtype=torch.uint8)
    pixels = columns.view(count, 3, 96, 96).transpose(2, 3)
    labels = torch.full((count,), -1)
    if split != "unlabeled":
        labels_path = root / f"{split}_y.bin"
        if not labels_path.is_file() or labels_path.stat().st_size != count:
            raise InputError(f"no {labels_path}, or not one label for each of {count} images")
        labels = torch.from_numpy(np.fromfile(labels_path, np.uint8).astype(np.int64)) - 1
    return Arrays(pixels, labels, torch.arange(count), STL10_CLASSES, split)


def npz(path: Path, split: str) -> Arrays:
    """Images of any number of channels in one file of NumPy's, as MedMNIST (Yang et al. 2023) and Keras name them:
    `train_images`, `train_labels`, `val_images`, `test_images`, ..., or `x_train`, `y_train`, `x_test`, `y_test`.

    Images are [n, H, W], [n, H, W, C] or [n, C, H, W], of which the smaller of the second and the last number is that
    of channels: uint8; uint16, which stay as they are; or floats in [0, 1], which are kept at 16 bits. Labels are
    whole numbers [n] or [n, 1], and may be missing; `classes` may name them.

    Raises:
        InputError: no such file, not a whole one, or other arrays in it.
    """
    if not path.is_file():
        raise InputError(f"no file {path}: npz:FILE is a file of NumPy's, written by numpy.savez")
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise InputError(f"{path} is one array: expected an npz file, with train_images, train_labels, ...")
            with file:
                return _read_npz(path, file, split)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"cannot read {path}, as an npz file of plain arrays: {' '.join(str(error).split())}"
        ) from None


def _read_npz(path: Path, file: Any, split: str) -> Arrays:
    parts = {
        part: images
        for part in ("train", "val", "test")
        for images in (f"{part}_images", f"x_{part}")
        if images in file
    }
    if not parts:
        held = ", ".join(map(shown, file.files[:5])) or "nothing"
        raise InputError(f"{path} holds {held}: expected train_images, train_labels, test_images, ...")
    split = known_split(split, str(path), *(["validation"] if "val" in parts else []))
    own = parts.get("val" if split == "validation" else split)
    if own is None:
        raise InputError(f"{path} has no split {split!r}: it has {', '.join(parts)}")
    names = {part: images.replace("_images", "_labels").replace("x_", "y_") for part, images in parts.items()}
    labels = {part: _npz_labels(path, name, file[name]) for part, name in names.items() if name in file}
    count = max((int(found.max()) + 1 for found in labels.values() if found.numel()), default=0)
    classes = tuple(map(str, file["classes"].tolist() if "classes" in file else range(count)))
    pixels = _npz_pixels(path, own, file[own])
    found = labels.get("val" if split == "validation" else split, torch.full((len(pixels),), -1))
    if len(found) != len(pixels) or (labels and (count > len(classes) or int(found.min()) < 0)):
        raise InputError(
            f"{path} has {len(found)} labels for {len(pixels)} images in {split}, up to {count - 1}, of "
            f"{len(classes)} classes: expected one each, from 0"
        )
    return Arrays(pixels, found, torch.arange(len(pixels)), classes, split)


def _npz_labels(path: Path, name: str, labels: Any) -> Tensor:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"{name} in {path} is {labels.dtype} {list(labels.shape)}: expected one whole number an image")
    return torch.from_numpy(labels.astype(np.int64))


def _npz_pixels(path: Path, name: str, pixels: Any) -> Tensor:
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or 0 in pixels.shape or pixels.dtype.kind not in "uf" or pixels.dtype.itemsize > 8:
        raise InputError(
            f"{name} in {path} is {pixels.dtype} {list(pixels.shape)}: expected uint8, uint16 or floats, [n, H, W], "
            "[n, H, W, C] or [n, C, H, W]"
        )
    if pixels.dtype.kind == "f":
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise InputError(
                f"{name} in {path} goes from {pixels.min():g} to {pixels.max():g}: expected floats in [0, 1]"
            )
        pixels = np.round(pixels * np.float64(65535)).astype(np.uint16)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{name} in {path} is {pixels.dtype}: expected uint8, uint16 or floats in [0, 1]")
    last = pixels.shape[3] <= pixels.shape[1]
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) if last else pixels))
