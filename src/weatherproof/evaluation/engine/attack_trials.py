"""One attack on one model, and what can be read from an attack's settings."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.protocols import Attack
from weatherproof.types import Images

ENOUGH_STEPS = 20  # for a ball that holds almost all images
# What attacks call their number of steps, and how many times as many are more: 100 for 20, as in the reference.
_STEPS = {"steps": 5, "outer": 2, "iterations": 2}


@dataclass(frozen=True)
class Trial:
    """One draw of one attack on one model; without an attack, its answers to the clean images."""

    model: str
    attack: Attack | None = None
    run: int = 0

    @property
    def label(self) -> str:
        """What a file calls it."""
        return f"{self.model} | {'clean' if self.attack is None else repr(self.attack)} | {self.run}"


def trials_of(models: list[str], attacks: list[Attack], realizations: int) -> list[Trial]:
    """Clean images first, then attack after attack. One that draws nothing runs once, and so does one that looks for
    the smallest perturbation: of several draws that would be another number."""

    def runs(attack: Attack) -> range:
        return range(1 if fixed(attack) or seeks_smallest(attack) else realizations)

    return [
        *(Trial(model) for model in models),
        *(Trial(model, attack, run) for attack in attacks for model in models for run in runs(attack)),
    ]


def fixed(attack: Attack | None) -> bool:
    """Whether the attack draws nothing."""
    return attack is None or bool(getattr(attack, "deterministic", False))


def ball_of(attack: Attack) -> Any:
    """The ball that the attack stays in; None of an attack that looks for the smallest perturbation, or is unknown."""
    ball = getattr(attack, "ball", None)
    return ball if isinstance(getattr(ball, "eps", None), int | float) else None


def seeks_smallest(attack: Attack | None) -> bool:
    """Whether it looks for the smallest perturbation: it has a norm, and no ball to stay in."""
    return attack is not None and ball_of(attack) is None and isinstance(getattr(attack, "norm", None), str)


def epsilon(attack: Attack | None) -> float | None:
    """The eps of its ball, in pixel units; None where there is none."""
    ball = None if attack is None else ball_of(attack)
    return None if ball is None else float(ball.eps)


def norm_of(attack: Attack | None) -> str:
    """ "l2", "linf", "l1" or "l0": what the size of its perturbations is measured in; "l2" where it does not say."""
    ball = None if attack is None else ball_of(attack)
    named = getattr(attack, "norm", "l2") if ball is None else type(ball).__name__
    return str(named).lower()


def sizes(attack: Attack, difference: Images) -> Float[Tensor, "batch"]:
    """The norm of each image's perturbation: by the ball or the attack itself, else by the norm that the attack names.
    L0 counts elements.

    Raises:
        InputError: a norm that is none of these.
    """
    for measure in (getattr(ball_of(attack), "size", None), getattr(attack, "size", None)):
        if callable(measure):
            return measure(difference)
    orders = {"l2": 2.0, "linf": torch.inf, "l1": 1.0, "l0": 0.0}
    norm = norm_of(attack)
    if norm not in orders:
        raise InputError(f"perturbations are measured in l2, linf, l1 or l0; {attack!r} says {norm!r}")
    return torch.linalg.vector_norm(difference.flatten(1), orders[norm], dim=1)


def at_epsilon(attack: Attack, eps: float, *, reach: bool = False) -> Attack:
    """The same attack in a ball of another size. Its step keeps the size that it was given, if it was given one.

    Args:
        reach: the whole ball is to be reached: steps in proportion to eps, and no fewer than 20.

    Raises:
        InputError: it has no ball, or no settings.
    """
    ball, own = ball_of(attack), _settings(attack)
    if not own or not dataclasses.is_dataclass(ball):
        raise InputError(f"{attack!r} has no ball with an eps that could be changed")
    changed: dict[str, Any] = {"ball": dataclasses.replace(ball, eps=eps)}  # type: ignore[type-var]
    if reach and "step_size" in own:
        changed["step_size"] = None
    if reach and "steps" in own:
        changed["steps"] = max(ENOUGH_STEPS, own["steps"])
    return with_settings(attack, **changed)


def _settings(attack: Attack) -> dict[str, Any]:
    """Its settings by name; none where it is no component."""
    some: Any = attack
    if not dataclasses.is_dataclass(some):
        return {}
    return {field.name: getattr(some, field.name) for field in dataclasses.fields(some)}


def longer(attack: Attack) -> tuple[Attack | None, str, int, int]:
    """The attack with more steps, what its steps are called, how many it has and how many they become.

    None where it does not say its steps.
    """
    own = _settings(attack)
    name = next((name for name in _STEPS if name in own), None)
    if name is None:
        return None, "", 0, 0
    more = _STEPS[name] * int(own[name])
    return with_settings(attack, **{name: more}), name, int(own[name]), more


def short(attack: Attack) -> Attack:
    """The attack with a single step, to see whether it can be done at all; as it is where it does not say its steps."""
    own = _settings(attack)
    return with_settings(attack, **{name: 1 for name in ("steps", "outer", "inner", "iterations") if name in own})


def with_settings(attack: Attack, **changed: Any) -> Attack:
    """The attack with some settings of its own changed."""
    some: Any = attack
    return dataclasses.replace(some, **changed)
