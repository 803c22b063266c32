"""What the methods do with images, keys, modes and gradients."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import MemoryImages
from weatherproof.errors import InputError
from weatherproof.methods import Hardening, SimCLR, Supervised, teacher_cache
from weatherproof.objectives import MSE, NTXent, StudentTeacher
from weatherproof.operators import GaussianBlur, GaussianNoise, RandomMask
from weatherproof.types import Images, Keys
from weatherproof.views import HorizontalFlip, Twice


class Net(nn.Module):
    """A small encoder with everything that modes touch: batch normalisation, dropout, a classifier of its own."""

    def __init__(self, features: int = 6, seed: int = 0) -> None:
        super().__init__()
        self.feature_dim = features
        with random.framework_seed(seed):
            self.conv = nn.Conv2d(3, features, 3)
            self.norm = nn.BatchNorm2d(features)
            self.head = nn.Linear(features, 4)
        self.drop = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        return self.drop(self.norm(self.conv(images))).relu().mean(dim=(2, 3))


class Recorder:
    """An operator that remembers what it was given."""

    def __init__(self, change: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        self.change = change

    def __call__(self, images: Images, keys: Keys) -> Images:
        self.images, self.keys = images, keys
        return self.change(images)


def _identity(rows: Tensor) -> Tensor:
    return rows


def _batch(n: int = 8) -> tuple[Tensor, Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]]:
    images = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    index = torch.arange(n) + 10
    return images, torch.arange(n) % 4, index, random.keys(0, index), _identity


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _same(module: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("teacher_bn", ["eval", "batch"])
def test_teacher_never_moves(teacher_bn: str) -> None:
    student, teacher = Net(seed=1), Net(seed=0)
    method = Hardening(student, teacher, RandomMask(0.5), StudentTeacher(), teacher_bn=teacher_bn)  # type: ignore[arg-type]
    before = _state(teacher)
    method.train()
    terms = method(*_batch())
    terms["loss"].backward()
    assert not any(m.training for m in teacher.modules())
    assert student.training
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert _same(teacher, before)
    trained = {name for name, p in student.named_parameters() if p.grad is not None}
    assert trained == {"conv.weight", "conv.bias", "norm.weight", "norm.bias"}  # its classifier is left alone


def test_teacher_bn_batch_uses_the_statistics_of_the_batch() -> None:
    teacher = Net()
    target: list[Tensor] = []

    def objective(student: Tensor, teacher: Tensor) -> Tensor:
        target.append(teacher)
        return student.sum()

    batch = _batch()
    Hardening(Net(seed=1), teacher, RandomMask(0.0), objective, teacher_bn="batch")(*batch)
    maps = F.conv2d(batch[0], teacher.conv.weight, teacher.conv.bias)
    mean, var = maps.mean(dim=(0, 2, 3), keepdim=True), maps.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
    expected = ((maps - mean) / (var + teacher.norm.eps).sqrt()).relu().mean(dim=(2, 3))
    torch.testing.assert_close(target[0], expected)


def test_one_crop_feeds_both() -> None:
    """Augment once; the teacher sees it clean, the operator damages that very crop; each use has its own keys."""
    augment, operator = Recorder(lambda x: x.flip(-1)), Recorder(lambda x: x * 0)
    teacher = Net().eval()
    seen: list[Tensor] = []
    teacher.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    images, labels, index, keys, gather = _batch()
    Hardening(Net(seed=1), teacher, operator, MSE(), augment)(images, labels, index, keys, gather)
    assert torch.equal(augment.images, images)
    assert torch.equal(seen[0], images.flip(-1))
    assert torch.equal(operator.images, images.flip(-1))
    assert torch.equal(augment.keys, random.fold(keys, 1))
    assert torch.equal(operator.keys, random.fold(keys, 2))


def test_cosine_of_a_perfect_student_is_one() -> None:
    teacher, student = Net(), Net().eval()
    method = Hardening(student, teacher, RandomMask(0.0), MSE())
    method.eval()
    terms = method(*_batch())
    assert terms["cosine"].item() == pytest.approx(1)
    assert terms["loss"].item() == pytest.approx(-1)


def test_cached_targets_are_the_teachers() -> None:
    images, labels, index, keys, gather = _batch()
    pixels = (images * 255).round().to(torch.uint8)
    images = pixels.float() / 255
    source = MemoryImages(pixels, labels, index=index)
    teacher = Net().train()
    cache = teacher_cache(teacher, source, batch_size=3)
    assert teacher.training
    assert cache[index].shape == (len(index), 6) and cache[torch.arange(10)].isnan().all()
    results = []
    for cached in (None, cache):
        with random.framework_seed(5):
            method = Hardening(Net(seed=1), teacher, RandomMask(0.5), StudentTeacher(), teacher_embeddings=cached)
            results.append(method(images, labels, index, keys, gather)["loss"])
    torch.testing.assert_close(results[1], results[0])


def test_parts_that_cannot_go_together() -> None:
    net = Net()
    with pytest.raises(InputError, match="share weights: give one of them its own"):
        Hardening(net, net, RandomMask(0.5), MSE())
    with pytest.raises(InputError, match="got 5 and 6"):
        Hardening(Net(5), net, RandomMask(0.5), MSE())
    with pytest.raises(InputError, match="cached teacher embeddings"):
        Hardening(Net(seed=1), net, RandomMask(0.5), MSE(), HorizontalFlip(), teacher_embeddings=torch.zeros(3, 6))


def test_pixels_stay_float32_under_autocast() -> None:
    images, labels, index, keys, gather = _batch()
    after = Recorder()
    operator = GaussianBlur(1.0)
    method = Hardening(Net(seed=1), Net(), lambda x, k: after(operator(x, k), k), StudentTeacher())
    with torch.autocast("cpu", torch.bfloat16):
        terms = method(images, labels, index, keys, gather)
    assert torch.equal(after.images, operator(images, random.fold(keys, 2)))
    assert terms["loss"].dtype == torch.float32


def test_gather_gets_both_sides() -> None:
    shapes = []

    def gather(rows: Tensor) -> Tensor:
        shapes.append((tuple(rows.shape), rows.requires_grad))
        return torch.cat([rows, rows])

    images, labels, index, keys, _ = _batch()
    Hardening(Net(seed=1), Net(), RandomMask(0.5), StudentTeacher())(images, labels, index, keys, gather)
    assert sorted(shapes) == [((8, 6), False), ((8, 6), True)]


def test_supervised_is_cross_entropy_of_damaged_images() -> None:
    images, labels, index, keys, gather = _batch()
    encoder, head, operator = Net(seed=1).eval(), nn.Linear(6, 4), GaussianNoise(0.1)
    method = Supervised(encoder, head, operator).eval()
    terms = method(images, labels, index, keys, gather)
    logits = head(encoder(operator(images, random.fold(keys, 2))))
    torch.testing.assert_close(terms["loss"], F.cross_entropy(logits, labels))
    assert terms["accuracy"].item() == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    terms["loss"].backward()
    assert encoder.conv.weight.grad is not None
    assert head.weight.grad is not None
    assert encoder.head.weight.grad is None


def test_supervised_trains_the_encoders_own_head_where_it_is_the_head() -> None:
    encoder = Net(seed=1).requires_grad_(False)  # as a frozen teacher's copy arrives
    Supervised(encoder, encoder.head)(*_batch())["loss"].backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_simclr_is_nt_xent_of_two_views() -> None:
    images, labels, index, keys, gather = _batch()
    encoder, projector, views = Net(seed=1).eval(), nn.Linear(6, 3), Twice(GaussianNoise(0.3))
    method = SimCLR(encoder, views, projector, NTXent())
    terms = method(images, labels, index, keys, gather)
    first, second = views(images, random.fold(keys, 1))
    torch.testing.assert_close(terms["loss"], NTXent()(projector(encoder(first)), projector(encoder(second))))
    terms["loss"].backward()
    assert encoder.conv.weight.grad is not None
    assert projector.weight.grad is not None
