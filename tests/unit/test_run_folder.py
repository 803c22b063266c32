"""A run folder under every kind of bad luck."""

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from full_disk import fill_disk

from weatherproof import files
from weatherproof.errors import InputError
from weatherproof.files import replacing, write_atomically
from weatherproof.operators import RandomMask
from weatherproof.training import RunFolder
from weatherproof.verbs.outcome import recipe_of

RECIPE = {"verb": "harden", "encoder": "small", "operator": RandomMask((0.5, 0.9)), "epochs": 4, "lr": 1e-5, "out": "x"}


def test_recipe_is_written_and_the_same_one_resumes(tmp_path: Path) -> None:
    RunFolder.open(tmp_path / "a" / "b", RECIPE)
    found = yaml.safe_load((tmp_path / "a" / "b" / "recipe.yaml").read_text())
    assert found["operator"] == "RandomMask((0.5, 0.9))"
    assert found["lr"] == 1e-5
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert found["hardware"]["cores"] == os.cpu_count()
    again = RunFolder.open(tmp_path / "a" / "b", {**RECIPE, "out": "elsewhere"})
    assert again.recipe == found


def test_a_run_with_a_file_of_ones_own_is_not_taken_up_with_another(tmp_path: Path) -> None:
    own, run = tmp_path / "own.py", tmp_path / "run"
    arguments = {"operator": f"Chain('{own}:fog', RandomMask(0.5))", "attack": [f"{own}:blunt"], "seed": 0}
    own.write_text("fog = 1")
    RunFolder.open(run, recipe_of("train", arguments))
    RunFolder.open(run, recipe_of("train", arguments))
    own.write_text("fog = 2")
    with pytest.raises(InputError, match="own.py has changed since the run in .*run began: choose another --out"):
        RunFolder.open(run, recipe_of("train", arguments))
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    del recipe["files"]  # as of a run from before there were hashes
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    RunFolder.open(run, recipe_of("train", arguments))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 8}, "setting 'epochs' is 4 there and 8 here; choose another --out or delete it"),
        ({"verb": "train"}, "setting 'verb' is 'harden' there and 'train' here"),
        ({"size": 96}, "setting 'size' is None there and 96 here"),
        ({"operator": RandomMask(0.5)}, r"setting 'operator' is 'RandomMask\(\(0.5, 0.9\)\)' there"),
    ],
)
def test_another_recipe_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    RunFolder.open(tmp_path, RECIPE)
    with pytest.raises(InputError, match=message) as caught:
        RunFolder.open(tmp_path, {**RECIPE, **change})
    assert "\n" not in str(caught.value)


def test_what_is_no_place_for_a_run(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InputError, match="is a file"):
        RunFolder.open(file, RECIPE)
    with pytest.raises(InputError, match="cannot write"):
        RunFolder.open(file / "below", RECIPE)
    with pytest.raises(InputError, match="holds other files and no run"):
        RunFolder.open(tmp_path, RECIPE)
    file.rename(tmp_path / "recipe.yaml")
    with pytest.raises(InputError, match="holds no settings"):
        RunFolder.open(tmp_path, RECIPE)
    (tmp_path / "recipe.yaml").write_text("a: [")
    with pytest.raises(InputError, match="cannot be read") as caught:
        RunFolder.open(tmp_path, RECIPE)
    assert "\n" not in str(caught.value)


def test_a_kill_before_the_recipe_leaves_a_folder_that_can_be_used(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("123")
    (tmp_path / ".recipe.yaml.tmp").write_text("verb: ha")
    RunFolder.open(tmp_path, RECIPE)


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    hold = "import fcntl, sys; f = open(sys.argv[1], 'a+'); fcntl.lockf(f, fcntl.LOCK_EX); f.write('4711'); f.flush()"
    RunFolder.open(tmp_path, RECIPE).close()
    (tmp_path / ".lock").write_text("")
    holder = subprocess.Popen(
        [sys.executable, "-c", f"{hold}; print(flush=True); sys.stdin.read()", str(tmp_path / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(InputError, match="in use by process 4711"):
        RunFolder.open(tmp_path, RECIPE)
    holder.kill()
    holder.communicate()
    RunFolder.open(tmp_path, RECIPE)


def test_log_survives_a_torn_line_and_rewinds(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path, RECIPE)
    assert run.rewind(0) == []
    for step in (1, 2, 3):
        run.log({"step": step, "loss": 0.5})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    assert [row["step"] for row in run.rows()] == [1, 2, 3]
    assert [row["step"] for row in run.rewind(2)] == [1, 2]
    run.log({"step": 3, "loss": 0.25})
    assert run.rows()[-1] == {"step": 3, "loss": 0.25}


def test_checkpoint_comes_back_and_damage_is_said(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path, RECIPE)
    assert run.load_checkpoint() is None
    run.save_checkpoint({"step": 3, "weights": {"a": torch.arange(5)}})
    saved = run.load_checkpoint()
    assert saved is not None
    assert saved["step"] == 3
    assert torch.equal(saved["weights"]["a"], torch.arange(5))
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(InputError, match="checkpoint.pt cannot be read, delete it"):
        run.load_checkpoint()


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path, RECIPE)
    (tmp_path / "checkpoint.pt").write_bytes(pickle.dumps(os.getcwd))
    with pytest.raises(InputError, match="cannot be read"):
        run.load_checkpoint()


def test_full_disk_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder.open(tmp_path, RECIPE)
    run.save_checkpoint({"step": 1})
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    fill_disk(monkeypatch, 100_000)
    with pytest.raises(InputError, match=r"no space left on the disk of .*checkpoint.pt: need about 8 MB; free some"):
        run.save_checkpoint({"step": 2, "weights": {"a": torch.zeros(1024, 1024), "b": [torch.zeros(1024, 1024)]}})
    monkeypatch.undo()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_full_disk_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder.open(tmp_path, RECIPE)
    fill_disk(monkeypatch, 0)
    with pytest.raises(InputError, match=r"no space left on the disk of .*log.jsonl: free some space"):
        run.log({"step": 1})


def test_replacing_keeps_the_old_file_where_writing_fails(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(file) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a power cut would leave: the contents are synced first, then the name, then the folder that has the name."""
    events = []
    sync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        there = Path(f"/proc/self/fd/{handle}").readlink()
        events.append(("sync", there.name, there.stat().st_size if there.is_file() else None))
        sync(handle)

    def replaced(self: Path, target: Path) -> Path:
        events.append(("replace", self.name, target.name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    file = write_atomically(tmp_path / "new" / "kept.json", "déjà\n")
    assert file.read_text(encoding="utf-8") == "déjà\n" and file.stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert events == [("sync", ".kept.json.tmp", 7), ("replace", ".kept.json.tmp", "kept.json"), ("sync", "new", None)]
    write_atomically(file, b"bytes")
    assert file.read_bytes() == b"bytes" and list(file.parent.iterdir()) == [file]


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def test_writers_of_whole_files_are_one() -> None:
    """Any other would have to say why it does without the care of `files.replacing`."""
    package = Path(files.__file__).parent
    moves = re.compile(r"\.replace\([^,()]*\)|os\.(replace|rename)\(|mkstemp")
    writers = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if moves.search(path.read_text(encoding="utf-8"))
    }
    assert writers == {
        "files.py",
        "verbs/corrupt/copies.py",  # of thousands of pictures, synced together
        "data/packed/index.py",  # of which several processes may each write their own
        "verbs/embed/write.py",  # makes the file in a hidden folder, so that a kill leaves nothing beside it
        "verbs/export/verb.py",  # of a folder, whole or not at all
        "verbs/prepare/fetching.py",  # of a set, likewise
    }


def test_json_has_no_nan(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path, RECIPE)
    run.write_json("results.json", {"records": [{"value": float("nan"), "ok": (1, 0.5)}]})
    assert json.loads((tmp_path / "results.json").read_text()) == {"records": [{"value": None, "ok": [1, 0.5]}]}
    assert run.finished


def test_a_run_that_never_began_leaves_nothing(tmp_path: Path) -> None:
    empty, begun = (RunFolder.open(tmp_path / name, {"verb": "train"}) for name in ("empty", "begun"))
    for run in (empty, begun):
        run.log({"step": 1})  # by itself nothing to go on from
    begun.save_checkpoint({"step": 1})
    for run in (empty, begun):
        run.discard()
    assert not empty.path.exists() and begun.rows() == [{"step": 1}]
    RunFolder.open(empty.path, {"verb": "harden"}).close()  # nobody holds it
