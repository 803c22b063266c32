"""A small CNN for small images: trains in seconds on a CPU."""

from torch import Tensor, nn

from weatherproof.encoders.encoder import Encoder, Names
from weatherproof.encoders.init import kaiming, linear_head
from weatherproof.encoders.preprocessing import Preprocessing
from weatherproof.errors import InputError


class SmallNet(nn.Module):
    """Three blocks conv 3x3, batch norm, ReLU of widths w, 2w, 4w, the last two with stride 2, and a global average."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.block1 = _block(channels, width, stride=1)
        self.block2 = _block(width, 2 * width, stride=2)
        self.block3 = _block(2 * width, 4 * width, stride=2)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.block3(self.block2(self.block1(pixels))).mean(dim=(2, 3))


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def small(num_classes: int = 0, *, width: int = 16, channels: int = 1) -> Encoder:
    """The small CNN: any image size, embedding of 4 * width numbers.

    Pixels go in as they are: a masked pixel, 0, is then the same as the zero padding.
    """
    if width < 1 or channels not in (1, 3):
        raise InputError(f"small needs a width of at least 1 and 1 or 3 channels, got {width=}, {channels=}")
    body, head = SmallNet(channels, width), linear_head(4 * width, num_classes)
    kaiming(body, head)
    return Encoder(
        "small", body, head, names=Names(head="fc"), feature_dim=4 * width, num_classes=num_classes,
        preprocessing=Preprocessing((0.0,) * channels, (1.0,) * channels, size=None, channels=channels),
        options={"width": width, "channels": channels},
    )  # fmt: skip
