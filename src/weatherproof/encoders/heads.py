"""Two classifiers at once, as distilled models have them: the answer is the mean of both."""

import torch
from torch import Tensor, nn


class Half(nn.Module):
    """Takes the place of one of two classifiers whose answers are averaged, so that their inputs come out beside each
    other, as a map of two positions [batch, features, 2, 1]; the mean of these is the embedding.

    Args:
        place: 0 or 1.
    """

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place

    def forward(self, embeddings: Tensor) -> Tensor:
        both = [torch.zeros_like(embeddings)] * 2
        both[self.place] = 2 * embeddings  # half of which the mean leaves
        return torch.stack(both, dim=-1)[..., None]


class TwoHeads(nn.Module):
    """The mean of two classifiers, each on its own position of such a map."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, both: Tensor) -> Tensor:
        one, other = both[:, :, 0, 0].contiguous(), both[:, :, 1, 0].contiguous()
        mean: Tensor = (self.first(one) + self.second(other)) / 2
        return mean
