"""Whether a verdict on numbers stands within their standard errors."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

LEVEL = 0.05  # as of one comparison by a one-sided test, which for a single one this is
_DRAWS, _SEED = 1000, 0x73646572  # "sder"


def share_of_draws(
    test: Callable[[Mapping[Any, float]], tuple[int, int, str]], found: Mapping[Any, Mapping[str, Any]]
) -> float | None:
    """The share of draws in which every comparison of a test holds; None where no number has a standard error.

    A draw moves each number by its own standard error, normal and independent of the others. Numbers of the same test
    images vary together, so that their differences are surer than this says.

    Args:
        test: of a `Claim`.
        found: records, with "value" and "stderr".
    """
    values = {key: record["value"] for key, record in found.items()}
    errors = {key: own for key, record in found.items() if values[key] is not None and (own := record.get("stderr"))}
    if not errors:
        return None
    noise = torch.randn(
        _DRAWS, len(errors), generator=torch.Generator().manual_seed(_SEED), dtype=torch.float64
    ).tolist()  # fmt: skip
    held = 0
    for row in noise:
        moved = {key: values[key] + own * z for (key, own), z in zip(errors.items(), row, strict=True)}
        count, of, _ = test(values | moved)
        held += 0 < of == count
    return held / _DRAWS
