"""Tikhonov regularization: a loss pays for how fast it changes with the pixels (Drucker & LeCun 1992).

Two forms, for the two kinds of loss ("Robustness of Contrastive Learning Models", eq. 2 and 3), each added as
L + lambda / 2 R:

- supervised, one loss l_i per image: R = mean_i |grad_{x_i} l_i|^2;
- contrastive, one loss L per batch of N images in two views: R = sum_k (|grad_{x_2k-1} L|^2 + |grad_{x_2k} L|^2) / 2,
  half the squared length of the gradient with respect to all 2N views. As L is a mean over the 2N views, R falls as
  1 / 4N where batches grow; 4N R is the mean of |g_i|^2, with g the gradient of the summed loss ("per sample").

Three ways lead to R and its derivative by the weights; in units of a pass (F forward, D backward to the inputs, W
backward to the weights; a plain step is F + D + W):

- "exact": double backward;
- "finite": the loss once more, a step h along the normalised gradient (Finlay & Oberman 2019), 2 F + 3 D + 2 W;
- "gradients": R is taken from the gradient itself, and its derivative is the difference of two gradients by the
  weights: grad_w |g|^2 = 2 grad_w (L(x + rho g) - L(x)) / rho to first order, g = grad_x L held fixed. One rho serves
  all images, so the pass that gives g can give the gradients by the weights too, 2 F + 2 D + 2 W.

Norms are l2, and pixels are in [0, 1].
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from weatherproof import random
from weatherproof.errors import InputError, unknown
from weatherproof.objectives.embeddings import check_weights
from weatherproof.protocols import Gather
from weatherproof.spec import component
from weatherproof.types import Images

METHODS = ("exact", "finite", "gradients")
Losses = Float[Tensor, "batch"]
Still = Callable[[], AbstractContextManager[None]]
Scalar = Float[Tensor, ""]


def _alone(rows: Tensor) -> Tensor:
    return rows


def supervised_exact(losses: Losses, images: Images) -> Scalar:
    """R of eq. 2 of losses l_i(x_i) that were computed from `images`, which require gradients."""
    (gradient,) = torch.autograd.grad(losses.sum(), images, create_graph=True)
    return gradient.flatten(1).square().sum(dim=1).mean()


def supervised_finite(losses: Losses, images: Images, again: Callable[[Images], Losses], step: float = 0.01) -> Scalar:
    """`supervised_exact`, but mean_i ((l_i(x_i + h v_i) - l_i(x_i)) / h)^2, v_i the unit vector along grad l_i.

    Args:
        again: the same losses of other images.
        step: h, in pixel units.
    """
    (gradient,) = torch.autograd.grad(losses.sum(), images, retain_graph=True)
    lengths = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    moved = again(images.detach() + step * _unit(gradient, lengths))
    return ((moved - losses) / step).square().mean()


def contrastive_exact(loss: Scalar, views: Images, gather: Gather = _alone, per_sample: bool = False) -> Scalar:
    """R of eq. 3 of a loss that was computed from `views` [2N, ...], which require gradients.

    Args:
        gather: joins the processes' rows, as in the loss itself.
        per_sample: 4N R instead.
    """
    (gradient,) = torch.autograd.grad(loss, views, create_graph=True)
    squared, rows, _ = _over_processes(gradient, gather)
    return squared * (rows if per_sample else 1 / 2)


def contrastive_finite(
    loss: Scalar,
    views: Images,
    again: Callable[[Images], Scalar],
    step: float = 0.01,
    gather: Gather = _alone,
    per_sample: bool = False,
) -> Scalar:
    """`contrastive_exact`, but 1/2 ((L(X + h sqrt(2N) v) - L(X)) / (h sqrt(2N)))^2, v the unit vector along grad L.

    One direction serves the whole batch. With the factor sqrt(2N) an image moves about as far as in
    `supervised_finite`: a joint step of h alone would be lost in float32 rounding.

    Args:
        again: the same loss of other views.
        step: h, in pixel units.
        gather, per_sample: as in `contrastive_exact`.
    """
    (gradient,) = torch.autograd.grad(loss, views, retain_graph=True)
    squared, rows, processes = _over_processes(gradient, gather)
    far = step * rows**0.5
    moved = again(views.detach() + far * _unit(gradient / processes, squared.sqrt()))
    return ((moved - loss) / far).square() * (rows if per_sample else 1 / 2)


def stepped(
    loss: Scalar,
    images: Images,
    again: Callable[[Images], Scalar],
    step: float = 0.01,
    gather: Gather = _alone,
    weights: Sequence[Tensor] | None = None,
    joint: bool = True,
) -> tuple[Scalar, Scalar]:
    """A loss, and |grad_X loss|^2 whose derivative by the weights is the difference of two gradients by them.

    The images are moved along the gradient by h sqrt(rows) altogether, so by h in the root mean square.

    Args:
        loss: of `images`, which require gradients.
        again: the same loss of other images.
        step: h, in pixel units.
        gather: joins the processes' rows.
        weights: all that is trained. Given, the loss's gradients by these are taken in the pass that gives those by the
            pixels, and the loss that comes back knows these alone. None: its graph stays, to be gone through again.
        joint: the processes compute one loss of all rows, not each the loss of its own.
    """
    if weights is None:
        (gradient,) = torch.autograd.grad(loss, images, retain_graph=True)
    else:
        gradient, *known = torch.autograd.grad(loss, [images, *weights], materialize_grads=True)
        loss = _known(loss, known, weights)
    own, joined = gradient.square().sum(), gather(gradient.flatten(1).square().sum(dim=1))
    processes = len(joined) // len(gradient) if joint else 1  # of one loss, so many times the gradient arrives
    length, far = joined.sum().sqrt(), step * len(joined) ** 0.5
    moved = again(images.detach() + far * _unit(gradient, length))
    change = 2 * length / (far * processes) * (moved - loss)
    squared = joined.sum() / processes**2 if joint else own
    return loss, squared + (change - change.detach())


class _Known(torch.autograd.Function):
    """A value whose gradients are there already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Sequence[Tensor], *weights: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(factor.to(gradient.dtype) * gradient for gradient in ctx.gradients)


def _known(value: Tensor, gradients: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    known = _Known.apply(value.detach(), gradients, *weights)
    assert isinstance(known, Tensor)
    return known


def _unit(gradient: Tensor, length: Tensor) -> Tensor:
    """The gradient brought to length 1; where there is none, no direction."""
    return torch.where(length > 0, gradient / length, 0)


def _over_processes(gradient: Tensor, gather: Gather) -> tuple[Scalar, int, int]:
    """|grad_X L|^2 over the views of all processes, the number of these views and of the processes.

    Each process computes the loss of the joined batch, and the backward pass of the join sums what all say about a row:
    the gradient that arrives is that of one loss times the number of processes.
    """
    squared = gradient.flatten(1).square().sum(dim=1)
    joined = gather(squared)
    processes = len(joined) // len(squared)
    return joined.sum() / processes**2, len(joined), processes


@component
class InputGradient:
    """Tikhonov regularization of weight lambda, to be added as L + lambda / 2 R.

    Args:
        weight: lambda; the paper tries 0.1, 1 and 10.
        method: "exact" by double backward; "finite", the difference of two losses; or "gradients", the difference of
            two gradients, which is the quickest. Neither of these needs second derivatives.
        step: h of the finite difference, in pixel units.
        per_sample: R times 4N in the contrastive form, so that lambda does not depend on the batch and is of the
            supervised form's scale; False is eq. 3 to the letter.
    """

    weight: float
    method: str = "exact"
    step: float = 0.01  # Finlay & Oberman's code
    per_sample: bool = False

    def __post_init__(self) -> None:
        check_weights(self, "weight")
        if not 0 < self.step < float("inf"):
            raise InputError(f"the step of InputGradient must be a positive number of pixel units, got {self.step!r}")
        if self.method not in METHODS:
            raise unknown("method of InputGradient", str(self.method), METHODS)

    def supervised(
        self,
        losses: Callable[[Images], Losses],
        images: Images,
        gather: Gather = _alone,
        weights: Sequence[Tensor] | None = None,
        still: Still = nullcontext,
    ) -> tuple[Losses, Scalar]:
        """Losses and R of eq. 2; the regularized loss is ``losses.mean() + weight / 2 * R``.

        Args:
            losses: images -> [batch], one loss per image. Called once, or twice where not exact.
            gather: joins the processes' rows; without it the step of "gradients" depends on a process's share.
            weights: all that is trained. "gradients" saves a pass by them; what else was computed from `losses`'
                graph cannot be differentiated then, and of the losses that come back only the mean.
            still: what the second pass runs in, so that it leaves no trace on the networks, such as
                `modes.unchanged_statistics` of them.
        """
        images = images.detach().requires_grad_()
        again = _repeated(losses, images.device, still)
        with self.differentiable(images):
            values = losses(images)
            if self.method == "exact":
                return values, supervised_exact(values, images)
            if self.method == "finite":
                return values, supervised_finite(values, images, again, self.step)
            mean, squared = stepped(
                values.mean(), images, lambda x: again(x).mean(), self.step, gather, weights, joint=False
            )
            if weights is not None:
                values = values.detach() + (mean - mean.detach())
            return values, len(images) * squared

    def contrastive(
        self,
        loss: Callable[[Images], Scalar],
        views: Images,
        gather: Gather = _alone,
        weights: Sequence[Tensor] | None = None,
        still: Still = nullcontext,
    ) -> tuple[Scalar, Scalar]:
        """The loss and R of eq. 3; the regularized loss is ``loss + weight / 2 * R``.

        Args:
            loss: the 2N views of N images in one batch -> the loss of the batch (of all processes, where there are
                several). Called once, or twice where not exact.
            weights, still: as in `supervised`.
        """
        views = views.detach().requires_grad_()
        again = _repeated(loss, views.device, still)
        with self.differentiable(views):
            value = loss(views)
            if self.method != "gradients":
                return value, self.of_batch(value, views, again, gather)
            value, squared = stepped(value, views, again, self.step, gather, weights)
            return value, squared * self._scale(views, gather)

    def of_batch(
        self, loss: Scalar, views: Images, again: Callable[[Images], Scalar], gather: Gather = _alone
    ) -> Scalar:
        """R of eq. 3 of a loss that is there already, computed inside `differentiable` from views that require
        gradients.

        Args:
            again: the same loss of other views, with the same random draws.
        """
        if self.method == "exact":
            return contrastive_exact(loss, views, gather, self.per_sample)
        if self.method == "finite":
            return contrastive_finite(loss, views, again, self.step, gather, self.per_sample)
        return stepped(loss, views, again, self.step, gather)[1] * self._scale(views, gather)

    def _scale(self, views: Images, gather: Gather) -> float:
        return len(gather(views.new_zeros(len(views)))) if self.per_sample else 1 / 2

    @contextmanager
    def differentiable(self, images: Images) -> Iterator[None]:
        """What the forward pass needs: attention in plain sums, whose fused kernels have no second derivative; for a
        difference of two losses float32 throughout, also in a mixed-precision run."""
        exact = self.method == "exact"
        attention = sdpa_kernel(SDPBackend.MATH) if exact else nullcontext()
        precision: AbstractContextManager[object] = (
            nullcontext() if exact else torch.autocast(images.device.type, enabled=False)
        )
        with torch.enable_grad(), attention, precision:
            yield


def _repeated(function: Callable[[Images], Tensor], device: torch.device, still: Still) -> Callable[[Images], Tensor]:
    """The function, with the random draws that follow now."""
    replay = random.framework_replay(device)

    def again(images: Images) -> Tensor:
        with replay(), still():
            return function(images)

    return again
