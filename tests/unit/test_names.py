"""Names that are no text, or more than that: shown in one way by all that is written."""

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hostile_names import HOSTILE, hostile_folders
from html_page import Strict
from PIL import Image
from rich.console import Console
from safetensors.torch import save

from weatherproof.cli import _show_warning, main
from weatherproof.data import FileImages, MemoryImages, load_images
from weatherproof.encoders import load_encoder, save_encoder
from weatherproof.encoders.weights import read_weights
from weatherproof.errors import InputError
from weatherproof.names import original, printable, shell_word, visible
from weatherproof.readouts import Readout, load_readout, save_readout
from weatherproof.reports import GalleryEntry, console_table, markdown_table, save_gallery, save_map, write_report
from weatherproof.reports.plane.section import read_map
from weatherproof.training import RunFolder
from weatherproof.verbs.corrupt.names import file_names, hidden_name
from weatherproof.verbs.outcome import Outcome, command, name_of

NAMES = tuple(map(os.fsdecode, HOSTILE))
SHOWN = tuple(map(printable, NAMES))
HIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff]")  # all but the end of a line


def record(name: str) -> dict[str, object]:
    return {
        "metric": "top1", "value": 0.5, "stderr": None, "realizations": 1, "seeds": [0], "images": 9, "model": name,
        "readout": "probe", "data": name, "label_fraction": 1.0, "operator": None, "corruption": None, "severity": None,
        "attack": None, "trained_on": None, "protocol": "aa11",
    }  # fmt: skip


# the escaping


def test_names_are_the_same_where_the_locale_knows_ascii_alone(tmp_path: Path) -> None:
    """The classes of a run are found again, and files are written under the same bytes."""
    root = hostile_folders(tmp_path / "odd", "train", "test")
    code = (
        "import json, os, sys; from weatherproof.data import load_images; from weatherproof.names import original\n"
        "classes = load_images(sys.argv[1], 'test').classes\n"
        "print(json.dumps([sys.getfilesystemencoding(), classes, [os.fsencode(original(c)).hex() for c in classes]]))"
    )
    plain = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", code, root], env=plain, capture_output=True, check=True, text=True)
    encoding, classes, names = json.loads(done.stdout)
    here = load_images(root, "test").classes
    assert {*classes} == {*here} and {*map(bytes.fromhex, names)} == {*HOSTILE}
    assert classes == list(here) or encoding != "ascii"


def test_names_that_differ_are_shown_differently_and_can_be_had_back() -> None:
    assert len({*SHOWN}) == len({*NAMES}) == len(HOSTILE)
    assert [os.fsencode(original(text)) for text in SHOWN] == list(HOSTILE)
    assert not [text for text in SHOWN if HIDDEN.search(text) or "\n" in text]
    half = "\ud83d\udcc3\udca9"  # no name of a file
    assert printable(half) == r"\xed\xa0\xbd\xc3\xa9"
    draws = np.random.default_rng(0)
    for _ in range(300):
        name = os.fsdecode(bytes(draws.choice(list(b"\\x5ce9\xc3\xa9\xe9\n"), 12).tolist()))
        assert original(printable(name)) == name
        assert visible(visible(name)) == visible(name)


def test_what_can_be_shown_stays_as_it_is() -> None:
    for name in ("cat", "n01440764", "Straße 7", "猫", "back\\slash", "C:\\xray", "a b", "100%", "\U0001f99c\u200d"):
        assert printable(name) == name


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="there is no bash")
def test_a_word_for_a_shell_is_the_name_to_the_byte() -> None:
    said = " ".join(map(shell_word, NAMES))
    assert not HIDDEN.search(said) and "\n" not in said
    found = subprocess.run(["/bin/bash", "-c", f"printf '%s\\0' {said}"], capture_output=True, check=True).stdout
    assert found.split(b"\0")[:-1] == list(HOSTILE)
    assert command("audit", "my run", "digits") == f"weatherproof audit {shlex.quote('my run')} digits"


# what is written, by each writer, with all of them


def page(folder: Path, names: Sequence[str]) -> list[str]:
    """Names of models, data and classes, in tables, pictures and the map."""
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"verb": "probe", "images": "".join(names)}))
    (folder / "results.json").write_text(json.dumps({"records": [record(name) for name in names]}))
    image = torch.zeros(3, 4, 4)
    save_gallery(folder, [GalleryEntry(image, image, "A()", {"m": [(name, 0.5)]}, truth=name) for name in names[:24]])
    save_map(folder, torch.rand(len(names), 2), torch.arange(len(names)), classes=names, by="pca", data=names[0])
    text = write_report(folder).read_text("utf-8")
    Strict(text)
    assert "<script>" not in text
    return [text]


def results(folder: Path, names: Sequence[str]) -> list[str]:
    RunFolder(folder, {}).write_json("results.json", {"classes": names, **dict.fromkeys(names, 1)})
    read = json.loads((folder / "results.json").read_text("utf-8"))
    assert read.pop("classes") == [*names] == [*read]
    return []


def log(folder: Path, names: Sequence[str]) -> list[str]:
    run = RunFolder(folder, {})
    for step, name in enumerate(names):
        run.log({"step": step, "name": name})
    run.rewind(len(names))
    assert [row["name"] for row in run.rows()] == [*names]
    return [(folder / "log.jsonl").read_text("utf-8")]


def recipe(folder: Path, names: Sequence[str]) -> list[str]:
    run = RunFolder.open(folder, {"verb": "probe", "images": [*names]})
    run.close()
    assert yaml.safe_load((folder / "recipe.yaml").read_text("utf-8"))["images"] == [*names]
    RunFolder.open(folder, {"verb": "probe", "images": [*names]}).close()  # it is the same run
    return []


def readout(folder: Path, names: Sequence[str]) -> list[str]:
    save_readout(Readout(torch.nn.Linear(2, len(names)), tuple(names)), folder, provenance={"images": names[0]})
    found = load_readout(folder)
    assert found is not None and found.classes == tuple(names)
    return []


def encoder(folder: Path, names: Sequence[str]) -> list[str]:
    save_encoder(load_encoder("small(width=4)"), folder, provenance=dict.fromkeys(names, names))
    assert [*json.loads((folder / "encoder.json").read_text("utf-8"))["provenance"]] == [*names]
    return [(folder / "encoder.json").read_text("utf-8")]


def metadata(folder: Path, names: Sequence[str]) -> list[str]:
    """Of a safetensors file."""
    save_map(folder, torch.rand(len(names), 2), torch.arange(len(names)), classes=names, by="pca", data=names[0])
    assert read_map(folder) is not None
    return []


def table_of_attacks(folder: Path, names: Sequence[str]) -> list[str]:
    from weatherproof.evaluation.attacks.samples import _csv

    data = _csv([(name, 1) for name in names]).decode()
    if names == SHOWN:
        assert [row[0] for row in csv.reader(io.StringIO(data, newline=""))][1:] == [*names]
    return [data]


def markdown(folder: Path, names: Sequence[str]) -> list[str]:
    text = markdown_table([record(name) for name in names], columns=("model",))
    assert len({line.count("|") - line.count("\\|") for line in text.splitlines() if line.startswith("|")}) == 1
    return [text]


def terminal(folder: Path, names: Sequence[str]) -> list[str]:
    shown = io.StringIO()
    Console(file=shown, width=10_000).print(console_table([record(name) for name in names]))
    return [shown.getvalue()]


def standard_error(folder: Path, names: Sequence[str]) -> list[str]:
    """Errors and warnings: one line each, whatever the name."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", said)
        for name in names:
            assert main(["audit", f"./{name}", "digits"]) == 2
            _show_warning(UserWarning(f"{name} is odd"), UserWarning)
    assert len(said.getvalue().splitlines()) == 2 * len(names)
    return [said.getvalue()]


WRITERS = (
    page, results, log, recipe, readout, encoder, metadata, table_of_attacks, markdown, terminal, standard_error,
)  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*randomly initialised")
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_writer_copes_with_every_name(write: Callable[[Path, Sequence[str]], list[str]], tmp_path: Path) -> None:
    """As classes come, printable, nothing gets through that is none; as a user's own set may have them, none fails."""
    for kind, names in (("raw", NAMES), ("shown", SHOWN)):
        folder = tmp_path / kind
        folder.mkdir()
        texts = write(folder, names)
        for file in folder.rglob("*"):
            if file.suffix in (".html", ".json", ".jsonl", ".yaml", ".md", ".csv"):
                file.read_text("utf-8")
        if kind == "shown" or write in (standard_error, encoder):
            assert not [text for text in texts if HIDDEN.search(text)]


def test_what_is_printed_fits_a_terminal_that_knows_fewer_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(said, "ascii", write_through=True))
    monkeypatch.setattr("weatherproof.cli._answer", lambda argv: print("café 猫") or 0)
    assert main(["demo"]) == 0
    assert said.getvalue() == b"caf\\xe9 \\u732b\n"


def test_paths_with_markup_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "[" / "red]" / "\udce9"
    folder.mkdir(parents=True)
    (folder / "report.html").touch()
    check = {"passed": True, "claim": "[/red]", "detail": "[x"}
    Outcome(folder, [record("[/a]")], checks=[check], next_steps=("weatherproof [/b]",)).show()
    out = capsys.readouterr().out
    assert "[/a]" in out and "holds  [/red] ([x)" in out and "[/red]/\\xe9/report.html" in out and "[/b]" in out


def test_a_check_stays_on_one_line_however_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = {"passed": False, "claim": "a claim of many words " * 10, "detail": "6 of 8"}
    Outcome(tmp_path, [], checks=[check]).show()
    assert f"fails  {check['claim']} (6 of 8)" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_weights_are_read_from_a_file_with_any_name(tmp_path: Path, ending: str) -> None:
    for name in NAMES[:7]:
        file = tmp_path / f"{name}.{ending}"
        tensors = {"weight": torch.rand(2, 3)}
        file.write_bytes(save(tensors)) if ending == "safetensors" else torch.save(tensors, file)
        assert torch.equal(read_weights(file)["weight"], tensors["weight"])


# where names become text


def test_classes_are_text_and_paths_keep_their_bytes(tmp_path: Path) -> None:
    root = hostile_folders(tmp_path / os.fsdecode(HOSTILE[0]), "train", "test")
    train, test = (load_images(root, split, memory_budget=0) for split in ("train", "test"))
    assert isinstance(train, FileImages) and len(train) == 2 * len(HOSTILE)
    assert train.classes == test.classes == tuple(map(printable, sorted(NAMES)))
    assert train.name == r"caf\xe9/train"
    assert {os.fsencode(Path(path).parent.name) for path in train.paths} == {*HOSTILE}
    assert len(train.read(torch.arange(len(train)))) == len(train)
    for path, label in zip(train.paths, train.labels.tolist(), strict=True):
        assert printable(Path(path).parent.name) == train.classes[label]


def test_messages_name_files_in_one_line(tmp_path: Path) -> None:
    root = hostile_folders(tmp_path / "set", "train")
    for folder in (root / "train").iterdir():
        (folder / "1.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError) as caught:
        load_images(root, "train")
    assert not HIDDEN.search(str(caught.value)) and "\n" not in str(caught.value)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        load_images(root, "train", max_bad=0.6)
    assert len(told) == 1 and not HIDDEN.search(str(told[0].message))


def test_records_call_a_run_by_its_escaped_name(tmp_path: Path) -> None:
    (tmp_path / "caf\udce9").mkdir()
    assert name_of(tmp_path / "caf\udce9") == r"caf\xe9"


def test_copies_keep_the_bytes_of_folders_and_files(tmp_path: Path) -> None:
    images = load_images(hostile_folders(tmp_path / "set", "test"), "test", memory_budget=0)
    for name, path in zip(file_names(images), images.paths, strict=True):
        assert os.fsencode(Path(name).parent.name) == os.fsencode(Path(path).parent.name)
        assert os.fsencode(Path(name).name).startswith(os.fsencode(Path(path).stem))
        assert len(os.fsencode(hidden_name(Path(name).name))) <= 255


def test_classes_in_memory_become_the_folders_that_they_show() -> None:
    def named(*classes: str) -> MemoryImages:
        return MemoryImages(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]), classes)

    assert file_names(named(r"caf\xe9", "b")) == ["caf\udce9/0.JPEG", "b/1.JPEG"]
    for strange in ("caf\udce9", "a\nb", r"a\x2fb", r"a\x00", "..", ""):  # another name would be read back
        with pytest.raises(InputError, match="cannot be a folder"):
            file_names(named(strange, "b"))
    with pytest.raises(InputError, match="two classes have one name"):
        file_names(named("a", "a"))


def test_a_file_name_too_long_for_a_copy_is_refused(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / ("x" * 251 + ".png"))
    with pytest.raises(InputError, match="a file name of more than 255 bytes: xxx"):
        file_names(load_images(tmp_path, "all", memory_budget=0))
