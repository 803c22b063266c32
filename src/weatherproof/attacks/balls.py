"""The sets that a perturbation may come from, {x : |x - clean| <= eps and x in [0, 1]}, one for each norm.

A ball supplies what projected gradient descent needs: a start, the unit step that raises the loss most, the projection
and the size of a perturbation. Sizes are in pixel units; a norm is over all channels and positions of one image.
"""

from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from weatherproof import random
from weatherproof.attacks.projections import onto_l1_ball
from weatherproof.errors import InputError
from weatherproof.spec import component
from weatherproof.types import Images, Keys

Sizes = Float[Tensor, "batch"]

_TINY = 1e-10  # added to a gradient's length (Madry et al., `robustness` library): no gradient, no step
_EDGE = 1e-6  # so near to 0 or 1 a pixel is at the edge: rounding


@runtime_checkable
class Ball(Protocol):
    """What PGD asks of a set of perturbations.

    Those here also say their `norm`, the `symbol` that stands for it, and a `grid`: the sizes at which curves are
    measured, which are ours: "Robustness of Contrastive Learning Models" draws such curves and states no sizes.
    """

    @property
    def eps(self) -> float:
        """The radius, in pixel units."""
        ...

    def start(self, images: Images, keys: Keys) -> Images:
        """A random image of the ball around each image."""
        ...

    def steepest(self, gradient: Images, images: Images) -> Images:
        """The step of size 1 in this norm along which a loss of this gradient at these images rises most."""
        ...

    def project(self, perturbed: Images, clean: Images) -> Images:
        """Onto the ball around the clean image, then to [0, 1], which leads no pixel out of the ball."""
        ...

    def size(self, difference: Images) -> Sizes:
        """The norm of each image of differences."""
        ...

    def largest(self, images: Images) -> float:
        """The size beyond which the ball holds no more images: that of the whole pixel cube."""
        ...


@component
class L2:
    """Euclidean ball. Raises `InputError` where eps is no number of at least 0."""

    norm: ClassVar = "l2"
    symbol: ClassVar = "L2"
    grid: ClassVar = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)

    eps: float

    def __post_init__(self) -> None:
        _check(self)

    def start(self, images: Images, keys: Keys) -> Images:
        """A Gaussian direction of length exactly eps: on the sphere, not inside (the reference's choice)."""
        noise = random.normals(keys, tuple(images.shape[1:]), images.device)
        return (images + self.eps * noise / _per_image(self.size(noise))).clamp_(0, 1)

    def steepest(self, gradient: Images, images: Images) -> Images:
        return gradient / _per_image(self.size(gradient) + _TINY)

    def project(self, perturbed: Images, clean: Images) -> Images:
        difference = perturbed - clean
        shrink = (self.eps / self.size(difference).clamp_min_(_TINY)).clamp_(max=1)
        return difference.mul_(_per_image(shrink)).add_(clean).clamp_(0, 1)

    def size(self, difference: Images) -> Sizes:
        return torch.linalg.vector_norm(difference, dim=(1, 2, 3))

    def largest(self, images: Images) -> float:
        return images[0].numel() ** 0.5


@component
class Linf:
    """Every pixel may move by eps. Raises `InputError` where eps is no number from 0 to 1."""

    norm: ClassVar = "linf"
    symbol: ClassVar = "L∞"
    grid: ClassVar = tuple(level / 255 for level in (0, 1, 2, 4, 8, 16))

    eps: float

    def __post_init__(self) -> None:
        _check(self)
        if self.eps > 1:
            raise InputError(
                f"pixels are in [0, 1], and so is the eps of Linf: got {self.eps}; in units of 0-255, write "
                f"Linf({self.eps:g}/255)"
            )

    def start(self, images: Images, keys: Keys) -> Images:
        """Uniform in the ball."""
        noise = random.uniforms(keys, tuple(images.shape[1:]), images.device)
        return images.add(noise.mul_(2).sub_(1), alpha=self.eps).clamp_(0, 1)

    def steepest(self, gradient: Images, images: Images) -> Images:
        return gradient.sign()

    def project(self, perturbed: Images, clean: Images) -> Images:
        return (perturbed - clean).clamp_(-self.eps, self.eps).add_(clean).clamp_(0, 1)

    def size(self, difference: Images) -> Sizes:
        return difference.abs().amax(dim=(1, 2, 3))

    def largest(self, images: Images) -> float:
        return 1.0


@component
class L1:
    """The sum of all changes is at most eps.

    Args:
        eps: in pixel units.
        sparsity: the share of elements that a step leaves alone (Tramèr & Boneh 2019, sparse l1 descent). The steepest
            step proper moves a single element; the field moves the largest 1 %, all by the same amount. Elements at
            0 or 1 that would leave [0, 1] are not among them.

    Raises:
        InputError: eps is no number of at least 0, or sparsity none of [0, 1).
    """

    norm: ClassVar = "l1"
    symbol: ClassVar = "L1"
    grid: ClassVar = (0.0, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0)

    eps: float
    sparsity: float = 0.99

    def __post_init__(self) -> None:
        _check(self)
        if not 0 <= self.sparsity < 1:
            raise InputError(f"the sparsity of L1 is a share of the elements in [0, 1), got {self.sparsity!r}")

    def start(self, images: Images, keys: Keys) -> Images:
        """A direction of independent Laplace numbers of length exactly eps: uniform on the sphere."""
        signed = random.uniforms(keys, tuple(images.shape[1:]), images.device).mul_(2).sub_(1)
        noise = signed.sign() * -torch.log1p(-signed.abs()).clamp_(max=12)  # of 65,536 numbers the first is -1
        return (images + self.eps * noise / _per_image(self.size(noise))).clamp_(0, 1)

    def steepest(self, gradient: Images, images: Images) -> Images:
        held = torch.where(gradient > 0, images > 1 - _EDGE, images < _EDGE)
        rows = gradient.masked_fill(held, 0).flatten(1)
        count = max(1, round((1 - self.sparsity) * rows.shape[1]))
        where = rows.abs().topk(count, dim=1, sorted=False).indices
        signs = rows.gather(1, where).sign_().div_(count)
        return torch.zeros_like(rows).scatter_(1, where, signs).view_as(gradient)

    def project(self, perturbed: Images, clean: Images) -> Images:
        difference = onto_l1_ball((perturbed - clean).flatten(1), self.eps).view_as(clean)
        moved = clean + difference
        past = (moved.double() - clean.double()).abs() > difference.abs()  # rounded up: it adds up over the elements
        return torch.where(past, moved.nextafter(clean), moved).clamp_(0, 1)

    def size(self, difference: Images) -> Sizes:
        return difference.abs().sum(dim=(1, 2, 3))

    def largest(self, images: Images) -> float:
        return float(images[0].numel())


BALLS: dict[str, type[L1] | type[L2] | type[Linf]] = {"L1": L1, "L2": L2, "Linf": Linf}


def _check(ball: Ball) -> None:
    eps = ball.eps
    if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not 0 <= eps < float("inf"):
        raise InputError(
            f"the eps of {type(ball).__name__} must be a number of at least 0, in pixels of [0, 1]; got {eps!r}"
        )


def _per_image(values: Sizes) -> Float[Tensor, "batch 1 1 1"]:
    return values.view(-1, 1, 1, 1)
