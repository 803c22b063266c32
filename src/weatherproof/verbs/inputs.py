"""What a verb asks of its input before it makes a run folder: after that, only training can fail."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from weatherproof import random, views
from weatherproof.attacks.described import facts_of
from weatherproof.data import Batch, ImageSet, batches, load_images
from weatherproof.data.folders import EVERY
from weatherproof.data.loading import MOST_ROWS
from weatherproof.data.sources import names_a_folder
from weatherproof.encoders import Encoder, load_encoder, require_weights
from weatherproof.errors import InputError, shown
from weatherproof.evaluation.class_sets import some
from weatherproof.objectives import InputGradient, parse_regularizer
from weatherproof.operators import Corruption
from weatherproof.protocols import Attack, Objective, Operator
from weatherproof.readouts import evaluating, require_embeddings
from weatherproof.sizes import GivenSize, size_of
from weatherproof.types import Images, Logits
from weatherproof.views.geometry import random_crop

_MOST_OF_ANYTHING = 1 << 31
_MOST = {"batch_size": MOST_ROWS, "processes": 1024, "realizations": 1_000_000, "seeds": 10_000}

_NOTICED = 1e-4  # of pixels: by more than rounding
_FLAT = "images"  # Tiny-ImageNet's val/images/ holds the images of all classes


def augmentation(augment: str | Operator | None, images: ImageSet) -> Operator | None:
    """ "auto" is the paper's crop and flip; a small image would lose too much to a crop."""
    if augment is None or augment == "none":
        return None
    if augment != "auto":
        return views.parse(augment)
    side = min(images.image_size) if images.image_size else 0
    flip = views.HorizontalFlip()
    if images.image_size is None or side < 64:
        return flip
    return views.Chain(random_crop(size_of(images.image_size), (0.2, 1.0)), flip)


def training_sets(
    images: str | Path | ImageSet, size: GivenSize | None, *, augment: str | Operator | None, operator: Operator | None,
    device: torch.device, labelled: bool,
) -> tuple[ImageSet, ImageSet, Operator | None]:  # fmt: skip
    """The training and the test images, and the augmentation, looked at before any time is spent on them.

    Args:
        labelled: they need labels.

    Raises:
        InputError: images, an augmentation or a damage that cannot be used.
    """
    training, test = (load_images(images, split, size=size) for split in ("train", "test"))
    if labelled:
        require_labels(training, test)
    require_one_size(training, test)
    chosen = augmentation(augment, training)
    require_works(chosen, training, device)
    require_works(operator, training, device)
    return training, test, chosen


def whole_folder(source: str | Path | ImageSet, split: str | None) -> str | None:
    """The split that is asked for, else every image of a folder, in whatever folders they lie there; None: neither."""
    return EVERY if split is None and names_a_folder(source) else split


def read_at(
    source: str | Path | ImageSet, split: str | None, encoder: Encoder, options: Mapping[str, Any], **how: Any
) -> ImageSet:
    """The images of a source at the options' `size`, by default the encoder's, and `crop_fraction`.

    Args:
        how: further settings of `load_images`.

    Raises:
        InputError: images that cannot be read so, or that differ in size.
    """
    fraction = options["crop_fraction"]
    images = load_images(
        source, split, size=options["size"] or encoder.preprocessing.size,
        crop_fraction=1.0 if fraction is None else fraction, **how,
    )  # fmt: skip
    require_one_size(images)
    return images


def pretrained(encoder: str | Path | nn.Module, *, size: GivenSize | None, seed: int = 0) -> Encoder:
    """The encoder of a verb that starts from a pretrained one, in evaluation mode; one in the hand in its own. Raises
    `InputError` for what `load_encoder` refuses, and for a name alone of which nothing is published: it would mean
    random weights."""
    require_weights(encoder)
    loaded = load_encoder(encoder, size=size, seed=seed)
    return loaded if isinstance(encoder, nn.Module) else loaded.eval()


def from_nothing(encoder: str | Path | nn.Module, *, size: GivenSize | None, seed: int) -> Encoder:
    """The encoder of a verb that trains from the start, where such a name alone means just that."""
    with quietly("randomly initialised"):
        return load_encoder(encoder, size=size, seed=seed)


@contextmanager
def quietly(about: str) -> Iterator[None]:
    """Inside, warnings that say this are not shown: the caller knows, and means it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=f".*{about}")
        yield


@contextmanager
def tried(what_fails: str) -> Iterator[None]:
    """Makes an `InputError` of whatever a user's own code raises, and says what fails."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{what_fails}: {type(error).__name__}: {error}") from error


def require_labels(training: ImageSet, test: ImageSet) -> None:
    """Raise `InputError` where what learns from the training images cannot be judged by the test images."""
    reason = unlike_classes(training, test)
    if reason is not None:
        raise InputError(reason)


def measurable(training: ImageSet, test: ImageSet, what: str = "accuracies") -> bool:
    """Whether what learns from the training images can be judged by the test images. Warns where it cannot though both
    have labels.

    Args:
        what: is not measured then.
    """
    reason = unlike_classes(training, test)
    labelled = len(training.classes) > 1 and has_labels(training) and has_labels(test)
    if reason is not None and labelled:
        warnings.warn(f"no {what} are measured: {reason}", UserWarning, stacklevel=3)
    return reason is None


def unlike_classes(training: ImageSet, test: ImageSet) -> str | None:
    """Why accuracy on the test images would say nothing of what has learnt from the training images; None where all
    images have labels of the same classes, each class has images to learn from, and the test images are of two or more
    (of one, every classifier that knows no other is right)."""
    for images in (training, test):
        if not has_labels(images) or not images.classes:
            return f"{images.name!r} has no labels: put the images into one folder per class"
        if len(images.classes) < 2:
            return f"{images.name!r} has one class alone, {images.classes[0]}: put a folder of each other one beside it"
    if training.classes != test.classes:
        return (
            f"{training.name!r} and {test.name!r} differ in their classes ({some(training.classes)}; "
            f"{some(test.classes)}): both need the same ones in the same order"
        )
    counts, labels = training.labels.bincount(minlength=len(training.classes)).tolist(), test.labels.unique().tolist()
    names = [training.classes[label] for label, count in enumerate(counts) if count == 0]
    if names == [_FLAT] == [test.classes[label] for label in labels]:
        return (
            f"{training.name!r} has no image of class {_FLAT!r}: the test images of Tiny-ImageNet lie in one folder as "
            "they are downloaded, move each into the folder of the class that val_annotations.txt names"
        )
    if names:
        return f"{training.name!r} has no image of class {names[0]!r}: every class needs at least one"
    return f"{test.name!r} is of {len(labels)} class: accuracy needs two or more" if len(labels) < 2 else None


def has_labels(images: ImageSet) -> bool:
    """Whether every image has one."""
    return bool((images.labels >= 0).all())


def require_one_size(*sets: ImageSet) -> None:
    """Raise `InputError` where images differ in size, and so cannot share a batch."""
    for images in sets:
        if images.image_size is None:
            raise InputError(f"the images in {images.name!r} differ in size: give --size N to read all as N x N pixels")


def require_counts(**counts: int | None) -> None:
    """Raise `InputError` where a number that counts something is below 1, or beyond anything that can be counted."""
    for name, count in counts.items():
        most = _MOST.get(name, _MOST_OF_ANYTHING)
        given: object = count  # of Python, where a caller may write anything
        if given is not None and (isinstance(given, bool) or not hasattr(given, "__index__")):
            raise InputError(f"{name} must be a whole number, got {shown(count)}")
        if count is not None and not 1 <= count <= most:
            raise InputError(f"{name} must be at least 1{f' and at most {most:,}' * (count > 1)}, got {shown(count)}")


def require_pace(minutes: float | None, processes: int) -> None:
    """Raise `InputError` for a time or a number of processes that nothing can be measured with."""
    require_counts(processes=processes)
    if minutes is not None and not minutes > 0:
        raise InputError(f"minutes is a time above 0, got {minutes:g}")


def require_works(operator: Operator | None, images: ImageSet, device: torch.device) -> None:
    """Try the operator on two of the images. Warns where it gives other pixels for the same images and keys, or for an
    image alone.

    Raises:
        InputError: it fails, gives back something else, changes the images that it is given, or gives back the same for
            every image.
    """
    batch = next(batches(images, 2, device=device), None)
    if operator is None or batch is None:
        return
    shape, before = list(batch.images.shape), batch.images.clone()
    with tried(f"{operator!r} fails on images {shape}"):
        damaged = operator(batch.images, random.keys(0, batch.index))
    if not _is_like(damaged, batch.images) or damaged.shape != batch.images.shape:
        raise InputError(f"{operator!r} must give images like those it takes, float {shape}; it gave {_kind(damaged)}")
    if not bool(damaged.isfinite().all()):
        raise InputError(f"{operator!r} gives pixels that are not finite numbers")
    if not torch.equal(batch.images, before):  # the clean image, which is still to be seen
        raise InputError(f"{operator!r} changes the images that it is given: let it work on images.clone()")
    if not isinstance(operator, Corruption):  # of which a copy has 95
        _warn_of_other_draws(operator, batch, damaged)
    others = [one for one in (1 - batch.images, batch.images.roll(1, 0)) if not torch.equal(one, batch.images)]
    if others and all(torch.equal(operator(other, random.keys(0, batch.index)), damaged) for other in others):
        raise InputError(
            f"{operator!r} leaves nothing of an image: it gives the same for a picture, its negative and "
            "another picture; give a milder level"
        )


def _warn_of_other_draws(operator: Operator, batch: Batch, damaged: Images) -> None:
    keys = random.keys(0, batch.index)
    with tried(f"{operator!r} fails on images {[1, *batch.images.shape[1:]]}"):
        again, alone = operator(batch.images, keys), operator(batch.images[:1], keys[:1])
    if not torch.allclose(again, damaged, atol=_NOTICED):
        said = "other pixels for the same images and keys: let it draw from its keys alone, else numbers differ"
    elif alone.shape != damaged[:1].shape or not torch.allclose(alone, damaged[:1], atol=_NOTICED):
        said = "other pixels for an image alone than beside another one: numbers depend on the batch, and --batch-size"
    else:
        return
    warnings.warn(f"{operator!r} gives {said}", UserWarning, stacklevel=4)


def require_objective_works(objective: Objective, encoder: Encoder, device: torch.device) -> None:
    """Try the objective on embeddings of four images. Raises `InputError` where it fails, or gives no loss that can be
    minimised: one finite number, with a gradient."""
    rows = torch.eye(4, encoder.feature_dim, device=device) + 0.1
    student = rows.clone().requires_grad_()
    with tried(f"{objective!r} fails on embeddings {list(rows.shape)}"):
        loss = objective(student, rows.roll(1, 0))
    if not _is_like(loss, rows, of_same_type=False) or loss.shape != () or not loss.requires_grad:
        gradient = "" if not isinstance(loss, Tensor) or loss.requires_grad else " without a gradient"
        raise InputError(
            f"{objective!r} must give the loss as one number (a float tensor without dimensions) that depends on its "
            f"first argument; it gave {_kind(loss)}{gradient}"
        )
    if not bool(loss.isfinite()):
        raise InputError(f"{objective!r} gives the loss {float(loss.detach())} for embeddings without anything special")


def require_attack_works(attack: Attack, model: Callable[[Images], Logits], batch: Batch) -> None:
    """Try the attack, with a single step, on a model and a few images. Raises `InputError` where it fails or gives back
    something else."""
    images = batch.images
    with tried(f"{attack!r} fails on this model"):  # which perhaps cannot be differentiated
        attacked = facts_of(attack).with_one_step()(model, images, batch.labels, random.keys(0, batch.index))
    if not _is_like(attacked, images) or attacked.shape != images.shape or not bool(attacked.isfinite().all()):
        raise InputError(
            f"{attack!r} must give images like those it takes, float {list(images.shape)}; it gave {_kind(attacked)}"
        )


def _is_like(made: object, given: Tensor, *, of_same_type: bool = True) -> TypeGuard[Tensor]:
    """Whether it is a float tensor on the same device, of the same type of numbers."""
    if not isinstance(made, Tensor) or not made.is_floating_point() or made.device.type != given.device.type:
        return False
    return made.dtype == given.dtype or not of_same_type


def _kind(made: object) -> str:
    """What came instead of a tensor that was wanted, in words."""
    if not isinstance(made, Tensor):
        return type(made).__name__
    return f"{made.dtype} {list(made.shape)} on {made.device.type}"


def require_embeds(encoder: Encoder, images: ImageSet, device: torch.device, *, alone: bool = True) -> None:
    """Try the encoder on two of the images. Raises `InputError` where what it gives is not finite: a training would
    blame its learning rate.

    Args:
        alone: a copy is tried. False: the encoder itself, which is on the device and is not trained.
    """
    batch = next(batches(images, 2, device=device), None)
    if batch is not None:
        trial = encoder.clone().to(device) if alone else encoder
        with evaluating(trial):
            require_embeddings(encoder.name, trial(batch.images))


def penalty_of(tikhonov: float | str | InputGradient | None) -> InputGradient | None:
    """The Tikhonov penalty: a number is its weight, by the quickest way; else its text, such as
    InputGradient(0.1, "exact"). Raises `InputError` for another regularizer or a weight out of range."""
    if tikhonov is None or isinstance(tikhonov, InputGradient):
        return tikhonov
    try:
        weight = float(tikhonov)
    except ValueError:
        regularizer = parse_regularizer(str(tikhonov))
    else:
        return InputGradient(weight, "gradients")
    if not isinstance(regularizer, InputGradient):
        raise InputError(f"tikhonov is a number or an InputGradient(...), got {regularizer!r}")
    return regularizer


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
