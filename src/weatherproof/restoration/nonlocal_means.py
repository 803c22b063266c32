"""Non-local means denoising."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float

from weatherproof.errors import InputError
from weatherproof.operators import levels
from weatherproof.spec import component
from weatherproof.types import Images, Keys

# High-pass filter of the Daubechies wavelet with two vanishing moments, db2 (Daubechies 1992, table 6.1).
_HIGH_PASS = (-0.48296291314453416, 0.8365163037378079, -0.2241438680420134, -0.12940952255126037)
_LARGEST = 1000  # pixels
_QUARTILE = 0.6744897501960817  # 75 % quantile of N(0, 1): median |x| / this estimates sigma (Donoho, Johnstone 1994)


@component
class NonLocalMeans:
    """scikit-image's fast non-local means, image by image, channels together.

    The defaults are Contrastive Inversion's (Table 7): patch size 7, search distance 11, h = 0.1, and as noise level
    the wavelet estimate, averaged over channels. Pixels outside [0, 1] (noise that was not clamped) are used as they
    are.

    Args:
        patch_size: side of the compared patches, pixels.
        patch_distance: how far to search for similar patches, pixels.
        h: cut-off in grey levels; higher is smoother.
        sigma: noise standard deviation in pixel units, from 0 to 1; None estimates it for each image.

    Raises:
        InputError: a setting out of its range.
    """

    patch_size: int = 7
    patch_distance: int = 11
    h: float = 0.1
    sigma: float | None = None

    deterministic = True

    def __post_init__(self) -> None:
        if not (1 <= self.patch_size <= _LARGEST and 1 <= self.patch_distance <= _LARGEST and self.h > 0):
            raise InputError(
                f"NonLocalMeans needs a patch_size and a patch_distance from 1 to {_LARGEST:,} pixels and an h above "
                f"0, got {self!r}"
            )
        if self.sigma is not None:
            levels.check_noise(self.sigma, "NonLocalMeans(sigma={})")

    def __call__(self, images: Images, keys: Keys | None = None) -> Images:
        """The denoised images, on the device they came from. Nothing is drawn: `keys` are not used."""
        pixels = images.detach().permute(0, 2, 3, 1).double().cpu().numpy()
        with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
            clean = list(pool.map(self._denoise, pixels))
        stack = np.stack(clean).reshape(pixels.shape)  # scikit-image drops the axis of a single channel
        return torch.from_numpy(stack).permute(0, 3, 1, 2).to(images).contiguous()

    def _denoise(self, image: np.ndarray) -> np.ndarray:
        from skimage.restoration import denoise_nl_means

        sigma = wavelet_sigma(image) if self.sigma is None else self.sigma
        return denoise_nl_means(
            image, self.patch_size, self.patch_distance, self.h,
            fast_mode=True, sigma=sigma, preserve_range=True, channel_axis=-1,
        )  # fmt: skip


def wavelet_sigma(image: Float[np.ndarray, "height width channels"]) -> float:
    """Noise standard deviation: mean over channels of median |d| / 0.6745, d the finest diagonal db2 coefficients.

    Coefficients that are exactly 0 (flat, masked areas) are left out, as scikit-image's `estimate_sigma` does; it
    needs one more package for the same transform. A channel without any detail counts as 0.
    """
    rows = _stencil(image.shape[0])
    columns = _stencil(image.shape[1])
    estimates = []
    for channel in np.moveaxis(image, -1, 0):
        diagonal = rows @ channel @ columns.T
        diagonal = np.abs(diagonal[diagonal != 0])
        estimates.append(float(np.median(diagonal)) / _QUARTILE if diagonal.size else 0.0)
    return math.fsum(estimates) / len(estimates)


def _stencil(n: int) -> Float[np.ndarray, "coefficients n"]:
    """The high-pass half of one wavelet step on n samples, mirrored at the borders (edge sample repeated)."""
    count = (n + len(_HIGH_PASS) - 1) // 2
    matrix = np.zeros((count, n))
    for k in range(count):
        for j, weight in enumerate(_HIGH_PASS):
            place = (2 * k + 1 - j) % (2 * n)
            matrix[k, min(place, 2 * n - 1 - place)] += weight
    return matrix
