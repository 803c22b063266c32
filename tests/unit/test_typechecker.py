"""The checks of shapes that all other tests run under: there where an array is named, and only there."""

from collections.abc import Callable

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor
from typechecker import names_array

from weatherproof.evaluation import rms_calibration_error
from weatherproof.operators import GaussianNoise
from weatherproof.operators import parse as parse_operator
from weatherproof.types import Images, Labels


@pytest.mark.parametrize("hint", [Images, Tensor, list[Tensor], Labels | None, dict[str, tuple[Images, int]]])
def test_a_hint_that_names_an_array(hint: object) -> None:
    assert names_array(hint)


@pytest.mark.parametrize("hint", [int, "Tensor", None, list[str], Callable[[Images], Labels], torch.device, Float])
def test_a_hint_that_names_none(hint: object) -> None:
    assert not names_array(hint)


def test_a_wrong_shape_and_a_wrong_dtype_are_found() -> None:
    noise = GaussianNoise(0.1)
    keys = torch.zeros(2, dtype=torch.int64)
    assert noise(torch.zeros(2, 3, 4, 4), keys).shape == (2, 3, 4, 4)
    for images, of in ((torch.zeros(2, 3, 4), keys), (torch.zeros(2, 3, 4, 4), keys.float())):
        with pytest.raises(TypeCheckError):
            noise(images, of)


def test_what_names_no_array_is_as_it_was_written() -> None:
    assert not hasattr(parse_operator, "__wrapped__") and hasattr(rms_calibration_error, "__wrapped__")
