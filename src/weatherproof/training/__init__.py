"""What turns a method and images into weights: a plan, one loop, a run folder that survives being killed."""

from weatherproof.training.errors import TrainingError
from weatherproof.training.loop import fit
from weatherproof.training.plan import Plan
from weatherproof.training.promise import CleanCosine
from weatherproof.training.recipes import (
    check_own_head,
    harden_encoder,
    harden_with_moving_teacher,
    pretrain_encoder,
    settings_for,
    train_classifier,
)
from weatherproof.training.run import RunFolder
from weatherproof.training.watch import Watch

__all__ = [
    "CleanCosine",
    "Plan",
    "RunFolder",
    "TrainingError",
    "Watch",
    "check_own_head",
    "fit",
    "harden_encoder",
    "harden_with_moving_teacher",
    "pretrain_encoder",
    "settings_for",
    "train_classifier",
]
