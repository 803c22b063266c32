"""Published test sets in files: corrupted images that are read where they are, counts that a copy is held against."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import weatherproof as wp
from weatherproof.data.class_lists import IMAGENET_100
from weatherproof.data.counts import difference
from weatherproof.errors import InputError
from weatherproof.evaluation import evaluate_suite
from weatherproof.evaluation.engine.conditions import cases_of_parts
from weatherproof.evaluation.record import Record
from weatherproof.operators import COMMON_15, COMMON_19
from weatherproof.readouts import Logistic
from weatherproof.studies import STUDIES, Cell, Images, Scale, Source, Store, Study, run_study
from weatherproof.studies.lab.classifiers import Probed
from weatherproof.studies.lab.measures import Suite
from weatherproof.studies.lab.recipes import Given
from weatherproof.studies.lab.run import is_current
from weatherproof.studies.lab.shares import Share
from weatherproof.studies.lab.study import About, Wanted
from weatherproof.training import RunFolder

NOISES = ("gaussian_noise", "shot_noise", "impulse_noise")
CPU = torch.device("cpu")
FIT = Images(Source("digits"), "train", limit=64)
MODEL = Probed(Given("small(width=4)"), FIT, Logistic(1))
FILES = Images(Source("cifar10-c:$DATA/cifar10-c"), "test", channels=1, size=8)
CELL = Cell(
    MODEL, Suite("common-15", (3,), group="noise"), Images(Source("digits"), "test", limit=6), About("m"),
    Wanted("mca", "all"), FILES,
)  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore:.*no weights given")


def write_files(folder: Path, names: tuple[str, ...] = COMMON_19, images: int = 4) -> None:
    """CIFAR-10-C with grey images of one level for each severity."""
    folder.mkdir(parents=True)
    levels = np.repeat(np.arange(5), images).astype(np.uint8) * 50
    for name in names:
        np.save(folder / f"{name}.npy", np.broadcast_to(levels[:, None, None, None], (5 * images, 8, 8, 3)))
    np.save(folder / "labels.npy", np.tile(np.arange(images), 5))


def test_corrupted_images_are_read_where_they_are_and_else_made(tmp_path: Path) -> None:
    """What was made on the fly is not taken for what the files say."""
    data = tmp_path / "data"
    data.mkdir()
    store = Store(tmp_path / "store", data=str(data), device=CPU)
    made = CELL.number(store)
    assert made is not None and (made.record.data, made.record.images) == ("digits/test", 6)
    write_files(data / "cifar10-c", NOISES)
    read = CELL.number(store)
    assert read is not None and (read.record.data, read.record.images) == ("cifar10-c", 4)
    assert read.record.protocol != made.record.protocol


def test_a_table_says_which_images_it_is_of(tmp_path: Path) -> None:
    study = Study("some", "Some", {"smoke": lambda _: Scale("smoke", "A note.", {("row", "column"): CELL})})
    data = tmp_path / "data"
    for name, words in (
        ("none", "made on the fly, frost synthetic; there is no such folder"),
        ("files", "read from these files"),
    ):
        if name == "files":
            write_files(data / "cifar10-c", NOISES)
        run = RunFolder.open(tmp_path / name, {"seed": 0})
        run_study(study, "smoke", run, store=tmp_path / "store", data=str(data), seed=0, device=CPU)
        run.close()
        table = (tmp_path / name / "table.md").read_text("utf-8")
        assert f"- corrupted images, cifar10-c:$DATA/cifar10-c: {words}\n" in table


def test_files_that_are_half_there_are_refused(tmp_path: Path) -> None:
    """Also those of the four extra corruptions, of which a mean over 19 would else be one over 15 in silence."""
    write_files(tmp_path / "data/cifar10-c", COMMON_15)
    store = Store(tmp_path / "store", data=str(tmp_path / "data"), device=CPU)
    cell = replace(CELL, measure=Suite("common-19"), wanted=Wanted("mca", "common-19"))
    with pytest.raises(
        InputError, match="lacks 20 of 95 sets of corrupted images .speckle_noise/1, .*add them, or move"
    ):
        cell.number(store)


def test_a_study_is_refused_for_its_files_before_it_trains(tmp_path: Path) -> None:
    """Also for those of a cell that is measured last, and in a share."""
    write_files(tmp_path / "data/cifar10-c", NOISES[1:])
    grid = {("row", "one"): replace(CELL, files=None), ("row", "two"): CELL}
    scale = Scale("smoke", "A note.", grid)
    study, cpu = Study("some", "Some", {"smoke": lambda _: scale}), {"seed": 0, "device": CPU}
    for name, share in (("whole", None), ("share", Share(1, 1))):
        run = RunFolder.open(tmp_path / name, {"seed": 0})
        with pytest.raises(InputError, match="cifar10-c lacks 1 of 3 sets of corrupted images .gaussian_noise/3"):
            run_study(study, "smoke", run, store=tmp_path / "store", data=str(tmp_path / "data"), share=share, **cpu)
        run.close()
    with pytest.raises(InputError, match="lacks 1 of 3 sets"):
        CELL.number(Store(tmp_path / "store", data=str(tmp_path / "data"), device=CPU))
    assert not (tmp_path / "store").exists()


def test_a_study_is_refused_for_what_is_not_there_before_it_trains(tmp_path: Path) -> None:
    """Images and weights of a cell that is measured last, in a share too; not of what the store holds."""
    data, cpu = tmp_path / "data", {"seed": 0, "device": CPU}
    cell, none = replace(CELL, files=None), Source("folder:$DATA/photos")
    trained = replace(MODEL, data=replace(FIT, source=none))
    weights = Probed(Given("resnet20@$DATA/none.th"), FIT)
    for shade, name in enumerate("ab"):
        (data / "photos/train" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 200 * shade).save(data / "photos/train" / name / "0.png")
    for number, (last, words) in enumerate(
        (
            (replace(cell, data=Images(none, "test")), "photos has no split 'test': expected test/ .*found train/"),
            (replace(cell, model=weights), "no weights file '.*none.th'"),
            (replace(cell, model=replace(trained, data=Images(Source("folder:$DATA/no"), "train"))), "no folder"),
        )
    ):
        scale = Scale("smoke", "A note.", {("row", "one"): cell, ("row", "two"): last})
        study = Study("some", "Some", {"smoke": lambda _, scale=scale: scale})
        for share in (None, Share(1, 1)):
            run = RunFolder.open(tmp_path / f"run-{number}-{share is None}", {"seed": 0})
            with pytest.raises(InputError, match=f"{words}.*; the same command with --check says what brings it"):
                run_study(study, "smoke", run, store=tmp_path / "store", data=str(data), share=share, **cpu)
            run.close()
    assert not (tmp_path / "store").exists()
    store = Store(tmp_path / "store", data=str(data), device=CPU)
    kept = replace(cell, model=trained)
    store.get(trained)
    shutil.rmtree(data / "photos")
    store = Store(tmp_path / "store", data=str(data), device=CPU)
    kept.check(store)
    with pytest.raises(InputError, match="no folder"):
        replace(kept, model=replace(trained, seed=1)).check(store)


@pytest.mark.parametrize(
    ("study", "key", "files"),
    [
        ("table-10", ("fog", "Ours"), "imagenet100-c:$DATA/imagenet-c"),
        ("urrl-table-1", ("corruption error", "URRL"), "imagenet-c:$DATA/imagenet-c"),
        ("urrl-table-4", ("PIRL", "calibration error"), "imagenet-c:$DATA/imagenet-c"),
        ("urrl-table-3", ("CIFAR-100-C", "URRL"), "cifar100-c:$DATA/cifar100-c"),
        ("test-time-similarity", ("URRL: mean of 15 corruptions", "TENT, ten steps"), "cifar10-c:$DATA/cifar10-c"),
        ("fcl-table-3", ("ImageNet, noise", "FCL"), "imagenet-c:$DATA/imagenet-c"),
        ("fcl-table-3", ("CIFAR-10, mean of 19", "FCL"), "cifar10-c:$DATA/cifar10-c"),
    ],
)
def test_paper_scale_reads_the_published_files(study: str, key: tuple[str, str], files: str) -> None:
    own = STUDIES[study].at("paper").cells[key]
    assert own is not None
    for cell in own.cells:
        assert cell.files is not None and cell.files.source.text == files and cell.files.split == "test"
        assert cell.files.mixed == cell.data.mixed
    desk = STUDIES[study].at("desk").cells.get(key)
    assert desk is None or all(cell.files is None for cell in desk.cells)


def test_cells_of_another_pipeline_are_not_mixed_with_todays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A grid that an earlier version began, or that was begun before the files were there."""
    data, folder = tmp_path / "data", tmp_path / "run"
    fine = replace(CELL, measure=Suite("common-15", (3,), group="noise"), wanted=Wanted("error", "shot_noise", 3.0))
    grid = {("row", "one"): CELL, ("row", "two"): fine, ("row", "three"): replace(CELL, files=None)}
    study = Study("some", "Some", {"smoke": lambda _: Scale("smoke", "A note.", grid)})
    data.mkdir()

    def run() -> dict[str, str]:
        (folder / "results.json").unlink(missing_ok=True)
        made = RunFolder.open(folder, {"seed": 0})
        run_study(study, "smoke", made, store=tmp_path / "store", data=str(data), seed=0, device=CPU)
        made.close()
        return {key: record["data"] for key, record in json.loads((folder / "cells.json").read_text()).items()}

    assert {*run().values()} == {"digits/test"}
    write_files(data / "cifar10-c", NOISES)
    assert run() == {"row | one": "cifar10-c", "row | two": "cifar10-c", "row | three": "digits/test"}
    cells = json.loads((folder / "cells.json").read_text())
    for record in cells.values():  # as a version that says nothing of its pipeline left them
        record["value"] = 7.0
    (folder / "cells.json").write_text(json.dumps(cells))
    assert {*run()} == {*cells} and "7.0" in (folder / "cells.json").read_text()  # what is of today is taken
    (folder / "cells-of.json").unlink()
    capsys.readouterr()
    run()
    assert f"3 of 3 cells of {folder / 'cells.json'} were measured with other settings or by" in capsys.readouterr().err
    assert "7.0" not in (folder / "cells.json").read_text()


def test_a_finished_run_is_current_while_its_study_asks_for_the_same(tmp_path: Path) -> None:
    data, run, store = tmp_path / "data", RunFolder.open(tmp_path / "run", {"seed": 0}), tmp_path / "store"
    write_files(data / "cifar10-c", NOISES)

    def study(**grid: Cell) -> Study:
        scale = Scale("smoke", "A note.", {("row", name): cell for name, cell in grid.items()})
        return Study("some", "Some", {"smoke": lambda _: scale})

    def current(asked: Study) -> bool:
        return is_current(asked, "smoke", run, store=store, data=str(data), seed=0, device=CPU)

    whole, fewer = study(one=CELL, two=replace(CELL, files=None)), study(one=CELL)
    run_study(whole, "smoke", run, store=store, data=str(data), seed=0, device=CPU)
    assert current(whole) and not current(fewer)
    assert not current(study(one=CELL, two=replace(CELL, files=None, wanted=Wanted("error", "gaussian_noise", 3.0))))
    data.rename(tmp_path / "moved")
    assert current(whole)  # numbers of files are not replaced by those without
    write_files(data / "cifar10-c", NOISES)
    (run.path / "cells-of.json").unlink()
    assert not current(whole)
    run.close()


# over which corruptions a mean is


def test_a_mean_over_some_corruptions_says_over_which(tmp_path: Path) -> None:
    """They are no suite: the record names them, and what is kept of it keeps them."""
    some = ("fog", "jpeg_compression")
    write_files(tmp_path / "cifar10-c", some)
    images = wp.load_images(f"cifar10-c:{tmp_path / 'cifar10-c'}", size=8, channels=1)
    classifier = Store(tmp_path / "store", data=None, device=CPU).get(MODEL)
    found = evaluate_suite(classifier, images, cases_of_parts(images.parts)).records
    (mean,) = [record for record in found if record.metric == "mca" and record.corruption == "all"]
    assert mean.over == some and Record.from_dict(json.loads(json.dumps(mean.to_dict()))) == mean
    others = [record for record in found if record.corruption != "all"]
    assert others and not any(record.over or "over" in record.to_dict() for record in others)


# how many images there are


def test_a_copy_is_held_against_the_published_counts(tmp_path: Path) -> None:
    source, count = f"imagenet100:{tmp_path}", 0
    for split in ("train", "val"):
        for number, name in enumerate(IMAGENET_100):
            (tmp_path / split / name).mkdir(parents=True)
            for file in range(2 if number == 7 else 3):
                Image.new("RGB", (4, 4)).save(tmp_path / split / name / f"{file}.png")
                count += split == "train"
    words = (
        "imagenet100 in .* has 299 images to train, and the published set 126,689: 126,390 are missing .the classes "
        f"with the fewest: {IMAGENET_100[7]} 2, .*not those of the whole set"
    )
    with pytest.warns(UserWarning, match=words):
        Store(tmp_path / "store", data=str(tmp_path), device=CPU).images(
            Images(Source("imagenet100:$DATA"), "train", uncropped=8, limit=10)
        )
    assert count == 299
    images = wp.load_images(source, "test", size=4)
    assert "299 images to test, and the published set 5,000: 4,701 are missing" in (
        difference(source, "test", images) or ""
    )
    assert difference("folder:somewhere", "train", images) is None and difference(source, "validation", images) is None


def test_a_whole_copy_is_passed_in_silence_and_a_larger_one_is_said() -> None:
    covid = wp.load_images("digits", "train").subset(torch.arange(624))
    assert difference("covid-xray:/d", "test", covid) is None
    more = wp.load_images("digits", "train").subset(torch.arange(630))
    assert "published set 624: 6 more;" in (difference("covid-xray:/d", "test", more) or "")
