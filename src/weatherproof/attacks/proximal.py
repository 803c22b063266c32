"""Proximal steps of the log-barrier attack: prox of T m at s is the t that minimises |t - s|^2 / 2 + T m(t).

The authors' code differs in two of them (`reference_compat`): its L0 threshold is sqrt(2) T, which is right at T = 1
alone, and for Linf it projects onto the simplex {t >= 0, sum t = 1} where it should be the l1 ball of radius 1.
"""

from math import sqrt

import torch

from weatherproof.attacks.projections import onto_l1_ball, onto_simplex
from weatherproof.types import Images


def prox_l2(s: Images, weight: float) -> Images:
    """(1 - T / max(T, |s|)) s: shorter by T, 0 where |s| <= T."""
    length = torch.linalg.vector_norm(s, dim=(1, 2, 3), keepdim=True)
    return s * (1 - weight / length.clamp_(min=weight))


def prox_l0(s: Images, weight: float, reference_compat: bool = False) -> Images:
    """s_i where |s_i| > sqrt(2T), else 0. Elements (channel values) count, not pixels."""
    threshold = sqrt(2) * weight if reference_compat else sqrt(2 * weight)
    return torch.where(s.abs() > threshold, s, 0)


def prox_linf(s: Images, weight: float, reference_compat: bool = False) -> Images:
    """s - T P(s / T), P the projection onto the l1 ball of radius 1 (Moreau); 0 where |s|_1 <= T."""
    project = onto_simplex if reference_compat else onto_l1_ball
    return s - weight * project((s / weight).flatten(1), 1.0).view_as(s)
