"""The command line: what it says of itself, how it reads arguments and recipes, and what it refuses."""

import inspect
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml

import weatherproof
from weatherproof import cli
from weatherproof.errors import InputError, Stopped
from weatherproof.interrupts import STOPPING
from weatherproof.training.plan import Plan, PlanOptions, StepOptions


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    return status, out, err


def function_of(verb: str):
    return getattr(import_module(f"weatherproof.verbs.{verb}"), verb)


def parse(verb: str, *words: object) -> dict[str, object]:
    function = function_of(verb)
    positional, options, as_json = cli._parse(verb, function, [str(word) for word in words])
    return {**inspect.signature(function).bind(*positional, **options).arguments, "json": as_json}


# without PyTorch


@pytest.mark.parametrize("code", ["import weatherproof", "from weatherproof.cli import main; main(['--help'])"])
def test_import_and_help_load_no_torch(code: str) -> None:
    heavy = "{'torch', 'numpy', 'jsonargparse', 'PIL'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; sys.exit(bool({heavy}))"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "weatherproof", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"weatherproof {weatherproof.__version__}\n", "")


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",), ("help",)])
def test_overview(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    status, out, err = run(capsys, *words)
    assert (status, err) == (0, "")
    assert all(f"\n  {verb} " in out for verb in cli.VERBS)


@pytest.mark.skipif(os.name == "nt", reason="pipes end in another way there")
@pytest.mark.parametrize("words", [("--help",), pytest.param(("harden", "--help"), marks=pytest.mark.slow)])
@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_reader_that_goes_away_is_no_error(words: tuple[str, ...], buffered: str) -> None:
    end, start = os.pipe()
    os.close(end)  # as `| head -1` does once it has its line
    done = subprocess.run(
        [sys.executable, "-m", "weatherproof", *words], stdout=start, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": buffered},
    )  # fmt: skip
    os.close(start)
    assert (done.returncode, done.stderr) == (0, "")


STOPPED_AT = """
import os, signal, sys
class Stopping:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Stopping())
signal.signal(signal.SIGINT, signal.default_int_handler)
from weatherproof.__main__ import main
sys.exit(main())
"""


@pytest.mark.skipif(os.name == "nt", reason="signals end a process in another way there")
@pytest.mark.parametrize(("module", "verb"), [("torch", "audit"), ("torch", "doctor"), ("weatherproof.cli", "audit")])
@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_to_stop_while_libraries_are_imported(module: str, verb: str, number: int) -> None:
    program = STOPPED_AT.format(module=module, number=int(number))
    done = subprocess.run([sys.executable, "-c", program, verb], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (128 + number, "")
    assert done.stderr == "weatherproof: stopped; nothing was done yet\n"


def test_the_public_functions_are_the_verbs() -> None:
    assert cli.VERBS.keys() <= {*weatherproof.__all__}
    for verb in cli.VERBS:
        assert getattr(weatherproof, verb) is function_of(verb)


# every verb


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_explains_every_argument(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for option in ("--config", "--json", "--out"):
        assert option in said
    described = function_of(verb).__doc__
    for name, parameter in inspect.signature(function_of(verb)).parameters.items():
        shown = f"--{name.rstrip('_').replace('_', '-')}" if parameter.kind is parameter.KEYWORD_ONLY else name
        assert shown in said
        assert f"    {name}: " in described, f"{verb} does not say what {name} is"


def test_help_says_types_and_defaults_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["harden", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "the run folder. (path; runs/harden by default)" in said
    assert "passes over the images. (float; 25 by default)" in said
    assert "by default the encoder's own. (int)" in said
    assert not any(word in said for word in ("<class", "Optional", "Union", "null", "type:"))


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_command_line_has_the_defaults_of_python(verb: str) -> None:
    needed = {
        "harden": "e i",
        "train": "supervised i",
        "pretrain": "simclr i",
        "finetune": "e i",
        "probe": "e i",
        "audit": "e i",
        "corrupt": "i",
        "embed": "e i",
        "export": "r",
        "shard": "i",
        "compare": "a b",
    }
    parsed = parse(verb, *needed.get(verb, "").split())
    for name, parameter in inspect.signature(function_of(verb)).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            found, default = parsed[name], parameter.default
            assert found == default or found == str(default), name


def test_options_reach_the_function_with_their_types() -> None:
    parsed = parse("harden", "e", "i", "--epochs", "2.5", "--size=96", "--augment", "none", "--tensorboard", "--json")
    assert (parsed["encoder"], parsed["images"]) == ("e", "i")
    assert (parsed["epochs"], parsed["size"], parsed["augment"]) == (2.5, 96, "none")
    assert parsed["tensorboard"] is True and parsed["json"] is True
    assert parse("harden", "e", "i", "--test-images", "null")["test_images"] is None
    assert parse("compare", "a", "b", "c")["runs"] == ("a", "b", "c")
    assert parse("audit", "--fail-under", "top1=0.5", "m", "i", "--fail-under", "top5=0.9")["fail_under"] == [
        "top1=0.5", "top5=0.9",
    ]  # fmt: skip


@pytest.mark.parametrize("options", [PlanOptions, StepOptions])
def test_options_of_a_plan_are_what_a_plan_has(options: type) -> None:
    hints = get_type_hints(Plan)
    assert {name: hints[name] for name in get_type_hints(options)} == get_type_hints(options)


def test_a_misspelt_option_is_one_line_from_python_too() -> None:
    with pytest.raises(InputError, match="^unknown option of train 'epoch': did you mean epochs"):
        weatherproof.train("supervised", "digits", epoch=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", ".nan"])
def test_a_number_must_be_finite(capsys: pytest.CaptureFixture[str], number: str) -> None:
    status, _, err = run(capsys, "harden", "e", "i", f"--epochs={number}")
    assert status == 2 and err.startswith(f"weatherproof: epochs must be a finite number, got {number.strip('.')}")


def test_a_list_of_numbers() -> None:
    parsed = parse("corrupt", "i", "--severities", "3", "--corruptions", "fog", "--severities=5")
    assert (parsed["severities"], parsed["corruptions"]) == ([3, 5], ["fog"])
    assert parse("corrupt", "i")["severities"] is None
    with pytest.raises(InputError, match="^severities cannot be 'mild': expected int "):
        parse("corrupt", "i", "--severities", "mild")


# recipes


def recipe(folder: Path, **settings: object) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


def test_a_recipe_gives_arguments_and_the_command_line_wins(tmp_path: Path) -> None:
    file = recipe(
        tmp_path, verb="harden", encoder="e", images="i", epochs=3, lr=0.1, size=None, tensorboard=True,
        out="there", versions={"torch": "2"}, hardware={"cores": 2},
    )  # fmt: skip
    parsed = parse("harden", "--config", file, "--lr", "0.2", "--out", "here")
    assert (parsed["encoder"], parsed["images"], parsed["epochs"], parsed["lr"]) == ("e", "i", 3.0, 0.2)
    assert (parsed["tensorboard"], parsed["size"], parsed["out"]) == (True, None, "here")
    for words in (("--lr", "0.2", f"--config={file}"), ("f", "j", "--lr", "0.2", "--config", file)):
        assert parse("harden", *words)["lr"] == 0.2
    assert parse("harden", "f", "j", "--config", file)["encoder"] == "f"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("verb: probe", "is a recipe of 'probe', not of 'harden'"),
        ("epoch: 3", "did you mean epochs"),
        ("epochs: many", "epochs cannot be 'many': expected float"),
        ("encoder: e", "images"),
        ("- a\n- b", "holds no arguments"),
        ("a: [", "cannot be read"),
        ("", "holds no arguments"),
        ("1: 2", "holds no arguments"),
    ],
)
def test_a_recipe_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, expected: str
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    status, out, err = run(capsys, "harden", "--config", file)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert expected in err


def test_a_list_in_a_recipe(tmp_path: Path) -> None:
    file = recipe(tmp_path, verb="corrupt", images="i", severities=[1, 2], corruptions=["fog"])
    parsed = parse("corrupt", "--config", file)
    assert (parsed["severities"], parsed["corruptions"]) == ([1, 2], ["fog"])


def test_a_recipe_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("--config",), ("--config", tmp_path / "none.yaml"), ("--config", tmp_path), ("--config=",)):
        status, _, err = run(capsys, "harden", *words)
        assert (status, err.count("\n")) == (2, 1), err
        assert "--config" in err


# what a verb ends with


def verb_that(monkeypatch: pytest.MonkeyPatch, does) -> None:
    def harden(encoder: str, images: str, *, out: str = "runs/harden"):
        """Do something.

        Args:
            encoder: one.
            images: two.
            out: three.
        """
        return does()

    monkeypatch.setattr("weatherproof.verbs.harden.harden", harden)


def raising(error: BaseException):
    def does() -> None:
        raise error

    return does


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (InputError("two\nlines"), 2, "weatherproof: two lines\n"),
        (
            OSError(28, "No space left on device", "/x/y"),
            2,
            "weatherproof: cannot use /x/y: No space left on device\n",
        ),
        (weatherproof.training.TrainingError("not a number"), 2, "weatherproof: not a number\n"),
        (Stopped(), 130, "weatherproof: stopped; what was done is saved, the same command goes on from there\n"),
        (KeyboardInterrupt(), 130, "weatherproof: stopped; nothing was done yet\n"),
    ],
)
def test_errors_of_the_user_are_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: int,
    expected: str,
) -> None:
    verb_that(monkeypatch, raising(error))
    assert run(capsys, "harden", "e", "i") == (status, "", expected)


def test_our_own_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (RuntimeError("a bug"), ValueError("a bug"), KeyError("a bug")):
        verb_that(monkeypatch, raising(error))
        with pytest.raises(type(error)):
            cli.main(["harden", "e", "i"])


def test_warnings_are_one_line_and_only_ours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import warnings

    from weatherproof.verbs.outcome import Listing

    def does() -> Listing:
        warnings.simplefilter("always")
        warnings.warn("for the\nuser", UserWarning, stacklevel=1)
        warnings.warn("for developers", DeprecationWarning, stacklevel=1)
        return Listing({"a": "b"})

    shown = warnings.showwarning
    verb_that(monkeypatch, does)
    assert run(capsys, "harden", "e", "i") == (0, "a  b\n", "weatherproof: for the user\n")
    assert warnings.showwarning is shown


def test_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "auditt")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "did you mean audit?" in err


def test_how_long_the_demo_takes_is_said_once_and_for_all() -> None:
    root, words = Path(__file__).parents[2], "two to five minutes on two cores"
    told = [
        cli.VERBS["demo"],
        function_of("demo").__doc__,
        *((root / name).read_text(encoding="utf-8") for name in ("Makefile", "docs/verbs/demo.md")),
    ]
    assert [words in " ".join(text.split()) for text in told] == [True] * 4


def test_list_of_studies(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "reproduce", "--list")
    assert status == 0 and "table-1 " in out and "figure-6 " in out and "table-3 " in out
    assert run(capsys, "reproduce")[0] == 2
