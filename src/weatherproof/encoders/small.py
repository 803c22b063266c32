"""A small CNN for small images: trains in seconds on a CPU."""

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from weatherproof.encoders.encoder import Encoder, Names
from weatherproof.encoders.init import kaiming, linear_head
from weatherproof.encoders.preprocessing import Preprocessing
from weatherproof.errors import InputError


class SmallNet(nn.Module):
    """Three blocks conv, batch norm, ReLU of widths w, 2w, 4w, each halving the side, and a 4x4 conv to 8w numbers.

    Halving at once keeps a step on a CPU at about 5 ms for 128 images of 32 px. A side other than 32 is averaged to the
    4x4 places that the last convolution reads.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.block1 = _block(channels, width, 5)
        self.block2 = _block(width, 2 * width, 3)
        self.block3 = _block(2 * width, 4 * width, 3)
        self.last = nn.Conv2d(4 * width, 8 * width, 4)

    def forward(self, pixels: Tensor) -> Tensor:
        places = self.block3(self.block2(self.block1(pixels)))
        if places.shape[-2:] != (4, 4):
            places = adaptive_avg_pool2d(places, 4)
        return self.last(places).flatten(1)


def _block(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def small(num_classes: int = 0, *, width: int = 16, channels: int = 1) -> Encoder:
    """The small CNN: any image size, embedding of 8 * width numbers.

    Pixels go in as they are: a masked pixel, 0, is then the same as the zero padding.
    """
    if width < 1 or channels not in (1, 3):
        raise InputError(f"small needs a width of at least 1 and 1 or 3 channels, got {width=}, {channels=}")
    body, head = SmallNet(channels, width), linear_head(8 * width, num_classes)
    kaiming(body, head)
    return Encoder(
        "small", body, head, names=Names(head="fc"), feature_dim=8 * width, num_classes=num_classes,
        preprocessing=Preprocessing((0.0,) * channels, (1.0,) * channels, size=None, channels=channels),
        options={"width": width, "channels": channels},
    )  # fmt: skip
