"""ResNet-18 with the CIFAR stem of the contrastive methods (SimCLR, the MoCo notebook).

Parameter names are torchvision's, so that `torchvision.models.resnet18` with this stem reads the weights.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from weatherproof.encoders.encoder import Encoder, Names
from weatherproof.encoders.init import kaiming, linear_head
from weatherproof.encoders.preprocessing import CIFAR_MEAN, CIFAR_STD, Preprocessing

_FEATURES = 512


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN, add, ReLU; the shortcut is 1x1 conv and BN where the shape changes (option B)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.downsample(x) + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class ResNet18Cifar(nn.Module):
    """conv 3x3 with stride 1 and no max-pool, four stages of two blocks, and a global average: a 4x4 map for 32x32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, _FEATURES, 2), BasicBlock(_FEATURES, _FEATURES, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(pixels)))
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean(dim=(2, 3))


def resnet18_cifar(num_classes: int = 0) -> Encoder:
    """ResNet-18 with the CIFAR stem: 11 M parameters, any image size, embedding of 512 numbers."""
    body, head = ResNet18Cifar(), linear_head(_FEATURES, num_classes)
    kaiming(body, head)
    return Encoder(
        "resnet18-cifar", body, head, names=Names(head="fc"), feature_dim=_FEATURES, num_classes=num_classes,
        preprocessing=Preprocessing(CIFAR_MEAN, CIFAR_STD, size=None),
    )  # fmt: skip
