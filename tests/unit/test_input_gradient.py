"""Tikhonov penalties against loops over images, and their derivatives against differences of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from weatherproof import objectives, random, spec
from weatherproof.data import load_images
from weatherproof.encoders import Encoder, load_encoder
from weatherproof.errors import InputError
from weatherproof.methods import SimCLR, Supervised
from weatherproof.objectives import InputGradient, NTXent
from weatherproof.objectives.input_gradient import contrastive_exact, supervised_exact
from weatherproof.views import Chain, Twice

pytestmark = pytest.mark.filterwarnings("ignore:.*randomly initialised")

EXACT, FINITE = InputGradient(1.0), InputGradient(1.0, "finite")
GRADIENTS = InputGradient(1.0, "gradients")
LABELS = torch.tensor([0, 2, 1, 1, 0, 2])


def _smooth(features: int = 3) -> nn.Sequential:
    """Twice differentiable everywhere, so that differences and derivatives are the same thing."""
    with random.framework_seed(7):
        net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(18, 4), nn.Softplus())
        net.append(nn.Linear(4, features))
    return net.double()


def _pixels(n: int = 6, side: int = 5) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _cross_entropy(net: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: F.cross_entropy(net(x), LABELS.repeat(len(x) // 6 + 1)[: len(x)], reduction="none")


def _nt_xent(net: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda views: NTXent(0.5)(*net(views).chunk(2))


def _slope(function: Callable[[Tensor], Tensor], images: Tensor, image: int, h: float = 1e-6) -> Tensor:
    """The gradient of a scalar function with respect to one image, one pixel after the other, without autograd."""
    slope = torch.zeros_like(images[image]).flatten()
    for pixel in range(len(slope)):
        ends = []
        for sign in (1, -1):
            moved = images.clone()
            moved[image].view(-1)[pixel] += sign * h
            with torch.no_grad():
                ends.append(function(moved))
        slope[pixel] = (ends[0] - ends[1]) / (2 * h)
    return slope


def _parameter_slopes(net: nn.Module, value: Callable[[], Tensor], h: float = 1e-5) -> Tensor:
    slopes = []
    for parameter in net.parameters():
        for place in range(parameter.numel()):
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[place] += sign * h
                ends.append(value().detach())
                with torch.no_grad():
                    parameter.view(-1)[place] -= sign * h
            slopes.append((ends[0] - ends[1]) / (2 * h))
    return torch.stack(slopes)


def _gradients(value: Tensor, net: nn.Module) -> Tensor:
    net.zero_grad()
    value.backward()
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in net.parameters()])


def test_equation_2_is_a_loop_over_images() -> None:
    losses, images = _cross_entropy(_smooth()), _pixels()
    slopes = [_slope(lambda x, i=i: losses(x)[i], images, i) for i in range(6)]
    expected = sum(float(s.square().sum()) for s in slopes) / 6
    values, penalty = EXACT.supervised(losses, images)
    torch.testing.assert_close(values, losses(images))
    assert penalty.item() == pytest.approx(expected, rel=1e-6)
    assert FINITE.supervised(losses, images)[1].item() == pytest.approx(expected, rel=0.01)


def test_equation_3_is_a_loop_over_pairs() -> None:
    loss, views = _nt_xent(_smooth()), _pixels()
    first, second = range(3), range(3, 6)
    squares = [float(_slope(loss, views, i).square().sum()) for i in range(6)]
    expected = sum((squares[i] + squares[j]) / 2 for i, j in zip(first, second, strict=True))
    value, penalty = EXACT.contrastive(loss, views)
    torch.testing.assert_close(value, loss(views))
    assert penalty.item() == pytest.approx(expected, rel=1e-6)
    assert FINITE.contrastive(loss, views)[1].item() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("method", ["exact", "finite"])
def test_per_sample_is_the_mean_over_views_of_the_summed_loss(method: str) -> None:
    loss, views = _nt_xent(_smooth()), _pixels()
    of_sum = [float(_slope(lambda x: 6 * loss(x), views, i).square().sum()) for i in range(6)]
    _, penalty = InputGradient(1.0, method, per_sample=True).contrastive(loss, views)
    assert penalty.item() == pytest.approx(sum(of_sum) / 6, rel=1e-6 if method == "exact" else 0.01)


@pytest.mark.parametrize("kind", ["supervised", "contrastive"])
def test_double_backward_is_the_derivative_of_the_penalty(kind: str) -> None:
    net, images = _smooth(), _pixels(4)
    function = (_cross_entropy if kind == "supervised" else _nt_xent)(net)

    def penalty() -> Tensor:
        return getattr(EXACT, kind)(function, images)[1]

    mine, theirs = _gradients(penalty(), net), _parameter_slopes(net, penalty)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-8 + 1e-6 * float(theirs.abs().max()))


@pytest.mark.parametrize("kind", ["supervised", "contrastive"])
@pytest.mark.parametrize("way", [FINITE, GRADIENTS], ids=["finite", "gradients"])
def test_finite_differences_have_nearly_the_same_derivative(kind: str, way: InputGradient) -> None:
    net, images = _smooth(), _pixels()
    function = (_cross_entropy if kind == "supervised" else _nt_xent)(net)
    exact, finite = (_gradients(getattr(chosen, kind)(function, images)[1], net) for chosen in (EXACT, way))
    assert (exact - finite).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("kind", ["supervised", "contrastive"])
@pytest.mark.parametrize("per_sample", [False, True])
def test_gradients_have_the_exact_value_and_save_a_pass_only_in_work(kind: str, per_sample: bool) -> None:
    """With the weights given, the loss's own derivative is taken on the way: the same numbers in the end."""
    net, images = _smooth(), _pixels()
    function = (_cross_entropy if kind == "supervised" else _nt_xent)(net)
    exact, way = (InputGradient(1.0, method, per_sample=per_sample) for method in ("exact", "gradients"))
    assert getattr(way, kind)(function, images)[1].item() == pytest.approx(
        getattr(exact, kind)(function, images)[1].item(), rel=1e-12
    )
    found = []
    for weights in (None, list(net.parameters())):
        loss, penalty = getattr(way, kind)(function, images, weights=weights)
        found.append((loss.detach(), penalty.detach(), _gradients(loss.mean() + 3 * penalty, net)))
    torch.testing.assert_close(found[0], found[1])
    assert torch.equal(found[0][0], function(images).detach())


def test_gradients_are_the_formula() -> None:
    """2 / rho (grad_w L(X + rho g) - grad_w L(X)), every image moved by rho times its own gradient."""
    net, images = _smooth(), _pixels().requires_grad_()
    losses = _cross_entropy(net)
    (slope,) = torch.autograd.grad(losses(images).sum(), images)
    rho = 0.02 / slope.flatten(1).norm(dim=1).square().mean().sqrt()
    ends = [_gradients(losses(x).mean(), net) for x in (images.detach() + rho * slope, images.detach())]
    mine = _gradients(InputGradient(1.0, "gradients", 0.02).supervised(losses, images)[1], net)
    torch.testing.assert_close(mine, 2 / rho * (ends[0] - ends[1]))


def test_gradients_agree_with_double_backward_where_a_batch_is_normalised() -> None:
    """Batch normalisation in training mode lets every image move every loss: the difference of one image's loss does
    not see the others, however small the step; the difference of gradients does."""
    with random.framework_seed(7):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(36, 3)).double()
    losses, images = _cross_entropy(net), _pixels()
    ways = [InputGradient(1.0, method, step=1e-5) for method in ("exact", "finite", "gradients")]
    found = {way.method: _gradients(way.supervised(losses, images)[1], net) for way in ways}
    errors = {name: float((g - found["exact"]).norm() / found["exact"].norm()) for name, g in found.items()}
    assert errors["gradients"] < 1e-4 and errors["finite"] > 0.01


class Passes(TorchDispatchMode):
    """How many convolutions ran forward, and backward to their inputs and to their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.forward, self.inputs, self.weights = 0, 0, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten.convolution.default:
            self.forward += 1
        elif function is torch.ops.aten.convolution_backward.default:
            to_input, to_weight, _ = args[-1]
            self.inputs, self.weights = self.inputs + to_input, self.weights + to_weight
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("tikhonov", "forward", "inputs", "weights"),
    [(None, 19, 18, 19), (GRADIENTS, 38, 19 + 18, 38), (FINITE, 38, 19 + 18 + 18, 38)],
)
def test_passes_of_a_step(tikhonov: InputGradient | None, forward: int, inputs: int, weights: int) -> None:
    """Of a ResNet-20 with its 19 convolutions; a plain step needs no gradient by the pixels."""
    encoder = load_encoder("resnet20", num_classes=0).train()
    learner = Supervised(encoder, nn.Linear(encoder.feature_dim, 3), tikhonov=tikhonov)
    trained = [p for p in learner.parameters() if p.requires_grad]
    images = torch.rand(6, 3, 16, 16)
    with Passes() as passes:
        learner(images, LABELS, LABELS, LABELS, lambda rows: rows)["loss"].backward(inputs=trained)
    assert (passes.forward, passes.inputs, passes.weights) == (forward, inputs, weights)


def test_finite_differences_are_the_formula() -> None:
    net, images = _smooth(), _pixels().requires_grad_()
    losses = _cross_entropy(net)
    (gradient,) = torch.autograd.grad(losses(images).sum(), images)
    expected = 0.0
    for i in range(6):
        moved = images.detach().clone()
        moved[i] += 0.02 * gradient[i] / gradient[i].norm()
        expected += ((losses(moved)[i] - losses(images)[i]) / 0.02).square().item() / 6
    assert InputGradient(1.0, "finite", step=0.02).supervised(losses, images)[1].item() == pytest.approx(expected)

    loss = _nt_xent(net)
    (gradient,) = torch.autograd.grad(loss(images), images)
    far = 0.02 * 6**0.5
    moved = images.detach() + far * gradient / gradient.norm()
    expected = ((loss(moved) - loss(images)) / far).square().item() / 2
    assert InputGradient(1.0, "finite", step=0.02).contrastive(loss, images)[1].item() == pytest.approx(expected)


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [pytest.param("resnet20", marks=pytest.mark.slow), pytest.param("small(channels=3)", marks=pytest.mark.slow)],
)
def test_real_networks_agree_within_5_per_cent(name: str, data_dir: Path) -> None:
    """Public weights in evaluation mode (batch normalisation couples the images), a network at its start in training.
    The trained network is too curved for the default step of 0.01."""
    encoder, images, labels = _real(name, data_dir)
    step = 0.001 if name == "resnet20" else 0.01

    def losses(pixels: Tensor) -> Tensor:
        return F.cross_entropy(encoder.logits(pixels), labels, reduction="none")

    exact, finite = (way.supervised(losses, images)[1].item() for way in (EXACT, InputGradient(1.0, "finite", step)))
    assert finite == pytest.approx(exact, rel=0.05)
    views = torch.cat([images, images.flip(-1)])
    for per_sample in (False, True):
        ways = (InputGradient(1.0, per_sample=per_sample), InputGradient(1.0, "finite", step, per_sample))
        exact, finite = (way.contrastive(_nt_xent(encoder), views)[1].item() for way in ways)
        assert finite == pytest.approx(exact, rel=0.05)


def _real(name: str, folder: Path) -> tuple[Encoder, Tensor, Tensor]:
    weights = f"@{folder}/resnet20-12fca82f.th" if name == "resnet20" else ""
    encoder = load_encoder(name + weights, num_classes=10).train(not weights)
    source = load_images(f"cifar10:{folder}/cifar10", "test")
    some = [source[i] for i in range(0, len(source), len(source) // 32)]  # the files lie class by class
    return encoder, torch.stack([item[0] for item in some]).float() / 255, torch.tensor([int(item[1]) for item in some])


@pytest.mark.parametrize("way", [EXACT, FINITE, GRADIENTS], ids=["exact", "finite", "gradients"])
def test_no_gradient_no_penalty(way: InputGradient) -> None:
    images, weight = _pixels(), torch.ones((), dtype=torch.float64, requires_grad=True)
    _, penalty = way.supervised(lambda x: 0 * x.flatten(1).sum(dim=1) * weight + weight, images)
    _, joint = way.contrastive(lambda x: 0 * x.sum() * weight + weight, images)
    (penalty + joint).backward()
    assert penalty.item() == joint.item() == 0
    assert weight.grad is not None and weight.grad.item() == 0


def test_dropout_is_the_same_in_both_passes() -> None:
    """Otherwise the difference would be that of two networks, divided by a small step."""
    net = nn.Sequential(_smooth(8), nn.Dropout(0.5), nn.Linear(8, 3).double())
    images = _pixels()
    with random.framework_seed(3):
        _, exact = EXACT.supervised(_cross_entropy(net), images)
        after = torch.get_rng_state()
    with random.framework_seed(3):
        _, finite = FINITE.supervised(_cross_entropy(net), images)
        assert torch.equal(torch.get_rng_state(), after)
    assert finite.item() == pytest.approx(exact.item(), rel=0.02)
    with random.framework_seed(3):
        _, stepped = GRADIENTS.supervised(_cross_entropy(net), images)
    mine, theirs = _gradients(stepped, net), _gradients(exact, net)
    assert (mine - theirs).norm() < 0.05 * theirs.norm()


@pytest.mark.parametrize("way", [EXACT, FINITE, GRADIENTS])
def test_running_statistics_know_the_images_alone(way: InputGradient) -> None:
    """Not those a step away: a second pass leaves no trace, and the step can still be taken."""
    index = torch.arange(6)
    batch = _pixels(side=8).float(), LABELS, index, random.keys(0, index), lambda rows: rows

    def method(kind: str, penalty: InputGradient | None) -> nn.Module:
        encoder = load_encoder("small(width=2)", size=8, seed=0)
        with random.framework_seed(0):
            if kind == "labels":
                return Supervised(encoder, nn.Linear(encoder.feature_dim, 3), tikhonov=penalty)
            head = nn.Sequential(nn.Linear(encoder.feature_dim, 4), nn.BatchNorm1d(4))
            return SimCLR(encoder, Twice(Chain()), head, NTXent(0.5), penalty)

    for kind in ("labels", "pairs"):
        plain, penalised = method(kind, None), method(kind, way)
        for own in (plain, penalised):
            own(*batch)["loss"].backward()
        there, found = dict(plain.named_buffers()), dict(penalised.named_buffers())
        assert any("running_mean" in name for name in there)
        for name, value in there.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6)


def test_bfloat16_does_not_swallow_the_difference() -> None:
    net, images = _smooth().float(), _pixels().float()
    for way in (FINITE, GRADIENTS):
        plain = way.supervised(_cross_entropy(net), images)[1]
        with torch.autocast("cpu", torch.bfloat16):
            mixed = way.supervised(_cross_entropy(net), images)[1]
        assert torch.equal(mixed, plain)


def test_attention_has_a_second_derivative() -> None:
    encoder = load_encoder("timm:vit_tiny_patch16_224@random", size=32, num_classes=3)
    images = _pixels(4, 32).float()
    losses = _cross_entropy(encoder.logits)
    _, penalty = EXACT.supervised(losses, images)
    penalty.backward()
    gradient = encoder.body.blocks[0].attn.qkv.weight.grad  # type: ignore[union-attr, index]
    assert gradient is not None and gradient.any() and gradient.isfinite().all()
    finite = InputGradient(1.0, "finite").supervised(losses, images)[1]
    assert finite.item() == pytest.approx(penalty.item(), rel=0.05)


def test_the_callers_images_stay_as_they_are() -> None:
    images = _pixels()
    before = images.clone()
    for way in (EXACT, FINITE, GRADIENTS):
        with torch.no_grad():
            way.supervised(_cross_entropy(_smooth()), images)
            way.contrastive(_nt_xent(_smooth()), images)
    assert torch.equal(images, before) and not images.requires_grad


def test_functions_take_losses_that_are_there_already() -> None:
    net, images = _smooth(), _pixels().requires_grad_()
    by_hand = supervised_exact(_cross_entropy(net)(images), images)
    torch.testing.assert_close(by_hand, EXACT.supervised(_cross_entropy(net), images)[1])
    by_hand = contrastive_exact(_nt_xent(net)(images), images, per_sample=True)
    torch.testing.assert_close(by_hand, 12 * contrastive_exact(_nt_xent(net)(images), images))


def test_text_reads_back() -> None:
    for way in (InputGradient(0.1), InputGradient(1.0, "finite", 0.02, per_sample=True)):
        assert spec.parse(repr(way), objectives.REGULARIZERS, "regularizer") == way


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": -1.0}, "a number of at least 0, got -1.0"),
        ({"weight": float("nan")}, "a number of at least 0, got nan"),
        ({"weight": 1.0, "step": 0.0}, "a positive number of pixel units, got 0.0"),
        ({"weight": 1.0, "method": "finit"}, "did you mean finite"),
    ],
)
def test_bad_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        InputGradient(**settings)  # type: ignore[arg-type]
