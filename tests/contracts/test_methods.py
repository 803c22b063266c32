"""What every training method promises. A new one adds a row and inherits these checks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from weatherproof import methods, random
from weatherproof.attacks import L2, PGD
from weatherproof.data import MemoryImages
from weatherproof.errors import InputError
from weatherproof.methods import (
    LABELLED,
    PIRL,
    RECIPES,
    AdversarialTraining,
    Anchor,
    AugMixConsistency,
    FeatureContrastive,
    FeatureSettings,
    FineTuning,
    Hardening,
    InstDis,
    KeepClean,
    LayerwiseSimCLR,
    MoCo,
    MovingTeacher,
    SimCLR,
    Supervised,
    UtilityNoise,
    WholeNoise,
    build,
    build_labelled,
)
from weatherproof.objectives import (
    L2SP,
    Dense,
    FeatureContrast,
    InputGradient,
    NTXent,
    SimilarityMatrix,
    StudentTeacher,
)
from weatherproof.operators import GaussianNoise
from weatherproof.training import Plan, RunFolder, fit, state
from weatherproof.types import Images, Keys
from weatherproof.views import HorizontalFlip, Jigsaw, Twice

N, SIDE, CLASSES = 8, 9, 4
PIXELS = torch.randint(0, 256, (24, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
IMAGES = MemoryImages(PIXELS, torch.arange(24) % CLASSES)
NOISE, VIEWS, FLIP = GaussianNoise(0.3), Twice(GaussianNoise(0.3)), HorizontalFlip()
CONTRAST: dict[str, Any] = {"queue": 16, "groups": 1, "momentum": 0.9}
BANK: dict[str, Any] = {"images": 24, "negatives": 10}


class Net(nn.Module):
    """Convolution, normalisation, a classifier of its own that not every loss reaches."""

    feature_dim = 6

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with random.framework_seed(seed):
            self.conv, self.norm, self.head = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images)).tanh().mean(dim=(2, 3))


def _linear(outputs: int = CLASSES) -> nn.Linear:
    with random.framework_seed(9):
        return nn.Linear(6, outputs)


def _projectors() -> list[nn.Module]:
    with random.framework_seed(9):
        return [nn.Linear(6, 5), nn.Linear(6, 5)]


def _nine(images: Images, keys: Keys) -> tuple[Images, ...]:
    return tuple(GaussianNoise(0.1)(images, keys).unfold(2, 3, 3).unfold(3, 3, 3).flatten(2, 3).unbind(dim=2))


def _contrast(partner: UtilityNoise | WholeNoise, objective: FeatureContrast | None) -> FeatureContrastive:
    return FeatureContrastive(Net(), _linear(), partner, objective, 0.01, operator=NOISE, augment=FLIP)


TABLE: dict[str, Callable[[], nn.Module]] = {
    "hardening": lambda: Hardening(Net(), Net(1), NOISE, StudentTeacher(), FLIP),
    "hardening, batch statistics": lambda: Hardening(Net(), Net(1), NOISE, StudentTeacher(), FLIP, teacher_bn="batch"),
    "hardening, clean kept": lambda: Hardening(
        Net(), Net(1), NOISE, StudentTeacher(), FLIP, keep=KeepClean(0.4, 0.9)
    ),
    "hardening, positions too": lambda: Hardening(
        Net(), Net(1), NOISE, StudentTeacher(), FLIP, dense=Dense(0.5, gram=1.0)
    ),
    "moving teacher": lambda: MovingTeacher(
        Net(), Net(1), NOISE, StudentTeacher(), Anchor(0.5, similarity=1.0), FLIP, last="conv"
    ),
    "supervised": lambda: Supervised(Net(), _linear(), NOISE, FLIP),
    "supervised, penalised": lambda: Supervised(Net(), _linear(), NOISE, FLIP, InputGradient(0.5, "exact")),
    "augmix": lambda: AugMixConsistency(Net(), _linear(), VIEWS, FLIP),
    "adversarial": lambda: AdversarialTraining(Net(), _linear(), PGD(L2(0.5), steps=2, random_start=True), FLIP),
    "fcl": lambda: _contrast(UtilityNoise(20), FeatureContrast(0.5)),
    "cl-gaussian": lambda: _contrast(WholeNoise(), FeatureContrast(0.5)),
    "xe-gaussian": lambda: _contrast(WholeNoise(), None),
    "fine-tuning": lambda: FineTuning(
        Net(), _linear(), Net(1), SimilarityMatrix(2.0), L2SP(0.3, 0.2), InputGradient(0.5, "exact"), NOISE, FLIP
    ),
    "simclr": lambda: SimCLR(Net(), VIEWS, _linear(5), NTXent(0.5)),
    "simclr, penalised": lambda: SimCLR(Net(), VIEWS, _linear(5), NTXent(0.5), InputGradient(0.5, "exact")),
    "layerwise": lambda: LayerwiseSimCLR(Net(), VIEWS, _projectors(), NTXent(0.5), ("conv", "embedding")),
    "moco": lambda: MoCo(Net(), VIEWS, _linear(5), **CONTRAST),
    "instdis": lambda: InstDis(Net(), VIEWS, _linear(5), **BANK),
    "pirl": lambda: PIRL(Net(), VIEWS, _nine, _linear(5), **BANK),
}  # fmt: skip
CONTRASTIVE = ("simclr", "simclr, penalised", "layerwise", "moco", "instdis", "pirl")
PROJECTED = ("simclr", "moco", "instdis", "pirl")
MOVE_AT_ONCE = ("hardening, clean kept", "moco", "instdis", "pirl")  # their memory, before the optimizer steps
REFUSE_EVALUATION = ("fcl", "cl-gaussian", "xe-gaussian")
Make = Callable[[], nn.Module]
every = pytest.mark.parametrize("make", TABLE.values(), ids=TABLE)


def _some(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("make", [TABLE[name] for name in names], ids=names)


def _without(*names: str) -> pytest.MarkDecorator:
    return _some(*(name for name in TABLE if name not in names))


def _batch(index: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]]:
    index = torch.arange(N) if index is None else index
    return PIXELS[index].float() / 255, index % CLASSES, index, random.keys(3, index), lambda rows: rows


def _state(method: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in method.state_dict().items()}


def _shown(method: nn.Module, index: Tensor) -> Tensor:
    """All images that the trained network gets to see, one a row."""
    shown: list[Tensor] = []
    network = getattr(method, "student", None) or method.get_submodule("encoder")
    network.get_submodule("conv").register_forward_pre_hook(lambda _, args: shown.extend(args[0].detach().flatten(1)))
    for norm in (m for m in method.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.register_forward_pre_hook(lambda norm, _: setattr(norm, "training", False))  # each image by itself
    method(*_batch(index))
    width = max(len(row) for row in shown)
    return torch.stack([nn.functional.pad(row, (0, width - len(row))) for row in shown])


def test_the_table_has_every_public_method() -> None:
    public = {
        value for name in methods.__all__
        if isinstance(value := getattr(methods, name), type) and issubclass(value, nn.Module)
        and "gather" in value.forward.__annotations__
    }  # fmt: skip
    assert {type(make()) for make in TABLE.values()} == public


def test_a_name_builds_a_method_of_the_table() -> None:
    known = {type(make()) for make in TABLE.values()}
    settings = FeatureSettings(k=20, patch="PatchGaussian(3, 0.1)")
    attack = PGD(L2(0.5), steps=1)
    for name in LABELLED:
        given = attack if name == "adversarial" else None
        built = build_labelled(name, Net(), _linear(), settings, attack=given)
        assert type(built) in known, name
    for name in RECIPES:
        built = build(name, Net(), views=VIEWS, images=24, size=32, jigsaw=Jigsaw(9) if name == "pirl" else None)
        assert type(built) in known, name


@every
def test_the_loss_is_one_finite_number_that_moves_all_that_is_trained(make: Make) -> None:
    method = make().train()
    terms = method(*_batch())
    assert all(value.shape == () and value.isfinite() for value in terms.values())
    assert not [name for name, value in terms.items() if value.requires_grad != (name == "loss")]
    terms["loss"].backward()
    for name, parameter in method.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        if parameter.grad is not None and not name.endswith("conv.bias"):  # batch normalisation takes it away
            assert parameter.grad.isfinite().all() and parameter.grad.any(), name
    frozen = {name for name, parameter in method.named_parameters() if not parameter.requires_grad}
    assert all(name.startswith(("teacher.", "momentum_encoder.")) or ".head." in name for name in frozen)


@every
def test_calling_it_moves_nothing_but_statistics_and_memory(make: Make) -> None:
    method = make().train()
    before = _state(method)
    chance = torch.get_rng_state()
    method(*_batch())["loss"].backward()
    moved = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    statistics = {f"{prefix}norm.{name}" for prefix in ("encoder.", "student.", "momentum_encoder.networks.0.")
                  for name in ("running_mean", "running_var", "num_batches_tracked")}  # fmt: skip
    memory = {"queue", "cursor", "bank.vectors", "multiplier.value"}
    assert moved & statistics and moved <= statistics | memory
    assert bool(moved & memory) == (make in [TABLE[name] for name in MOVE_AT_ONCE])
    assert torch.equal(torch.get_rng_state(), chance)


@_without(*REFUSE_EVALUATION)
def test_in_evaluation_mode_nothing_moves(make: Make) -> None:
    method = make().eval()
    before = _state(method)
    assert method(*_batch())["loss"].isfinite()
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


@every
def test_a_draw_belongs_to_the_image(make: Make) -> None:
    """Alone, in another order or in a smaller batch, the network is shown the same looks at an image."""
    whole = _shown(make(), torch.arange(N))
    few = _shown(make(), torch.tensor([5, 2, 7, 0]))
    assert len(few) * 2 == len(whole)
    assert torch.cdist(few, whole, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1).values.max() < 1e-4
    assert len(whole.unique(dim=0)) > len(whole) / 2  # an attack's last image is shown once more, to learn from


@every
def test_the_order_of_the_batch_does_not_matter(make: Make) -> None:
    order = torch.tensor([3, 1, 6, 0, 7, 4, 2, 5])
    one, other = make().train(), make().train()
    mine, theirs = one(*_batch()), other(*_batch(order))
    for name, value in mine.items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-4, atol=1e-5, msg=name)
    mine["loss"].backward()
    theirs["loss"].backward()
    for (name, p), q in zip(one.named_parameters(), other.parameters(), strict=True):
        if name.endswith("conv.bias"):  # rounding alone: batch normalisation takes it away
            continue
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-3, atol=1e-5, msg=name)


@every
def test_equal_keys_repeat_the_loss_and_other_keys_do_not(make: Make) -> None:
    images, labels, index, keys, gather = _batch()
    first, again = (make().train()(images, labels, index, keys, gather)["loss"] for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(make().train()(images, labels, index, random.fold(keys, 1), gather)["loss"], first)


@every
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_the_loss_is_float32_and_near_under_autocast(make: Make, kind: torch.dtype) -> None:
    exact = make().train()(*_batch())["loss"]
    method = make().train()
    with torch.autocast("cpu", kind):
        loss = method(*_batch())["loss"]
    loss.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=0.05, atol=0.05)
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


@_some(*PROJECTED)
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_logits_are_float32_under_autocast(make: Make, kind: torch.dtype) -> None:
    """Only what the network gives is rounded: embeddings of 10^4 and a temperature of 0.001 overflow nothing."""
    method: Any = make()
    with torch.no_grad():
        method.projector.weight.mul_(1e4)
    if isinstance(method, MoCo):
        method.momentum_encoder.networks[1].weight.mul_(1e4)
        method.temperature = 1e-3
    with torch.autocast("cpu", kind):
        loss = method(*_batch())["loss"]
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


class Stop(Exception):
    pass


@every
def test_resumes_with_the_same_weights_to_the_last_bit(make: Make, tmp_path: Path) -> None:
    plan = Plan(2.0, N, 0.05, optimizer="sgd", device="cpu", checkpoint_seconds=0.0)
    whole, stopped, resumed = make(), make(), make()
    fit(whole, IMAGES, plan, RunFolder.open(tmp_path / "whole", {}), progress=False)
    calls = []

    def stop(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise Stop

    stopped.register_forward_pre_hook(stop)
    with pytest.raises(Stop):
        fit(stopped, IMAGES, plan, RunFolder.open(tmp_path / "run", {}), progress=False)
    fit(resumed, IMAGES, plan, RunFolder.open(tmp_path / "run", {}), progress=False)
    start, found = make().state_dict(), resumed.state_dict()
    moved = {name for name, value in whole.state_dict().items() if not torch.equal(value, start[name])}
    assert {name for name, p in whole.named_parameters() if p.requires_grad} <= moved
    for name, value in whole.state_dict().items():
        assert torch.equal(found[name], value), name


@every
def test_what_training_moves_can_be_put_back(make: Make) -> None:
    method, other = make(), make()
    kept = {name: torch.rand_like(value, dtype=torch.float32).to(value.dtype)
            for name, value in state.trained(method).items()}  # fmt: skip
    state.load_trained(other, kept)
    assert all(torch.equal(value, kept[name]) for name, value in state.trained(other).items())
    assert state.fingerprint(other) == state.fingerprint(method)  # what is frozen is another matter
    frozen = [p for name, p in other.named_parameters() if name not in kept]
    if frozen:
        frozen[0].data.add_(1)
        assert state.fingerprint(other) != state.fingerprint(method)


@_some(*CONTRASTIVE)
def test_a_batch_of_one_has_nothing_to_be_told_from(make: Make) -> None:
    with pytest.raises(InputError, match="a batch of at least 2, got 1") as caught:
        make()(*_batch(torch.tensor([4])))
    assert "\n" not in str(caught.value)


@_without(*CONTRASTIVE, *(name for name in TABLE if name.startswith(("hardening", "moving"))))
def test_what_learns_from_labels_refuses_images_that_have_none_or_others(make: Make) -> None:
    plan = Plan(1.0, N, 0.1, device="cpu")
    with pytest.raises(InputError, match="training with labels") as caught:
        fit(make(), MemoryImages(PIXELS), plan, progress=False)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="label 7 of memory is out of range: the head has 4 outputs") as caught:
        fit(make(), MemoryImages(PIXELS, torch.arange(24) % 8), plan, progress=False)
    assert "\n" not in str(caught.value)


REFUSED: list[tuple[Make, str]] = [
    (lambda: MoCo(Net(), VIEWS, _linear(), queue=0), "queue and groups must be at least 1, got 0 and 8"),
    (lambda: MoCo(Net(), VIEWS, _linear(), groups=0), "queue and groups must be at least 1"),
    (lambda: MoCo(Net(), VIEWS, _linear(), momentum=1.5), "momentum must be from 0 to 1, got 1.5"),
    (lambda: MoCo(Net(), VIEWS, _linear(), temperature=0.0), "temperature must be a positive number, got 0.0"),
    (lambda: InstDis(Net(), VIEWS, _linear(), images=24), "65,536 negatives cannot be drawn from a bank of 24 images"),
    (lambda: InstDis(Net(), VIEWS, _linear(), images=24, negatives=25), "25 negatives cannot be drawn from a bank"),
    (lambda: InstDis(Net(), VIEWS, _linear(), images=24, negatives=0), "expected negatives from 1 to 24"),
    (lambda: InstDis(Net(), VIEWS, _linear(), **BANK, momentum=-1.0), "momentum must be from 0 to 1, got -1.0"),
    (lambda: InstDis(Net(), VIEWS, _linear(), **BANK, temperature=-1.0), "temperature must be a positive number"),
    (lambda: PIRL(Net(), VIEWS, _nine, _linear(), **BANK, beta=2), "beta must be from 0 to 1, got 2"),
    (lambda: LayerwiseSimCLR(Net(), VIEWS, [], NTXent(), ("embedding",)), "expected 1 projectors .*, got 0"),
    (lambda: AugMixConsistency(Net(), _linear(), VIEWS, weight=-1.0), "weight must be a number of 0 or more, got -1"),
    (lambda: _contrast(UtilityNoise(0), None), "k counts elements of an image: 1 or more, got 0"),
    (lambda: _contrast(UtilityNoise(5, -1.0), None), "sigma must be a positive number in pixel units, got -1.0"),
    (lambda: FeatureContrastive(Net(), _linear(), WholeNoise(), None, -1.0), r"weight \(lambda\) must be a number"),
    (lambda: FeatureContrastive(Net(), _linear(), WholeNoise(), None, 1.0, start=-1), "start and ramp are steps"),
    (lambda: Hardening(net := Net(), net, NOISE, StudentTeacher()), "student and teacher share weights"),
    (lambda: MovingTeacher(net := Net(), net, NOISE, StudentTeacher(), Anchor(), last="conv"), "share weights"),
    (lambda: MovingTeacher(Net(), Net(1), NOISE, StudentTeacher(), Anchor(), last="cnv"), "no module 'cnv'"),
    (lambda: MovingTeacher(Net(), Net(1), NOISE, StudentTeacher(), Anchor(), last="norm"), "nothing to train after"),
    (lambda: Anchor(-1.0), "weight of Anchor must be a number of at least 0, got -1.0"),
    (
        lambda: FineTuning(net := Net(), _linear(), net, SimilarityMatrix()),
        "encoder and teacher share weights",
    ),
    (lambda: build_labelled("adversarial", Net(), _linear()), "adversarial training needs an attack, such as PGD"),
    (lambda: build_labelled("superwised", Net(), _linear()), "did you mean supervised"),
    (lambda: build("moco", Net(), views=VIEWS, images=24), "unknown pretraining method 'moco': did you mean mocov2"),
    (lambda: build("simclr", Net(), views=VIEWS, images=24, queue=8), "cannot make the method 'simclr': .*'queue'"),
]


@pytest.mark.parametrize(("make", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_settings_out_of_range_are_refused_in_one_line(make: Make, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)
