"""Inpainting by an untrained network: the Deep Decoder (Heckel and Hand 2019)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.progress import Meter, phase
from weatherproof.spec import component
from weatherproof.types import Images, Keys

_STREAM = 0x6465636F  # "deco": the decoder's draws are not those of the operator that damaged the image
_SEED_RANGE = 0.1  # input uniform in [0, 0.1] (Contrastive Inversion's script)
_SMALLEST_SEED = 4  # ours: a seed of 1 x 1 upsamples to a constant; 224 / 2^5 = 7 is not affected
_EPS = 1e-5  # batch norm's, as in torch
_TOGETHER = 1 << 19  # pixels fitted at once: ten images of 224 x 224, about 6 GB of activations
_BLANK_KEY = 0  # whose mask the mismatched regime gives to every image
_BLANK_FRACTION = 0.5  # hard-coded in the paper's script


@component
class DeepDecoder:
    """Fits a small decoder to the known pixels of each image and returns what it generates (Table 8).

    Input z: uniform in [0, 0.1], channels x 7 x 7 for 224 x 224. Five stages of 1x1 convolution (no bias), bilinear
    x2 upsampling, ReLU, batch norm with the image's own statistics; the same once more without upsampling; a 1x1
    convolution to the image's channels; sigmoid. Adam minimises

        mean over pixels of (mask * (decoder(z + noise_t) - image))^2,   noise_t ~ N(0, (jitter * 0.7^(1 + t // 500))^2)

    and the weights with the best loss, by steps of at least 0.5 %, make the final image from z without noise.
    Each image has weights, jitter and statistics of its own, so its result depends on its own pixels and key alone;
    many images are fitted at once only for speed.

    Other sizes: the seed is ceil(size / 2^stages), with as many of the stages as leave it at least 4 pixels high and
    wide, and the output is cropped to the size: 32 x 32 has 3 stages from 4 x 4, 28 x 28 is cropped from it.

    Args:
        steps: Adam steps (5,000 in the paper's script; 40,000 in the original inpainting demo).
        channels: width of every layer.
        stages: upsampling stages, at most.
        lr: Adam's learning rate.
        jitter: standard deviation of the input noise, before its first decay.
        mismatched_mask: as the paper's script did, tell the optimiser one fixed mask of half the pixels, whatever the
            image really lost. It explains the published 20-23 % (specification, section 8); never better.

    Raises:
        InputError: a setting out of its range.
    """

    steps: int = 5000
    channels: int = 256
    stages: int = 5
    lr: float = 0.0025
    jitter: float = 0.005
    mismatched_mask: bool = False

    def __post_init__(self) -> None:
        for name, least, most in (("steps", 1, 10_000_000), ("channels", 1, 8192), ("stages", 0, 16)):
            if not least <= getattr(self, name) <= most:
                raise InputError(f"{name} must be at least {least} and at most {most:,}, got {getattr(self, name)}")
        if not (0 < self.lr and 0 <= self.jitter):
            raise InputError(
                f"DeepDecoder needs an lr above 0 and a jitter of at least 0, got {self.lr} and {self.jitter}"
            )

    def __call__(self, images: Images, keys: Keys, mask: Bool[Tensor, "..."] | None = None) -> Images:
        """The restored images.

        Args:
            mask: [batch, 1, height, width], True where the pixel is known; None: where any channel is not 0, which is
                what `RandomMask` leaves.

        Raises:
            InputError: a mask of another shape.
        """
        batch, _, height, width = images.shape
        if mask is None:
            mask = (images != 0).any(dim=1, keepdim=True)
        if mask.shape != (batch, 1, height, width):
            raise InputError(f"mask must be {(batch, 1, height, width)}, True where known; got {tuple(mask.shape)}")
        if self.mismatched_mask:
            mask = _blank_mask(height, width).to(images.device).expand(batch, 1, height, width)
        keys = random.fold(keys, _STREAM)
        together = max(1, _TOGETHER // (height * width))
        with torch.inference_mode(False), torch.enable_grad():  # restores inside an evaluation, which records nothing
            parts = zip(images.split(together), keys.split(together), mask.split(together), strict=True)
            with phase("restoring", batch * self.steps, "image steps") as meter:
                return torch.cat([self._fit(i.detach().clone(), k, m.clone(), meter) for i, k, m in parts])

    def _fit(self, images: Images, keys: Keys, mask: Tensor, meter: Meter) -> Images:
        size = (images.shape[2], images.shape[3])
        stages = usable_stages(size, self.stages)
        seed_shape = (self.channels, *(-(-side // 2**stages) for side in size))
        z = random.uniform_fields(random.fold(keys, 0), seed_shape, images.device) * _SEED_RANGE
        weights = initial_weights(random.fold(keys, 1), self.channels, images.shape[1], stages + 1, images.device)
        known = mask.to(images)
        target = images * known

        best = [w.detach().clone() for w in weights]
        best_loss = torch.full((len(images),), float("inf"), device=images.device)
        optimizer = torch.optim.Adam([w.requires_grad_() for w in weights], lr=self.lr)
        for step in range(self.steps):
            std = self.jitter * 0.7 ** (1 + step // 500)  # multiplied every 500 steps, the first time at step 0
            noise = random.normal_fields(random.fold(keys, 2, step), seed_shape, images.device)
            image = decode(weights, z + std * noise, stages)[..., : size[0], : size[1]]
            losses = (image * known - target).square().mean(dim=(1, 2, 3))
            optimizer.zero_grad()
            losses.sum().backward()  # a sum: no image's gradient knows how many others there are
            with torch.no_grad():
                better = losses * 1.005 < best_loss  # "improves by at least 0.5 %"
                best_loss = torch.where(better, losses, best_loss)
                for kept, now in zip(best, weights, strict=True):
                    kept.copy_(torch.where(_per_image(better, now), now, kept))
            optimizer.step()
            meter.advance(len(images))
        with torch.no_grad():
            return decode(best, z, stages)[..., : size[0], : size[1]].contiguous()


def usable_stages(size: tuple[int, int], stages: int) -> int:
    """How many x2 upsamplings leave a seed of at least 4 x 4 pixels for an image of this size."""
    while stages > 0 and -(-min(size) // 2**stages) < _SMALLEST_SEED:
        stages -= 1
    return stages


def initial_weights(
    keys: Keys, channels: int, colours: int, layers: int, device: torch.device
) -> list[Float[Tensor, "batch ..."]]:
    """One decoder an image: (convolution, gain, offset) of each layer in turn, then the last convolution.

    Convolutions are uniform within 1 / sqrt(channels), torch's default for a 1x1 convolution; gains 1, offsets 0.
    """

    def draw(layer: int, out: int) -> Tensor:
        unit = random.uniform_fields(random.fold(keys, layer), (out, channels), device)
        return (unit * 2 - 1) / channels**0.5

    weights = []
    for layer in range(layers):
        gain = torch.ones(len(keys), channels, 1, 1, device=device)
        weights += [draw(layer, channels), gain, torch.zeros_like(gain)]
    return [*weights, draw(layers, colours)]


def decode(weights: list[Tensor], x: Float[Tensor, "batch features h w"], stages: int) -> Images:
    """The images that the decoders make of their inputs: [batch, colours, h 2^stages, w 2^stages]."""
    *layers, last = weights
    for layer in range(len(layers) // 3):
        convolution, gain, offset = layers[3 * layer : 3 * layer + 3]
        x = _mix(convolution, x)
        if layer < stages:
            x = interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = _normalise(x.relu()) * gain + offset
    return _mix(last, x).sigmoid()


def _mix(weight: Float[Tensor, "batch out into"], x: Float[Tensor, "batch into h w"]) -> Float[Tensor, "batch out h w"]:
    """A 1x1 convolution whose weights differ from image to image."""
    return torch.bmm(weight, x.flatten(2)).unflatten(2, x.shape[2:])


def _normalise(x: Tensor) -> Tensor:
    """Batch normalisation of a batch of one: each channel of each image by its own mean and variance."""
    variance, mean = torch.var_mean(x, dim=(2, 3), keepdim=True, correction=0)
    return (x - mean) * (variance + _EPS).rsqrt()


def _per_image(flag: Tensor, like: Tensor) -> Tensor:
    return flag.view(-1, *[1] * (like.dim() - 1))


def _blank_mask(height: int, width: int) -> Bool[Tensor, "1 1 height width"]:
    order = random.permutations(random.keys(_BLANK_KEY, torch.zeros(1, dtype=torch.int64)), height * width)
    return (order >= int(height * width * _BLANK_FRACTION)).view(1, 1, height, width)
