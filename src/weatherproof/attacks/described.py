"""What an attack is: its norm and ball, whether it draws, how it is made longer or shorter."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from weatherproof.attacks.balls import BALLS, L1, L2, Ball, Sizes
from weatherproof.attacks.losses import Loss
from weatherproof.errors import InputError
from weatherproof.protocols import Attack
from weatherproof.types import Images, Keys

ENOUGH_STEPS = 20  # for a ball that holds almost all images

# By norm: how it is written, and the sizes at which curves are measured. These are ours: the paper whose Figure 2 such
# curves are states none.
SYMBOLS: Mapping[str, str] = {ball.norm: ball.symbol for ball in BALLS.values()} | {"l0": "L0"}
GRIDS: Mapping[str, tuple[float, ...]] = {ball.norm: ball.grid for ball in BALLS.values()} | {
    "l0": (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0),  # elements
}
_ORDERS = {"l2": 2.0, "linf": torch.inf, "l1": 1.0, "l0": 0.0}

# What attacks of others may call their number of steps, and how many times as many are more: 100 for 20, as in the
# reference.
_LONGER = {"steps": 5, "outer": 2, "iterations": 2}
STEPS = ("steps", "outer", "inner", "iterations")


@dataclass(frozen=True)
class Facts:
    """What an attack says of itself.

    Attributes:
        norm: "l2", "linf", "l1", "l0", or a name of its own: what the size of its perturbations is measured in.
        ball: what it stays in; None of an attack that looks for the smallest perturbation, or is unknown.
        smallest: it looks for the smallest perturbation.
        fixed: it draws nothing.
        loss: whose gradient it follows; None: it does not say.
        longer: the setting that counts its steps, and how many times as many are more; None: it does not say.
        short: the settings with which it takes a single step.
    """

    attack: Attack
    norm: str
    ball: Any = None
    smallest: bool = False
    fixed: bool = False
    loss: Loss | None = None
    longer: tuple[str, int] | None = None
    short: Mapping[str, int] = field(default_factory=dict)

    @property
    def eps(self) -> float | None:
        """The radius of its ball, in pixel units; None where there is none."""
        return None if self.ball is None else float(self.ball.eps)

    @property
    def grid(self) -> tuple[float, ...]:
        """The sizes at which its curve is measured; none where none are known."""
        if self.ball is None and not self.smallest:
            return ()
        return getattr(self.ball, "grid", GRIDS.get(self.norm, ()))

    def sizes(self, difference: Images) -> Sizes:
        """The norm of each image's perturbation: by the ball or the attack itself, else by the norm that the attack
        names. L0 counts elements.

        Raises:
            InputError: a norm that is none of these.
        """
        for measure in (getattr(self.ball, "size", None), getattr(self.attack, "size", None)):
            if callable(measure):
                return measure(difference)
        if self.norm not in _ORDERS:
            raise InputError(f"perturbations are measured in l2, linf, l1 or l0; {self.attack!r} says {self.norm!r}")
        return torch.linalg.vector_norm(difference.flatten(1), _ORDERS[self.norm], dim=1)

    def started(self, images: Images, keys: Keys) -> Images | None:
        """A random image of the ball around each image; None where the ball has none to give."""
        start = getattr(self.ball, "start", None)
        return None if start is None else start(images, keys)

    def largest(self, images: Images) -> float:
        """The size of the ball that holds all images."""
        if hasattr(self.ball, "largest"):
            return float(self.ball.largest(images))
        balls: dict[str, Ball] = {"l2": L2(0.0), "l1": L1(0.0)}
        return balls[self.norm].largest(images) if self.norm in balls else 1.0

    def at(self, eps: float, *, reach: bool = False) -> Attack:
        """The same attack in a ball of another size. Its step keeps the size that it was given, if it was given one.

        Args:
            reach: the whole ball is to be reached: steps in proportion to eps, and no fewer than 20.

        Raises:
            InputError: it has no ball, or no settings.
        """
        own = _settings(self.attack)
        if not own or not dataclasses.is_dataclass(self.ball):
            raise InputError(f"{self.attack!r} has no ball with an eps that could be changed")
        changed: dict[str, Any] = {"ball": dataclasses.replace(self.ball, eps=eps)}  # type: ignore[type-var]
        if reach and "step_size" in own:
            changed["step_size"] = None
        if reach and "steps" in own:
            changed["steps"] = max(ENOUGH_STEPS, own["steps"])
        return _with(self.attack, changed)

    def sweep(self, levels: Sequence[float]) -> list[Attack]:
        """The attacks that a curve is made of: one for each size of its ball, or the attack alone."""
        return [self.attack] if self.smallest else [self.at(level) for level in levels]

    def with_more_steps(self) -> tuple[Attack, str, int, int] | None:
        """The attack with more steps, what its steps are called, how many it has and how many they become; None where
        it does not say."""
        if self.longer is None:
            return None
        name, times = self.longer
        few = int(getattr(self.attack, name))
        return _with(self.attack, {name: times * few}), name, few, times * few

    def with_one_step(self) -> Attack:
        """The attack with a single step, to see whether it can be done at all; as it is where it does not say."""
        return _with(self.attack, self.short) if self.short else self.attack


def facts_of(attack: Attack) -> Facts:
    """The facts of an attack: what it says of itself (`facts`), else what can be read from its settings."""
    facts = getattr(attack, "facts", None)
    return facts if isinstance(facts, Facts) else read(attack)


def each_once(attacks: Iterable[Attack]) -> list[Attack]:
    """The attacks without those that are there already: of the same text, or equal as PGD(L2(1)) and PGD(L2(1.0))."""
    found: list[Attack] = []
    for attack in attacks:
        if not any(attack == own or repr(attack) == repr(own) for own in found):
            found.append(attack)
    return found


def read(attack: Attack) -> Facts:
    """Of an attack of the user's own: `ball` with an `eps`, `norm`, `deterministic` and its settings, where it has
    them."""
    ball, norm, own = getattr(attack, "ball", None), getattr(attack, "norm", None), _settings(attack)
    ball = ball if isinstance(getattr(ball, "eps", None), int | float) else None
    longer = next(((name, times) for name, times in _LONGER.items() if name in own), None)
    return Facts(
        attack,
        norm=str("l2" if norm is None else norm).lower() if ball is None else norm_of(ball),
        ball=ball,
        smallest=ball is None and isinstance(norm, str),
        fixed=bool(getattr(attack, "deterministic", False)),
        loss=getattr(attack, "loss", None),
        longer=longer,
        short={name: 1 for name in STEPS if name in own},
    )


def norm_of(ball: object) -> str:
    """The norm of a ball; the name of its class where it does not say."""
    return str(getattr(ball, "norm", type(ball).__name__)).lower()


def _settings(attack: Attack) -> dict[str, Any]:
    """Its settings by name; none where it is no component."""
    some: Any = attack
    if not dataclasses.is_dataclass(some):
        return {}
    return {own.name: getattr(some, own.name) for own in dataclasses.fields(some)}


def _with(attack: Attack, changed: Mapping[str, Any]) -> Attack:
    some: Any = attack
    return dataclasses.replace(some, **changed)
