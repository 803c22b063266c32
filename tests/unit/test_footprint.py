"""The count of a step's memory, against counting by hand."""

import torch
from torch import nn

from weatherproof.training.footprint import Footprint, footprint, peak_bytes


def test_the_peak_is_of_what_lives_at_the_same_time() -> None:
    given = torch.ones(1000)

    def work() -> torch.Tensor:
        first = given + 1
        second = first * 2
        del first
        return second.view(10, 100) - 1  # a view is no tensor of its own, and the second one still lives

    assert peak_bytes(work) == 2 * 4000


def test_a_footprint_of_linear_layers() -> None:
    """Ten layers and their sine keep 4 x 64 bytes an image each; weights come with gradients and what Adam keeps."""
    layers = [layer for _ in range(10) for layer in (nn.Linear(64, 64, bias=False), _Sine())]
    net = nn.Sequential(*layers)
    weights = list(net.parameters())

    def step(batch: int) -> None:
        net(torch.rand(batch, 64)).sum().backward()

    found = footprint(step, weights, weights, sizes=(2000, 4000))
    own = sum(4 * weight.numel() for weight in weights)
    assert 4 * own <= found.fixed < 4.5 * own
    assert 20 * 4 * 64 <= found.per_image <= 24 * 4 * 64
    assert Footprint(100, 7).largest_batch(121) == 3
    assert Footprint(100, 7).largest_batch(50) == 0


class _Sine(nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.sin()
