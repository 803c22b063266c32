"""An object is its text, and reading a text can only give an object or one clear line."""

import pickle
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weatherproof import attacks, objectives, operators, views
from weatherproof.errors import InputError, unknown
from weatherproof.operators import Chain, GaussianBlur, GaussianNoise, OneOf, RandomMask, Sometimes
from weatherproof.spec import UserFunction, component, parse

share = st.floats(0, 1)
levels = st.one_of(share, st.tuples(share, share).map(lambda pair: tuple(sorted(pair))))
simple = st.one_of(
    st.builds(RandomMask, levels),
    st.builds(GaussianNoise, levels, st.booleans()),
    st.builds(GaussianBlur, levels, st.sampled_from([None, 3, 21])),
)
anything = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda ops: Chain(*ops)),
        st.lists(inner, min_size=1, max_size=3).map(lambda ops: OneOf(*ops)),
        st.builds(Sometimes, inner, share),
    ),
    max_leaves=6,
)


BLUR_AND_MASK = Sometimes(Chain(GaussianBlur((1, 5)), RandomMask(0.5)), 0.8)


@given(anything)
def test_an_object_is_its_text(operator: Any) -> None:
    assert operators.parse(repr(operator)) == operator


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RandomMask(0.5)", RandomMask(0.5)),
        ("RandomMask(fraction=(0.5, 0.95))", RandomMask((0.5, 0.95))),
        (" GaussianNoise( 0.1 , clip = False ) ", GaussianNoise(0.1, clip=False)),
        ("Sometimes(Chain(GaussianBlur((1, 5)), RandomMask(.5)), 0.8)", BLUR_AND_MASK),
    ],
)  # fmt: skip
def test_positional_and_keyword_form(text: str, expected: object) -> None:
    assert operators.parse(text) == expected


@pytest.mark.parametrize(("text", "value"), [("RandomMask(1/2)", 0.5), ("RandomMask(fraction=8.5/255)", 8.5 / 255)])
def test_a_fraction_of_whole_numbers(text: str, value: float) -> None:
    assert operators.parse(text) == RandomMask(value)


@pytest.mark.parametrize("text", ["RandomMask(1/0)", "RandomMask(1/'a')", "RandomMask(1/2/3)", "RandomMask(1*2)"])
def test_no_other_arithmetic(text: str) -> None:
    with pytest.raises(InputError, match="cannot read the operator"):
        operators.parse(text)


def test_a_bare_name_has_all_defaults() -> None:
    assert objectives.parse("StudentTeacher") == objectives.parse("StudentTeacher()") == objectives.StudentTeacher()
    assert repr(objectives.StudentTeacher()) == "StudentTeacher()"
    assert repr(objectives.StudentTeacher(0.2)) == "StudentTeacher(temperature=0.2)"


@pytest.mark.parametrize(
    ("room", "made"),
    [
        (operators, RandomMask(0.5)),
        (objectives, objectives.MSE()),
        (views, views.HorizontalFlip()),
        (attacks, attacks.PGD(attacks.L2(0.5))),
    ],
)
def test_what_is_no_text_is_returned_as_it_is(room: Any, made: object) -> None:
    assert room.parse(made) is made
    assert room.parse(repr(made)) == made
    for nothing in (None, 3, ["a"], b"RandomMask(0.5)"):
        with pytest.raises(InputError, match=re.escape(f"as a callable, got {nothing!r}")):
            room.parse(nothing)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RandomMsk(0.5)", "did you mean RandomMask?"),
        ("Chain(RandomMask(0.5), Blur(3))", "unknown operator 'Blur'"),
        ("RandomMask(0.5", "cannot read the operator 'RandomMask(0.5'"),
        ("RandomMask(0.5) RandomMask(0.5)", "cannot read the operator"),
        ("RandomMask()", "it is RandomMask(fraction)"),
        ("RandomMask(0.5, 0.6, 0.7)", "it is RandomMask(fraction)"),
        ("GaussianNoise(0.1, clp=False)", "it is GaussianNoise(sigma, clip)"),
        ("RandomMask(2)", "must be a number"),
        ("RandomMask((0.9, 0.1))", "ordered pair"),
        ("RandomMask('a')", "cannot make the operator"),
        ("RandomMask(None)", "cannot make the operator"),
        ("RandomMask({[]: 1})", "cannot read the operator"),
        ("Sometimes(0.5)", "cannot make the operator"),
        ("Sometimes(RandomMask(0.5), 'often')", "operator"),
        ("Chain(*[1, 2])", "cannot read the operator"),
        ("RandomMask(**{'fraction': 1})", "cannot read the operator"),
        ("__import__('os').getcwd()", "cannot read the operator"),
        ("RandomMask(__import__('os').getpid())", "cannot read the operator"),
        ("(lambda: 1)()", "cannot read the operator"),
        ("0.5", "expected a call like Name(0.5)"),
        ("", "cannot read the operator ''"),
        ("a\0b", "cannot read the operator"),
        ("RandomMask(nan)", "expected finite numbers, got nan"),
        ("RandomMask((0, -inf))", "expected finite numbers, got -inf"),
        ("Chain(GaussianNoise(sigma=Infinity))", "expected finite numbers, got Infinity"),
        ("(" * 500 + ")" * 500, "cannot read the operator"),
    ],
)
def test_malformed_text(text: str, expected: str) -> None:
    with pytest.raises(InputError) as refused:
        operators.parse(text)
    assert expected in str(refused.value)


@given(st.one_of(st.text(max_size=30), st.text("RandomMask()[]{}0.5,'\"*=:- \\\n", max_size=40)))
def test_any_text_gives_an_operator_or_one_error(text: str) -> None:
    with suppress(InputError):
        operators.parse(text)


@component
class Wobble:
    """A component with one required field and two with defaults."""

    angle: float
    times: int = 1
    mode: str = "soft"

    def __post_init__(self) -> None:
        if self.angle < 0:
            raise ValueError(f"angle must not be negative, got {self.angle}")


def test_component() -> None:
    assert repr(Wobble(0.5)) == "Wobble(0.5)"
    assert repr(Wobble(0.5, mode="hard")) == "Wobble(0.5, mode='hard')"
    assert parse("Wobble(0.5, mode='hard')", {"Wobble": Wobble}, "wobble") == Wobble(0.5, mode="hard")
    assert hash(Wobble(1.0)) == hash(Wobble(1.0))
    with pytest.raises(InputError, match="cannot make the wobble .*: angle must not be negative, got -1"):
        parse("Wobble(-1)", {"Wobble": Wobble}, "wobble")


def test_a_function_of_the_user(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def fog(images, keys):\n    return 0.5 * images\n\nnumber = 3\n")
    named = operators.parse(f"{file}:fog")
    assert named == UserFunction(f"{file}:fog") == operators.parse(repr(named))
    assert named(4.0, None) == 2.0
    chained = operators.parse(f"Chain('{file}:fog', RandomMask(0.5))")
    assert chained == operators.parse(repr(chained))
    assert pickle.loads(pickle.dumps(chained)) == chained  # noqa: S301 - our own
    with pytest.raises(InputError, match=r"mine.py:fog fails: TypeError: .*missing"):
        named(4.0)
    for text, expected in (
        (f"{file}:number", "did you mean|unknown callable"),
        (f"{file}:smog", "did you mean fog?"),
        (f"{tmp_path}/none.py:fog", "no file"),
    ):
        with pytest.raises(InputError, match=expected):
            operators.parse(text)


@pytest.mark.parametrize("text", ["import nonsense_of_the_user", "def fog(:", "raise SystemExit(1)", "1 / 0"])
def test_a_file_of_the_user_that_cannot_be_imported(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(InputError, match="mine.py cannot be imported"):
        operators.parse(f"{tmp_path}/mine.py:fog")


def test_nearest_names_come_first() -> None:
    assert str(unknown("operator", "randommask", ["RandomMask", "Chain"])).startswith(
        "unknown operator 'randommask': did you mean RandomMask?"
    )
    assert "did you mean" not in str(unknown("operator", "xyz", ["RandomMask", "Chain"]))
