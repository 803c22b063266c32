"""The CIFAR ResNets of the ResNet paper (He et al. 2016, section 4.2): ResNet-20 and ResNet-56.

Parameter names are those of github.com/akamaster/pytorch_resnet_cifar10, so that its weights load.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from weatherproof.encoders.encoder import Encoder, Names
from weatherproof.encoders.init import kaiming, linear_head
from weatherproof.encoders.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

_WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """conv-BN-ReLU-conv-BN, add, ReLU; with `preact` BN-ReLU-conv-BN-ReLU-conv, add (He et al. 2016b)."""

    def __init__(self, inputs: int, outputs: int, stride: int, preact: bool) -> None:
        super().__init__()
        self.stride, self.extra, self.preact = stride, outputs - inputs, preact
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs if preact else outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.preact:
            return self.shortcut(x) + self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        return F.relu(self.shortcut(x) + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))

    def shortcut(self, x: Tensor) -> Tensor:
        """Option A of the paper: no parameters; every stride-th pixel, and zeros for the channels that are new."""
        if not self.extra:
            return x
        before = self.extra // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.extra - before))


class CifarResNet(nn.Module):
    """conv 3x3, three stages of `blocks` blocks of widths 16, 32, 64 and strides 1, 2, 2, and a global average."""

    def __init__(self, blocks: int, preact: bool) -> None:
        super().__init__()
        self.preact = preact
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[-1] if preact else _WIDTHS[0])  # pre-activation: the last norm of the network
        self.layer1 = _stage(_WIDTHS[0], _WIDTHS[0], blocks, 1, preact)
        self.layer2 = _stage(_WIDTHS[0], _WIDTHS[1], blocks, 2, preact)
        self.layer3 = _stage(_WIDTHS[1], _WIDTHS[2], blocks, 2, preact)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.conv1(pixels)
        x = x if self.preact else F.relu(self.bn1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.relu(self.bn1(x)) if self.preact else x
        return x.mean(dim=(2, 3))


def _stage(inputs: int, outputs: int, blocks: int, stride: int, preact: bool) -> nn.Sequential:
    rest = [Block(outputs, outputs, 1, preact) for _ in range(blocks - 1)]
    return nn.Sequential(Block(inputs, outputs, stride, preact), *rest)


def _encoder(name: str, blocks: int, num_classes: int, preact: bool) -> Encoder:
    body, head = CifarResNet(blocks, preact), linear_head(_WIDTHS[-1], num_classes)
    kaiming(body, head)
    return Encoder(
        name, body, head, names=Names(head="linear"), feature_dim=_WIDTHS[-1], num_classes=num_classes,
        preprocessing=Preprocessing(IMAGENET_MEAN, IMAGENET_STD, size=None),  # as the public weights were trained
        options={"preact": preact},
    )  # fmt: skip


def resnet20(num_classes: int = 0, *, preact: bool = False) -> Encoder:
    """ResNet-20: 0.27 M parameters, any image size, embedding of 64 numbers."""
    return _encoder("resnet20", 3, num_classes, preact)


def resnet56(num_classes: int = 0, *, preact: bool = False) -> Encoder:
    """ResNet-56: 0.85 M parameters, any image size, embedding of 64 numbers."""
    return _encoder("resnet56", 9, num_classes, preact)
