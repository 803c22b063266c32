"""The nearest points of the simplex and of the l1 ball, exact and for a whole batch (Duchi et al. 2008, figure 1)."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

Rows = Float[Tensor, "batch elements"]


def onto_simplex(rows: Rows, total: float) -> Rows:
    """The nearest t with t >= 0 and sum t = total."""
    exact = rows.double()
    return (exact - _level(exact, total)).clamp_(min=0).to(rows.dtype)


def onto_l1_ball(rows: Rows, radius: float) -> Rows:
    """The nearest t with sum |t| <= radius; rows that are inside stay as they are."""
    sizes = rows.abs().double()
    level = _level(sizes, radius).clamp_(min=0)  # below 0 where the row is inside
    return rows.sign().mul_(sizes.sub_(level).clamp_(min=0))


def _level(rows: Float64[Tensor, "batch elements"], total: float) -> Float64[Tensor, "batch 1"]:
    """The theta for which max(rows - theta, 0) sums to `total`.

    With u_1 >= u_2 >= ... the sorted row and rho the largest for which rho u_rho > u_1 + ... + u_rho - total, it is
    (u_1 + ... + u_rho - total) / rho. In float64: the sum may be of 150,528 elements.
    """
    falling = rows.sort(dim=1, descending=True).values
    over = falling.cumsum(dim=1).sub_(total)
    counts = torch.arange(1, rows.shape[1] + 1, device=rows.device)
    rho = (falling * counts > over).sum(dim=1, keepdim=True).clamp_(min=1)
    return over.gather(1, rho - 1) / rho
