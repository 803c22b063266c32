"""The proximal log-barrier attack (Pooladian et al. 2020): the nearest image that the model gets wrong."""

import torch

from weatherproof import errors, random
from weatherproof.attacks.ascent import Ascent, Fooled
from weatherproof.attacks.balls import L2, Sizes
from weatherproof.attacks.checks import check_finite, check_images
from weatherproof.attacks.described import Facts
from weatherproof.attacks.guard import Model, climb, guarded, look, own_copies
from weatherproof.attacks.losses import CrossEntropy, Losses
from weatherproof.attacks.proximal import prox_l0, prox_l2, prox_linf
from weatherproof.errors import InputError
from weatherproof.spec import component
from weatherproof.types import Images, Keys, Labels, Logits

NORMS = ("l0", "l2", "linf")

_AMPLITUDE, _GROWTH = 0.01, 1.01  # the authors' noise before the attack: 0.01 * 1.01^k in the k-th draw
_TIE = 1e-12  # inside the logarithm, whose argument is 0 where two classes tie
_WALK = 100  # steps across the whole pixel cube, for an image that no noise fools


@component
class LogBarrier:
    """Minimises the distance to the clean image subject to misclassification, from a misclassified start inwards.

    With the barrier phi(x) = -log(max_c f_c(x) - f_y(x)) of the logits f, `outer` times `inner` iterations of

        u = x - dt * alpha * grad phi(x),  x' = clamp(x0 + prox_T(u - x0), 0, 1),

    alpha shrinking by `beta` after each outer one. Where the model is right about x', x' goes 95 % of the way back to
    x (gamma = 0.05), again and again. The nearest x of all is kept.

    Images start at noise of growing strength that is drawn from their keys; one that no draw fools is led up the
    cross-entropy instead. An image that the model gets wrong by itself stays, at distance 0.

    Args:
        norm: the distance, "l2", "l0" (of elements, not pixels) or "linf".
        dt, alpha, beta, gamma, outer, inner: as above; the defaults are the authors'.
        prox: T, the authors' 1. It is not multiplied with dt.
        draws: noises tried at most.
        backtracks: ways back at most; then x' = x.
        reference_compat: the proximal steps of the authors' code (`attacks.proximal`).

    Raises:
        InputError: settings that make no sense.
    """

    norm: str = "l2"
    dt: float = 0.1
    alpha: float = 0.1
    beta: float = 0.75
    gamma: float = 0.05
    outer: int = 30
    inner: int = 30
    prox: float = 1.0
    draws: int = 1000  # the strength is 200 by then, and every pixel 0 or 1 since the 600th; the authors go to 10,000
    backtracks: int = 50
    reference_compat: bool = False

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise errors.unknown("norm of LogBarrier", str(self.norm), NORMS)
        for name in ("dt", "alpha", "prox"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name} of LogBarrier must be a positive number, got {getattr(self, name)!r}")
        for name in ("beta", "gamma"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{name} of LogBarrier must be between 0 and 1, got {getattr(self, name)!r}")
        for name in ("outer", "inner", "draws", "backtracks"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise InputError(f"{name} of LogBarrier must be a whole number from 1, got {getattr(self, name)!r}")

    @property
    def facts(self) -> Facts:
        """What it is."""
        return Facts(self, self.norm, smallest=True, longer=("outer", 2), short={"outer": 1, "inner": 1})

    def __call__(self, model: Model, images: Images, labels: Labels, keys: Keys) -> Images:
        """The nearest misclassified images; the clean one where none was found."""
        return self.minimal(model, images, labels, keys)[0]

    def minimal(self, model: Model, images: Images, labels: Labels, keys: Keys) -> tuple[Images, Sizes]:
        """The nearest misclassified images and their distances.

        Args:
            model: images -> logits. Its modes, flags and gradients are afterwards what they were.
            labels: 0 .. classes - 1.
            keys: one per image.

        Returns:
            images in [0, 1], and for each its distance from the clean one: 0 where that is misclassified already,
            infinite where nothing was found, and the image is then the clean one.

        Raises:
            InputError: pixels, labels, outputs or a model that cannot be used.
        """
        check_images(images, labels, keys)
        if len(images) == 0:
            return images.clone(), torch.zeros(0, device=images.device)
        with guarded(model):
            found, labels = own_copies(images, labels)
            distance = torch.zeros(len(images), device=images.device)
            rows = (~_wrong(model, found, labels, check=True)).nonzero()[:, 0]
            clean = found[rows]
            start, started = self._start(model, clean, labels[rows], keys[rows.cpu()])
            distance[rows] = torch.inf
            rows, clean = rows[started], clean[started]
            if len(rows):
                found[rows], distance[rows] = self._inwards(model, clean, labels[rows], start[started])
        return found, distance

    def size(self, difference: Images) -> Sizes:
        """The distance of each image of differences."""
        rows = difference.flatten(1)
        if self.norm == "l0":
            return (rows != 0).sum(dim=1).float()
        return torch.linalg.vector_norm(rows, ord=2 if self.norm == "l2" else torch.inf, dim=1)

    def _proximal(self, s: Images) -> Images:
        match self.norm:
            case "l0":
                return prox_l0(s, self.prox, self.reference_compat)
            case "l2":
                return prox_l2(s, self.prox)
        return prox_linf(s, self.prox, self.reference_compat)

    def _inwards(self, model: Model, clean: Images, labels: Labels, x: Images) -> tuple[Images, Sizes]:
        """Steps 1 to 3 from misclassified images x. An image never leaves: at distance 0 the model is right."""
        best, nearest = x, self.size(x - clean)
        for k in range(self.outer):
            pull = self.dt * self.alpha * self.beta**k
            for _ in range(self.inner):
                gradient = climb(model, x, labels, barrier)[2]
                proposed = clean + self._proximal(x - pull * gradient - clean)
                x = self._back(model, proposed.clamp_(0, 1), x, clean, labels)
                size = self.size(x - clean)
                nearer = size <= nearest
                best = torch.where(nearer.view(-1, 1, 1, 1), x, best)
                nearest = torch.where(nearer, size, nearest)
        return best, nearest

    def _back(self, model: Model, proposed: Images, old: Images, clean: Images, labels: Labels) -> Images:
        """The proposals, those that the model gets right brought towards the old images until it does not."""
        rows = torch.arange(len(old), device=old.device)
        for _ in range(self.backtracks):
            rows = rows[_right(model, proposed[rows], old[rows], clean[rows], labels[rows])]
            if len(rows) == 0:
                return proposed
            proposed[rows] = torch.lerp(old[rows], proposed[rows], self.gamma)
        rows = rows[_right(model, proposed[rows], old[rows], clean[rows], labels[rows])]
        proposed[rows] = old[rows]
        return proposed

    def _start(self, model: Model, clean: Images, labels: Labels, keys: Keys) -> tuple[Images, Fooled]:
        """Misclassified images to start from, and where there is one."""
        x, rows = clean.clone(), torch.arange(len(clean), device=clean.device)
        for k in range(self.draws):
            if len(rows) == 0:
                break
            noise = random.normals(random.fold(keys[rows.cpu()], k), tuple(clean.shape[1:]), clean.device)
            noisy = clean[rows].add_(noise, alpha=_AMPLITUDE * _GROWTH**k).clamp_(0, 1)
            wrong = _wrong(model, noisy, labels[rows])
            x[rows[wrong]], rows = noisy[wrong], rows[~wrong]
        started = torch.ones(len(clean), dtype=torch.bool, device=clean.device)
        if len(rows):
            side = clean[0].numel() ** 0.5
            walk = Ascent(L2(side), _WALK, side / _WALK, CrossEntropy())
            x[rows], started[rows] = walk.until_fooled(model, clean[rows], labels[rows], clean[rows])
        return x, started


def barrier(logits: Logits, labels: Labels) -> Losses:
    """phi = -log(max_c f_c - f_y), per image."""
    own = logits.gather(1, labels[:, None])[:, 0]
    return -torch.log(logits.amax(dim=1) - own + _TIE)


def _wrong(model: Model, images: Images, labels: Labels, check: bool = False) -> Fooled:
    with torch.no_grad():
        logits, _ = look(model, images, labels, barrier, check=check)
    check_finite(logits.isnan().any())
    return logits.argmax(dim=1) != labels


def _right(model: Model, images: Images, old: Images, clean: Images, labels: Labels) -> Fooled:
    """Where the model is right about images: known, without a look, of the clean ones, and not so of the old ones."""
    as_clean, as_old = ((images == other).flatten(1).all(dim=1) for other in (clean, old))
    right = as_clean & ~as_old
    unknown = (~(as_clean | as_old)).nonzero()[:, 0]
    if len(unknown):
        right[unknown] = ~_wrong(model, images[unknown], labels[unknown])
    return right
