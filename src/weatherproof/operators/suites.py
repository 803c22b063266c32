"""The common corruptions as operators, and the suites of operators that an audit runs through."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int64
from torch import Tensor

from weatherproof import random
from weatherproof.benchmark import COMMON, NOISY, SEVERITIES
from weatherproof.benchmark import SUITES as _SUITES
from weatherproof.errors import InputError, shown, unknown
from weatherproof.operators import blur, digital, noise, weather
from weatherproof.operators.eight_bit import Bytes, as_bytes, as_pixels, cut_to_bytes
from weatherproof.operators.pixels import NonUniformNoise, UniformNoise
from weatherproof.operators.severities import PARAMETERS, SIDES, Numbers, nearest, scaled
from weatherproof.protocols import Operator
from weatherproof.spec import component
from weatherproof.types import Images, Keys

SUITES = tuple(_SUITES)

_COLOURED = ("snow", "frost", "jpeg_compression", "spatter", "saturate")  # what they add or change is a colour
_ON_BYTES = frozenset({  # these go from 8-bit images to 8-bit images, the others from pixels to pixels
    "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "defocus_blur", "contrast", "pixelate",
    "jpeg_compression",
})  # fmt: skip
_CHUNK = 3 << 18  # values that a CPU works on at a time: 3 MB, so that several such tensors stay in its caches

# Beside the number that its draws are keyed by, which stays when others come or go: another one would draw anew.
_FUNCTIONS: dict[str, tuple[int, Callable[..., Images | Bytes]]] = {
    "gaussian_noise": (0, noise.gaussian_noise),
    "shot_noise": (1, noise.shot_noise),
    "impulse_noise": (2, noise.impulse_noise),
    "defocus_blur": (3, blur.defocus_blur),
    "glass_blur": (4, blur.glass_blur),
    "motion_blur": (5, blur.motion_blur),
    "zoom_blur": (6, blur.zoom_blur),
    "snow": (7, weather.snow),
    "frost": (8, weather.frost),
    "fog": (9, weather.fog),
    "brightness": (10, weather.brightness),
    "contrast": (11, digital.contrast),
    "elastic_transform": (12, digital.elastic_transform),
    "pixelate": (13, digital.pixelate),
    "jpeg_compression": (14, digital.jpeg_compression),
    "speckle_noise": (15, noise.speckle_noise),
    "gaussian_blur": (16, blur.gaussian_blur),
    "spatter": (17, weather.spatter),
    "saturate": (18, digital.saturate),
}
_DRAWS_NOTHING = frozenset({
    "brightness", "contrast", "saturate", "pixelate", "jpeg_compression", "defocus_blur", "gaussian_blur", "zoom_blur",
})  # fmt: skip


@component
class Corruption:
    """One of the 19 common corruptions at a severity from 1 to 5 (Hendrycks & Dietterich 2019).

    With a range of severities an image gets, bit for bit, what the severity that it drew gives it by itself.

    The result is cut to 8 bits (floor, as the benchmark does), so that it is what a file of it would hold. Images given
    as uint8, 0 to 255, come back as uint8, which is quickest. The benchmark has numbers for 224 and for 32 pixels. For
    an image whose shorter side is another, "auto" takes the set nearest in ratio and scales its lengths in pixels;
    numbers without scale stay.

    Args:
        name: such as "fog"; see `COMMON_15` and `EXTRA_4`.
        severity: 1 (mild) to 5, or (low, high) from which each image draws its own, each whole number as likely.
        parameters: "auto", or "imagenet" or "cifar" for that set's numbers as they are, whatever the image's size.
        glass: how glass blur displaces pixels: "copy", as the code that made the published data sets does, or "swap",
            as its paper says.
        frost: folder of frost photographs; None: textures made from their statistics, whose results are not
            comparable with published ones.
        jpeg_quality: encode the result as JPEG of this quality and decode it again; the published ImageNet-C is stored
            with 85, CIFAR-10-C without.

    Raises:
        InputError: an unknown name, set or mode, a severity or quality out of range; an image too small.
    """

    name: str
    severity: int | tuple[int, int]
    parameters: str = "auto"
    glass: str = "copy"
    frost: str | None = None
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        if self.name not in _FUNCTIONS:
            raise unknown("corruption", self.name, _FUNCTIONS)
        low, high = self._severities
        if not 1 <= low <= high <= 5:
            raise InputError(
                f"a severity is 1, 2, 3, 4 or 5, or an ordered pair (low, high) of them, got {shown(self.severity)}"
            )
        if self.parameters not in ("auto", *SIDES):
            raise unknown("set of parameters", self.parameters, ("auto", *SIDES))
        if self.glass not in ("copy", "swap"):
            raise unknown("mode of glass", self.glass, ("copy", "swap"))
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise InputError(f"a JPEG quality is from 1 to 100, got {self.jpeg_quality}")

    @property
    def deterministic(self) -> bool:
        """Nothing is drawn, so one realization is all of them."""
        return self.name in _DRAWS_NOTHING and not isinstance(self.severity, tuple)

    @property
    def _severities(self) -> tuple[int, int]:
        return self.severity if isinstance(self.severity, tuple) else (self.severity, self.severity)

    def describe_parameters(self, side: int) -> str:
        """Which numbers images of that shorter side get: "imagenet parameters, lengths scaled from 224 to 96 px"."""
        chosen, reference = self._set(side)
        if self.parameters != "auto" and side != reference:
            return f"{chosen} parameters as they are for {reference} px, images of {side} px"
        return f"{chosen} parameters" + (f", lengths scaled from {reference} to {side} px" if side != reference else "")

    def numbers(self, side: int) -> Numbers:
        """What the corruption's function is called with for images of that shorter side, at its highest severity."""
        chosen, reference = self._set(side)
        factor = side / reference if self.parameters == "auto" else 1
        return scaled(self.name, PARAMETERS[chosen][self.name][self._severities[1] - 1], factor)

    def draw(self, keys: Keys) -> Int64[Tensor, "batch"]:
        """The severity of each image, on the CPU."""
        low, high = self._severities
        stream, _ = _FUNCTIONS[self.name]
        return low + random.integers(random.fold(keys, stream), high - low + 1)

    def _set(self, side: int) -> tuple[str, int]:
        chosen = nearest(side) if self.parameters == "auto" else self.parameters
        return chosen, SIDES[chosen]

    @torch.no_grad()  # cut to levels, the result has no gradient
    def __call__(self, images: Images | Bytes, keys: Keys) -> Images | Bytes:
        if self.name in _COLOURED and images.shape[1] not in (1, 3):
            raise InputError(f"{self.name} is made for images of 1 or 3 channels, got {images.shape[1]}")
        if isinstance(self.severity, tuple):
            return self._apply_each(images, keys)
        stream, _ = _FUNCTIONS[self.name]
        keys = random.fold(keys, stream, self.severity)
        numbers = self.numbers(min(images.shape[-2:]))
        at_once = self._at_once(images)
        if len(images) <= at_once:
            corrupted = self._corrupted(images, keys, numbers).contiguous()
            return corrupted if images.dtype is torch.uint8 else as_pixels(corrupted).to(images.dtype)
        out = torch.empty_like(images, memory_format=torch.contiguous_format)
        for start in range(0, len(images), at_once):
            part = slice(start, start + at_once)
            corrupted = self._corrupted(images[part], keys[part], numbers)
            if out.dtype is torch.uint8:
                out[part] = corrupted
            else:
                torch.div(corrupted.float(), 255, out=out[part])
        return out

    def _apply_each(self, images: Images | Bytes, keys: Keys) -> Images | Bytes:
        drawn, out = self.draw(keys), torch.empty_like(images, memory_format=torch.contiguous_format)
        for severity in drawn.unique().tolist():
            chosen = (drawn == severity).nonzero().flatten()
            places = chosen.to(images.device)
            out[places] = replace(self, severity=severity)(images[places], keys[chosen])
        return out

    def _at_once(self, images: Images | Bytes) -> int:
        in_one = images.device.type != "cpu" or self.name == "jpeg_compression"  # a codec sees image by image anyway
        return max(1, len(images) if in_one else _CHUNK // images.shape[1:].numel())

    def _corrupted(self, images: Images | Bytes, keys: Keys, numbers: Numbers) -> Bytes:
        chosen: dict[str, dict[str, str | None]] = {"glass_blur": {"mode": self.glass}, "frost": {"folder": self.frost}}
        on_bytes, are_bytes = self.name in _ON_BYTES, images.dtype is torch.uint8
        if on_bytes != are_bytes:
            images = as_bytes(images) if on_bytes else as_pixels(images)
        _, function = _FUNCTIONS[self.name]
        corrupted = function(images, keys, *numbers, **chosen.get(self.name, {}))
        if not on_bytes:
            corrupted = cut_to_bytes(corrupted)
        if self.jpeg_quality is not None:
            corrupted = digital.jpeg_compression(corrupted, keys, self.jpeg_quality)
        return corrupted


@dataclass(frozen=True)
class Condition:
    """One operator of a suite, and the words under which results list it."""

    corruption: str
    severity: int | None
    operator: Operator


def suite(
    name: str,
    *,
    parameters: str = "auto",
    glass: str = "copy",
    frost: str | None = None,
    jpeg_quality: int | None = None,
    std: str = "",
) -> tuple[Condition, ...]:
    """The operators of a suite, in canonical order, severities 1 to 5 of each corruption together.

    Args:
        name: "common-15" (the benchmark), "common-19" (with the four for validation), or "noisy": the uniform and the
            non-uniform noise of feature contrastive learning, which have no severities.
        parameters, glass, frost, jpeg_quality: of every `Corruption`.
        std: of `NonUniformNoise`, for "noisy".

    Raises:
        InputError: an unknown name; "noisy" without `std`; what `Corruption` and `NonUniformNoise` raise.
    """
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    if name == "noisy":
        return (
            Condition(NOISY[0], None, UniformNoise()),
            Condition(NOISY[1], None, NonUniformNoise(std=std)),
        )
    return tuple(
        Condition(corruption, severity, Corruption(corruption, severity, parameters, glass, frost, jpeg_quality))
        for corruption in COMMON[name]
        for severity in SEVERITIES
    )
