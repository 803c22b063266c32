"""What a hardening takes, counted on tensors without numbers: nothing is computed, no weight is loaded."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from weatherproof.encoders import Encoder, load_encoder
from weatherproof.errors import InputError
from weatherproof.objectives import StudentTeacher
from weatherproof.sizes import GivenSize, sides, size_of
from weatherproof.training.footprint import footprint, peak_bytes

_ROWS = 2  # images in a count: as few as batch normalisation takes
_BATCH = 4096  # of the objective: large enough that the matrix is most of it


@dataclass(frozen=True)
class Counted:
    """What an encoder takes at a size.

    Attributes:
        parameters: weights, all of which train.
        features: numbers of an embedding.
        forward: flops of an image: a multiplication and an addition are two.
        backward: flops of an image's backward pass.
        fixed_bytes: of weights (student and teacher), gradients and Adam's two states, in float32.
        image_bytes: that an image of the batch adds at the peak, in float32, without checkpointing.
    """

    parameters: int
    features: int
    forward: float
    backward: float
    fixed_bytes: float
    image_bytes: float

    @property
    def step(self) -> float:
        """Flops of an image in a step: the teacher's forward pass, the student's, and its backward pass."""
        return 2 * self.forward + self.backward


@dataclass(frozen=True)
class Loss:
    """What the objective takes of a batch of B embeddings of D numbers.

    Attributes:
        flops: for each B^2 D.
        matrices: of B x B numbers of float32 that live at the same time.
    """

    flops: float
    matrices: float


def counted(encoder: str | Path | nn.Module, size: GivenSize) -> Counted:
    """Count an encoder. Raises `InputError` for one that `load_encoder` does not know."""
    network = _without_numbers(encoder, size)
    given = size_of(size)
    assert given is not None
    rows, columns = sides(given)

    def forward(batch: int) -> torch.Tensor:
        return network(torch.empty(batch, network.preprocessing.channels, rows, columns, device="meta"))

    def step(batch: int) -> None:
        with torch.no_grad():
            forward(batch)
        forward(batch).sum().backward()

    with FlopCounterMode(display=False) as once, torch.no_grad():
        features = forward(_ROWS).shape[1]
    with FlopCounterMode(display=False) as both:
        step(_ROWS)
    weights = [*network.parameters()]
    used = footprint(step, weights, weights)
    one = once.get_total_flops() / _ROWS
    if not one:
        raise InputError(f"no flops could be counted in {encoder}: its operators are its own")
    count = sum(weight.numel() for weight in weights)
    return Counted(
        parameters=count, features=features, forward=one, backward=both.get_total_flops() / _ROWS - 2 * one,
        fixed_bytes=20.0 * count, image_bytes=float(used.per_image),
    )  # fmt: skip


def _without_numbers(encoder: str | Path | nn.Module, size: GivenSize) -> Encoder:
    name = "" if isinstance(encoder, nn.Module) else str(encoder).partition("@")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # random weights: none are looked at
        if not name or Path(name).exists() or ".py:" in name:
            return load_encoder(encoder, size=size).clone().to("meta").train()
        with torch.device("meta"):
            return load_encoder(f"{name}@random", size=size).train()


def counted_loss() -> Loss:
    """Count the objective of a hardening, which every process computes for the whole batch."""

    def step(batch: int) -> None:
        student, teacher = torch.empty(batch, 64, requires_grad=True), torch.empty(batch, 64)
        StudentTeacher()(student, teacher).backward()

    with FakeTensorMode():
        with FlopCounterMode(display=False) as flops:
            step(_BATCH)
        peak = peak_bytes(lambda: step(_BATCH))
    return Loss(flops.get_total_flops() / (_BATCH**2 * 64), peak / (4 * _BATCH**2))
