"""Position by position: the student's map of the damaged image against the teacher's of the clean one."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from weatherproof.errors import InputError
from weatherproof.objectives.embeddings import check_weights
from weatherproof.spec import component, parse
from weatherproof.types import Maps

Places = Float[Tensor, "batch positions channels"]


def position_distance(student: Maps, teacher: Maps) -> Float[Tensor, "batch"]:
    """D_i = 1/P sum_p (1 - cos(s_ip, t_ip)), of the P positions of image i (0 to 2).

    Raises:
        InputError: maps of unlike shapes (here and in `gram_distance`).
    """
    with _unit_positions(student, teacher) as (s, t):
        return 1 - (s * t).sum(dim=2).mean(dim=1)


def gram_distance(student: Maps, teacher: Maps) -> Float[Tensor, "batch"]:
    """D_i = |G(s_i) - G(t_i)|^2 / P^2 with G(m)_pq = cos(m_p, m_q): which positions of an image are alike, whatever
    direction they all have (the Gram anchoring of DINOv3, Simeoni et al. 2025, section 4.2, over P^2)."""
    with _unit_positions(student, teacher) as (s, t):
        return (s @ s.mT - t @ t.mT).square().mean(dim=(1, 2))


@component
class Dense:
    """weight (D + gram G): every position of the map keeps its place in the teacher's (`position_distance`), and
    optionally its likeness to the others (`gram_distance`), image by image.

    Called with maps [batch, channels, rows, columns] of the same images, the student's and the teacher's; gives one
    number an image, so that the mean over a batch that is shared out is exact.

    Args:
        weight: of the whole term in the loss.
        gram: of G in it. It takes P^2 numbers an image.

    Raises:
        InputError: a weight that is no number of 0 or more.
    """

    weight: float = 1.0
    gram: float = 0.0

    def __post_init__(self) -> None:
        check_weights(self, "weight", "gram")

    def __call__(self, student: Maps, teacher: Maps) -> Float[Tensor, "batch"]:
        apart = position_distance(student, teacher)
        return self.weight * (apart + self.gram * gram_distance(student, teacher) if self.gram else apart)


def parse_dense(value: float | str | Dense) -> Dense | None:
    """A dense term from its weight or its text; None for the weight 0. Raises `InputError`."""
    if isinstance(value, str):
        value = parse(value, {"Dense": Dense}, "dense objective")
    dense = value if isinstance(value, Dense) else Dense(float(value))
    return dense if dense.weight else None


@contextmanager
def _unit_positions(student: Tensor, teacher: Tensor) -> Iterator[tuple[Places, Places]]:
    """Positions of unit length, in float32 or wider, with autocast off."""
    if student.shape != teacher.shape or student.ndim != 4:
        raise InputError(
            "expected the maps of one network, [batch, channels, rows, columns] twice, got "
            f"{list(student.shape)} and {list(teacher.shape)}"
        )
    wide = reduce(torch.promote_types, (student.dtype, teacher.dtype), torch.float32)
    with torch.autocast(student.device.type, enabled=False):
        own, other = (normalize(maps.to(wide).flatten(2).mT, dim=2) for maps in (student, teacher))
        yield own, other
