"""Models on images under draws of a damage: the trials of `evaluate`, `evaluate_embeddings` and the verbs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Int64
from torch import Tensor

from weatherproof import random
from weatherproof.data import ImageSet
from weatherproof.errors import InputError
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.engine.run import BLOCK, Settings, run
from weatherproof.evaluation.engine.trials import EVAL_STREAM, Columns, Look, Models, column
from weatherproof.protocols import Operator
from weatherproof.readouts import evaluating
from weatherproof.types import Images, Keys


@dataclass(frozen=True)
class Draw:
    """One draw of an operator over all images.

    Attributes:
        operator: None: the images as they are.
        run: which draw; None: the clean images that others are compared with.
    """

    operator: Operator | None = None
    run: int | None = None

    @property
    def label(self) -> str:
        """What a file calls it."""
        return f"{'clean' if self.operator is None else repr(self.operator)} | {'-' if self.run is None else self.run}"

    @property
    def words(self) -> str:
        """What is said while it is measured."""
        return "clean images" if self.operator is None else f"{self.operator!r}"

    def keys(self, look: Look) -> Keys:
        """Those that a model which draws is called with."""
        return random.fold(look.keys, EVAL_STREAM) if self.run is None else look.realization_keys(self.run)


def draws_of(operator: Operator | None, realizations: int, *, fixed: bool = True) -> list[Draw]:
    """So many draws; a single one of what draws nothing.

    Args:
        fixed: the models draw nothing, either.
    """
    still = fixed and draws_nothing(operator)
    return [Draw(operator, run) for run in range(1 if still else realizations)]


def draws_nothing(operator: Operator | None) -> bool:
    return operator is None or bool(getattr(operator, "deterministic", False))


@runtime_checkable
class Question(Protocol):
    """What is kept of what a model makes of some images."""

    def __call__(self, name: str, model: Callable[..., Any], images: Images, keys: Keys, look: Look) -> Columns: ...


@dataclass(frozen=True, eq=False)
class Damaged:
    """The trial of asking every model about one draw of the images. The question sees where an image stands in the set,
    whichever of them are asked about."""

    draw: Draw
    question: Question
    positions: Int64[Tensor, "m"] | None = None

    @property
    def label(self) -> str:
        return self.draw.label

    @property
    def words(self) -> str:
        return self.draw.words

    def __call__(self, models: Models, look: Look) -> Columns:
        if self.positions is not None:
            look = replace(look, place=self.positions[look.place])
        with evaluating(*models.values()):
            images, keys = look.damaged(self.draw.operator, self.draw.run or 0), self.draw.keys(look)
            return {
                column(name, own): rows
                for name, model in models.items()
                for own, rows in self.question(name, model, images, keys, look).items()
            }


def ask(
    models: Models, images: ImageSet, draws: Sequence[Draw], question: Question, settings: Settings, title: str,
    name: str = "answers",
) -> list[Answers]:  # fmt: skip
    """The answers to each draw of all images, in the set's own order and the settings' batches.

    Args:
        name: of what is kept in the settings' folder.

    Raises:
        InputError: no image could be read, and what the question refuses.
    """
    size = settings.batch_size * max(1, BLOCK // settings.batch_size)
    trials = [Damaged(draw, question) for draw in draws]
    whole = replace(settings, block=size)
    found = run(models, trials, images, whole, name=name, title=title, in_order=True).answers
    answers = [found[trial.label] for trial in trials]
    if not all(answers):
        raise InputError(f"no image of {images.name!r} could be read")
    return answers
