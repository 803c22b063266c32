"""Pictures in a run folder, as 8-bit tensors in safetensors files, and on a page, as data addresses."""

import base64
import io

import torch
from jaxtyping import UInt8
from torch import Tensor

SMALL = 64  # pixels; images up to here are shown as blocks, not smoothed
QUALITY = 92  # of JPEG: 96 images of 96 pixels are 0.9 MB on the page, as PNG 2.6 MB

Picture = UInt8[Tensor, "channels height width"]
AnyPicture = UInt8[Tensor, "_ _ _"]  # of a shape that is still to be looked at


def require_pictures(*several: UInt8[Tensor, "..."]) -> None:
    """Raise `ValueError` where the last three dimensions are no images."""
    for images in several:
        if images.numel() == 0 or images.shape[-3] not in (1, 3):
            raise ValueError("pictures must have 1 or 3 channels and pixels")


def smaller(image: AnyPicture, side: int) -> AnyPicture:
    """A copy of the image on the CPU, with its longer side at most `side`."""
    height, width = image.shape[1:]
    ratio = side / max(height, width)
    if ratio >= 1:
        return image.cpu().clone(memory_format=torch.contiguous_format)
    size = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    made = torch.nn.functional.interpolate(
        image[None].cpu().float(), size, mode="bilinear", antialias=True, align_corners=False
    )
    return made[0].round().clamp(0, 255).byte().contiguous()


def data_address(image: AnyPicture) -> str:
    """A data address: PNG for images whose pixels can be told apart on the page, otherwise JPEG, a third as long."""
    from PIL import Image

    pixels = image.permute(1, 2, 0).contiguous()
    picture = Image.fromarray(pixels.squeeze(2).numpy() if pixels.shape[2] == 1 else pixels.numpy())
    file = io.BytesIO()
    if max(picture.size) <= SMALL:
        kind = "png"
        picture.save(file, "PNG", optimize=True)
    else:
        kind = "jpeg"
        picture.save(file, "JPEG", quality=QUALITY, subsampling=0)  # colours at full size: noise has them
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
