"""A few images on which an attack is tried out, and what can be measured on them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from weatherproof import random
from weatherproof.attacks.described import Facts
from weatherproof.attacks.guard import climb, guarded
from weatherproof.attacks.losses import CrossEntropy, Loss, Margin
from weatherproof.data import ImageSet, at_most, batches
from weatherproof.errors import InputError
from weatherproof.evaluation.attacks.trials import guess
from weatherproof.evaluation.engine.trials import EVAL_STREAM
from weatherproof.protocols import Attack
from weatherproof.readouts import evaluating
from weatherproof.types import Images, Keys, Labels, Logits

_STREAM = 0x73616E65  # "sane": noise that is no attack's
_VANISHING = 1e-9  # a length at which the 1e-10 of an l2 step's denominator takes a tenth of the step
_REACH = 0.05  # of the finite difference, in the l2 norm


@dataclass(eq=False)
class Bench:
    """Images on the device, and the model on trial.

    Attributes:
        clean: whether the model recognises each image.
        cache: attacked images by the attack's text, so that none is attacked twice.
    """

    name: str
    model: Callable[[Images], Logits]
    images: Images
    labels: Labels
    keys: Keys
    clean: Bool[Tensor, "n"]
    cache: dict[str, Images] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def share(self, found: Bool[Tensor, "n"]) -> float:
        return found.double().mean().item()

    def right(self, images: Images) -> Bool[Tensor, "n"]:
        return guess(self.name, self.model, images, int(self.labels.max())) == self.labels

    def attacked(self, attack: Attack) -> Images:
        if repr(attack) not in self.cache:
            self.cache[repr(attack)] = attack(self.model, self.images, self.labels, self.keys)
        return self.cache[repr(attack)]

    def accuracy(self, attack: Attack) -> float:
        return self.share(self.right(self.attacked(attack)))

    def distances(self, facts: Facts) -> Float[Tensor, "n"]:
        """Of an attack that looks for the smallest perturbation: its sizes, infinite where it failed, 0 where the clean
        image is misclassified."""
        found = self.attacked(facts.attack)
        wrong = ~self.right(found) & found.flatten(1).isfinite().all(dim=1)
        size = facts.sizes((found - self.images).nan_to_num()).float()
        return size.masked_fill(~wrong, torch.inf).masked_fill(~self.clean, 0.0)

    def logits(self) -> Logits:
        with evaluating(self.model):
            return self.model(self.images)

    def noisy(self, size: Float[Tensor, "n"]) -> Images:
        """The images with Gaussian noise of these lengths (l2)."""
        noise = random.normals(random.fold(self.keys, _STREAM), tuple(self.images.shape[1:]), self.images.device)
        length = size.to(noise) / noise.flatten(1).norm(dim=1)
        return (self.images + noise * length.view(-1, 1, 1, 1)).clamp(0, 1)

    def started(self, facts: Facts) -> Images | None:
        """A random image in the attack's ball, of as large a change as its start has; None where it has no start."""
        found = facts.started(self.images, random.fold(self.keys, _STREAM))
        return None if found is None else found.clamp(0, 1)

    def gradient(self, loss: Loss) -> Images:
        with guarded(self.model):
            return climb(self.model, self.images, self.labels, loss)[2]

    def vanishing(self, facts: Facts) -> Bool[Tensor, "n"]:
        """Whether the gradient that the attack follows is zero, or so small that its steps are, or no number."""
        length = self.gradient(facts.loss or CrossEntropy()).flatten(1).norm(dim=1)
        return ~(length >= _VANISHING)

    def slope(self) -> float:
        """How much the margin rises along its gradient, over what the gradient says; the median of the images.

        Near 1 where the gradient tells the truth; near 0 where something rounds, saturates or hides behind it.
        """
        gradient = self.gradient(Margin()).flatten(1)
        length = gradient.norm(dim=1)
        step = (_REACH * gradient / length.clamp(min=1e-30)[:, None]).view_as(self.images)
        with evaluating(self.model):
            ends = [Margin()(self.model(self.images + way * step).float(), self.labels) for way in (1, -1)]
        ratio = (ends[0] - ends[1]) / (2 * _REACH * length)
        return ratio[length > 0].nanmedian().item() if bool((length > 0).any()) else 0.0


def bench_of(
    name: str,
    model: Callable[[Images], Logits],
    images: ImageSet,
    *,
    limit: int,
    seed: int,
    device: str | torch.device,
) -> Bench:
    """At most `limit` images, evenly spaced, with the keys that they have in the whole measurement.

    Raises:
        InputError: there is none, or a model that cannot be measured.
    """
    if isinstance(model, nn.Module):
        model.to(device)
    batch = next(batches(at_most(images, limit), limit, device=device), None)
    if batch is None or not bool((batch.labels >= 0).all()):
        raise InputError(f"a certificate needs images with labels, and {images.name!r} has none to give")
    keys = random.fold(random.keys(seed, batch.index), EVAL_STREAM, 0)
    clean = guess(name, model, batch.images, int(images.labels.max())) == batch.labels
    return Bench(name, model, batch.images, batch.labels, keys, clean.clone())
