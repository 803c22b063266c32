"""Pictures in a run folder, as 8-bit tensors in safetensors files, and on a page, as data addresses."""

import base64
import io
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

SMALL = 64  # pixels; images up to here are shown as blocks, not smoothed
QUALITY = 92  # of JPEG: 96 images of 96 pixels are 0.9 MB on the page, as PNG 2.6 MB

Picture = UInt8[Tensor, "channels height width"]
AnyPicture = UInt8[Tensor, "_ _ _"]  # of a shape that is still to be looked at


def require_pictures(*several: UInt8[Tensor, "..."]) -> None:
    """Raise `ValueError` where the last three dimensions are no images."""
    for images in several:
        if images.numel() == 0 or images.shape[-3] not in (1, 3):
            raise ValueError("pictures must have 1 or 3 channels and pixels")


def in_colours(images: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """What a page shows of images of any number of channels [..., channels, height, width]: the first three, or one."""
    channels = images.shape[-3]
    return images if channels in (1, 3) else images[..., : 3 if channels > 3 else 1, :, :]


def bytes_of(images: Float[Tensor, "*n channels height width"]) -> UInt8[Tensor, "*n channels height width"]:
    """Pixels in [0, 1] (outside is cut off) as 8 bits."""
    return images.detach().cpu().float().clamp(0, 1).mul(255).round().byte()


def smaller(images: Shaped[Tensor, "*n height width"], side: int) -> Shaped[Tensor, "*n _ _"]:
    """A copy on the CPU, with the longer side at most `side`: weighted means, of 8-bit images rounded."""
    height, width = images.shape[-2:]
    ratio = side / max(height, width)
    images = images.detach().cpu().clone(memory_format=torch.contiguous_format)
    if ratio >= 1:
        return images
    size = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    flat = images.float().view(1, -1, height, width)
    resized = torch.nn.functional.interpolate(flat, size, mode="bilinear", antialias=True, align_corners=False)
    resized = resized.view(*images.shape[:-2], *size)
    return resized.round().clamp(0, 255).byte() if images.dtype == torch.uint8 else resized.clamp(min=0)


def for_page(images: UInt8[Tensor, "..."], side: int) -> UInt8[Tensor, "..."]:
    """What a file for a page holds of images of any number of channels: `in_colours`, and `smaller`."""
    return smaller(in_colours(images), side)


def data_address(image: AnyPicture) -> str:
    """A data address: PNG for images whose pixels can be told apart on the page, otherwise JPEG, a third as long."""
    file, small = io.BytesIO(), is_small(image)
    if small:
        as_picture(image).save(file, "PNG", optimize=True)
    else:
        as_picture(image).save(file, "JPEG", quality=QUALITY, subsampling=0)  # colours at full size: noise has them
    return address(file.getvalue(), "png" if small else "jpeg")


def is_small(image: Shaped[Tensor, "..."]) -> bool:
    """Whether its pixels can be told apart on the page."""
    return max(image.shape[-2:]) <= SMALL


def as_picture(image: AnyPicture) -> "Image":
    from PIL import Image

    pixels = image.permute(1, 2, 0).contiguous()
    return Image.fromarray(pixels.squeeze(2).numpy() if pixels.shape[2] == 1 else pixels.numpy())


def address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
