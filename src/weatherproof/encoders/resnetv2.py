"""ResNet-v2-50: bottleneck blocks with pre-activation (He et al. 2016, Identity mappings in deep residual networks)."""

import torch.nn.functional as F
from torch import Tensor, nn

from weatherproof.encoders.encoder import Encoder, Names
from weatherproof.encoders.init import kaiming, linear_head
from weatherproof.encoders.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

_EXPANSION = 4
_STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))  # blocks, width, stride of the first block
_FEATURES = 512 * _EXPANSION


class Bottleneck(nn.Module):
    """BN-ReLU-1x1, BN-ReLU-3x3 (stride here), BN-ReLU-1x1, add.

    Where the shape changes, the shortcut is a 1x1 convolution of the pre-activated input.
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * _EXPANSION
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        changes = stride != 1 or inputs != outputs
        self.downsample = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        shortcut = x if self.downsample is None else self.downsample(active)
        y = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return shortcut + self.conv3(F.relu(self.bn3(y)))


class ResNetV2(nn.Module):
    """conv 7x7 stride 2, max-pool 3x3 stride 2, four stages of bottlenecks, BN-ReLU, and a global average."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        inputs, stages = 64, []
        for blocks, width, stride in _STAGES:
            rest = [Bottleneck(width * _EXPANSION, width, 1) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(Bottleneck(inputs, width, stride), *rest))
            inputs = width * _EXPANSION
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.bn = nn.BatchNorm2d(_FEATURES)

    def forward(self, pixels: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv1(pixels), 3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return F.relu(self.bn(x)).mean(dim=(2, 3))


def resnetv2_50(num_classes: int = 0) -> Encoder:
    """ResNet-v2-50: 23.5 M parameters without the classifier, any image size, embedding of 2,048 numbers."""
    body, head = ResNetV2(), linear_head(_FEATURES, num_classes)
    kaiming(body, head)
    return Encoder(
        "resnetv2-50", body, head, names=Names(head="fc"), feature_dim=_FEATURES, num_classes=num_classes,
        preprocessing=Preprocessing(IMAGENET_MEAN, IMAGENET_STD, size=None),
    )  # fmt: skip
