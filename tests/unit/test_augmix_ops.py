"""AugMix's operations against Pillow on the same parameters, and the parameters against the paper's numbers."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from oracles.augmix_pillow import ALL, APPLY, SIGNED, magnitude
from oracles.augmix_pillow import STANDARD as THE_NINE
from PIL import Image

from weatherproof.errors import InputError
from weatherproof.views.augmix import geometry, ops
from weatherproof.views.augmix.draws import OPERATIONS, STANDARD

COUNT = 14


def _uniform(low: float, high: float) -> torch.Tensor:
    return torch.rand(COUNT, dtype=torch.float64) * (high - low) + low


def _whole(low: int, high: int) -> torch.Tensor:
    return torch.randint(low, high + 1, (COUNT,))


# Ours, and parameters of every kind that it takes.
CASES: dict[str, tuple[Callable[..., torch.Tensor], Callable[[], torch.Tensor] | None]] = {
    "autocontrast": (ops.autocontrast, None),
    "equalize": (ops.equalize, None),
    "posterize": (ops.posterize, lambda: _whole(1, 8)),
    "solarize": (ops.solarize, lambda: _whole(0, 256)),
    "brightness": (ops.brightness, lambda: _uniform(0, 2)),
    "contrast": (ops.contrast, lambda: _uniform(0, 2)),
    "color": (ops.color, lambda: _uniform(0, 2)),
    "sharpness": (ops.sharpness, lambda: _uniform(0, 2)),
    "rotate": (geometry.rotate, lambda: _whole(-30, 30).double()),
    "shear_x": (geometry.shear_x, lambda: _uniform(-0.3, 0.3)),
    "shear_y": (geometry.shear_y, lambda: _uniform(-0.3, 0.3)),
    "translate_x": (geometry.translate_x, lambda: _whole(-45, 45)),
    "translate_y": (geometry.translate_y, lambda: _whole(-45, 45)),
}
EXACT = {"autocontrast", "equalize", "posterize", "solarize", "translate_x", "translate_y", "brightness"}


def _pictures(channels: int, height: int, width: int) -> torch.Tensor:
    """Noise, smooth pictures, few levels, a narrow range, one level only, and all levels but one on one pixel."""
    torch.manual_seed(0)
    levels = torch.randint(0, 256, (COUNT, channels, height, width), dtype=torch.uint8)
    smooth = torch.nn.functional.interpolate(torch.rand(6, channels, 5, 5), (height, width), mode="bilinear")
    levels[:6] = (smooth * 255).to(torch.uint8)
    levels[6] = levels[6] // 50 * 50
    levels[7] = levels[0] // 4 + 60
    levels[8], levels[9] = 77, 200
    levels[9, :, 3, 4] = 10
    return levels


def _to_pil(levels: torch.Tensor) -> Image.Image:
    array = levels.permute(1, 2, 0).numpy()
    return Image.fromarray(array if array.shape[2] == 3 else array[:, :, 0])


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 24, 61)], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_equals_pillow(name: str, shape: tuple[int, int, int]) -> None:
    ours, draw = CASES[name]
    levels = _pictures(*shape)
    parameters = draw() if draw else torch.zeros(COUNT)
    found = ours(levels, parameters) if draw else ours(levels)
    for i in range(COUNT):
        array = np.array(APPLY[name](_to_pil(levels[i]), parameters[i].item()))
        expected = torch.from_numpy(array).view(*shape[1:], shape[0]).permute(2, 0, 1)
        off = (found[i].int() - expected.int()).abs()
        assert off.max() <= (0 if name in EXACT else 1), (i, parameters[i])
        assert (off > 0).float().mean() < 0.05


@pytest.mark.parametrize("degrees", [0.0, -0.0])
def test_no_rotation_changes_nothing(degrees: float) -> None:
    levels = _pictures(3, 224, 224)[:4]
    assert torch.equal(geometry.rotate(levels, torch.full((4,), degrees)), levels)


@pytest.mark.parametrize("name", ["shear_x", "shear_y", "translate_x", "translate_y"])
def test_moved_out_of_sight_is_black(name: str) -> None:
    levels = torch.full((2, 3, 8, 8), 255, dtype=torch.uint8)
    far = torch.tensor([-1000, 1000])
    moved = CASES[name][0](levels, far if name.startswith("translate") else far.double())
    assert moved.sum() == 0


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("name", OPERATIONS)
def test_at_a_level_an_operation_does_what_the_paper_says(name: str, sign: int) -> None:
    levels = _pictures(3, 40, 60)
    v = torch.linspace(0.11, 9.99, COUNT, dtype=torch.float64)
    operation = OPERATIONS[name]
    found = operation(levels, operation.parameters(v, torch.full((COUNT,), float(sign)), levels.shape))
    for i in range(COUNT):
        side = 40 if name == "translate_y" else 60
        parameter = magnitude(name, v[i].item(), side) * (sign if name in SIGNED else 1)
        expected = APPLY[name](_to_pil(levels[i]), parameter)
        off = found[i].int() - torch.from_numpy(np.array(expected)).permute(2, 0, 1).int()
        assert off.abs().max() <= 1, (i, v[i])


def test_the_operations_are_the_papers() -> None:
    assert (STANDARD, tuple(OPERATIONS)) == (THE_NINE, ALL)


def test_colour_operations_want_grey_or_rgb() -> None:
    levels = torch.zeros(1, 4, 5, 5, dtype=torch.uint8)
    with pytest.raises(InputError, match="1 or 3 channels.*got 4"):
        ops.color(levels, torch.ones(1))


def test_grey_images_have_no_colour_to_lose() -> None:
    levels = _pictures(1, 9, 9)
    assert torch.equal(ops.color(levels, torch.zeros(COUNT)), levels)
