"""ResNet-50 with the CIFAR stem of the contrastive methods (SimCLR; "Robustness of Contrastive Learning Models").

Parameter names are torchvision's, so that `torchvision.models.resnet50` with this stem reads the weights.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from weatherproof.encoders.encoder import Encoder, Names
from weatherproof.encoders.init import kaiming, linear_head
from weatherproof.encoders.preprocessing import CIFAR_MEAN, CIFAR_STD, Preprocessing

_FEATURES = 2048
_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # width, blocks, stride
_EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 to four times the width, each with BN; add the shortcut, ReLU."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = _EXPANSION * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.downsample(x) + self.bn3(self.conv3(inner)))


class ResNet50Cifar(nn.Module):
    """conv 3x3 with stride 1 and no max-pool, stages of 3, 4, 6, 3 bottlenecks, and a global average."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1, self.layer2, self.layer3, self.layer4 = _stages(64)

    def forward(self, pixels: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(pixels)))
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean(dim=(2, 3))


def _stages(inputs: int) -> list[nn.Sequential]:
    made = []
    for width, blocks, stride in _STAGES:
        rest = [Bottleneck(_EXPANSION * width, width, 1) for _ in range(blocks - 1)]
        made.append(nn.Sequential(Bottleneck(inputs, width, stride), *rest))
        inputs = _EXPANSION * width
    return made


def resnet50_cifar(num_classes: int = 0) -> Encoder:
    """ResNet-50 with the CIFAR stem: 24 M parameters, any image size, embedding of 2048 numbers."""
    body, head = ResNet50Cifar(), linear_head(_FEATURES, num_classes)
    kaiming(body, head)
    return Encoder(
        "resnet50-cifar", body, head, names=Names(head="fc"), feature_dim=_FEATURES, num_classes=num_classes,
        preprocessing=Preprocessing(CIFAR_MEAN, CIFAR_STD, size=None),
    )  # fmt: skip
