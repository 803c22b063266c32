"""Whatever is typed, written into a recipe or put into a file of one's own: it works, or one line says why not."""

import io
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

import weatherproof as wp
from weatherproof import attacks, cli, objectives, operators, restoration, texts, views
from weatherproof.errors import InputError, one_line, shown, unknown
from weatherproof.training import RunFolder

fuzz = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
LONGEST_LINE = 1000 + len("weatherproof: ")
ROOMS = {
    "operator": operators.parse, "view": views.parse, "objective": objectives.parse, "attack": attacks.parse,
    "regularizer": objectives.parse_regularizer, "restoration": restoration.parse,
}  # fmt: skip


def is_one_line(said: str, longest: int = LONGEST_LINE) -> bool:
    return said.isprintable() and len(said) <= longest


def run(*words: object) -> tuple[int, str]:
    """Exit status and standard error of a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = cli.main([str(word) for word in words])
    return status, err.getvalue()


def refused(*words: object) -> str:
    """The line of a command that must be refused."""
    status, err = run(*words)
    lines = [line for line in err.split("\n")[:-1] if "randomly initialised" not in line]
    assert (status, len(lines)) == (2, 1), (status, err[:2000])
    assert is_one_line(lines[0]), lines
    return lines[0]


# messages


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("a\nb\x1b[2J\u202e", "a b\\x1b[2J\\xe2\\x80\\xae"),
        ("x" * 5000, "x" * 205 + "..."),
        ("héé \N{SNOWMAN}", "héé \N{SNOWMAN}"),
        ("\udcff", "\\xff"),
    ],
)
def test_a_message_is_one_line_that_can_be_seen(given_: str, expected: str) -> None:
    assert one_line(given_) == str(InputError(given_)) == expected


def test_a_long_message_keeps_its_end_which_says_what_to_do() -> None:
    said = str(InputError("word " * 10_000 + "choose another --out"))
    assert len(said) <= 1005 and said.startswith("word word") and said.endswith("choose another --out")


@given(st.text())
@fuzz
def test_any_text_makes_one_line(text: str) -> None:
    for said in (one_line(text), shown(text), str(unknown("operator", text, operators.TABLE))):
        assert is_one_line(said)
    assert len(shown(text)) <= 200


def test_what_cannot_be_written_is_shown_by_its_kind() -> None:
    itself: list[object] = []
    itself.append([10**5000, itself])
    assert shown(10**5000) == "a whole number of 16610 bits"
    assert shown(itself) == "a list"
    assert len(shown(list(range(10_000)))) == 200


# component texts

names = st.sampled_from([*operators.TABLE, *views.TABLE, *objectives.TABLE, *attacks.TABLE, *attacks.BALLS])
literals = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(2**62, 2**80), st.floats(), st.text(max_size=8),
    st.binary(max_size=4), st.complex_numbers(), st.sampled_from([10**400, "auto", "fog", "no.npy", "none.py:f"]),
).map(repr)  # fmt: skip
arguments = st.recursive(
    literals | names,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda own: f"({', '.join(own)},)" if own else "()"),
        st.lists(inner, max_size=2).map(lambda own: f"[{', '.join(own)}]"),
        inner.map(lambda own: f"{{{own}}}"),
        inner.map(lambda own: f"-{own}"),
        st.tuples(inner, inner).map("/".join),
        st.tuples(names, st.lists(inner, max_size=3)).map(lambda own: f"{own[0]}({', '.join(own[1])})"),
    ),
    max_leaves=6,
)
component_texts = st.tuples(names, st.lists(arguments, max_size=4)).map(lambda own: f"{own[0]}({', '.join(own[1])})")


@given(st.one_of(component_texts, st.text("RandomMask()[]{}0.5,'\"*=:-\\/\n\0e9", max_size=60)))
@settings(fuzz, max_examples=100)
def test_any_component_text_gives_a_component_or_one_line(text: str) -> None:
    for what, parse in ROOMS.items():
        try:
            made = parse(text)
        except InputError as error:
            assert is_one_line(str(error)), (what, text)
        else:
            assert parse(repr(made)) == made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GaussianNoise(0x" + "f" * 3000 + ")", "a whole number of 12000 bits"),
        ("GaussianNoise(" + "1" * 4000 + ")", "a whole number of"),
        ("GaussianNoise(" + "1" * 6000 + ")", "6,015 characters, more than 4,096"),
        ("RandomMask(" + "9" * 400 + "/3)", "a number beyond 64 bits"),
        ("RandomMask(" + "-" * 4000 + "1)", "cannot read the view"),
        ("RandomMask(" + "-" * 100 + "1)", "nested more than 32 deep"),
        ("RandomMask(" + "1+" * 1000 + "1)", "nested more than 32 deep"),
        ("RandomMask(" + "[" * 100 + "]" * 100 + ")", "brackets nested more than 32 deep"),
        ("RandomMask(0.5)" + " " * 10**6, "1,000,015 characters"),
        ("a" * 10**6, "1,000,000 characters"),
        ("RandomMask('a\0b')", "a null character"),
        ("Corruption(3, 3)", "name of Corruption must be a text, got 3"),
        ("Corruption('fog', 3, parameters=7)", "parameters of Corruption must be a text, got 7"),
        ("Corruption('fog', True)", "severity of Corruption must be a whole number or a pair"),
        ("GaussianNoise(0.1, clip=1)", "clip of GaussianNoise must be True or False, got 1"),
        ("RandomMask((1, 2, 3))", "must be a number or a pair of numbers in brackets, got (1, 2, 3)"),
        ("Sometimes(0.5)", "op of Sometimes must be a callable"),
        ("Warp(degrees=1e999)", "degrees of Warp must be from 0 to 180"),
        ("RandomResizedCrop(1000000000)", "at least 1 pixel and at most 8,192"),
        ("Warp(knots=1000000)", "knots of Warp must be from 1 to 256"),
        ("NonUniformNoise(std='/dev/zero')", "no regular file"),
        ("NonUniformNoise(std='.')", "cannot read"),
    ],
)
def test_a_text_out_of_all_bounds_is_refused_with_its_reason(text: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        views.parse(text)
    assert expected in str(caught.value) and is_one_line(str(caught.value))


def test_a_pair_of_levels_may_be_written_in_255ths() -> None:
    assert operators.parse("GaussianNoise((10/255, 50/255))") == operators.GaussianNoise((10 / 255, 50 / 255))


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_an_array_that_promises_more_than_its_file_holds_takes_no_memory(
    tmp_path: Path, version: tuple[int, int]
) -> None:
    file = tmp_path / "std.npy"
    with file.open("wb") as stream:
        header = {"descr": "<f8", "fortran_order": False, "shape": (1 << 21, 1 << 21)}
        write = getattr(np.lib.format, f"write_array_header_{version[0]}_{version[1]}")
        write(stream, header)
        stream.write(b"\0" * 64)
    with pytest.raises(InputError, match="its header promises float64 2097152x2097152, and the file has"):
        operators.NonUniformNoise(std=str(file))


# commands


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with small images and an encoder's weights."""
    folder = tmp_path_factory.mktemp("here")
    draws = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 3)):
        for name in ("ant", "bee"):
            home = folder / "photos" / part / name
            home.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(draws.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(home / f"{i}.png")
    with pytest.warns(UserWarning, match="randomly initialised"):
        encoder = wp.load_encoder("small", seed=1, num_classes=2)
    save_file({name: value.clone() for name, value in encoder.state().items()}, folder / "small.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


ENCODER = "small@small.safetensors"
COMMANDS = {
    "harden": ("harden", ENCODER, "photos"),
    "train": ("train", "supervised", "photos", "--encoder", ENCODER),
    "pretrain": ("pretrain", "mocov2", "photos", "--encoder", ENCODER),
    "finetune": ("finetune", ENCODER, "photos"),
    "probe": ("probe", ENCODER, "photos"),
    "audit": ("audit", ENCODER, "photos"),
    "corrupt": ("corrupt", "photos", "--corruptions", "fog", "--severities", "3", "--layout", "imagenet-c"),
}


def left_behind(folder: Path) -> set[str]:
    return {item.name for item in folder.iterdir()} - {"photos", "small.safetensors"}


@pytest.fixture
def no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes every check goes no further."""

    def stop(*_: object, **__: object) -> None:
        raise InputError("all checks passed")

    monkeypatch.setattr(RunFolder, "open", stop)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("size", "2147483648"), ("epochs", "1e308"), ("batch-size", "1" + "0" * 18), ("lr", "1" * 40),
        ("lr", "9" * 400),
        ("lr", "nan"), ("epochs", "inf"), ("seed", "9" * 30), ("workers", "2147483648"), ("devices", "99999999"),
        ("realizations", "-1"), ("test-images", "9" * 19), ("warmup-epochs", "1e300"), ("weight-decay", "-1"),
        ("accumulate", "1" + "0" * 18), ("lr", "&a [*a, *a]"), ("lr", "[" * 1000), ("epochs", "2020-01-01"),
        ("operator", "x" * 10**6), ("out", "a\0b"), ("out", ""), ("precision", "\x1b[2J"), ("operator", "/dev/zero:x"),
    ],
)  # fmt: skip
def test_an_option_beyond_its_type_is_refused(here: Path, no_run: None, option: str, value: str) -> None:
    assert "all checks passed" not in refused(*COMMANDS["harden"], f"--{option}={value}") or option == "out"
    assert not left_behind(here)


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_folder_that_cannot_be_named_is_refused(here: Path, verb: str) -> None:
    for out in ("a\0b", "x" * 5000, "x" * 300, "small.safetensors", "small.safetensors/below", "photos"):
        refused(*COMMANDS[verb], f"--out={out}")
        assert not left_behind(here)
    assert not (here / "photos" / ".lock").exists()


@pytest.mark.parametrize("source", ["folder:\0", "~nouser-at-all/x", "folder:~nouser-at-all/x", "x" * 5000, "digits\0"])
def test_images_that_cannot_be_named_are_refused(here: Path, source: str) -> None:
    refused("harden", ENCODER, source)
    with pytest.raises(InputError):
        wp.load_images(source)
    assert not left_behind(here)


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ("small(width=1.5)", "width of small must be a whole number, got 1.5"),
        ("small(width='a')", "width of small must be a whole number"),
        ("small(width=1000000000)", "small"),
        ("small(width=20000)", "would have more than 1,073,741,824 weights, 4 GB: give smaller options"),
        ("small(width=" + "9" * 400 + ")", "width of small must be a whole number"),
        ("small(" + "(" * 1000, "brackets nested"),
        ("small\0", "a null character"),
        ("x" * 10**5, "100,000 characters"),
    ],
)
def test_an_encoder_out_of_all_bounds_is_refused(here: Path, encoder: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        wp.load_encoder(encoder)
    assert expected in str(caught.value) and is_one_line(str(caught.value))


# recipes

LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghij", "bcdefghijk", strict=True)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epochs: &a [*a]", "an alias"),
        (LAUGHS, "an alias"),
        ("out: null", ""),
        ("epochs: 2020-01-01", "epochs cannot be '2020-01-01'"),
        ("epochs: !!binary aGVsbG8=", "a value of the kind 'binary'"),
        ("epochs: !!set {a, b}", "a value of the kind 'set'"),
        ("epochs: !!python/object:os.system ls", "python"),
        ("epochs: " + "[" * 2000, "nested more than 32 deep"),
        ("epochs: " + "9" * 6000, "a number of 6,000 digits"),
        ("epochs: 0x" + "f" * 30, "whole numbers go up to"),
        ("epochs: " + "x" * 100_000, "epochs cannot be"),
        ("e" * 500 + ": 1", "unknown argument"),
        ("operator: [1, {a: b}]", ""),
        ("? [a]\n: b", ""),
        ("? {a: b}\n: c", ""),
        ("seed: {a: 1}", "seed cannot be"),
        ("a: \x1b", ""),
        ("verb: [1]", "is a recipe of [1]"),
        ("#" * (1 << 19), "more than 262,144 bytes"),
        ("operator: \"\\0\"", "a null character"),
    ],
)  # fmt: skip
def test_a_recipe_out_of_all_bounds_is_refused(
    here: Path, no_run: None, tmp_path: Path, text: str, expected: str
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    assert expected in refused(*COMMANDS["harden"], "--config", file)
    assert not left_behind(here)


@pytest.mark.skipif(sys.platform == "win32", reason="it has neither pipes nor devices in its folders")
def test_a_recipe_is_a_regular_file(here: Path, tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        assert "it is " in refused(*COMMANDS["harden"], "--config", file)


values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10), st.dates(), st.binary(max_size=4),
        st.sets(st.integers(), max_size=2),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
options = st.sampled_from([
    "encoder", "images", "operator", "objective", "augment", "size", "epochs", "batch_size", "lr", "schedule", "device",
    "precision", "realizations", "test_images", "workers", "out", "seed", "tensorboard", "verb", "json",
])  # fmt: skip


@given(st.dictionaries(options | st.text(max_size=4), values, max_size=3))
@settings(fuzz, max_examples=30)
def test_any_recipe_is_one_line_or_passes(here: Path, no_run: None, recipe: dict[str, object]) -> None:
    file = here / "photos" / "recipe.yaml"
    file.write_text(yaml.dump(recipe), encoding="utf-8")
    try:
        refused(*COMMANDS["harden"], "--config", file)
    finally:
        file.unlink()
    assert not left_behind(here)


@given(st.text("{}[]&*!:-? #'\"|>%@`\n\tab01.", max_size=60))
@settings(fuzz, max_examples=100)
def test_any_yaml_is_plain_values_or_one_reason(tmp_path: Path, text: str) -> None:
    file = tmp_path / "any.yaml"
    file.write_text(text)
    try:
        texts.read_yaml(file)
    except texts.Malformed as reason:
        assert "\n" not in str(reason)


# own modules

BODIES = [
    "return None", "return 3", "return 'text'", "raise ValueError('no\\nnever')", "raise SystemExit(3)",
    "import sys; sys.exit()",
    "1 / 0", "return images[:1]", "return images.double()", "return images.to('meta')", "return images[..., :3]",
    "return (images, images, images)", "return images * float('nan')", "return images.byte()", "return images[0]",
    "return [images, None]", "return f", "raise RecursionError", "return f(images, *rest)",
    "return images.sum().item()",
    "return images * 0", "raise KeyboardError",
]  # fmt: skip
FINE = {("views", "return images[..., :3]"), ("loss", "return images[0]")}  # a crop; two numbers of two images
USES = {
    "operator": ("harden", ENCODER, "photos", "--operator"),
    "objective": ("harden", ENCODER, "photos", "--objective"),
    "augment": ("train", "supervised", "photos", "--encoder", ENCODER, "--augment"),
    "views": ("pretrain", "simclr", "photos", "--encoder", ENCODER, "--views"),
    "attack": ("audit", ENCODER, "photos", "--attack"),
    "loss": ("audit", ENCODER, "photos", "--attack"),
    "adversary": ("train", "adversarial", "photos", "--encoder", ENCODER, "--attack"),
}  # fmt: skip


@pytest.mark.parametrize("use", USES)
def test_an_own_function_that_gives_something_else_is_refused_before_there_is_a_run(
    here: Path, no_run: None, tmp_path: Path, use: str
) -> None:
    for number, body in enumerate(BODIES):
        if (use, body) in FINE:
            continue
        file = tmp_path / f"own{number}.py"
        file.write_text(f"def f(images, *rest):\n    {body}\n")
        text = f"PGD(L2(0.5), loss='{file}:f')" if use == "loss" else f"{file}:f"
        said = refused(*USES[use], text)
        assert "all checks passed" not in said, (use, body)
    assert not left_behind(here)


@given(st.text("defg(images, keys):\n    returnraise0None\0;\"'\\é", max_size=60))
@settings(fuzz, max_examples=60)
def test_any_module_is_one_line_or_passes(tmp_path: Path, text: str) -> None:
    file = tmp_path / "any.py"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        operators.parse(f"{file}:operator_that_is_not_there")
    assert is_one_line(str(caught.value))
