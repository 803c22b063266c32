"""A colour scale for values from 0 up: dark violet, teal, yellow, evenly brighter, as pixels of a picture.

Equal steps of value are equal steps of lightness, so that the order shows in grey print and with every kind of colour
vision. A picture's colours are the same on light, dark and printed pages.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

_DARK, _BRIGHT = 0.16, 0.93  # Oklab lightness
_HUES = (310.0, 100.0)  # degrees, from violet over blue and green to yellow
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_CHROMA = (0.08, 0.14)  # up to the middle and at 1: about as much as sRGB has there


def shaded(values: Float[Tensor, "height width"], top: float) -> UInt8[Tensor, "3 height width"]:
    """Each value as a colour: evenly from 0 to `top`, and those above it as bright as it."""
    fractions = (values.float() / top).clamp(0, 1) if top > 0 else torch.zeros_like(values)
    return _scale()[fractions.mul(255).round().long()].permute(2, 0, 1).contiguous()


def require_utility(maps: Float[Tensor, "..."]) -> None:
    """Raise `ValueError` where what is to be shaded is negative or no number."""
    if not bool((maps.isfinite() & (maps >= 0)).all()):
        raise ValueError("maps must be finite and not negative")


def scientific(value: float) -> str:
    """Two digits, with a power of ten where the number is small or large; the spaces in it do not break.

    >>> scientific(0.25), scientific(0), scientific(0.00032).replace("\N{NO-BREAK SPACE}", " ")
    ('0.25', '0', '3.2 × 10⁻⁴')
    """
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:.2g}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}10{str(int(exponent)).translate(_RAISED)}"


def css_gradient(stops: int = 12) -> str:
    """The scale from left to right, as CSS."""
    colours = [bytes(_scale()[round(255 * i / (stops - 1))].tolist()).hex() for i in range(stops)]
    return f"linear-gradient(90deg,{','.join(f'#{colour}' for colour in colours)})"


@lru_cache
def _scale() -> UInt8[Tensor, "256 3"]:
    return torch.tensor([_colour(i / 255) for i in range(256)], dtype=torch.uint8)


def _colour(value: float) -> list[int]:
    """Lightness and hue linear in the value."""
    lightness = _DARK + (_BRIGHT - _DARK) * value
    hue = math.radians(_HUES[0] + (_HUES[1] - _HUES[0]) * value)
    linear = _linear_rgb(lightness, _CHROMA[0] + (_CHROMA[1] - _CHROMA[0]) * max(0.0, 2 * value - 1), hue)
    return [round(255 * _encoded(min(1.0, max(0.0, channel)))) for channel in linear]


def _linear_rgb(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    """Oklab (Ottosson 2020) to linear sRGB."""
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def _encoded(linear: float) -> float:
    """The transfer curve of sRGB."""
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
