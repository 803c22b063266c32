"""AutoAttack (Croce & Hein 2020), from its authors' code as packaged in `pyautoattack`, an extra."""

import importlib
from typing import Any

import torch

from weatherproof import random
from weatherproof.attacks.balls import L1, L2, Ball, Linf
from weatherproof.attacks.checks import check_images, check_reach
from weatherproof.attacks.described import Facts, norm_of
from weatherproof.attacks.guard import Model, frozen, guarded, look, own_copies
from weatherproof.attacks.losses import CrossEntropy
from weatherproof.errors import InputError, unknown
from weatherproof.spec import component
from weatherproof.types import Images, Keys, Labels

VERSIONS = ("standard", "plus", "rand")
_FEWEST = 4  # the targeted loss needs the four largest logits
_TARGETS = 9  # classes that its targeted attacks aim at


@component
class AutoAttack:
    """APGD on cross-entropy, targeted APGD, targeted FAB and Square, each on the images that still stand, no setting
    to tune ("standard"). One that withstands them all is given back clean.

    The package draws for a whole batch at once: unlike the other attacks this one gives an image what its batch and
    the batch's keys say. Square needs up to 5,000 forward passes an image.

    Args:
        ball: `L2(eps)`, `Linf(eps)` or `L1(eps)`.
        version: "standard", "plus" (more restarts and losses) or "rand" (for models that draw).

    Raises:
        InputError: settings that make no sense; when called, `pyautoattack` is not installed, or the model has fewer
            than four classes.
    """

    ball: Ball
    version: str = "standard"

    def __post_init__(self) -> None:
        if not isinstance(self.ball, (L1, L2, Linf)):
            raise InputError(f"AutoAttack needs the ball L2(eps), Linf(eps) or L1(eps), got {self.ball!r}")
        if self.version not in VERSIONS:
            raise unknown("version of AutoAttack", str(self.version), VERSIONS)

    @property
    def facts(self) -> Facts:
        """What it is."""
        return Facts(self, norm_of(self.ball), self.ball)

    def __call__(self, model: Model, images: Images, labels: Labels, keys: Keys) -> Images:
        """The attacked images: in [0, 1] and in the ball, on the images' device. Arguments as for `PGD`."""
        package = _package()
        check_images(images, labels, keys)
        check_reach(self.ball, images)
        if len(images) == 0 or self.ball.eps == 0:
            return images.clone()
        seed = int(random.fold(keys[:1], *keys.tolist())) % (1 << 31)
        with guarded(model), frozen(model), random.framework_seed(seed):
            clean, labels = own_copies(images, labels)
            with torch.no_grad():
                classes = look(model, clean, labels, CrossEntropy(), check=True)[0].shape[1]
            if classes < _FEWEST:
                raise InputError(f"AutoAttack needs a model of at least {_FEWEST} classes, this one has {classes}")
            attacked = self._adversary(package, model, clean, classes, seed).run_standard_evaluation(
                clean, labels, batch_size=len(clean)
            )[0]
            return self.ball.project(attacked.detach(), clean)  # it keeps its own bounds to 1e-5 or so

    def _adversary(self, package: Any, model: Model, images: Images, classes: int, seed: int) -> Any:
        adversary = package.AutoAttack(
            model, norm=type(self.ball).__name__, eps=self.ball.eps, version=self.version, seed=seed,
            device=images.device,
        )  # fmt: skip
        for part in (adversary.apgd_targeted, adversary.fab):
            part.n_target_classes = min(part.n_target_classes, _TARGETS, classes - 1)
        return adversary


def _package() -> Any:
    try:
        return importlib.import_module("pyautoattack")
    except ModuleNotFoundError as error:
        raise InputError("AutoAttack needs the package pyautoattack: pip install 'weatherproof[attacks]'") from error
