"""A method by name: the papers' projectors and settings, cut to what the data set allows."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from weatherproof import random, views
from weatherproof.errors import InputError
from weatherproof.methods import PIRL, RECIPES, SMALL_RECIPES, InstDis, MoCo, SimCLR, build, recipe
from weatherproof.training import Plan
from weatherproof.types import Images, Keys
from weatherproof.views import RandomResizedCrop, Twice

VIEWS = Twice(RandomResizedCrop(8))


class Net(nn.Module):
    feature_dim = 6

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).mean(dim=(2, 3))


def _nine(images: Images, keys: Keys) -> tuple[Images, ...]:
    return (images,) * 9


def _build(name: str, **settings: Any) -> Any:
    jigsaw = {"jigsaw": _nine} if name == "pirl" else {}
    return build(name, Net(), **{"views": VIEWS, "images": 1000, **jigsaw, **settings})


@pytest.mark.parametrize(
    ("name", "kind", "layers"),
    [
        ("simclr", SimCLR, ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]),
        ("mocov2", MoCo, ["Linear", "ReLU", "Linear"]),
        ("instdis", InstDis, ["Linear"]),
        ("pirl", PIRL, ["Linear"]),
    ],
)
def test_each_with_its_papers_projector(name: str, kind: type[nn.Module], layers: list[str]) -> None:
    method = _build(name, size=32)
    assert isinstance(method, kind)
    assert [type(m).__name__ for m in method.projector.modules() if not isinstance(m, nn.Sequential)] == layers
    assert method.projector(torch.rand(4, 6)).shape == (4, 128)
    images, index = torch.rand(16, 3, 8, 8), torch.arange(16)
    assert method(images, index, index, random.keys(0, index), lambda rows: rows)["loss"].isfinite()


def test_what_the_data_set_does_not_allow_is_cut_unless_it_was_asked_for() -> None:
    assert len(_build("mocov2", images=50_000).queue) == 32_768
    assert len(_build("mocov2", images=50_000, size=32).queue) == 4_096
    assert len(_build("mocov2", images=1000, batch_size=96).queue) == 960
    assert len(_build("mocov2", images=1000, queue=4_000).queue) == 4_000
    assert _build("instdis", images=1000).bank.negatives == 512
    with pytest.raises(InputError, match="2,000 negatives cannot be drawn from a bank of 1,000"):
        _build("instdis", negatives=2_000)


def test_settings_follow_the_side_of_the_views() -> None:
    assert _build("simclr").objective.temperature == 0.1  # `Twice` does not say its size: ImageNet's
    assert _build("simclr", size=32).objective.temperature == 0.5
    assert _build("simclr", size=32, temperature=0.2, include_self=True).objective.include_self
    assert _build("mocov2", size=224).temperature == 0.2
    assert _build("mocov2", size=32).temperature == 0.1


def test_a_subset_is_known_by_its_index() -> None:
    index = torch.tensor([5, 900, 17])
    assert torch.equal(_build("instdis", images=index, negatives=2).bank.index, torch.tensor([5, 17, 900]))


def test_equal_seeds_give_equal_layers() -> None:
    first, second, other = (_build("mocov2", seed=seed).projector[0].weight for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_pirl_needs_a_side_for_its_puzzle() -> None:
    with pytest.raises(InputError, match=r"PIRL needs the side of its puzzle: give jigsaw=Jigsaw\(255\), or size="):
        build("pirl", Net(), views=VIEWS, images=1000)


def test_a_method_that_is_published_for_large_images_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "another", RECIPES["simclr"])
    assert recipe("another", 32) is recipe("another") is RECIPES["simclr"] is not recipe("simclr", 32)


@pytest.mark.parametrize("recipes", [RECIPES, SMALL_RECIPES])
def test_recipes_are_plans(recipes: dict[str, Any]) -> None:
    for found in recipes.values():
        plan = Plan(**found.plan())
        assert (plan.epochs, plan.batch_size, plan.lr) == (found.epochs, found.batch_size, found.lr)
        halved = Plan(**found.plan(epochs=found.epochs / 2, batch_size=found.batch_size // 2))
        assert halved.lr == pytest.approx(found.lr / 2)
        assert halved.milestones == tuple(m / 2 for m in found.milestones)
        assert views.parse(found.views_text(32)) == views.TABLE[found.views](32)


def test_published_numbers() -> None:
    """Specification, section 2."""
    assert recipe("simclr").lr == pytest.approx(0.3 * 4096 / 256)
    assert recipe("simclr", 32).lr == pytest.approx(1.0 * 512 / 256)
    assert recipe("mocov2", 224).lr == 0.03
    assert recipe("mocov2", 64).settings["momentum"] == 0.99
    assert recipe("pirl").milestones == (120, 160)
