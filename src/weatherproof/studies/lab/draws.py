"""Whether a verdict on numbers stands within their standard errors."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

LEVEL = 0.05  # as of one comparison by a one-sided test, which for a single one this is
_DRAWS, _SEED = 1000, 0x73646572  # "sder"


def share_of_draws(
    test: Callable[[Mapping[Any, float]], tuple[int, int, str]],
    values: Mapping[Any, float],
    errors: Mapping[Any, float],
) -> float | None:
    """The share of draws in which every comparison of a test holds; None where there are no standard errors.

    A draw moves each number by its own standard error, normal and independent of the others. Numbers of the same test
    images vary together, so that their differences are surer than this says.

    Args:
        test: of a `Claim`.
        errors: of those values that have one.
    """
    if not errors:
        return None
    noise = torch.randn(
        _DRAWS, len(errors), generator=torch.Generator().manual_seed(_SEED), dtype=torch.float64
    ).tolist()  # fmt: skip
    held = 0
    for row in noise:
        moved = {key: values[key] + own * z for (key, own), z in zip(errors.items(), row, strict=True)}
        count, of, _ = test({**values, **moved})
        held += 0 < of == count
    return held / _DRAWS
