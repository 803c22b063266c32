"""What a classifier needs of an image, and what its embedding reacts to (feature contrastive learning, section 2)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Int64
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.objectives.class_losses import Losses, cross_entropy
from weatherproof.types import Embeddings, Images, Labels, Logits

Loss = Callable[[Logits, Labels], Losses]


def utility(model: Callable[[Images], Logits], images: Images, labels: Labels, loss: Loss = cross_entropy) -> Images:
    """u = |d loss(x, y) / d x| of every element of every image (definition 1), the loss cross-entropy of the logits,
    or another one.

    In float32 whatever autocast says. The model is left in its mode and its parameters' gradients are untouched. In
    train mode batch normalisation ties the images of a batch together; in evaluation mode each has its own.

    Args:
        model: images [batch, C, H, W] -> logits [batch, classes].
        images: pixels in [0, 1].
        labels: 0 .. classes - 1.

    Returns:
        [batch, C, H, W], at least 0, per unit of pixel value.

    Raises:
        InputError: a label that the model has no output for, or a model that has no gradient.
    """
    with _exact(images):
        pixels = images.detach().clone().float().requires_grad_()
        logits = model(pixels)
        _check_labels(logits, labels)
        return utility_of(logits, pixels, labels.clone(), loss=loss)


def utility_of(
    logits: Logits, pixels: Images, labels: Labels, *, keep_graph: bool = False, loss: Loss = cross_entropy
) -> Images:
    """`utility` from a forward pass that was made already.

    Args:
        pixels: what the logits were made of; they record gradients.
        labels: in range, which `utility` checks and this does not.
        keep_graph: another backward pass through the logits follows.
        loss: of single answers, as in `objectives.class_losses`.
    """
    total = loss(logits, labels).sum()
    if not total.requires_grad:
        raise InputError("utility needs a model that can be differentiated by its input: this one gives no gradient")
    (gradient,) = torch.autograd.grad(total, pixels, retain_graph=keep_graph)
    return gradient.abs_()


def sensitivity(encoder: Callable[[Images], Embeddings], images: Images, chunk: int = 8) -> Images:
    """s_j = sqrt( sum_e (d phi_e(x) / d x_j)^2 ): the norm of each column of the embedding's Jacobian (definition 2).

    Exact: as many backward passes as the embedding has dimensions, `chunk` of them at once. Mode, precision and
    gradients as for `utility`.

    Args:
        encoder: images -> embeddings [batch, features], or any such output, logits or probabilities.
        images: [batch, C, H, W], pixels in [0, 1].
        chunk: dimensions at a time; memory grows with it.

    Returns:
        [batch, C, H, W], at least 0, per unit of pixel value.
    """
    if chunk < 1:
        raise InputError(f"chunk counts dimensions at a time: 1 or more, got {chunk}")
    with _exact(images):
        pixels = images.detach().clone().float().requires_grad_()
        embeddings = encoder(pixels).float()
        if not embeddings.requires_grad:
            raise InputError("sensitivity needs an encoder that can be differentiated by its input")
        rows, features = embeddings.shape
        squares = torch.zeros_like(pixels, requires_grad=False)
        for first in range(0, features, chunk):
            count = min(chunk, features - first)
            chosen = torch.eye(features, device=pixels.device)[first : first + count, None].expand(-1, rows, -1)
            (columns,) = torch.autograd.grad(
                embeddings, pixels, chosen, retain_graph=first + count < features, is_grads_batched=True
            )
            squares += columns.square_().sum(dim=0)
        return squares.sqrt_()


def most_useful(utility: Images, k: int) -> Int64[Tensor, "batch k"]:
    """Where the k largest values of every image are, in C x H x W as one row: TOP_k of definition 3."""
    return utility.flatten(1).topk(k, dim=1, sorted=False).indices


def least_useful(utility: Images, k: int) -> Int64[Tensor, "batch k"]:
    """Where the k smallest are: BOTTOM_k. Of equal values any."""
    return utility.flatten(1).topk(k, dim=1, largest=False, sorted=False).indices


@contextmanager
def _exact(images: Images) -> Iterator[None]:
    """Gradients on, autocast off, also where the caller has it otherwise."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        yield


def _check_labels(logits: Logits, labels: Labels) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= logits.shape[1]:
        raise InputError(
            f"labels must be 0 .. {logits.shape[1] - 1}, one for each of the model's outputs; got {low} .. {high}"
        )
