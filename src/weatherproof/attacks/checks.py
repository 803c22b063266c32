"""What an attack refuses, said in one line, before it spends any time."""

import torch
from torch import Tensor

from weatherproof.attacks.balls import Ball
from weatherproof.errors import InputError
from weatherproof.types import Images, Keys, Labels, Logits

_OUTSIDE = 1e-6  # what resizing and the like may add by rounding
_SUM = 1e-3  # how far from 1 half-precision probabilities may sum


def check_images(images: Images, labels: Labels, keys: Keys) -> None:
    """Raises `InputError` for what is no batch of images, for pixels outside [0, 1], and for labels or keys that are
    not one for each image."""
    if images.ndim != 4 or not images.is_floating_point():
        raise InputError(
            f"attacks need floating-point images [batch, channels, height, width] with pixels in [0, 1], got "
            f"{str(images.dtype).removeprefix('torch.')} {list(images.shape)}"
        )
    if labels.ndim != 1 or labels.is_floating_point():
        kind = str(labels.dtype).removeprefix("torch.")
        raise InputError(f"labels must be whole numbers [batch], got {kind} {list(labels.shape)}")
    if not len(images) == len(labels) == len(keys):
        raise InputError(
            f"expected a label and a key for each image, got {len(images)} images, {len(labels)} labels and "
            f"{len(keys)} keys"
        )
    if images.numel() == 0:
        return
    low, high = (float(value) for value in torch.aminmax(images))
    if low >= -_OUTSIDE and high <= 1 + _OUTSIDE:  # not so where a pixel is NaN
        return
    hint = "divide by 255" if low >= 0 and 1 < high <= 255 else "normalisation belongs inside the model"
    raise InputError(f"attacks need pixels in [0, 1], got {low:g} .. {high:g}: {hint}")


def check_reach(ball: Ball, images: Images) -> None:
    """Raises `InputError` where no two images are as far apart as eps: it is most likely in units of 0-255."""
    largest = ball.largest(images) if len(images) else float("inf")
    if ball.eps > largest * (1 + 1e-6):
        raise InputError(
            f"eps is {ball.eps:g}, and no two images of {tuple(images.shape[1:])} pixels in [0, 1] are further apart "
            f"than {largest:.4g}: in units of 0-255, divide it by 255"
        )


def check_outputs(logits: object, labels: Labels) -> None:
    """Raises `InputError` for outputs that no attack can work with; see `are_probabilities`."""
    if not isinstance(logits, Tensor):
        raise InputError(f"expected logits [{len(labels)}, classes] from the model, got a {type(logits).__name__}")
    logits = logits.detach()
    if logits.ndim != 2 or len(logits) != len(labels):
        raise InputError(f"expected logits [{len(labels)}, classes] from the model, got {list(logits.shape)}")
    if len(logits) == 0:
        return
    check_finite(logits.isnan().any())
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= logits.shape[1]:
        raise InputError(
            f"labels must be 0 .. {logits.shape[1] - 1}, one for each of the model's outputs; got {low} .. {high}"
        )
    if are_probabilities(logits):
        raise InputError(
            "the model's outputs are probabilities (each row sums to 1), whose gradients vanish where it is sure: "
            "attack the logits before the softmax"
        )


def check_finite(any_nan: Tensor) -> None:
    if bool(any_nan):
        raise InputError("the model gives NaN logits for images in [0, 1]: it cannot be attacked, nor be trusted")


def are_probabilities(logits: Logits) -> bool:
    """Whether every row lies in [0, 1] and sums to 1."""
    if logits.shape[1] < 2:
        return False
    in_range = ((logits >= 0) & (logits <= 1)).all()
    return bool(in_range & ((logits.sum(dim=1) - 1).abs() < _SUM).all())
