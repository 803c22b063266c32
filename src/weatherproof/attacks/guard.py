"""How attacks look at a model: in evaluation mode, by its gradient with respect to the pixels, and nothing is left
behind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from weatherproof.attacks.checks import check_outputs
from weatherproof.attacks.losses import Loss, Losses
from weatherproof.errors import InputError
from weatherproof.modes import eval_mode
from weatherproof.types import Images, Labels, Logits

Model = Callable[[Images], Logits]

_FLAT = (
    "a gradient attack needs a model that can be differentiated by its pixels: this one gives no gradient (does it "
    "round, detach or leave PyTorch?)"
)


@contextmanager
def guarded(model: Model) -> Iterator[None]:
    """Inside, the model is in evaluation mode and gradients can be taken, wherever the caller is.

    Outside, each of its modules is in the mode it had. The model is an `nn.Module` or a method of one, such as
    `encoder.logits`; of any other callable the modules are not known, and their modes are the caller's business.
    """
    with eval_mode(_module(model)), torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def frozen(model: Model) -> Iterator[None]:
    """Inside, no parameter asks for a gradient: for code that calls `backward`. The model as for `guarded`."""
    owner = _module(model)
    flagged = [weight for weight in owner.parameters() if weight.requires_grad] if owner else []
    try:
        for weight in flagged:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in flagged:
            weight.requires_grad_(True)


def _module(model: Model) -> nn.Module | None:
    owner = model if isinstance(model, nn.Module) else getattr(model, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def own_copies(images: Images, labels: Labels) -> tuple[Images, Labels]:
    """Copies that nobody else holds and autograd can keep, also where the caller is in inference mode; both on the
    images' device. Call it inside `guarded`."""
    return images.detach().clone(), labels.to(images.device, copy=True)


def climb(
    model: Model, images: Images, labels: Labels, loss: Loss, *, check: bool = False
) -> tuple[Logits, Losses, Images]:
    """Logits, losses and the gradient of the summed losses with respect to the pixels, all detached.

    No gradient of a weight is computed, so parameters and their `.grad` are untouched. Call it inside `guarded`.

    Args:
        check: raise what `check_outputs` raises, and where the loss is not one number per image.

    Raises:
        InputError: the outputs cannot be differentiated by the pixels.
    """
    pixels = images.detach().requires_grad_()
    try:
        logits, losses = look(model, pixels, labels, loss, check=check)
    except RuntimeError as error:
        if "requires grad" in str(error):  # what tensor.numpy() says
            raise InputError(_FLAT) from error
        raise
    gradient = torch.autograd.grad(losses.sum(), pixels, allow_unused=True)[0] if losses.requires_grad else None
    if gradient is None:
        raise InputError(_FLAT)
    return logits.detach(), losses.detach(), gradient


def look(model: Model, images: Images, labels: Labels, loss: Loss, *, check: bool = False) -> tuple[Logits, Losses]:
    """Logits and losses in float32, without a gradient of their own where `torch.no_grad` says so."""
    logits = model(images)
    if check:
        check_outputs(logits, labels)
    logits = logits.float()
    losses = loss(logits, labels)
    if check and losses.shape != labels.shape:
        raise InputError(f"a loss must give one number per image, [{len(labels)}], got {list(losses.shape)}: {loss!r}")
    return logits, losses
