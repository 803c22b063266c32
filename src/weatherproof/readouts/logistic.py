"""Multinomial logistic regression on cached features."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.progress import Meter, phase

L2_GRID = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)  # strongest first, so that each fit starts from the smoother one before it
_VALIDATION = 0.2  # share of each class held out to choose l2
_CHUNK = 1 << 16  # rows at once: with 1,000 classes the logits of a chunk take 260 MB


def fit_linear(
    features: Float[Tensor, "n features"] | Float[Tensor, "looks n features"],
    labels: Int64[Tensor, "n"],
    num_classes: int,
    *,
    l2: float | str = 1e-2,
    seed: int = 0,
    max_steps: int = 300,
) -> nn.Linear:
    """The linear layer that minimises, by L-BFGS with a strong Wolfe line search,

        mean cross-entropy(V z + c, label) + l2 / 2 ||V||^2,    z = (features - mean) / std,

    folded back to act on raw features: weight = V / std, bias = c - weight mean. The bias c is not penalised.
    (scikit-learn's LogisticRegression on z has the same minimum for C = 1 / (l2 n).)

    Args:
        features: one row an image, or several looks (realizations of a random operator) at the same n images.
        labels: class of each image; images with label -1 are left out.
        l2: the weight above, or ``"auto"``: the member of `L2_GRID` with the highest accuracy (then the lowest
            cross-entropy) on a fifth of each class's images held out by `seed`; all looks of an image stay together.

    Raises:
        InputError: no labelled image, a label outside 0 .. num_classes - 1, or an `l2` that is neither.
    """
    features = features[None] if features.dim() == 2 else features
    known = labels >= 0
    if not bool(known.all()):
        features, labels = features[:, known], labels[known]
    if len(labels) == 0:
        raise InputError("a linear readout needs labelled images, got none")
    if int(labels.max()) >= num_classes:
        raise InputError(f"labels must be below num_classes={num_classes}, got {int(labels.max())}")
    with phase("fitting a linear layer", unit="evaluations of the loss") as meter:
        if l2 == "auto":
            l2 = _choose_l2(features, labels, num_classes, seed, max_steps, meter)
        if isinstance(l2, str) or l2 < 0:
            raise InputError(f"l2 must be a number of at least 0 or 'auto', got {l2!r}")
        *_, head = _path(features, labels, num_classes, (l2,), max_steps, meter)
    return head


def _path(
    features: Tensor, labels: Tensor, num_classes: int, l2s: tuple[float, ...], max_steps: int, meter: Meter
) -> Iterator[nn.Linear]:
    """The minimisers for each l2 in turn, each started from the one before."""
    looks, n, width = features.shape
    rows, targets = features.reshape(looks * n, width), labels.repeat(looks)
    std, mean = torch.std_mean(rows, dim=0, correction=0)
    constant = std <= 1e-6 * std.max()  # a dead feature: its V stays 0, and must not divide by 0
    scale = torch.where(constant, 0, 1 / std.masked_fill(constant, 1))
    v = torch.zeros(num_classes, width, dtype=rows.dtype, device=rows.device, requires_grad=True)
    c = torch.zeros(num_classes, dtype=rows.dtype, device=rows.device, requires_grad=True)

    def folded() -> tuple[Tensor, Tensor]:
        weight = v * scale  # standardising the weights instead of the features saves a copy of the features
        return weight, c - weight @ mean

    for l2 in l2s:
        optimizer = torch.optim.LBFGS(
            [v, c], max_iter=max_steps, tolerance_grad=1e-6, tolerance_change=1e-9, line_search_fn="strong_wolfe"
        )

        def objective(optimizer: torch.optim.LBFGS = optimizer, l2: float = l2) -> Tensor:
            optimizer.zero_grad()
            total = l2 / 2 * v.square().sum()
            total.backward()
            for x, y in zip(rows.split(_CHUNK), targets.split(_CHUNK), strict=True):
                part = cross_entropy(linear(x, *folded()), y, reduction="sum") / len(rows)
                part.backward()
                total = total + part
            meter.advance()
            return total.detach()

        with torch.enable_grad():
            optimizer.step(objective)
        head = nn.utils.skip_init(nn.Linear, width, num_classes, dtype=rows.dtype, device=rows.device)
        with torch.no_grad():
            head.weight.data, head.bias.data = (part.clone() for part in folded())
        yield head


def _choose_l2(features: Tensor, labels: Tensor, num_classes: int, seed: int, max_steps: int, meter: Meter) -> float:
    held = _held_out_mask(labels, seed)
    if not held.any():
        raise InputError("l2='auto' holds out labelled images, which needs two of some class: give l2 a number")
    best, best_score = L2_GRID[0], (-1.0, 0.0)
    targets = labels[held].repeat(len(features))
    heads = _path(features[:, ~held], labels[~held], num_classes, L2_GRID, max_steps, meter)
    for l2, head in zip(L2_GRID, heads, strict=True):
        with torch.no_grad():
            logits = head(features[:, held].flatten(0, 1))
            score = ((logits.argmax(1) == targets).float().mean().item(), -cross_entropy(logits, targets).item())
        if score > best_score:
            best, best_score = l2, score
    return best


def _held_out_mask(labels: Tensor, seed: int) -> Tensor:
    """A fifth of each class (at least one image, but never its last), as a mask."""
    order = random.order(seed, 0, len(labels)).to(labels.device)
    held = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
    for label in labels.unique():
        members = order[labels[order] == label]
        count = min(max(1, round(_VALIDATION * len(members))), len(members) - 1)
        held[members[:count]] = True
    return held
