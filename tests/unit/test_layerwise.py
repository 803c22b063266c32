"""Losses and penalties at several layers, against one autograd call per layer; two processes against one.

Also a program: ``python test_layerwise.py FOLDER DEVICES`` trains once (new processes import the program).
"""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import MemoryImages
from weatherproof.encoders import load_encoder, stages
from weatherproof.errors import InputError
from weatherproof.methods import LayerwiseSimCLR, SimCLR, layer_projectors, rising
from weatherproof.objectives import InputGradient, NTXent
from weatherproof.objectives.input_gradient import METHODS
from weatherproof.training import Plan, fit
from weatherproof.views import Chain, HorizontalFlip, RandomResizedCrop, Twice

pytestmark = pytest.mark.filterwarnings("ignore:.*randomly initialised")

VIEWS = Twice(Chain(RandomResizedCrop(8, (0.5, 1.0)), HorizontalFlip(0.5)))
LAYERS = ("layer1", "layer2", "embedding")
_GENERATOR = torch.Generator().manual_seed(0)
COLOURS, GRAIN = (torch.rand(24, 3, side, side, generator=_GENERATOR) for side in (1, 8))
PIXELS = (255 * (COLOURS + GRAIN) / 2).to(torch.uint8)  # images that differ in the mean, which is all that Net sees


class Net(nn.Module):
    """Three layers, smooth, so that differences and derivatives agree; no batch normalisation, whose statistics are
    those of a process's share."""

    feature_dim = 6

    def __init__(self, norm: bool = False, drop: float = 0.0) -> None:
        super().__init__()
        with random.framework_seed(1):
            self.layer1 = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4) if norm else nn.Identity(), nn.Tanh())
            self.layer2 = nn.Sequential(nn.Conv2d(4, 5, 3), nn.Dropout(drop), nn.Softplus())
            self.last = nn.Linear(5, 6)
        for parameter in self.parameters():
            parameter.data.mul_(2)  # a start's gradients are so small that a difference would be lost in rounding

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.layer2(self.layer1(images)).mean(dim=(2, 3)))


def _projectors() -> list[nn.Module]:
    with random.framework_seed(2):
        return [nn.Sequential(nn.Linear(n, 5), nn.Tanh(), nn.Linear(5, 4)) for n in (4, 5, 6)]


def _method(net: nn.Module | None = None, **settings: Any) -> LayerwiseSimCLR:
    return LayerwiseSimCLR(net or Net(), VIEWS, _projectors(), NTXent(0.5), LAYERS, **settings)  # type: ignore[arg-type]


def _batch(n: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor, Any]:
    index = torch.arange(n)
    return PIXELS[:n].float() / 255, index % 4, index, random.keys(0, index), lambda rows: rows


def _views() -> Tensor:
    images, _, _, keys, _ = _batch()
    return torch.cat(VIEWS(images, random.fold(keys, 1)))


def _by_hand(net: Net, projectors: list[nn.Module], views: Tensor) -> list[Tensor]:
    first = net.layer1(views)
    second = net.layer2(first)
    rows = [first.mean(dim=(2, 3)), second.mean(dim=(2, 3)), net.last(second.mean(dim=(2, 3)))]
    return [NTXent(0.5)(*p(row).chunk(2)) for p, row in zip(projectors, rows, strict=True)]


def _gradients(loss: Tensor, module: nn.Module) -> dict[str, Tensor]:
    module.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("per_sample", [False, True])
def test_equations_4_and_5_written_out(per_sample: bool) -> None:
    """Each R_k in a loop over the images, each of its gradients by a call of its own."""
    alphas, betas = (0.1, 0.5, 2.0), (1e4, 2e4, 1e5)  # of about the same effect
    betas = tuple(beta / (24 if per_sample else 1) for beta in betas)
    net, projectors = Net(), _projectors()
    views = [view.requires_grad_() for view in _views()]
    losses = _by_hand(net, projectors, torch.stack(views))
    total: Any = 0
    penalties = []
    for alpha, beta, loss in zip(alphas, betas, losses, strict=True):
        penalty: Any = 0
        for one, two in zip(views[:6], views[6:], strict=True):
            squares = [torch.autograd.grad(loss, x, create_graph=True)[0].square().sum() for x in (one, two)]
            penalty = penalty + sum(squares) / 2
        penalty = penalty * (24 if per_sample else 1)
        penalties.append(penalty)
        total = total + alpha * loss + beta * penalty
    expected = _gradients(total, nn.ModuleList([net, *projectors]))

    for way, closeness in ((InputGradient(1.0, per_sample=per_sample), 1e-5),
                           (InputGradient(1.0, "finite", 0.01, per_sample), 0.05)):  # fmt: skip
        method = _method(alphas=alphas, betas=betas, penalty=way)
        terms = method(*_batch())
        assert list(terms) == ["loss", *(f"loss_{n}" for n in LAYERS), *(f"penalty_{n}" for n in LAYERS)]
        assert terms["loss"].item() == pytest.approx(total.item(), rel=closeness)
        for name, loss, penalty in zip(LAYERS, losses, penalties, strict=True):
            assert terms[f"loss_{name}"].item() == pytest.approx(loss.item(), rel=1e-6)
            assert terms[f"penalty_{name}"].item() == pytest.approx(penalty.item(), rel=closeness)
        mine = _gradients(terms["loss"], nn.ModuleList([method.encoder, *method.projectors]))
        difference = torch.cat([(mine[name] - gradient).flatten() for name, gradient in expected.items()])
        length = torch.cat([gradient.flatten() for gradient in expected.values()]).norm()
        assert mine.keys() == expected.keys()
        assert difference.norm() <= closeness * length


def test_the_last_layer_alone_is_simclr() -> None:
    encoder = load_encoder("resnet20")
    projectors = layer_projectors(encoder)
    twin, last = encoder.clone(), copy.deepcopy(projectors[-1])
    layers = LayerwiseSimCLR(encoder, VIEWS, projectors, NTXent(0.5), alphas=(0, 0, 1))
    simclr = SimCLR(twin, VIEWS, last, NTXent(0.5))
    terms, theirs = layers(*_batch()), simclr(*_batch())
    assert list(terms) == ["loss", "loss_embedding"]
    assert torch.equal(terms["loss"], theirs["loss"])
    mine, expected = _gradients(terms["loss"], encoder), _gradients(theirs["loss"], twin)
    assert all(torch.equal(mine[name], value) for name, value in expected.items())
    assert all(torch.equal(a, b) for a, b in zip(encoder.buffers(), twin.buffers(), strict=True))


def test_weights_rise_with_depth() -> None:
    assert rising(4) == pytest.approx((0.001, 0.01, 0.1, 1.0))
    assert _method().alphas == pytest.approx((0.01, 0.1, 1.0))
    assert _method().betas == (0.0, 0.0, 0.0)
    assert _method(penalty=InputGradient(4.0)).betas == pytest.approx((0.02, 0.2, 2.0))


def test_layers_without_weight_cost_nothing() -> None:
    method = _method(alphas=(0, 0, 1), betas=(0, 2, 0), penalty=InputGradient(1.0, "finite"))
    assert method.layers == ("layer2", "embedding")
    assert len(method.projectors) == 2
    passes: list[str] = []
    method.encoder.layer1.register_forward_hook(lambda *_: passes.append("layer1"))  # type: ignore[union-attr, operator]
    method.encoder.last.register_forward_hook(lambda *_: passes.append("last"))  # type: ignore[union-attr, operator]
    terms = method(*_batch())
    assert passes == ["layer1", "last", "layer1"]  # the second pass ends at the layer whose penalty it is
    terms["loss"].backward()
    assert all(p.grad is not None for p in method.parameters())


def test_plain_losses_make_no_gradient_of_the_pixels() -> None:
    seen: list[bool] = []
    method = _method()
    method.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0].requires_grad))  # type: ignore[union-attr, operator]
    method(*_batch())
    assert seen == [False]


def test_running_statistics_are_those_of_the_views() -> None:
    plain, penalised = _method(Net(norm=True)), _method(Net(norm=True), penalty=InputGradient(1.0, "finite"))
    for method in (plain, penalised):
        method(*_batch())
    for mine, theirs in zip(penalised.buffers(), plain.buffers(), strict=True):
        assert torch.equal(mine, theirs)
    norm = penalised.encoder.layer1[1]  # type: ignore[union-attr, index]
    assert norm.track_running_stats and norm.training and norm.num_batches_tracked == 1


def test_both_passes_drop_out_the_same() -> None:
    found = []
    for way in (InputGradient(1.0), InputGradient(1.0, "finite")):
        with random.framework_seed(4):
            found.append(_method(Net(drop=0.5), penalty=way)(*_batch()))
    for name in LAYERS:
        assert found[1][f"penalty_{name}"].item() == pytest.approx(found[0][f"penalty_{name}"].item(), rel=0.05)


def test_penalties_survive_bfloat16() -> None:
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append(_method(penalty=InputGradient(1.0, "finite"))(*_batch()))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("name", ["small(channels=3)", "resnet20", "resnet18-cifar"])
@pytest.mark.parametrize("way", ["exact", "finite"])
def test_native_encoders(name: str, way: str) -> None:
    encoder = load_encoder(name)
    method = LayerwiseSimCLR(
        encoder, VIEWS, layer_projectors(encoder, out=8), NTXent(0.5), penalty=InputGradient(1.0, way)
    )
    assert method.layers == stages(encoder)
    terms = method(*_batch(3))
    terms["loss"].backward()
    assert all(value.isfinite() for value in terms.values())
    assert all(value > 0 for name, value in terms.items() if name.startswith("penalty"))
    assert not [
        n for n, p in method.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": ("layer1", "layer2", "last")}, "'embedding' as the last, got layer1, layer2, last"),
        ({"layers": ("layer1", "layer1", "embedding")}, "each layer once"),
        ({"layers": ("layer1", "layer9", "embedding")}, "no layer 'layer9': expected layer"),
        ({"alphas": (1.0, 1.0)}, "expected 3 alphas for layer1, layer2, embedding, got 2"),
        ({"betas": (1.0,)}, "expected 3 betas"),
        ({"betas": (1.0, -1.0, 0.0)}, "numbers of at least 0"),
        ({"alphas": (1.0, 1.0, 0.0)}, "the last alpha must be above 0"),
        ({"projectors": []}, "expected 3 projectors .*, got 0"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], message: str) -> None:
    given = {"projectors": _projectors(), "layers": LAYERS, **settings}
    with pytest.raises(InputError, match=message):
        LayerwiseSimCLR(Net(), VIEWS, objective=NTXent(), **given)


def test_a_batch_of_one_is_refused() -> None:
    with pytest.raises(InputError, match="a batch of at least 2, got 1"):
        _method()(*_batch(1))


class Both(nn.Module):
    """All ways side by side, on networks of their own: starting processes takes longer than training."""

    def __init__(self) -> None:
        super().__init__()
        weights = {"alphas": (0.1, 0.5, 1.0), "betas": (1e4, 2e4, 1e5)}
        self.ways = nn.ModuleDict({way: _method(penalty=InputGradient(1.0, way), **weights) for way in METHODS})

    def forward(self, *batch: Any) -> dict[str, Tensor]:
        found = {f"{way}_{name}": value for way, m in self.ways.items() for name, value in m(*batch).items()}
        return {"loss": torch.stack([found[f"{way}_loss"] for way in METHODS]).sum(), **found}


def main(folder: Path, devices: int) -> None:
    method = Both()
    plan = Plan(
        epochs=1.0, batch_size=8, lr=0.01, devices=devices, optimizer="sgd", schedule="constant", log_every=1,
        device="cpu",
    )  # fmt: skip
    rows = fit(method, MemoryImages(PIXELS, torch.arange(24) % 4), plan, progress=False)
    torch.save({"rows": rows, "weights": method.state_dict()}, folder / "result.pt")


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    program = subprocess.Popen(
        [sys.executable, __file__, str(two), "2"], env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE
    )
    main(one, 1)
    _, stderr = program.communicate(timeout=120)
    assert program.returncode == 0, stderr.decode()
    mine, theirs = (torch.load(folder / "result.pt", weights_only=True) for folder in (one, two))
    assert len(mine["rows"]) == len(theirs["rows"]) == 3
    start = Both().state_dict()
    # a difference of losses magnifies their rounding
    for way, closeness in (("exact", 1e-5), ("finite", 0.05), ("gradients", 0.05)):
        for step, (a, b) in enumerate(zip(mine["rows"][:2], theirs["rows"][:2], strict=True)):
            for term in ("loss", "loss_layer1", "penalty_layer1", "penalty_layer2", "penalty_embedding"):
                name = f"{way}_{term}"
                assert b[name] == pytest.approx(a[name], rel=closeness if step else 1e-5), name
        moved = 0.0
        for key, value in mine["weights"].items():
            if key.startswith(f"ways.{way}."):
                torch.testing.assert_close(theirs["weights"][key], value, atol=closeness / 10, rtol=closeness, msg=key)
                moved = max(moved, float((value - start[key]).abs().max()))
        assert moved > 0.01


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]))
