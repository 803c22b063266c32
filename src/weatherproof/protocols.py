"""What the rooms of the house promise each other: a few small Protocols, no base classes."""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from weatherproof.types import Embeddings, Images, Keys, Labels, Logits

Gather = Callable[[Tensor], Tensor]  # the rows of every process, in rank order, with exact gradients


@runtime_checkable
class Operator(Protocol):
    """What happens to an image. Same shape out as in; the draw depends on the image's key alone."""

    def __call__(self, images: Images, keys: Keys) -> Images: ...


@runtime_checkable
class Views(Protocol):
    """How training looks at an image: several augmented versions of a batch."""

    def __call__(self, images: Images, keys: Keys) -> tuple[Images, ...]: ...


@runtime_checkable
class Encoder(Protocol):
    """What turns images into embeddings [batch, feature_dim]."""

    feature_dim: int

    def __call__(self, images: Images) -> Embeddings: ...


@runtime_checkable
class Objective(Protocol):
    """What training minimises: rows of `student` and `teacher` belong to the same images."""

    def __call__(self, student: Embeddings, teacher: Embeddings) -> Float[Tensor, ""]: ...


@runtime_checkable
class Attack(Protocol):
    """What makes a model fail: images near the given ones, in [0, 1]. Draws depend on the image's key alone.

    The model maps images to logits; it is looked at in evaluation mode and left as it was.
    """

    def __call__(self, model: Callable[[Images], Logits], images: Images, labels: Labels, keys: Keys) -> Images: ...


class Method(Protocol):
    """Views + encoder + objective + state: the loss of one batch. An `nn.Module`, called by the training loop."""

    def __call__(
        self, images: Images, labels: Labels, index: Labels, keys: Keys, gather: Gather
    ) -> Mapping[str, Tensor]: ...
