"""The deep decoder for one image, from torch's own modules in the order of the original code."""

from torch import nn


def decoder(channels: int, colours: int, stages: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(stages):
        layers += [
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.ReLU(),
            nn.BatchNorm2d(channels, affine=True),
        ]
    layers += [nn.Conv2d(channels, channels, 1, bias=False), nn.ReLU(), nn.BatchNorm2d(channels, affine=True)]
    return nn.Sequential(*layers, nn.Conv2d(channels, colours, 1, bias=False), nn.Sigmoid())
