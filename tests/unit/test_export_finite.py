"""What is exported gives numbers: NaN here and there is not alike, and no encoder of NaN is called verified."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import weatherproof as wp
from weatherproof.encoders import Encoder
from weatherproof.errors import InputError
from weatherproof.verbs.export.checking import Look, compared

NUMBERS = torch.tensor([[1.0], [2.0], [4.0], [0.0]])


class Own(nn.Module):
    """A network of somebody's."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.mean(dim=(2, 3))).tanh()


def encoder() -> Encoder:
    return wp.load_encoder(Own(), mean=0, std=1, size=16)


def with_second(value: float) -> Tensor:
    return NUMBERS.index_fill(0, torch.tensor(1), value)


def failures(name: str, own: Tensor, given: Tensor) -> list[str]:
    look = Look("clean", torch.zeros(4, 1))
    return compared([look], lambda _: {name: own}, lambda _: {name: given}).failures()


@pytest.mark.parametrize("name", ["embedding", "logits", "own_logits", "patches"])
@pytest.mark.parametrize("own", [torch.nan, torch.inf])
def test_what_is_not_finite_fails_whatever_the_file_gives(name: str, own: float) -> None:
    line = f"{name} of the encoder itself is not finite on 1 of 4 looks"
    assert failures(name, with_second(own), with_second(own)) == [line]
    for given in (NUMBERS, with_second(torch.nan if own == torch.inf else torch.inf), with_second(-torch.inf)):
        assert failures(name, with_second(own), given) == [f"{name} differs on 1 of 4 looks", line]


@pytest.mark.parametrize("name", ["level", "low", "high"])
def test_a_level_that_cannot_be_told_is_none_in_the_file_too(name: str) -> None:
    assert failures(name, with_second(torch.nan), with_second(torch.nan)) == []
    for given in (NUMBERS, with_second(torch.inf)):
        assert failures(name, with_second(torch.nan), given) == [f"{name} differs on 1 of 4 looks"]


@pytest.mark.parametrize("to", ["onnx", "torch", "hub"])
def test_an_encoder_whose_embeddings_are_not_finite_is_refused(to: Any, tmp_path: Path) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    broken = encoder()
    next(broken.parameters()).data[0, 0] = torch.nan
    with pytest.raises(InputError, match="embeddings that are not finite numbers"):
        wp.export(broken, to=to, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_logits_that_are_not_finite_are_not_verified(tmp_path: Path) -> None:
    broken = encoder()
    broken.head = nn.Linear(5, 2)
    broken.head.bias.data[1] = torch.nan
    done = wp.export(broken, to="torch", out=tmp_path / "out")
    assert done.status == 1 and done.file.name == "encoder.pt2.failed"
    checked = done.about["verified"]
    line = "logits of the encoder itself is not finite on {0} of {0} looks".format(checked["looks"])
    assert checked["failures"] == [line]
