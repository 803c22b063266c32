"""What a verb asks of its input before it makes a run folder: after that, only training can fail."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from weatherproof import random, views
from weatherproof.data import ImageSet, batches, load_images
from weatherproof.encoders import Encoder
from weatherproof.errors import InputError
from weatherproof.objectives import InputGradient, parse_regularizer
from weatherproof.protocols import Operator


def augmentation(augment: str | Operator | None, images: ImageSet) -> Operator | None:
    """ "auto" is the paper's crop and flip; a small image would lose too much to a crop."""
    if augment is None or augment == "none":
        return None
    if augment != "auto":
        return views.parse(augment)
    side = min(images.image_size) if images.image_size else 0
    flip = views.HorizontalFlip()
    return views.Chain(views.RandomResizedCrop(side, (0.2, 1.0)), flip) if side >= 64 else flip


def training_sets(
    images: str | Path | ImageSet, side: int | None, *, augment: str | Operator | None, operator: Operator | None,
    device: torch.device, labelled: bool,
) -> tuple[ImageSet, ImageSet, Operator | None]:  # fmt: skip
    """The training and the test images, and the augmentation, looked at before any time is spent on them.

    Args:
        labelled: they need labels.

    Raises:
        InputError: images, an augmentation or a damage that cannot be used.
    """
    training, test = (load_images(images, split, size=side) for split in ("train", "test"))
    if labelled:
        require_labels(training, test)
    require_one_size(training, test)
    chosen = augmentation(augment, training)
    require_works(chosen, training, device)
    require_works(operator, training, device)
    return training, test, chosen


@contextmanager
def quietly(about: str) -> Iterator[None]:
    """Inside, warnings that say this are not shown: the caller knows, and means it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=f".*{about}")
        yield


def require_labels(training: ImageSet, test: ImageSet) -> None:
    """Raise `InputError` unless all images have labels, and each of two or more classes has images to learn from."""
    for images in (training, test):
        if not has_labels(images) or len(images.classes) < 2:
            raise InputError(f"{images.name!r} has no labels: put the images into one folder per class")
    counts = training.labels.bincount(minlength=len(training.classes)).tolist()
    if 0 in counts:
        name = training.classes[counts.index(0)]
        raise InputError(f"{training.name!r} has no image of class {name!r}: every class needs at least one")


def has_labels(images: ImageSet) -> bool:
    """Whether every image has one."""
    return bool((images.labels >= 0).all())


def require_one_size(*sets: ImageSet) -> None:
    """Raise `InputError` where images differ in size, and so cannot share a batch."""
    for images in sets:
        if images.image_size is None:
            raise InputError(f"the images in {images.name!r} differ in size: give --size N to read all as N x N pixels")


def require_counts(**counts: int | None) -> None:
    """Raise `InputError` where a number that counts something is below 1."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"{name} must be at least 1, got {count}")


def require_works(operator: Operator | None, images: ImageSet, device: torch.device) -> None:
    """Try the operator on two of the images. Raises `InputError` where it fails or gives back something else."""
    batch = next(batches(images, 2, device=device), None)
    if operator is None or batch is None:
        return
    shape = list(batch.images.shape)
    try:
        damaged = operator(batch.images, random.keys(0, batch.index))
    except InputError:
        raise
    except Exception as error:  # a user's own code: whatever it makes of our images
        raise InputError(f"{operator!r} fails on images {shape}: {type(error).__name__}: {error}") from error
    if not isinstance(damaged, Tensor) or damaged.shape != batch.images.shape or not damaged.is_floating_point():
        got = f"{damaged.dtype} {list(damaged.shape)}" if isinstance(damaged, Tensor) else type(damaged).__name__
        raise InputError(f"{operator!r} must give images like those it takes, float {shape}; it gave {got}")
    if not bool(damaged.isfinite().all()):
        raise InputError(f"{operator!r} gives pixels that are not finite numbers")


def penalty_of(tikhonov: float | str | InputGradient | None) -> InputGradient | None:
    """The Tikhonov penalty: a number is its weight, by the quickest way; else its text, such as
    InputGradient(0.1, "exact"). Raises `InputError` for another regularizer or a weight out of range."""
    if tikhonov is None or isinstance(tikhonov, InputGradient):
        return tikhonov
    try:
        weight = float(tikhonov)
    except ValueError:
        found = parse_regularizer(str(tikhonov))
    else:
        return InputGradient(weight, "gradients")
    if not isinstance(found, InputGradient):
        raise InputError(f"tikhonov is a number or an InputGradient(...), got {found!r}")
    return found


def require_twice_differentiable(
    encoder: Encoder, penalty: InputGradient | None, images: ImageSet, device: torch.device
) -> None:
    """Try an exact penalty on two of the images. Raises `InputError` where the encoder has no second derivative."""
    batch = next(batches(images, 2, device=device), None)
    if penalty is None or penalty.method != "exact" or batch is None:
        return
    trial = encoder.clone().to(device).eval().requires_grad_(True)
    try:
        _, squared = penalty.supervised(lambda pixels: trial(pixels).square().sum(dim=1), batch.images)
        squared.backward()
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{encoder.name} has a layer without a second derivative, which {penalty!r} needs: give "
            f'InputGradient({penalty.weight:g}, "gradients"), which does without ({reason})'
        ) from None


def device_of(device: str) -> torch.device:
    """The device that "auto" means here. Raises `InputError` for one that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not (kind == "cuda" and number.isdecimal())):
        raise InputError(f"device must be auto, cpu, cuda or cuda:0, got {device!r}")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise InputError(f"no device {device!r} here (CUDA devices: {torch.cuda.device_count()}): use --device cpu")
    return torch.device(device)
