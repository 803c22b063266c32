"""What studies are made of: images by their text, a store that keeps models and measurements, and a grid in words."""

import gc
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from weatherproof.data import ImageSet
from weatherproof.errors import InputError
from weatherproof.evaluation import Record
from weatherproof.files import write_atomically
from weatherproof.readouts import Readout
from weatherproof.spec import component
from weatherproof.studies import STUDIES, Images, Measure, Recipe, Scale, Source, Store, Study, run_study
from weatherproof.studies.lab.claims import above
from weatherproof.studies.lab.classifiers import Probed, Validated
from weatherproof.studies.lab.joins import at_seeds
from weatherproof.studies.lab.measures import Clean
from weatherproof.studies.lab.recipes import Given, Hardened
from weatherproof.studies.lab.run import require_same_images
from weatherproof.studies.lab.sets import located
from weatherproof.studies.lab.store import Bench, Measured
from weatherproof.studies.lab.study import About, Cell, Claim
from weatherproof.studies.lab.table import certificate_lines, study_table, table
from weatherproof.studies.papers.contrastive_inversion.scales import SMOKE
from weatherproof.texts import read_json, read_yaml
from weatherproof.training import Plan, RunFolder
from weatherproof.verbs.reproduce import reproduce

CPU = torch.device("cpu")
STUDY = STUDIES["table-7"]
pytestmark = pytest.mark.filterwarnings("ignore:small. no weights given:UserWarning")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, data=None, device=CPU)


# images


def test_the_shifted_classes_are_not_learnt(store: Store) -> None:
    shift = SMOKE.data["shift"]
    train, test = store.images(Images(shift, "train", limit=128)), store.images(Images(shift, "test"))
    assert not {7, 9} & {*train.labels.tolist()} and len(train) == 128
    assert {*test.labels.tolist()} == {1, 4}  # sevens are called ones, nines fours


def test_a_set_of_two_classes_is_tested_on_two(store: Store) -> None:
    source = SMOKE.data["COVID X-ray"]
    for images in (Images(source, "train"), Images(source, "test")):
        assert {*store.images(images).labels.tolist()} == {0, 1}


def test_where_data_lie() -> None:
    with pytest.raises(InputError, match="give --data DIR or set WEATHERPROOF_DATA"):
        located("cifar10:$DATA/cifar10", None)
    assert located("digits", None) == "digits" and located("cifar10:$DATA/c", "/d") == "cifar10:/d/c"


# the store

FIT = Images(Source("digits"), "train", limit=64)
PLAN = Plan(epochs=1, batch_size=32, lr=1e-3)
TEST = Images(Source("digits"), "test", limit=8)


@component
class Counted:
    """A measure that is to be asked once."""

    asked: tuple[str, ...] = ()

    def __call__(self, model: nn.Module, images: ImageSet, bench: Bench) -> Measured:
        CALLS.append(bench.name)
        write_atomically(bench.folder / "answers" / "block-00000.safetensors", b"")
        record = Record(metric="top1", value=len(images) / 7, stderr=None, seeds=(3,), images=len(images), model="",
                        data=images.name, protocol="p")  # fmt: skip
        return Measured((record,), {"attack": "none", "images": 3, "checks": []})


CALLS: list[str] = []


def test_what_is_kept_is_the_same_to_the_last_bit_and_not_made_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, measure = (
        Hardened(Given("small"), FIT, "GaussianNoise(0.1)", Plan(epochs=1, batch_size=32, lr=1e-3)),
        Counted(),
    )
    assert isinstance(model, Recipe) and isinstance(measure, Measure)
    CALLS.clear()
    first, weights = store.measured(model, measure, TEST, name="it"), store.encoder(model).state_dict()
    assert CALLS == ["it"] and first.records[0].value == 8 / 7 and first.records[0].seeds == (3,)
    monkeypatch.setattr("weatherproof.studies.lab.recipes.harden_encoder", lambda *_, **__: pytest.fail("trained"))
    again = Store(store.folder, data=None, device=CPU)
    assert again.measured(model, measure, TEST, name="other") == first and CALLS == ["it"]
    assert all(torch.equal(weight, weights[name]) for name, weight in again.encoder(model).state_dict().items())
    assert not list(store.home(model).glob("**/block-*"))  # what a killed one would have gone on from
    store.measured(model, Counted(("again",)), TEST, name="it")
    store.measured(model, measure, Images(TEST.source, "test", limit=4), name="it")
    assert CALLS == ["it"] * 3  # another measure and other images are other measurements


# other images under the same name


def _fill(data: Path, count: int) -> None:
    for split, shade in (("train", 90), ("test", 30)):
        for name in "ab":
            (data / "x" / split / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                Image.new("L", (8, 8), shade + ord(name) + i).save(data / "x" / split / name / f"{i}.png")


SOURCE = Source("folder:$DATA/x")
OWN, OWN_TEST = (Images(SOURCE, split, 8, channels=1) for split in ("train", "test"))
STUDENT = Hardened(Given("small"), OWN, "GaussianNoise(0.1)", replace(PLAN, batch_size=4))


def test_a_model_of_half_the_images_is_refused_when_they_are_complete(tmp_path: Path) -> None:
    data = tmp_path / "data"

    def fresh() -> Store:
        return Store(tmp_path / "store", data=str(data), device=CPU)

    _fill(data, 2)
    fresh().measured(STUDENT, Counted(), OWN_TEST, name="it")
    home = fresh().home(STUDENT)
    assert read_yaml(home / "recipe.yaml")["images"].keys() == {"folder:$DATA/x, train"}
    data.rename(tmp_path / "moved")
    assert len(fresh().measured(STUDENT, Counted(), OWN_TEST, name="it").records) == 1  # images that are not there
    (tmp_path / "moved").rename(data)
    fresh().get(STUDENT)
    _fill(data, 3)
    said = r"of other images of 'folder:\$DATA/x, train' than .*: 4 images of 2 classes \(.*\) then, 6 images of 2"
    for asked in (lambda: fresh().get(STUDENT), lambda: fresh().measured(STUDENT, Counted(), OWN_TEST, name="it")):
        with pytest.raises(InputError, match=said):
            asked()
    recipe = (home / "recipe.yaml").read_text()
    (home / "recipe.yaml").write_text(yaml.safe_dump({**yaml.safe_load(recipe), "images": {}}))
    fresh().get(STUDENT)  # one of which it was not noted
    (home / "recipe.yaml").write_text(recipe)
    (home / "encoder.json").unlink()  # half made
    with pytest.raises(InputError, match=said):
        fresh().get(STUDENT)


def test_a_run_says_of_which_images_its_numbers_are(tmp_path: Path) -> None:
    """Wherever they lie; on other ones it is refused, finished or not, and its cells are called as ever."""
    cell = Cell(Probed(Given("small"), OWN), Clean(), OWN_TEST, About("as it was", "probe"))
    study = Study("some", "Some", {"smoke": lambda _: Scale("smoke", "A note.", {("row", "column"): cell})})

    def run(data: str, store: str = "store") -> str:
        made = RunFolder.open(tmp_path / "run", {"seed": 0})
        try:
            run_study(study, "smoke", made, store=tmp_path / store, data=str(tmp_path / data), seed=0, device=CPU)
        finally:
            made.close()
        return (tmp_path / "run" / "cells-of.json").read_text()

    for name, count in (("data", 2), ("same", 2), ("other", 3)):
        _fill(tmp_path / name, count)
    first = run("data")
    noted = read_json(tmp_path / "run" / "images.json")
    assert noted.keys() == {"folder:$DATA/x, train", "folder:$DATA/x, test"} and run("same") == first
    with pytest.raises(InputError, match=f"{tmp_path / 'run'} is of other images of 'folder:"):
        run("other", "another")
    made = RunFolder(tmp_path / "run", {})
    require_same_images(made, Store(tmp_path / "store", data=str(tmp_path / "same"), device=CPU))
    with pytest.raises(InputError, match="4 images of 2 classes .* then, 6 images"):
        require_same_images(made, Store(tmp_path / "store", data=str(tmp_path / "other"), device=CPU))


@pytest.mark.parametrize("name", ["cells.json", "cells-of.json", "images.json", "measured-*.json", "recipe.yaml"])
def test_a_damaged_note_is_told_in_one_line_and_is_found_again(name: str, tmp_path: Path) -> None:
    """Of a run that goes on, and of the store: what is to be deleted is named."""
    images = Images(Source("digits"), "train", limit=64)
    cell = Cell(Probed(Given("small(width=4)", quiet=True), images), Clean(), images, About("m"))
    study = Study("some", "Some", {"smoke": lambda _: Scale("smoke", "A note.", {("row", "column"): cell})})

    def run() -> str:
        made = RunFolder.open(tmp_path / "run", {"seed": 0})
        try:
            run_study(study, "smoke", made, store=tmp_path / "store", data=None, seed=0, device=CPU)
        finally:
            made.close()
        return (tmp_path / "run/results.json").read_text()

    first = run()
    (home,) = (tmp_path / "store").iterdir()
    (file,) = (home if name in ("measured-*.json", "recipe.yaml") else tmp_path / "run").glob(name)
    if file.parent == home:
        shutil.rmtree(tmp_path / "run")
    if name == "recipe.yaml":
        (measured,) = home.glob("measured-*.json")
        measured.unlink()
    file.write_text('{"records": [')
    gone = home if name == "recipe.yaml" else file
    with pytest.raises(InputError, match=f"^{file} cannot be read .*: delete {gone}, and what it held is found again"):
        run()
    shutil.rmtree(gone) if gone == home else gone.unlink()
    assert run() == first


@component
class Always:
    """Answers every image with one class."""

    answer: int

    def make(self, _: Store) -> nn.Module:
        head = nn.Linear(1, 10)
        nn.init.zeros_(head.weight)
        head.bias.data.copy_(torch.eye(10)[self.answer])
        return nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(1), head)


def test_of_several_trainings_the_one_that_is_right_most_often_on_validation_images_is_taken(store: Store) -> None:
    held = Images(Source("digits"), "test", limit=40)
    counts = torch.bincount(store.images(held).labels, minlength=10)
    trials, models = (tuple(Always((start + i) % 10) for i in range(10)) for start in (0, 5))
    own = Validated(trials, models, Clean(0), held)
    assert own.chosen(store) == int(counts.argmax()) and int(counts.max()) > int(counts.min())
    assert store.get(own) is store.get(models[int(counts.argmax())])


def test_memory_is_given_back(store: Store) -> None:
    first = weakref.ref(store.get(Given("small", seed=0)))
    for seed in range(1, 12):
        store.get(Given("small", seed=seed))
    gc.collect()
    assert first() is None


def test_a_refused_training_leaves_no_folder(store: Store) -> None:
    wrong = Hardened(Given("small"), FIT, "GaussianNoise(0.1)", PLAN, "Nothing()")
    with pytest.raises(InputError, match="unknown objective"):
        store.get(wrong)
    assert not list(store.folder.iterdir())


_HOLDS = (
    "import fcntl, sys; held = open(sys.argv[1], 'w'); fcntl.lockf(held, fcntl.LOCK_EX); print(1, flush=True); input()"
)


def test_a_readout_that_another_process_fits_is_waited_for(store: Store) -> None:
    """And not fitted again beside it: tasks of a cluster share a store."""
    probed = Probed(Given("small"), FIT)
    elsewhere = Store(store.folder / "elsewhere", data=None, device=CPU)
    made = Readout(nn.Linear(4, 10), tuple("0123456789"))
    elsewhere.fitted(probed, lambda: made)
    home = store.home(probed)
    home.mkdir()
    other = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, home / ".lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None and other.stdout.readline() == b"1\n"
    with pytest.raises(InputError, match="is in use by"):
        store.fitted(probed, lambda: pytest.fail("fitted"))

    def finish() -> None:
        for file in elsewhere.home(probed).glob("readout.*"):
            shutil.copyfile(file, home / file.name)
        other.communicate(b"\n")

    later = threading.Timer(0.3, finish)
    later.start()
    with store.waiting():
        found = store.fitted(probed, lambda: pytest.fail("fitted"))
    later.join()
    assert all(torch.equal(value, made.head.state_dict()[name]) for name, value in found.head.state_dict().items())


# a grid in words


def _table(
    found: dict[tuple[str, str], dict[str, object]], study: Study = STUDY, checks: Sequence[dict[str, object]] = ()
) -> list[str]:
    scale: Scale = study.at("smoke")
    shown = study_table(study, scale, found, {"seed": 3}, {})
    return table(study, scale, shown, found, checks).splitlines()


def test_table() -> None:
    record = {"value": 0.5, "stderr": 0.01, "images": 3, "data": "digits/test", "realizations": 2, "seeds": [0]}
    lines = _table({("noise-0.1", "Ours"): record}, checks=[{"claim": "it works", "passed": False, "detail": "0 of 1"}])
    assert lines[0] == f"# {STUDY.title}"
    assert "| | Ours |" in lines and "| noise-0.1 | 50.00 ± 1.00 (84.46) |" in lines
    assert not any(line.startswith("| noise-0.3") for line in lines)  # nothing was measured there
    assert "| it works | does not hold (0 of 1) |" in lines
    assert "- command: `weatherproof reproduce table-7 --scale smoke --seed 3`" in lines
    assert "- test images: 3 of digits/test" in lines
    assert any(line.startswith("- ±: standard error over 2 draws") for line in lines)


def test_failed_points_stand_in_the_table() -> None:
    record = {"metric": "error", "value": 0.5, "stderr": 0.1, "images": 8, "data": "d", "realizations": 1}
    doubted = {**record, "certificate": ["PGD(L2(0.25)) on m: gradients are not masked (slope 0.01)"]}
    sure = {**record, "metric": "median_perturbation", "value": None, "stderr": None, "certificate": []}
    found = {("PGD, 0.5", "supervised"): doubted, ("PGD, median", "supervised"): sure}
    lines = _table(found, STUDIES["attacks-figure-2"])
    assert "| PGD, 0.5 | 50.00 ± 10.00 † |" in lines and "| PGD, median | ∞ |" in lines
    assert "- PGD(L2(0.25)) on m: gradients are not masked (slope 0.01)" in lines
    assert certificate_lines([sure])[-1] == "All points of all certificates hold."
    assert certificate_lines([record]) == []


def test_table_3_is_shown_and_not_measured(tmp_path: Path) -> None:
    shown = reproduce("table-3", scale="paper", out=tmp_path / "run")
    assert len(shown.to_dict()) == 5 and "n03062245" in shown.to_dict()["n07930864"]  # cup: cocktail shaker
    assert not (tmp_path / "run").exists()


# several seeds


def test_a_study_over_seeds_is_the_mean_of_its_runs(tmp_path: Path) -> None:
    """Each number is that of a run with each seed, and the models are theirs: nothing is trained again."""
    store = tmp_path / "store"
    runs = [reproduce("table-9", seed=seed, store=store, out=tmp_path / f"{seed}") for seed in (3, 4)]
    trained = {file: file.stat().st_mtime_ns for file in store.rglob("encoder.safetensors")}
    both = reproduce("table-9", seed=3, seeds=2, store=store, out=tmp_path / "both")
    assert {file: file.stat().st_mtime_ns for file in store.rglob("encoder.safetensors")} == trained
    records = both.to_dict()["records"]
    assert len(records) == len(runs[0].to_dict()["records"]) > 2
    for record, *own in zip(records, *(run.to_dict()["records"] for run in runs), strict=True):
        samples = [one["value"] for one in own]
        assert record["samples"] == samples and record["seeds"] == [3, 4]
        assert record["value"] == pytest.approx(sum(samples) / 2)
        assert record["stderr"] == pytest.approx(abs(samples[0] - samples[1]) / 2)  # of a mean of two
    text = (tmp_path / "both" / "table.md").read_text()
    assert "`weatherproof reproduce table-9 --scale smoke --seed 3 --seeds 2`" in text
    (tmp_path / "both" / "images.json").write_text('{"digits, train": "3 images of 1 classes"}')
    with pytest.raises(InputError, match="both is of other images of 'digits, train' than there are now: 3 images"):
        reproduce("table-9", seed=3, seeds=2, store=store, out=tmp_path / "both")
    assert "standard error over 2 runs, each with its own trainings and its own draws of the damage" in text


@pytest.mark.parametrize(
    ("high", "low", "verdict"),
    [
        ((3.0, 4.0, 5.0), (2.0, 3.0, 4.0), "holds"),
        ((3.0, 4.0, 5.0), (2.0, 4.5, 4.0), "not decided"),  # the mean and two seeds of three
        ((1.0, 1.0, 9.0), (2.0, 2.0, 2.0), "not decided"),  # the mean and one of three
        ((3.0, 0.0, 0.0), (2.0, 3.0, 4.0), "not decided"),  # one alone
        ((1.0, 2.0, 3.0), (2.0, 3.0, 4.0), "does not hold"),
    ],
)
def test_a_claim_over_seeds(high: tuple[float, ...], low: tuple[float, ...], verdict: str) -> None:
    found = {("row", name): {"value": sum(own) / 3, "samples": list(own)} for name, own in (("a", high), ("b", low))}
    entry = Claim("a above b", above("a", "b", ("row",))).check(found)
    alone = sum(a > b for a, b in zip(high, low, strict=True))
    assert entry["verdict"] == verdict and entry["passed"] == (verdict == "holds")
    assert entry["detail"].endswith(f"by itself with {alone} of 3 seeds")
    assert Claim("c above b", above("c", "b", ("row",))).check(found)["verdict"] == "not measured"


def test_what_has_seeds_of_its_own_gets_no_others() -> None:
    with pytest.raises(InputError, match="several seeds by itself: leave --seeds out"):
        at_seeds(STUDIES["fcl-table-1"], "desk", 0, 3)
    with pytest.raises(InputError, match="1 or more; got 0"):
        reproduce("table-9", seeds=0)
