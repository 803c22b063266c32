"""What looks at a method while it trains: when, in which mode, what it leaves behind, what it costs."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import MemoryImages
from weatherproof.training import Plan, RunFolder, fit

IMAGES = MemoryImages(
    torch.randint(0, 256, (40, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    torch.arange(40) % 4,
)


class Method(nn.Module):
    """A part in each mode: a normalisation that training moves, and one that stays as it is."""

    def __init__(self) -> None:
        super().__init__()
        with random.framework_seed(3):
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.BatchNorm1d(6), nn.Linear(6, 4))
        self.still = nn.BatchNorm1d(4)

    def train(self, mode: bool = True) -> "Method":
        super().train(mode)
        self.still.eval()
        return self

    def forward(self, images: Tensor, labels: Tensor, index: Tensor, keys: Tensor, gather: Any) -> dict[str, Tensor]:
        assert self.training and not self.still.training
        return {"loss": nn.functional.cross_entropy(self.still(self.net(images)), labels)}


class Look:
    """Counts its calls; may take its time, draw numbers, or be interrupted."""

    def __init__(self, every: float, seconds: float = 0.0, stop_at: float | None = None) -> None:
        self.every, self.seconds, self.stop_at = every, seconds, stop_at
        self.epochs: list[float] = []

    def __call__(self, method: nn.Module, epoch: float) -> Mapping[str, float]:
        assert not any(part.training for part in method.modules())
        assert not torch.is_grad_enabled()
        time.sleep(self.seconds)
        self.epochs.append(epoch)
        torch.rand(7)
        if epoch == self.stop_at:
            raise KeyboardInterrupt
        return {"knn_accuracy": float(method.net[1].weight.sum())}  # type: ignore[index,union-attr]


def _plan(**settings: Any) -> Plan:
    return Plan(**{"epochs": 5.0, "batch_size": 8, "lr": 0.01, "device": "cpu", "log_every": 100, **settings})


def _fit(method: nn.Module, run: RunFolder | None = None, watch: Any = None, **settings: Any) -> list[dict[str, Any]]:
    return fit(method, IMAGES, _plan(**settings), run, watch=watch, progress=False)


@pytest.mark.parametrize(
    ("every", "epochs"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (0.4, [0.4 * i for i in range(1, 13)] + [5])]
)
def test_it_looks_every_so_often_and_at_the_end(every: float, epochs: list[float]) -> None:
    look = Look(every)
    rows = _fit(Method(), watch=look)
    assert look.epochs == pytest.approx(epochs)
    assert [row["epoch"] for row in rows if "knn_accuracy" in row] == pytest.approx(epochs)
    assert "knn_accuracy" not in rows[0] and rows[0]["step"] == 1


def test_it_changes_nothing_but_the_log() -> None:
    alone, watched = Method(), Method()
    plain, rows = _fit(alone), _fit(watched, watch=Look(1))
    assert all(
        torch.equal(a, b) for a, b in zip(alone.state_dict().values(), watched.state_dict().values(), strict=True)
    )
    assert rows[-1]["loss"] == plain[-1]["loss"]


def test_its_time_is_not_the_trainings() -> None:
    rows = _fit(Method(), watch=Look(1, seconds=0.25), epochs=3.0)
    assert all(40 / row["images_per_second"] < 0.25 for row in rows if "knn_accuracy" in row)


def test_a_training_that_is_taken_up_again_has_the_same_log(tmp_path: Path) -> None:
    whole = _fit(Method(), RunFolder.open(tmp_path / "whole", {}), Look(1))
    run = RunFolder.open(tmp_path / "stopped", {})
    with pytest.raises(KeyboardInterrupt):
        _fit(Method(), run, Look(1, stop_at=3.0), checkpoint_seconds=0.0)
    again = Look(1)
    rows = _fit(Method(), run, again)
    assert again.epochs[-1] == 5.0 and len(again.epochs) < 5
    timeless = [[{k: v for k, v in row.items() if k != "images_per_second"} for row in log] for log in (whole, rows)]
    assert timeless[0] == timeless[1]
    assert run.rows() == rows
