"""Numbers that are taken now and then while a method trains, such as its encoder's k-NN accuracy."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import nn

from weatherproof.training.plan import Course


@runtime_checkable
class Watch(Protocol):
    """``watch(method, epoch) -> {name: number}``, called every `every` epochs and at the end.

    The method is in evaluation mode meanwhile and no gradients are recorded. Only the first process calls it; the
    numbers stand in the log's line of that step.
    """

    @property
    def every(self) -> float:
        """Epochs between two looks."""

    def __call__(self, method: nn.Module, epoch: float) -> Mapping[str, float]: ...


def due(watch: Watch | None, course: Course, step: int) -> bool:
    """Whether somebody looks after this many steps."""
    if watch is None:
        return False
    return step % max(1, round(watch.every * course.steps_per_epoch)) == 0 or step == course.steps
