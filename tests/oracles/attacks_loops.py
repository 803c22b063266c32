"""Attacks image by image, element by element, in float64, as the papers write them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

Vector = np.ndarray[Any, np.dtype[np.float64]]
Model = Callable[[Tensor], Tensor]


def size(difference: Vector, norm: str) -> float:
    flat = [abs(float(value)) for value in difference.ravel()]
    match norm:
        case "L1":
            return math.fsum(flat)
        case "L2":
            return math.sqrt(math.fsum(value * value for value in flat))
        case "l0":
            return float(sum(value != 0 for value in flat))
    return max(flat)


def steepest(gradient: Vector, x: Vector, norm: str, sparsity: float = 0.99) -> Vector:
    flat = gradient.ravel()
    step = np.zeros_like(flat)
    match norm:
        case "L2":
            step = flat / (size(flat, "L2") + 1e-10)
        case "Linf":
            step = np.sign(flat)
        case "L1":
            count = max(1, round((1 - sparsity) * len(flat)))
            free = [i for i, p in enumerate(x.ravel()) if (p < 1 if flat[i] > 0 else p > 0)]
            for place in sorted(free, key=lambda i: -abs(flat[i]))[:count]:
                step[place] = np.sign(flat[place]) / count
    return step.reshape(gradient.shape)


def project(x: Vector, clean: Vector, norm: str, eps: float) -> Vector:
    difference = x - clean
    match norm:
        case "L2":
            length = size(difference, "L2")
            difference = difference * (eps / length) if length > eps else difference
        case "Linf":
            difference = np.array([min(max(d, -eps), eps) for d in difference.ravel()]).reshape(x.shape)
        case "L1":
            difference = l1_by_bisection(difference, eps)
    return np.clip(clean + difference, 0, 1)


def l1_by_bisection(s: Vector, radius: float) -> Vector:
    """The projection onto the l1 ball by halving an interval around theta."""
    return s if size(s, "L1") <= radius else np.sign(s) * np.maximum(abs(s) - _level(abs(s), radius), 0)


def simplex_by_bisection(s: Vector, total: float) -> Vector:
    return np.maximum(s - _level(s, total), 0)


def _level(values: Vector, total: float) -> float:
    low, high = float(values.min()) - total, float(values.max())
    for _ in range(200):
        middle = (low + high) / 2
        if np.maximum(values - middle, 0).sum() > total:
            low = middle
        else:
            high = middle
    return high


def look(model: Model, x: Vector, label: int, loss: Callable[[Tensor, int], Tensor]) -> tuple[int, float, Vector]:
    """Answer, loss and gradient of one image."""
    pixels = torch.tensor(x[None], requires_grad=True)
    logits = model(pixels)[0]
    value = loss(logits, label)
    (gradient,) = torch.autograd.grad(value, pixels)
    return int(logits.argmax()), float(value.detach()), gradient[0].numpy()


def cross_entropy(logits: Tensor, label: int) -> Tensor:
    return torch.logsumexp(logits, 0) - logits[label]


def pgd(
    model: Model, clean: Vector, label: int, norm: str, eps: float, steps: int, step_size: float, keep: str
) -> Vector:
    """`keep`: the "last" iterate, that of highest loss ("best"), or the "first" that is misclassified (else the
    last)."""
    x, visited = clean, []
    for _ in range(steps + 1):
        answer, loss, gradient = look(model, x, label, cross_entropy)
        visited.append((loss, x))
        if keep == "first" and answer != label:
            return x
        x = project(x + step_size * steepest(gradient, x, norm), clean, norm, eps)
    return max(visited, key=lambda pair: pair[0])[1] if keep == "best" else visited[-1][1]


def prox(s: Vector, weight: float, norm: str) -> Vector:
    match norm:
        case "l2":
            length = size(s, "L2")
            return np.zeros_like(s) if length <= weight else s * (length - weight) / length
        case "l0":  # keeping costs the weight, dropping costs s^2 / 2
            return np.array([v if v * v / 2 > weight else 0.0 for v in s.ravel()]).reshape(s.shape)
    if size(s, "L1") <= weight:
        return np.zeros_like(s)
    limit = _level(abs(s), weight)  # the largest values are cut, by `weight` in all
    return np.array([min(max(v, -limit), limit) for v in s.ravel()]).reshape(s.shape)


def log_barrier(
    model: Model, clean: Vector, start: Vector, label: int, norm: str, outer: int, inner: int, **settings: float
) -> tuple[Vector, float]:
    """Steps 1 to 4 of the algorithm from a misclassified start."""

    def barrier(logits: Tensor, label: int) -> Tensor:
        return -torch.log(logits.max() - logits[label] + 1e-12)

    measure = {"l2": "L2", "linf": "Linf", "l0": "l0"}[norm]
    x, best = start, (size(start - clean, measure), start)
    for k in range(outer):
        for _ in range(inner):
            gradient = look(model, x, label, barrier)[2]
            moved = x - settings["dt"] * settings["alpha"] * settings["beta"] ** k * gradient
            proposed = np.clip(clean + prox(moved - clean, settings["prox"], norm), 0, 1)
            for _ in range(50):
                if look(model, proposed, label, barrier)[0] != label:
                    break
                proposed = settings["gamma"] * proposed + (1 - settings["gamma"]) * x
            else:
                proposed = x
            x = proposed
            if size(x - clean, measure) <= best[0]:
                best = (size(x - clean, measure), x)
    return best[1], best[0]
