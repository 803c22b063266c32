"""A function that somebody gives is known by what it does, and not by its name or its place in memory."""

import functools
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

import weatherproof as wp
from weatherproof import operators, views
from weatherproof.errors import InputError
from weatherproof.functions import GivenFunction, given
from weatherproof.operators import Chain, RandomMask

LEVEL, LEVELS = 0.5, np.array([0.1, 0.9])


def camera(images: Tensor, keys: Tensor) -> Tensor:
    return images * 0.9


def helped(images: Tensor, keys: Tensor) -> Tensor:
    return camera(images, keys) * LEVEL * LEVELS[0]


def scaled(images: Tensor, keys: Tensor, by: float = 0.5) -> Tensor:
    return images * by


class Dimmed:
    def __init__(self, by: Any) -> None:
        self.by = by

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        return images * self.by

    def look(self, images: Tensor, keys: Tensor) -> Tensor:
        return self(images, keys)


def closed(by: Any) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda images, keys: images * by


MADE: tuple[Callable[[Any], Any], ...] = (
    closed,
    Dimmed,
    lambda by: Dimmed(by).look,
    lambda by: functools.partial(scaled, by=by),
    lambda by: lambda images, keys, by=by: images * by,
)


@pytest.mark.parametrize("made", MADE, ids=("closure", "object", "method", "partial", "default"))
@pytest.mark.parametrize(
    ("one", "other"),
    [(0.1, 0.2), (torch.tensor([0.1]), torch.tensor([0.2])), ({"a": [0.1]}, {"a": [0.2]}), (np.eye(2), np.eye(3)),
     (torch.tensor(0.1, dtype=torch.bfloat16), torch.tensor(0.1)), (1, True)],
)  # fmt: skip
def test_what_it_holds_is_in_its_text(made: Callable[[Any], Any], one: Any, other: Any) -> None:
    texts = [repr(given(made(value))) for value in (one, one, other)]
    assert texts[0] == texts[1] != texts[2]
    assert "0x" not in texts[0] and "@" in texts[0]


def test_so_is_what_it_names_in_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    before = repr(given(helped))
    assert before.startswith("helped@") and before == repr(given(helped))
    monkeypatch.setitem(globals(), "LEVEL", 0.6)
    changed = repr(given(helped))
    monkeypatch.setitem(globals(), "LEVELS", np.array([0.2, 0.9]))
    again = repr(given(helped))
    monkeypatch.setitem(globals(), "camera", lambda images, keys: images * 0.1)
    assert len({before, changed, again, repr(given(helped))}) == 4


def test_so_is_what_each_of_several_functions_holds() -> None:
    several = [(1, 1, 1), (1, 1, 2), (1, 2, 1), (2, 1, 1)]
    assert len({repr(given(Dimmed([closed(by) for by in levels]))) for levels in several}) == len(several)
    one, other = Dimmed(1), Dimmed(2)
    assert repr(given(Dimmed([one, other, one]))) != repr(given(Dimmed([one, other, other])))


def typed(images: Tensor, keys: Tensor) -> Tensor:
    assert isinstance(images, Tensor)
    return images * 0.9


@pytest.mark.parametrize(
    ("one", "other"),
    [(np.arange(4)[::-1], np.arange(4)), (np.array(["a"]), np.array(["b"])), (np.arange(3, dtype=">f4"), np.eye(1)),
     (np.zeros(0), np.zeros((0, 2))), (torch.eye(3).to_sparse(), torch.ones(3, 3).to_sparse()),
     (torch.ones(1, dtype=torch.complex64).mul(1j).conj(), torch.ones(1, dtype=torch.complex64).mul(1j)),
     (torch.ones(2, device="meta"), torch.ones(3, device="meta")),
     (torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)), (typed, camera)],
)  # fmt: skip
def test_arrays_and_modules_of_all_kinds_are_looked_into(one: Any, other: Any) -> None:
    texts = [repr(given(closed(value))) for value in (one, one, other)]
    assert texts[0] == texts[1] != texts[2]


def test_it_is_the_same_in_another_process() -> None:
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_functions as t\n"
    script += "print([repr(t.given(own)) for own in (t.helped, t.closed(0.3), t.Dimmed(2.0))])"
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert there.strip() == repr([repr(given(own)) for own in (helped, closed(0.3), Dimmed(2.0))])


def test_what_holds_itself_and_what_cannot_be_read_end() -> None:
    loop = Dimmed(None)
    loop.by = [loop, object(), sys, len, iter(())]
    assert repr(given(loop)).startswith("Dimmed@")


def test_it_does_what_the_function_does() -> None:
    own = given(camera)
    assert isinstance(own, GivenFunction) and own == given(camera) and hash(own) == hash(given(camera))
    assert own != given(scaled) and own.__name__ == "camera"
    images, keys = torch.rand(2, 1, 4, 4), torch.arange(2)
    assert torch.equal(own(images, keys), camera(images, keys))
    again = pickle.loads(pickle.dumps(own))  # noqa: S301  # our own
    assert again == own and torch.equal(again(images, keys), camera(images, keys))
    with pytest.raises(AttributeError, match="deterministic"):
        _ = own.deterministic


@pytest.mark.parametrize("value", ["RandomMask(0.5)", RandomMask(0.5), torch.nn.ReLU(), 3, None])
def test_what_has_a_text_of_its_own_keeps_it(value: Any) -> None:
    assert given(value) is value


def test_operators_and_views_and_what_is_made_of_them_have_it() -> None:
    assert repr(operators.parse(camera)) == repr(given(camera)) == repr(views.parse(camera))
    assert repr(Chain(camera, RandomMask(0.5))) == f"Chain({given(camera)!r}, RandomMask(0.5))"


def test_a_run_with_another_function_of_the_same_name_is_another(tmp_path: Path) -> None:
    encoder = wp.load_encoder("small(width=4)@random", num_classes=10, seed=1)

    def audit(by: float) -> Any:
        def camera(images: Tensor, keys: Tensor) -> Tensor:
            return images * by

        return wp.audit(
            encoder, "digits", operator=camera, realizations=1, test_images=20, classes_match=True, out=tmp_path / "run"
        )

    first = audit(0.9).records
    assert {record["operator"] for record in first} > {None} and not any("0x" in str(r["operator"]) for r in first)
    assert audit(0.9).records == first
    with pytest.raises(InputError, match=r"operator.*camera@.*camera@"):
        audit(0.1)


def test_a_component_is_known_by_all_its_settings(tmp_path: Path) -> None:
    """Though one of them is its name."""
    encoder = wp.load_encoder("small(width=4)@random", num_classes=10, seed=1)
    settings: dict[str, Any] = {"realizations": 1, "test_images": 4, "classes_match": True, "out": tmp_path / "run"}
    wp.audit(encoder, "digits", operator=operators.Corruption("fog", 2), **settings)
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["operator"] == "Corruption('fog', 2)"
    with pytest.raises(InputError, match=r"Corruption\('fog', 2\).*Corruption\('fog', 3\)"):
        wp.audit(encoder, "digits", operator=operators.Corruption("fog", 3), **settings)
