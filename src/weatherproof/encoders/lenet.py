"""The LeNet-like CNN of the MNIST experiments of feature contrastive learning."""

import torch.nn.functional as F
from torch import Tensor, nn

from weatherproof.encoders.encoder import Encoder, Names
from weatherproof.encoders.init import kaiming, linear_head
from weatherproof.encoders.preprocessing import Preprocessing

_MNIST_MEAN, _MNIST_STD = (0.1307,), (0.3081,)  # of the 60,000 training images
_SIZE = 28
_FEATURES = 128


class LeNet(nn.Module):
    """[conv 5x5, ReLU, max-pool 2] with 32 and 64 channels, then linear 3136 to 128 and ReLU: the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 5, padding=2)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(32, 64, 5, padding=2)
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(64 * (_SIZE // 4) ** 2, _FEATURES)

    def forward(self, pixels: Tensor) -> Tensor:
        pooled = F.relu(self.pool1(self.conv1(pixels)))  # the same either way round, and a quarter of the ReLU's work
        pooled = F.relu(self.pool2(self.conv2(pooled)))
        return F.relu(self.fc1(pooled.flatten(1)))


def lenet(num_classes: int = 0) -> Encoder:
    """The LeNet-like CNN: grey 28x28 input, embedding of 128 numbers."""
    body, head = LeNet(), linear_head(_FEATURES, num_classes)
    kaiming(body, head)
    return Encoder(
        "lenet", body, head, names=Names(head="fc2"), feature_dim=_FEATURES, num_classes=num_classes,
        preprocessing=Preprocessing(_MNIST_MEAN, _MNIST_STD, size=_SIZE, channels=1),
    )  # fmt: skip
