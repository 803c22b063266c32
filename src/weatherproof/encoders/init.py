"""How the networks written here start."""

from torch import nn


def kaiming(*modules: nn.Module | None) -> None:
    """Kaiming normal (He et al. 2015) for every convolution and linear layer, biases 0; batch norm stays at 1 and 0."""
    for module in modules:
        for layer in module.modules() if module is not None else ():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


def linear_head(features: int, num_classes: int) -> nn.Linear | None:
    """The usual classifier on an embedding, none for 0 classes."""
    return nn.Linear(features, num_classes) if num_classes else None
