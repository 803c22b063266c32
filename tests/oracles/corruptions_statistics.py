"""Do two samples of corrupted copies of one image come from one law? Summaries of each copy, compared one by one."""

from typing import Any

import numpy as np
from scipy.special import kolmogorov

Array = np.ndarray[Any, Any]

BANDS = 6  # of the radial power spectrum
BLOCKS = 4  # a side
CHANNELS = "RGB"
BLIND = 0.05  # in standard deviations: far below what samples of a few hundred can tell apart elsewhere


def _mean_product(*fields: Array) -> Array:
    """Per copy, over all its pixels."""
    letters = "nabc"[: fields[0].ndim]
    return np.einsum(f"{','.join([letters] * len(fields))}->n", *fields) / fields[0][0].size


def _standardised(field: Array) -> Array:
    """Each copy with mean 0 and deviation 1; all 0 where it is constant."""
    axes = tuple(range(1, field.ndim))
    centred = field - field.mean(axes, keepdims=True)
    std = np.sqrt(_mean_product(centred, centred)).reshape(-1, *[1] * len(axes))
    return np.divide(centred, std, out=np.zeros_like(centred), where=std > 1e-4)


def _spectrum(grey: Array) -> Array:
    """Logarithm of the power in octaves of the spatial frequency."""
    side = grey.shape[-1]
    power = np.abs(np.fft.rfft2(grey)) ** 2 / side**2
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    band = np.clip(np.ceil(np.log2(np.maximum(frequency, 1e-9)) + BANDS), 0, BANDS).astype(int)
    return np.stack([np.log(power[:, band == i].mean(1) + 1e-6) for i in range(BANDS) if (band == i).any()], 1)


def summaries(image: Array, copies: Array, centre: Array) -> dict[str, Array]:
    """Numbers of each copy: {name: [copies]}.

    Args:
        image: height x width x 3 on 0..255, square.
        copies: copies x height x width x 3, the same image after the corruption.
        centre: the mean of the copies of both samples. What varies about it is the corruption's own randomness, free of
            the image's structure, which drowns it in the difference to the image.
    """
    clean, out = image.astype(np.float32), copies.astype(np.float32)
    r, varying = out - clean, out - centre.astype(np.float32)
    grey, random = r.mean(3), varying.mean(3)
    z, bright = _standardised(random), np.broadcast_to(_standardised(clean.mean(2)[None]), grey.shape)
    down, right = (np.broadcast_to(slope, grey.shape) for slope in np.gradient(clean.mean(2)))
    side = grey.shape[1] - grey.shape[1] % BLOCKS
    blocks = grey[:, :side, :side].reshape(len(r), BLOCKS, side // BLOCKS, BLOCKS, side // BLOCKS).mean((2, 4))
    square = _mean_product(r, r)
    found = {
        "mean": grey.mean((1, 2)),
        "size": np.sqrt(square),
        "varying size": np.sqrt(_mean_product(varying, varying)),
        "third moment": np.cbrt(_mean_product(r, r, r)),
        "fourth moment": _mean_product(r, r, r, r) ** 0.25,
        "share unchanged": (copies == image).mean((1, 2, 3)),
        "share 0": (copies == 0).mean((1, 2, 3)),
        "share 255": (copies == 255).mean((1, 2, 3)),
        "along the slope down": _mean_product(grey, down),
        "along the slope right": _mean_product(grey, right),
        "rotated by 180": _mean_product(z, z[:, ::-1, ::-1]),
        "with the image": _mean_product(_standardised(grey), bright),
        "size with the image": _mean_product(_standardised(np.abs(random)), bright),
    }
    one_by_one = [np.ascontiguousarray(varying[..., i]) for i in range(3)]
    for i, name in enumerate(CHANNELS):
        one = r[..., i]
        found[f"mean {name}"] = one.mean((1, 2))
        found[f"std {name}"] = np.sqrt(np.maximum(_mean_product(one, one) - found[f"mean {name}"] ** 2, 0))
        found[f"{name} with {CHANNELS[i - 1]}"] = _mean_product(*map(_standardised, (one_by_one[i], one_by_one[i - 1])))
    for lag in (1, 2, 5):
        pairs = {
            "down": (z[:, lag:], z[:, :-lag]),
            "right": (z[:, :, lag:], z[:, :, :-lag]),
            "falling": (z[:, lag:, lag:], z[:, :-lag, :-lag]),
            "rising": (z[:, lag:, :-lag], z[:, :-lag, lag:]),
        }
        for way, (here, there) in pairs.items():
            step = here - there
            found[f"steps of {lag} {way}"] = _mean_product(step, step)
    found |= {f"band {i}": band for i, band in enumerate(_spectrum(grey).T)}
    found |= {f"varying band {i}": band for i, band in enumerate(_spectrum(random).T)}
    return found | {f"block {i}": block for i, block in enumerate(blocks.reshape(len(r), -1).T)}


def two_sample(a: Array, b: Array) -> float:
    """p of the Kolmogorov-Smirnov test, blind to shifts below `BLIND` of the standard deviation.

    A value that falls on a level up to a rounding error may be truncated to the one below. Where a corruption has few
    outcomes for a pixel, that moves whole atoms of a distribution by next to nothing, which the plain test would see.
    The asymptotic form errs on the side of "alike"; so do ties.
    """
    n, m = len(a), len(b)
    a, b = np.sort(a), np.sort(b)
    blind = BLIND * np.concatenate([a, b]).std() + 1e-6

    def beyond(low: Array, high: Array) -> float:
        """By how much at most the first distribution function is above the second one `blind` further right."""
        return float(
            (np.arange(1, len(low) + 1) / len(low) - np.searchsorted(high, low + blind, "right") / len(high)).max()
        )

    return float(kolmogorov(np.sqrt(n * m / (n + m)) * max(beyond(a, b), beyond(b, a), 0.0)))


def differences(image: Array, ours: Array, oracle: Array, significance: float) -> dict[str, str]:
    """The summaries that tell the two samples apart, with both medians."""
    centre = (ours.mean(0) + oracle.mean(0)) / 2
    a, b = summaries(image, ours, centre), summaries(image, oracle, centre)
    p = {name: two_sample(a[name], b[name]) for name in a}
    return {
        name: f"p = {p[name]:.0e}: median {np.median(a[name]):.4g} against {np.median(b[name]):.4g}"
        for name in sorted(p, key=lambda name: p[name])
        if p[name] < significance
    }
