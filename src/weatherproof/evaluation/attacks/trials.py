"""One attack on one model, as a trial of the engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from weatherproof.attacks.described import Facts
from weatherproof.errors import InputError
from weatherproof.evaluation.engine.trials import Columns, Look, Models
from weatherproof.evaluation.metrics.named import METRICS, metric_columns
from weatherproof.protocols import Attack
from weatherproof.readouts import evaluating, require_logits
from weatherproof.types import Images, Logits


@dataclass(frozen=True)
class AttackTrial:
    """One draw of one attack on one model; without an attack, its answers to the clean images.

    An image leaves what all `METRICS` keep, and the "size" of its perturbation in the attack's norm: 0 of clean images,
    infinite where the attack gave no image.

    Attributes:
        facts: of the attack.
        highest: of the labels of all images.
    """

    model: str
    facts: Facts | None = None
    run: int = 0
    highest: int = 0
    positions: None = None  # all images

    @property
    def attack(self) -> Attack | None:
        return None if self.facts is None else self.facts.attack

    @property
    def fixed(self) -> bool:
        """Whether nothing is drawn."""
        return self.facts is None or self.facts.fixed

    @property
    def clean(self) -> "AttackTrial":
        """The same model on clean images."""
        return replace(self, facts=None, run=0)

    @property
    def label(self) -> str:
        return f"{self.model} | {'clean' if self.attack is None else repr(self.attack)} | {self.run}"

    @property
    def words(self) -> str:
        return f"{self.attack or 'clean images'} on {self.model}"

    def __call__(self, models: Models, look: Look) -> Columns:
        """Raises `InputError` for what the attack refuses, and for what `judged` does."""
        model, images = models[self.model], look.images
        size = torch.zeros(len(look), device=images.device)
        if self.facts is not None:
            attacked = self.facts.attack(model, images, look.labels, look.realization_keys(self.run))
            size, images = reached(self.facts, attacked, images), attacked
        logits = judged(self.model, model, images, self.highest).float()
        # as records under attack have always had it: the same as metrics keep, up to the last bits
        confidence = logits.softmax(dim=1).max(dim=1).values.clamp(max=1)
        return {**metric_columns(METRICS, logits, look.labels), "confidence": confidence, "size": size.float()}


def trials_of(models: Sequence[str], attacks: Sequence[Facts], realizations: int, highest: int) -> list[AttackTrial]:
    """Clean images first, then attack after attack. One that draws nothing runs once, and so does one that looks for
    the smallest perturbation: of several draws that would be another number."""
    return [
        *(AttackTrial(model, highest=highest) for model in models),
        *(
            AttackTrial(model, attack, run, highest)
            for attack in attacks
            for model in models
            for run in range(1 if attack.fixed or attack.smallest else realizations)
        ),
    ]


def reached(facts: Facts, attacked: Tensor, clean: Images) -> Float32[Tensor, "batch"]:
    """The sizes of the perturbations; infinite where the attack gave no image.

    Raises:
        InputError: the attack gave images of another shape.
    """
    if attacked.shape != clean.shape:
        raise InputError(f"{facts.attack!r} gave {list(attacked.shape)} for images {list(clean.shape)}")
    lost = ~attacked.flatten(1).isfinite().all(dim=1)
    return facts.sizes((attacked - clean).nan_to_num()).float().masked_fill(lost, torch.inf)


def guess(name: str, classifier: Callable[..., Logits], images: Images, highest: int) -> Int64[Tensor, "batch"]:
    """The first guesses, in evaluation mode. Raises what `judged` raises."""
    return judged(name, classifier, images, highest).argmax(dim=1)


def judged(name: str, classifier: Callable[..., Logits], images: Images, highest: int) -> Logits:
    """The logits, in evaluation mode.

    Args:
        highest: of the labels.

    Raises:
        InputError: outputs that are no numbers, or fewer than there are labels.
    """
    with evaluating(classifier):
        logits = classifier(images.nan_to_num())
    if logits.ndim != 2 or logits.shape[1] <= highest:
        raise InputError(
            f"{name!r} gives outputs {list(logits.shape)} for {len(images)} images with labels up to {highest}: "
            f"give a classifier for these classes"
        )
    require_logits(name, logits)
    return logits
