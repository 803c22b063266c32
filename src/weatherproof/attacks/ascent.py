"""One run of projected gradient descent, from a given start."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from weatherproof.attacks.balls import Ball
from weatherproof.attacks.checks import check_finite
from weatherproof.attacks.guard import Model, climb, look
from weatherproof.attacks.losses import Loss, Losses
from weatherproof.types import Images, Labels, Logits

Fooled = Bool[Tensor, "batch"]


@dataclass(frozen=True)
class Ascent:
    """x_{k+1} = project(x_k + step_size * steepest(grad_x loss, x_k)). Its methods are called inside `guarded`.

    Args:
        steps: gradients; 0 looks at the start alone.
    """

    ball: Ball
    steps: int
    step_size: float
    loss: Loss

    def last(self, model: Model, clean: Images, labels: Labels, start: Images) -> Images:
        """The iterate after all steps, at which the model is not looked at."""
        x, invalid = start, _none(1, start)
        for step in range(self.steps):
            logits, _, x = self._visit(step, model, clean, labels, x)
            invalid |= logits.isnan().any()
        check_finite(invalid)
        return x

    def best(self, model: Model, clean: Images, labels: Labels, start: Images) -> tuple[Images, Fooled]:
        """Of steps + 1 iterates that of highest loss, per image, and whether it is misclassified."""
        x = best = start
        highest = torch.full((len(x),), -torch.inf, device=x.device)
        fooled, invalid = _none(len(x), x), _none(1, x)
        for step in range(self.steps + 1):
            logits, losses, following = self._visit(step, model, clean, labels, x)
            invalid |= logits.isnan().any()
            better = losses > highest
            best = torch.where(better.view(-1, 1, 1, 1), x, best)
            highest = torch.where(better, losses, highest)
            fooled = torch.where(better, logits.argmax(dim=1) != labels, fooled)
            x = following
        check_finite(invalid)  # at the end: a GPU need not wait for it at every step
        return best, fooled

    def until_fooled(self, model: Model, clean: Images, labels: Labels, start: Images) -> tuple[Images, Fooled]:
        """The first misclassified iterate of each image, which then leaves the batch, and whether there is one; of
        other images the last iterate."""
        found, fooled = start.clone(), _none(len(start), start)
        rows, x = torch.arange(len(start), device=start.device), start
        for step in range(self.steps + 1):
            logits, _, following = self._visit(step, model, clean, labels, x)
            check_finite(logits.isnan().any())
            wrong = logits.argmax(dim=1) != labels
            found[rows], fooled[rows] = x, wrong
            x = following
            if bool(wrong.any()):
                x, clean, labels, rows = (left[~wrong] for left in (x, clean, labels, rows))
            if len(rows) == 0:
                break
        return found, fooled

    def _visit(
        self, step: int, model: Model, clean: Images, labels: Labels, x: Images
    ) -> tuple[Logits, Losses, Images]:
        """Logits and losses of an iterate, and the iterate that follows; the last has none and takes no gradient."""
        if step == self.steps:
            with torch.no_grad():
                return *look(model, x, labels, self.loss, check=step == 0), x
        logits, losses, gradient = climb(model, x, labels, self.loss, check=step == 0)
        raised = self.ball.steepest(gradient, x).mul_(self.step_size).add_(x)
        return logits, losses, self.ball.project(raised, clean)


def _none(count: int, like: Tensor) -> Bool[Tensor, "count"]:
    return torch.zeros(count, dtype=torch.bool, device=like.device)
