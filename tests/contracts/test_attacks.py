"""What every attack promises. A new one adds a row and inherits these checks."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from weatherproof import attacks
from weatherproof.attacks import L1, L2, PGD, AutoAttack, Linf, LogBarrier, Margin, described
from weatherproof.attacks.described import GRIDS, SYMBOLS, facts_of
from weatherproof.errors import InputError
from weatherproof.protocols import Attack

WITHIN = {
    "l2": PGD(L2(0.5), steps=5),
    "linf": PGD(Linf(4 / 255), steps=5),
    "l1": PGD(L1(2.0), steps=5),
    "last": PGD(L2(0.5), steps=5, best=False),
    "margin": PGD(L2(0.5), steps=5, loss=Margin()),
    "l2, drawn": PGD(L2(0.5), steps=3, restarts=2, random_start=True),
    "linf, drawn": PGD(Linf(4 / 255), steps=3, restarts=2, random_start=True),
    "l1, drawn": PGD(L1(2.0), steps=3, restarts=2, random_start=True),
    "until fooled": PGD(L2(0.5), steps=5, stop_when_fooled=True),
    "until fooled, drawn": PGD(L2(0.3), steps=3, restarts=3, random_start=True, stop_when_fooled=True),
}
NEAREST = {f"nearest {norm}": LogBarrier(norm, outer=2, inner=3, draws=10) for norm in ("l2", "l0", "linf")}
every = pytest.mark.parametrize("attack", [*WITHIN.values(), *NEAREST.values()], ids=[*WITHIN, *NEAREST])
within = pytest.mark.parametrize("attack", WITHIN.values(), ids=WITHIN)
IMAGES, KEYS = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8) + 5


class Network(nn.Module):
    """A small network of sums over each image alone, so that an image's numbers are the same in any batch."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.first = nn.Parameter(0.3 * torch.randn(6, 192, generator=generator))
        self.second = nn.Parameter(torch.randn(4, 6, generator=generator))
        self.norm = nn.BatchNorm1d(4, affine=False)
        self.drop = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        hidden = ((images - 0.5).flatten(1)[:, None] * self.first).sum(dim=2).tanh()
        return self.norm((self.drop(hidden)[:, None] * self.second).sum(dim=2))


MODEL = Network().eval()
LABELS = MODEL(IMAGES).argmax(dim=1)


def loss(images: Tensor) -> Tensor:
    return nn.functional.cross_entropy(MODEL(images), LABELS, reduction="none")


@every
def test_text_reads_back(attack: Attack) -> None:
    assert attacks.parse(repr(attack)) == attack


@pytest.mark.parametrize("attack", [*WITHIN.values(), *NEAREST.values(), AutoAttack(L1(2.0))])
def test_it_says_of_itself_what_its_settings_say(attack: Attack) -> None:
    facts = facts_of(attack)
    assert facts == described.read(attack)
    assert facts.grid == GRIDS[facts.norm] and facts.norm in SYMBOLS
    assert (facts.ball is None) == facts.smallest
    assert facts.smallest or (facts.eps == attack.ball.eps and facts.at(facts.eps) == attack)
    if facts.longer is not None:
        long, name, few, many = facts.with_more_steps()
        assert getattr(long, name) == many > few == getattr(attack, name)
        assert getattr(facts.with_one_step(), name) == 1


@every
def test_sizes_are_those_of_the_norm(attack: Attack) -> None:
    facts, order = facts_of(attack), {"l2": 2, "linf": torch.inf, "l1": 1, "l0": 0}
    expected = torch.linalg.vector_norm((IMAGES - 0.5).flatten(1), order[facts.norm], dim=1)
    assert torch.allclose(facts.sizes(IMAGES - 0.5), expected)


@every
def test_pixels_stay_pixels(attack: Attack) -> None:
    attacked = attack(MODEL, IMAGES, LABELS, KEYS)
    assert attacked.shape == IMAGES.shape
    assert attacked.dtype == torch.float32
    assert not attacked.requires_grad
    assert 0 <= attacked.min()
    assert attacked.max() <= 1


@within
def test_stays_in_the_ball(attack: PGD) -> None:
    sizes = attack.ball.size(attack(MODEL, IMAGES, LABELS, KEYS) - IMAGES)
    assert sizes.max() <= attack.ball.eps + 1e-6
    assert sizes.max() > attack.ball.eps / 20


@every
def test_the_model_does_worse(attack: Attack) -> None:
    assert loss(attack(MODEL, IMAGES, LABELS, KEYS)).mean() > loss(IMAGES).mean() + 0.05


@every
def test_the_batch_does_not_matter(attack: Attack) -> None:
    together = attack(MODEL, IMAGES, LABELS, KEYS)
    order = torch.tensor([5, 2, 7, 0])
    assert torch.equal(attack(MODEL, IMAGES[order], LABELS[order], KEYS[order]), together[order])
    assert torch.equal(attack(MODEL, IMAGES[3:4], LABELS[3:4], KEYS[3:4]), together[3:4])


@every
def test_wrong_images_stay_where_only_failure_counts(attack: Attack) -> None:
    wrong = (LABELS + 1) % 4
    attacked = attack(MODEL, IMAGES, wrong, KEYS)
    if isinstance(attack, LogBarrier) or (attack.stop_when_fooled and not attack.random_start):
        assert torch.equal(attacked, IMAGES)
    assert (MODEL(attacked).argmax(dim=1) != wrong).all()


@every
def test_the_model_is_left_as_it_was(attack: Attack) -> None:
    model = Network().train()
    model.norm.eval()
    model.second.requires_grad_(False)
    model.first.grad = torch.ones_like(model.first)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    images = IMAGES.clone()
    attack(model, images, LABELS, KEYS)
    assert (model.training, model.norm.training, model.drop.training) == (True, False, True)
    assert (model.first.requires_grad, model.second.requires_grad) == (True, False)
    assert torch.equal(model.first.grad, torch.ones_like(model.first))
    assert model.second.grad is None
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(images, IMAGES)


@every
def test_evaluation_mode_whatever_the_mode(attack: Attack) -> None:
    expected = attack(MODEL, IMAGES, LABELS, KEYS)
    assert torch.equal(attack(Network().train(), IMAGES, LABELS, KEYS), expected)
    assert torch.equal(attack(Network().train().forward, IMAGES, LABELS, KEYS), expected)


@every
def test_modes_come_back_after_an_error(attack: Attack) -> None:
    model = Network().train()
    model.second.data.fill_(torch.nan)
    with pytest.raises(InputError, match="NaN logits"):
        attack(model, IMAGES, LABELS, KEYS)
    assert model.training
    assert model.norm.training


@every
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_gradients_of_the_caller_do_not_matter(attack: Attack, context: Callable[[], torch.no_grad]) -> None:
    expected = attack(MODEL, IMAGES, LABELS, KEYS)
    with context():
        images = IMAGES.clone()  # under inference mode a tensor that autograd cannot save
        assert torch.equal(attack(MODEL, images, LABELS, KEYS), expected)


@every
def test_leaves_global_randomness_alone(attack: Attack) -> None:
    before = torch.get_rng_state()
    attack(MODEL, IMAGES, LABELS, KEYS)
    assert torch.equal(torch.get_rng_state(), before)


@within
def test_keys_matter_where_something_is_drawn(attack: PGD) -> None:
    same = torch.equal(attack(MODEL, IMAGES, LABELS, KEYS), attack(MODEL, IMAGES, LABELS, KEYS + 100))
    assert same == attack.deterministic == (not attack.random_start)


@every
def test_no_images(attack: Attack) -> None:
    assert attack(MODEL, IMAGES[:0], LABELS[:0], KEYS[:0]).shape == (0, 3, 8, 8)


@every
def test_bad_input_is_one_line(attack: Attack) -> None:
    def refused(
        message: str, model: Callable[[Tensor], Tensor] = MODEL, images: Tensor = IMAGES, labels: Tensor = LABELS
    ) -> None:
        with pytest.raises(InputError, match=message) as caught:
            attack(model, images, labels, KEYS)
        assert "\n" not in str(caught.value)

    refused("divide by 255", images=IMAGES * 255)
    refused("normalisation belongs inside", images=IMAGES - 0.5)
    refused("pixels in", images=IMAGES * torch.nan)
    refused("labels must be 0 .. 3", labels=LABELS + 3)
    refused("labels must be 0 .. 3, .* got -1", labels=torch.full((8,), -1))
    refused("NaN logits", model=lambda images: MODEL(images) * torch.nan)
    refused("attack the logits before the softmax", model=lambda images: MODEL(images).softmax(dim=1))
    refused("gives no gradient", model=lambda images: MODEL(images.detach()).detach())
    refused("gives no gradient", model=lambda images: MODEL((images * 255).detach() / 255))
    refused("gives no gradient", model=lambda images: MODEL(torch.from_numpy(images.numpy())))
    refused("expected logits", model=lambda images: images)
    refused("got a tuple", model=lambda images: (MODEL(images),))
