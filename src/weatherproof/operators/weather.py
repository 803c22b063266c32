"""The weather among the common corruptions (Hendrycks & Dietterich 2019): snow, frost, fog, brightness and spatter.

Every function takes images on 8-bit levels and returns what is still to be clamped to [0, 1]. The numbers of each
severity stand in `suites`.
"""

import torch
import torch.nn.functional as F

from weatherproof import random
from weatherproof.operators import plasma, textures
from weatherproof.operators.colour import luminance, scale_value
from weatherproof.operators.motion import motion
from weatherproof.operators.spatter import spatter
from weatherproof.operators.zoom import centre_zoom
from weatherproof.types import Images, Keys

__all__ = ["brightness", "fog", "frost", "snow", "spatter"]


def brightness(images: Images, keys: Keys, amount: float) -> Images:
    """Adds to the value V of HSV: V' = clamp(V + amount), hue and saturation kept. Nothing is drawn."""
    return scale_value(images, amount)


def fog(images: Images, keys: Keys, strength: float, decay: float) -> Images:
    """(x + s plasma) max(x) / (max(x) + s), the maximum over the whole clean image; see `plasma`.

    Args:
        strength: s.
        decay: how fast the plasma's roughness falls with its scale; above 0.
    """
    height, width = images.shape[-2:]
    clouds = plasma.plasma(random.fold(keys, 0), plasma.side(height, width), decay, images.device)
    brightest = images.amax((1, 2, 3), keepdim=True)
    foggy = torch.add(images, clouds[:, None, :height, :width].contiguous(), alpha=strength)
    return foggy.mul_(brightest / (brightest + strength))


def frost(images: Images, keys: Keys, image_weight: float, frost_weight: float, folder: str | None = None) -> Images:
    """image_weight x + frost_weight t, t a random crop of a frost texture; see `textures`.

    Args:
        folder: the user's own textures, PNG or JPEG files, drawn uniformly. The benchmark's files frost1.png to
            frost5.jpg in one folder give its published mixture. None: textures made here, and results that are
            `textures.SYNTHETIC_NOTE`.

    Raises:
        InputError: the folder does not exist, or holds no image, or one that cannot be read.
    """
    channels, height, width = images.shape[1:]
    source = textures.textures(height, width, channels, folder, images.device)
    crops = source.crops(keys, height, width).to(images.dtype)
    return (images * image_weight).add_(crops, alpha=frost_weight / 255)


def snow(
    images: Images,
    keys: Keys,
    mean: float,
    std: float,
    zoom: float,
    threshold: float,
    radius: float,
    sigma: float,
    keep: float,
) -> Images:
    """Falling flakes over a whitened image: x' = keep x + (1 - keep) max(x, 1.5 grey + .5), plus the flakes, plus the
    flakes turned by 180 degrees.

    The flakes are a field of N(mean, std^2), enlarged from its centre, 0 below the threshold, smeared towards the
    ground, on 8-bit levels before and after the smear.

    Args:
        zoom: how much the field is enlarged, at least 1.
        threshold: what is set to 0; more of it, fewer flakes.
        radius, sigma: of the smear, in pixels (see `motion`); its angle is uniform on (-135, -45) degrees.
        keep: the share of the image that is not whitened.
    """
    height, width = images.shape[-2:]
    field = random.normals(random.fold(keys, 0), (1, height, width), images.device)
    flakes = centre_zoom(field.mul_(std).add_(mean), zoom)
    flakes = F.threshold(flakes, threshold, 0).clamp_(0, 1).mul_(255).floor_()
    smeared = motion(flakes, radius, sigma, random.uniform(random.fold(keys, 1), -135.0, -45.0)).round_().div_(255)
    white = luminance(images).mul(1.5 * (1 - keep)).add_(0.5 * (1 - keep))
    whitened = torch.maximum(images * (1 - keep), white).add_(images, alpha=keep)
    return whitened.add_(smeared + smeared.flip(2, 3))
