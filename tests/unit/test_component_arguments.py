"""Every public component refuses arguments that make no sense with an `InputError`, from Python too."""

import json
import subprocess
import sys
from typing import Literal

import pytest

from weatherproof.errors import InputError
from weatherproof.protocols import Operator
from weatherproof.spec import component, fits

# Under pytest jaxtyping's own check of annotations comes first: what the package does by itself shows in a new process.
CONTRACT = """
import json
from weatherproof import attacks, objectives, operators, restoration, views
from weatherproof.errors import InputError

tables = [operators.TABLE, views.TABLE, objectives.TABLE, objectives.FEATURE_OBJECTIVES, objectives.REGULARIZERS,
          attacks.TABLE, attacks.BALLS, attacks.LOSSES, restoration.TABLE]
bad = [None, "x", -1, -1.5, 1e9, 10**400, float("nan"), float("inf"), True, (), (1, 2, 3), ("a", "b"), (0.9, 0.1), [1],
       {1: 2}, b"x", 1j, object(), lambda: None]
wrong = []
for table in tables:
    for name, make in table.items():
        fields = getattr(make, "__dataclass_fields__")
        for place in range(len(fields) + 1):
            for value in bad:
                for given in ((value,) * (place + 1), (0.5,) * place + (value,)):
                    try:
                        made = make(*given)
                        hash(made), repr(made)
                    except InputError as error:
                        if not str(error).isprintable() or len(str(error)) > 1005:
                            wrong.append([name, repr(given)[:80], "message"])
                    except TypeError as error:
                        if "argument" not in str(error):  # Python's own, for too few or too many
                            wrong.append([name, repr(given)[:80], f"{type(error).__name__}: {error}"[:120]])
                    except Exception as error:
                        wrong.append([name, repr(given)[:80], f"{type(error).__name__}: {error}"[:120]])
print(json.dumps(wrong))
"""


def test_every_component_refuses_bad_arguments_with_an_input_error() -> None:
    done = subprocess.run([sys.executable, "-c", CONTRACT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == []


@component
class Every:
    """One field of each kind."""

    count: int = 1
    level: float | tuple[float, float] = 0.5
    name: str | None = None
    kind: Literal["a", "b"] = "a"
    on: bool = False
    steps: tuple[float, ...] = ()
    op: Operator = abs


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"count": 1.0}, "count of Every must be a whole number, got 1.0"),
        ({"count": True}, "count of Every must be a whole number, got True"),
        ({"count": 1 << 63}, "count of Every must be a whole number, got 9223372036854775808"),
        ({"level": "x"}, "level of Every must be a number or a pair of numbers in brackets, got 'x'"),
        ({"level": (1, 2, 3)}, "level of Every must be a number or a pair of numbers in brackets, got (1, 2, 3)"),
        ({"level": float("nan")}, "level of Every must be finite, got nan"),
        ({"level": (0.0, float("inf"))}, "level of Every must be finite, got (0.0, inf)"),
        ({"name": 3}, "name of Every must be a text or None, got 3"),
        ({"kind": "c"}, "kind of Every must be 'a' or 'b', got 'c'"),
        ({"on": 1}, "on of Every must be True or False, got 1"),
        ({"steps": (1, "x")}, "steps of Every must be several numbers in brackets, got (1, 'x')"),
        ({"op": 3}, "op of Every must be a callable, Operator, got 3"),
    ],
)
def test_a_component_is_checked_against_its_annotations(given: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        Every(**given)  # type: ignore[arg-type]
    assert str(caught.value) == expected


def test_what_fits_is_taken() -> None:
    made = Every(2, (1, 2.5), "x", "b", True, (1, 2.0), print)
    assert (made.count, made.level, made.name, made.kind, made.on, made.steps) == (
        2,
        (1, 2.5),
        "x",
        "b",
        True,
        (1, 2.0),
    )
    assert fits(1, float) and not fits(1.0, int) and not fits(False, float)


def test_what_noise_leaves_nothing_of_is_told_as_units_of_255() -> None:
    from weatherproof.operators import GaussianNoise, PatchGaussian

    for make, written in (
        (lambda: GaussianNoise(25), "write GaussianNoise(25/255)"),
        (lambda: GaussianNoise((10, 50.5)), "write GaussianNoise((10/255, 50.5/255))"),
        (lambda: PatchGaussian(25, 25.0), "write PatchGaussian(25, 25/255)"),
    ):
        with pytest.raises(InputError) as caught:
            make()
        assert written in str(caught.value)
    assert GaussianNoise(1).sigma == 1
