"""Projected gradient descent (Madry et al. 2018), for any ball and any loss."""

from weatherproof import random
from weatherproof.attacks.ascent import Ascent
from weatherproof.attacks.balls import Ball
from weatherproof.attacks.checks import check_images, check_reach
from weatherproof.attacks.described import Facts, norm_of
from weatherproof.attacks.guard import Model, guarded, own_copies
from weatherproof.attacks.losses import CrossEntropy, Loss
from weatherproof.errors import InputError
from weatherproof.spec import component
from weatherproof.types import Images, Keys, Labels


@component
class PGD:
    """x <- project(x + step_size * steepest(grad_x loss)), `steps` times, in evaluation mode.

    Without a random start nothing is drawn. An image's draws depend on its key alone.

    Args:
        ball: `L2(eps)`, `Linf(eps)` or `L1(eps)`.
        steps: gradients per run.
        step_size: in the ball's norm; None: 2.5 eps / steps, as in the reference's tables.
        restarts: runs; a later one counts for images that no earlier one fooled. More than one needs a random start.
        random_start: begin at `ball.start` instead of at the clean image.
        best: give the iterate of highest loss, the start and the last one included; else the last one.
        loss: what is raised, one number per image: `CrossEntropy()`, `Margin()`, or "file.py:name", a function of
            (logits, labels).
        stop_when_fooled: for robust accuracy alone: an image leaves the batch with its first misclassified iterate, and
            only those still standing go on. An image counts as robust where no iterate fools the model, so the accuracy
            is at most that of `best`, which asks the iterate of highest loss alone. It takes the place of `best`.

    Raises:
        InputError: settings that make no sense.
    """

    ball: Ball
    steps: int = 20
    step_size: float | None = None
    restarts: int = 1
    random_start: bool = False
    best: bool = True
    loss: Loss = CrossEntropy()
    stop_when_fooled: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.ball, Ball):
            raise InputError(f"PGD needs a ball such as L2(0.5) or Linf(8/255), got {self.ball!r}")
        for name in ("steps", "restarts"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise InputError(f"{name} of PGD must be a whole number from 1, got {getattr(self, name)!r}")
        if self.step_size is not None and not 0 < self.step_size < float("inf"):
            raise InputError(f"the step_size of PGD must be a positive number of pixel units, got {self.step_size!r}")
        if self.restarts > 1 and not self.random_start:
            raise InputError("each restart of PGD from the clean image would be the same: set random_start=True")
        if not callable(self.loss):
            raise InputError(f"the loss of PGD must be CrossEntropy(), Margin() or 'file.py:name', got {self.loss!r}")

    @property
    def deterministic(self) -> bool:
        """Whether it draws nothing, so that keys do not matter."""
        return not self.random_start

    @property
    def facts(self) -> Facts:
        """What it is."""
        return Facts(
            self, norm_of(self.ball), self.ball, fixed=self.deterministic, loss=self.loss, longer=("steps", 5),
            short={"steps": 1},
        )  # fmt: skip

    @property
    def step(self) -> float:
        """The size of a step."""
        return 2.5 * self.ball.eps / self.steps if self.step_size is None else self.step_size

    def __call__(self, model: Model, images: Images, labels: Labels, keys: Keys) -> Images:
        """The attacked images: in [0, 1] and in the ball, on the images' device.

        Args:
            model: images -> logits. Its modes, flags and gradients are afterwards what they were.
            labels: 0 .. classes - 1.
            keys: one per image; without effect where nothing is random.

        Raises:
            InputError: pixels, labels, outputs or a model that cannot be used, or an eps beyond all images.
        """
        check_images(images, labels, keys)
        check_reach(self.ball, images)
        if len(images) == 0:
            return images.clone()
        ascent = Ascent(self.ball, self.steps if self.ball.eps else 0, self.step, self.loss)
        with guarded(model):
            clean, labels = own_copies(images, labels)
            if self.best or self.stop_when_fooled or self.restarts > 1:
                return self._runs(ascent, model, clean, labels, keys)
            return ascent.last(model, clean, labels, self._start(clean, keys, 0))

    def _runs(self, ascent: Ascent, model: Model, clean: Images, labels: Labels, keys: Keys) -> Images:
        """Images that are not fooled go into the next run; a run's image is taken if it is the first, or fools."""
        run = ascent.until_fooled if self.stop_when_fooled else ascent.best
        found, fooled = run(model, clean, labels, self._start(clean, keys, 0))
        for restart in range(1, self.restarts):
            rows = (~fooled).nonzero()[:, 0]
            if len(rows) == 0:
                break
            here = clean[rows]
            attacked, now = run(model, here, labels[rows], self._start(here, keys[rows.cpu()], restart))
            found[rows[now]] = attacked[now]
            fooled[rows] = now
        return found

    def _start(self, clean: Images, keys: Keys, run: int) -> Images:
        return self.ball.start(clean, random.fold(keys, run)) if self.random_start else clean
