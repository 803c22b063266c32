"""The common corruptions as one operator: what is drawn, and what is left out."""

import pytest
import torch

from weatherproof import random
from weatherproof.benchmark import COMMON_19, GROUPS
from weatherproof.errors import InputError
from weatherproof.operators import CommonCorruptions, Corruption, OneOf
from weatherproof.operators.drawn import drawn, kinds

KEYS = random.keys(4, torch.arange(60))
IMAGES = torch.rand(60, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_which_are_drawn() -> None:
    assert CommonCorruptions().names == COMMON_19
    assert CommonCorruptions("blur").names == GROUPS["blur"]
    assert set(CommonCorruptions(without="weather").names) == {*COMMON_19} - {*GROUPS["weather"]}
    assert CommonCorruptions("noise", without="shot_noise").names == (
        "gaussian_noise", "impulse_noise", "speckle_noise",
    )  # fmt: skip


def test_an_image_gets_what_its_corruption_gives_it_by_itself() -> None:
    operator = CommonCorruptions("digital", severity=(2, 4))
    by_hand = OneOf(*(Corruption(name, (2, 4)) for name in GROUPS["digital"]))
    assert torch.equal(operator(IMAGES, KEYS), by_hand(IMAGES, KEYS))


def test_all_are_drawn_about_as_often_at_every_severity() -> None:
    operator, keys = CommonCorruptions(without="blur"), random.keys(1, torch.arange(7000))
    told = drawn(operator, keys)
    assert [kind.name for kind in kinds(operator)] == list(operator.names)
    counts, expected = torch.bincount(told.kind, minlength=15), 7000 / 14
    assert counts[0] == 0 and ((counts[1:] - expected).abs() < 5 * expected**0.5).all()
    severities = torch.bincount(told.level.long(), minlength=6)
    assert severities[0] == 0 and ((severities[1:] - 1400).abs() < 5 * 1400**0.5).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"without": "wether"}, "weather"),
        ({"only": "fog", "without": "weather"}, "leaves no corruption"),
        ({"severity": 6}, "severity"),
    ],
)
def test_what_cannot_be_drawn_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        CommonCorruptions(**settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
