"""The worst case: images changed as little as possible, so that a model fails on them.

An attack is any callable ``attack(model, images, labels, keys) -> images``. `parse` reads its text.
"""

from collections.abc import Callable
from typing import Any

from weatherproof.attacks.auto_attack import AutoAttack
from weatherproof.attacks.balls import BALLS, L1, L2, Ball, Linf
from weatherproof.attacks.log_barrier import LogBarrier
from weatherproof.attacks.losses import CrossEntropy, Loss, Margin
from weatherproof.attacks.pgd import PGD
from weatherproof.errors import InputError
from weatherproof.protocols import Attack
from weatherproof.spec import parsed as _parsed

TABLE: dict[str, Callable[..., Attack]] = {"PGD": PGD, "LogBarrier": LogBarrier, "AutoAttack": AutoAttack}
LOSSES: dict[str, Callable[..., Loss]] = {"CrossEntropy": CrossEntropy, "Margin": Margin}

__all__ = [
    "BALLS", "L1", "L2", "LOSSES", "PGD", "TABLE", "AutoAttack", "Ball", "CrossEntropy", "Linf", "LogBarrier", "Loss",
    "Margin", "parse",
]  # fmt: skip


def parse(text: str | Attack) -> Attack:
    """An attack from its text; an attack is returned as it is. Raises `InputError`."""
    names: dict[str, Callable[..., Any]] = {**TABLE, **BALLS, **LOSSES}
    found = _parsed(text, names, "attack")
    if not isinstance(text, str):
        return found
    if isinstance(found, Ball):
        raise InputError(f"{text} is the ball of an attack: write PGD({text})")
    if type(found) in LOSSES.values():
        raise InputError(f"{text} is the loss of an attack: write PGD(L2(0.5), loss={text})")
    return found
