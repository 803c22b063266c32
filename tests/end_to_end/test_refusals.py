"""A refused run leaves nothing, whenever it is refused; and a run folder that somebody has written into is one line."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import weatherproof as wp
from weatherproof.errors import InputError, Stopped
from weatherproof.training import RunFolder
from weatherproof.training.run import refusals_leave_nothing

from .conftest import ALONE, PLAIN, Command, class_folders

Refused = Callable[..., str]

SHORT = ("--epochs", 1, "--batch-size", 8, "--workers", 0)
MEASURED = ("--realizations", 1, "--test-images", 4)

LATE = """
import torch

calls = 0


def {name}(*given):
    global calls
    calls += 1
    if calls > {fine}:
        raise ValueError("no more")
    return {gives}
"""


def late(folder: Path, gives: str, fine: int = 2, name: str = "late") -> str:
    """A function of one's own that works so many times, as in the trial, and fails at the first batch."""
    file = folder / f"{name}.py"
    file.write_text(LATE.format(name=name, gives=gives, fine=fine))
    return f"{file}:{name}"


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


def commands(teacher: str, photos: Path, own: Path) -> dict[str, tuple[object, ...]]:
    operator, tried = (("--operator", late(own, "given[0] * 0.5", fine, f"late{fine}")) for fine in (2, 3))
    goal = ("--objective", late(own, "(given[0] * given[1]).sum()", 1, "goal"))
    attack = ("--attack", late(own, "given[1] if len(given[1]) < 8 else None", 1, "attack"))
    looks = ("--views", late(own, "(given[0], given[0].flip(-1))", 3, "looks"))
    return {
        "harden": ("harden", teacher, photos, *PLAIN, *tried, *SHORT, *MEASURED),
        "harden, objective": ("harden", teacher, photos, *PLAIN, *goal, *SHORT, *MEASURED),
        "train": ("train", "supervised", photos, "--encoder", teacher, *operator, *SHORT, *MEASURED),
        "train, attack": ("train", "adversarial", photos, "--encoder", teacher, *attack, *SHORT, *MEASURED),
        "probe": ("probe", teacher, photos, *operator, *MEASURED, "--workers", 0),
        "audit": ("audit", teacher, photos, *operator, *MEASURED, "--workers", 0),
        "finetune": ("finetune", teacher, photos, "--regularizer", "L2SP(1e300, 1e300)", *SHORT, *MEASURED),
        "pretrain": ("pretrain", "simclr", photos, "--encoder", teacher, *looks, *SHORT, "--test-images", 4),
    }  # fmt: skip


VERBS = ("harden", "harden, objective", "train", "train, attack", "probe", "audit", "finetune", "pretrain")


@pytest.mark.parametrize("case", VERBS)
def test_a_run_that_is_refused_at_its_first_step_leaves_nothing(
    teacher: str, photos: Path, here: Path, tmp_path: Path, refused: Refused, case: str
) -> None:
    words = commands(teacher, photos, tmp_path)[case]
    refused(*words, "--out", "made/for/it")
    assert everything(here) == {}
    (here / "mine").mkdir()
    (here / "mine" / ".keep").write_text("mine")
    words = commands(teacher, photos, tmp_path)[case]
    refused(*words, "--out", "mine")
    assert everything(here) == {"mine": b"", "mine/.keep": b"mine"}


@pytest.mark.parametrize("layout", ["cifar-c", "imagenet-c"])
def test_a_copy_that_is_refused_at_its_first_images_leaves_nothing(
    photos: Path, here: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    from weatherproof.verbs.corrupt import copies

    def full(self: object) -> None:
        raise InputError("no space left on the disk")

    for kind in (copies.ArrayCopy, copies.FolderCopy):
        monkeypatch.setattr(kind, "settle", full)
    chosen = ("--corruptions", "fog", "--corruptions", "snow", "--workers", 0, "--layout", layout)
    refused("corrupt", photos, *chosen, "--out", "made/for/it")
    assert everything(here) == {}


def test_a_copy_that_has_got_somewhere_stays(
    photos: Path, here: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weatherproof.verbs.corrupt import copies

    finish, calls = copies.ArrayCopy.finish, []

    def second(self: copies.ArrayCopy) -> dict[str, Any]:
        calls.append(self)
        if len(calls) == 2:
            raise InputError("no space left on the disk")
        return finish(self)

    monkeypatch.setattr(copies.ArrayCopy, "finish", second)
    refused("corrupt", photos, "--corruptions", "fog", "--corruptions", "snow", "--workers", 0, "--out", "copy")
    assert {"recipe.yaml", "progress.json", "snow.npy"} <= {item.name for item in (here / "copy").iterdir()}


def test_a_run_that_has_got_somewhere_stays(
    teacher: str, photos: Path, here: Path, tmp_path: Path, refused: Refused
) -> None:
    operator = late(tmp_path, "given[0] * 0.5", fine=6)
    refused(
        "harden",
        teacher,
        photos,
        *PLAIN,
        "--operator",
        operator,
        *SHORT,
        *MEASURED,
        "--checkpoint-seconds",
        0,
        "--out",
        "r",
    )
    assert {"recipe.yaml", "checkpoint.pt", "log.jsonl"} <= {item.name for item in (here / "r").iterdir()}


def test_a_refused_folder_is_as_it_was(photos: Path, here: Path, teacher: str, refused: Refused) -> None:
    class_folders(here / "photos", train=1, test=1)
    (here / "other").mkdir()
    (here / "other" / "recipe.yaml").write_text("verb: probe\n")
    before = everything(here)
    for out in ("photos", "other"):
        refused("probe", teacher, photos, "--out", out)
    refused("probe", teacher, photos, "--out", "photos/train/ant/000.png")
    assert everything(here) == before


def test_what_others_put_there_and_an_earlier_call_left_is_never_removed(tmp_path: Path) -> None:
    recipe = {"verb": "harden"}

    def work(put: str | None = None) -> None:
        with refusals_leave_nothing():
            run = RunFolder.open(tmp_path / "a" / "run", recipe)
            if put is not None:
                (run.path / put).write_text("somebody's")
            raise InputError("no")

    with pytest.raises(InputError):
        work()
    assert not (tmp_path / "a").exists()
    with pytest.raises(InputError):
        work("notes.txt")
    assert {item.name for item in (tmp_path / "a" / "run").iterdir()} == {"notes.txt", "recipe.yaml", ".lock"}
    (tmp_path / "a" / "run" / "notes.txt").unlink()
    with pytest.raises(InputError):
        work()
    assert (tmp_path / "a" / "run" / "recipe.yaml").is_file()


def test_ctrl_c_keeps_what_was_done_and_no_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as early, refusals_leave_nothing():
        RunFolder.open(tmp_path / "run", {"verb": "harden", "epochs": 2}).log({"step": 1})
        raise KeyboardInterrupt
    assert not (tmp_path / "run").exists()  # so another setting is not refused
    with pytest.raises(Stopped), refusals_leave_nothing():
        RunFolder.open(tmp_path / "run", {"verb": "harden", "epochs": 3}).save_checkpoint({"step": 1})
        raise KeyboardInterrupt
    assert early.type is KeyboardInterrupt and (tmp_path / "run" / "checkpoint.pt").is_file()


def test_ctrl_c_that_a_library_makes_an_error_of_is_ctrl_c(tmp_path: Path) -> None:
    def read(run: RunFolder) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise InputError(f"{run.path / 'block'} cannot be read, delete it") from None

    with pytest.raises(KeyboardInterrupt) as early, refusals_leave_nothing():
        read(RunFolder.open(tmp_path / "run", {"verb": "harden"}))
    with pytest.raises(Stopped), refusals_leave_nothing():
        run = RunFolder.open(tmp_path / "run", {"verb": "harden"})
        run.save_checkpoint({"step": 1})
        read(run)
    assert early.type is KeyboardInterrupt and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(InputError), refusals_leave_nothing():
        raise InputError("no Ctrl-C came")


# run folders that somebody has written into

DEEP = "[" * 100_000
RECORD = {"metric": "top1", "value": 0.5, "model": "m", "data": "d", "images": 1, "protocol": "p"}
TAMPERED = [
    ("results.json", json.dumps({"records": [1, 2]})),
    ("results.json", json.dumps({"records": [{**RECORD, "value": "high"}]})),
    ("results.json", json.dumps({"records": [{**RECORD, "model": 3}]})),
    ("results.json", json.dumps({"records": [{**RECORD, "operator": ["a"]}]})),
    ("results.json", json.dumps({"records": [{**RECORD, "stderr": {}}]})),
    ("results.json", json.dumps({"records": [{"value": 1}]})),
    ("results.json", json.dumps({"records": "many"})),
    ("results.json", json.dumps({"records": [RECORD], "notes": [1]})),
    ("results.json", json.dumps([1])),
    ("results.json", '{"records": [{"metric": "top1", "value": ' + "9" * 5000 + "}]}"),
    ("results.json", DEEP),
    ("results.json", '{"records": ' + "[" * 500 + "]" * 500 + "}"),
    ("results.json", ""),
    ("results.json", "\udcff"),
    ("recipe.yaml", DEEP),
    ("recipe.yaml", "a: &a [*a]"),
    ("recipe.yaml", "- 1"),
    ("recipe.yaml", "verb: !!binary aGVsbG8="),
    ("recipe.yaml", "\udcff"),
    ("checks.json", DEEP),
    ("checks.json", "[1]"),
    ("checks.json", '[{"claim": 1}]'),
    ("encoder.json", DEEP),
    ("encoder.json", "[]"),
    ("encoder.json", '{"format": 1}'),
]


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory, teacher: str, photos: Path) -> dict[str, bytes]:
    """The files of a finished harden."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    wp.harden(
        teacher, photos, epochs=1, batch_size=8, workers=0, realizations=1, test_images=4, **ALONE, out=folder,
        device="cpu",
    )  # fmt: skip
    return {item.name: item.read_bytes() for item in folder.iterdir() if item.is_file()}


def copied(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize(("name", "text"), TAMPERED)
def test_a_run_folder_that_was_written_into_is_one_line(
    finished_run: dict[str, bytes], teacher: str, photos: Path, here: Path, refused: Refused, weatherproof: Command,
    tmp_path: Path, name: str, text: str,
) -> None:  # fmt: skip
    run, other = copied(finished_run, tmp_path / "run"), copied(finished_run, tmp_path / "other")
    (run / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    again = ("harden", teacher, photos, *PLAIN, *SHORT, *MEASURED, "--device", "cpu", "--out", run)
    if (name, text) == ("encoder.json", "[]") or name != "encoder.json":
        assert len(refused(*again)) < 1100
    if name == "encoder.json":
        refused("audit", run, photos, "--out", "audit")
    else:
        refused("compare", run, other, "--out", "page")
    assert everything(here) == {}


STATES = [
    ("suite.json", DEEP), ("suite.json", "[]"), ("suite.json", '{"complete": true}'), ("suite.json", '{"notes": [1]}'),
    ("suite.json", '{"notes": 3, "complete": true}'), ("results.json", DEEP), ("results.json", '{"records": [1]}'),
]  # fmt: skip


def test_a_suite_that_was_written_into_is_one_line(photos: Path, here: Path, refused: Refused, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="randomly initialised"):
        encoder = wp.load_encoder("small", num_classes=3, seed=0)
    settings = {
        "suite": "noisy",
        "classes_match": True,
        "test_images": 3,
        "workers": 0,
        "out": "audit",
        "device": "cpu",
    }
    wp.audit(encoder, photos, **settings)
    files = {item.name: item.read_bytes() for item in (here / "audit").iterdir() if item.is_file()}
    for name, text in STATES:
        (here / "audit" / name).write_text(text)
        with pytest.raises(InputError) as caught:
            wp.audit(encoder, photos, **settings)
        assert len(str(caught.value)) <= 1005, (name, text)
        (here / "audit" / name).write_bytes(files[name])
    assert wp.audit(encoder, photos, **settings).status == 0


def test_a_readout_that_was_written_into_is_one_line(
    teacher: str, photos: Path, here: Path, refused: Refused, weatherproof: Command, tmp_path: Path
) -> None:
    assert weatherproof("probe", teacher, photos, *MEASURED, "--workers", 0, "--out", tmp_path / "probe")[0] == 0
    for name, text in (
        ("readout.json", DEEP), ("readout.json", "[]"), ("readout.json", '{"classes": 3}'),
        ("encoder.json", '{"format": 1, "options": {"width": 1e300}}'),
    ):  # fmt: skip
        kept = (tmp_path / "probe" / name).read_bytes()
        (tmp_path / "probe" / name).write_text(text)
        refused("audit", tmp_path / "probe", photos, "--out", "audit")
        assert everything(here) == {}
        (tmp_path / "probe" / name).write_bytes(kept)
