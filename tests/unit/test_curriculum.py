"""From mild to severe: what levels become, when, and that a training that goes on sees the same."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import weatherproof as wp
from weatherproof import random
from weatherproof.data import MemoryImages
from weatherproof.encoders import load_encoder
from weatherproof.errors import InputError
from weatherproof.methods import Curriculum, Hardening, KeepClean, parse_curriculum
from weatherproof.objectives import MSE
from weatherproof.operators import milder, parse
from weatherproof.operators.drawn import drawn
from weatherproof.training import Plan, RunFolder, harden_encoder

PIXELS = torch.randint(1, 256, (24, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
IMAGES = MemoryImages(PIXELS, torch.arange(24) % 4)


@pytest.mark.parametrize(
    ("text", "half"),
    [
        ("RandomMask((0.5, 0.9))", "RandomMask((0.25, 0.45))"),
        ("GaussianNoise(0.2, clip=False)", "GaussianNoise(0.1, clip=False)"),
        ("JPEG((20, 100))", "JPEG((60.0, 100.0))"),  # whose none is 100
        ("Contrast((0.0, 0.8))", "Contrast((0.0, 0.4))"),
        ("Corruption('fog', 5)", "Corruption('fog', 2)"),
        ("Corruption('fog', (1, 3))", "Corruption('fog', (1, 2))"),  # 1 is the mildest there is
        ("CommonCorruptions(without='noise', severity=(2, 4))", "CommonCorruptions(without='noise', severity=(1, 2))"),
        (
            "OneOf(Sometimes(RandomMask(0.8), 0.3), GaussianBlur((0.0, 2.0)))",
            "OneOf(Sometimes(RandomMask(0.4), 0.3), GaussianBlur((0.0, 1.0)))",
        ),
        ("Chain(GaussianBlur(1.0), GaussianNoise(0.1))", "Chain(GaussianBlur(0.5), GaussianNoise(0.05))"),
        ("Chain()", "Chain()"),  # has no level
    ],
)
def test_every_level_comes_nearer_to_none(text: str, half: str) -> None:
    assert repr(milder(parse(text), 0.5)) == repr(parse(half))
    assert milder(parse(text), 1.0) == parse(text)


def test_the_same_keys_draw_the_same_image_milder() -> None:
    operator, keys = parse("RandomMask((0.2, 0.9))"), random.keys(0, torch.arange(50))
    whole, part = (drawn(own, keys).level for own in (operator, milder(operator, 0.3)))
    torch.testing.assert_close(part, 0.3 * whole)


def test_the_share_grows_evenly_and_then_stays() -> None:
    curriculum = Curriculum(0.5, 0.2)
    assert [curriculum.at(p) for p in (0, 0.25, 0.5, 0.75, 1)] == [0.2, pytest.approx(0.6), 1, 1, 1]
    mask = parse("RandomMask(0.5)")
    assert curriculum.operator(mask, 0.6) is mask and curriculum.operator(mask, 0) == milder(mask, 0.2)


class Mean(nn.Module):
    feature_dim = 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.black: list[float] = []

    def forward(self, images: Tensor) -> Tensor:
        self.black.append(float((images == 0).float().mean()))
        return images.mean(dim=(2, 3)) * self.weight


def test_a_step_sees_the_damage_of_its_time_and_clean_images_stay_clean() -> None:
    student = Mean()
    method = Hardening(
        student, Mean(), parse("RandomMask(0.9)"), MSE(), keep=KeepClean(0.25, 0.0), curriculum=Curriculum(0.5, 0.2),
        steps=10,
    )  # fmt: skip
    index = torch.arange(24)
    for step in range(10):
        method.at_step(step)
        method(PIXELS.float() / 255, index, index, random.keys(7, index), lambda rows: rows)
    part = student.black[-1] / 0.9  # of the images that do not stay clean: by their keys, the same at every step
    expected = [0.9 * part * min(1, 0.2 + 0.8 * step / 5) for step in range(10)]
    assert 0.5 < part < 1 and student.black == pytest.approx(expected, abs=0.03)


@pytest.mark.filterwarnings("ignore:.*randomly initialised")
def test_a_training_that_goes_on_ends_with_the_same_weights(tmp_path: Path) -> None:
    def train(run: RunFolder | None, epochs: float = 2.0) -> dict[str, Tensor]:
        teacher = load_encoder("small(width=2, channels=3)", seed=0).eval()
        plan = Plan(epochs, 8, 1e-2, device="cpu", log_every=1, schedule="constant")
        student = harden_encoder(
            teacher, IMAGES, operator=parse("RandomMask((0.0, 0.9))"), objective=MSE(), plan=plan,
            curriculum=Curriculum(0.8), run=run,
        )  # fmt: skip
        return {name: value.clone() for name, value in student.state_dict().items()}

    whole = train(None)
    run = RunFolder.open(tmp_path / "run", {"verb": "harden"})

    class Stop(Exception):
        pass

    def stopped(*_: object) -> Tensor:
        raise Stop

    stopping = pytest.MonkeyPatch()
    real, calls = Hardening.at_step, []

    def at_step(self: Hardening, step: int) -> None:
        calls.append(step)
        if step == 4 and len(calls) < 6:
            raise KeyboardInterrupt
        real(self, step)

    stopping.setattr(Hardening, "at_step", at_step)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(run)
        again = train(run)
    finally:
        stopping.undo()
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.4, Curriculum(0.4)),
        (0, None),
        ("Curriculum(0.2, first=0.5)", Curriculum(0.2, 0.5)),
        (Curriculum(), Curriculum()),
    ],
)
def test_from_a_number_or_a_text(value: float | str | Curriculum, expected: Curriculum | None) -> None:
    assert parse_curriculum(value) == expected


@pytest.mark.parametrize(
    ("value", "said"),
    [(1.5, "over of Curriculum must be above 0 and at most 1, got 1.5"), (-0.1, "over of Curriculum"),
     ("Curriculum(0.5, first=0)", "first of Curriculum must be above 0"), ("Curiculum()", "did you mean Curriculum")],
)  # fmt: skip
def test_what_is_none_is_refused_before_anything_is_done(value: float | str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        wp.harden("small(width=2)@random", "digits", curriculum=value, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
