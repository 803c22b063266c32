"""How the learning rate moves."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weatherproof.training.plan import Plan

_AS_RUN_IMAGES = (
    126_689  # ImageNet-100: T_max is this // batch, though the schedule moves once an epoch (spec, section 5)
)


def learning_rate(plan: "Plan", step: int, steps: int, steps_per_epoch: int) -> float:
    """The learning rate of step 0 .. steps - 1: a linear rise over the warm-up, then the plan's schedule."""
    warmup = round(plan.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return plan.lr * (step + 1) / warmup
    epoch = step // steps_per_epoch
    match plan.schedule:
        case "cosine":
            return plan.lr * cosine((step - warmup) / max(1, steps - warmup), plan.floor)
        case "cosine_epoch":
            rest = max(1.0, plan.epochs - plan.warmup_epochs)
            return plan.lr * cosine((epoch - plan.warmup_epochs) / rest, plan.floor)
        case "step":
            return plan.lr * plan.gamma ** sum(epoch >= milestone for milestone in plan.milestones)
        case "as_run":
            return plan.lr * cosine(epoch / max(1, _AS_RUN_IMAGES // plan.batch_size))
    return plan.lr


def cosine(progress: float, floor: float = 0.0) -> float:
    """From 1 at progress 0 to `floor` at progress 1, half a cosine (Loshchilov & Hutter 2017)."""
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
