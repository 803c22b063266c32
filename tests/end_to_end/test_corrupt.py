"""A corrupted copy: what audit computes on the fly, whatever happens while it is written."""

import errno
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from full_disk import fill_disk
from PIL import Image

import weatherproof as wp
from weatherproof import operators, random
from weatherproof.data import FileImages, MemoryImages, load_images
from weatherproof.errors import InputError
from weatherproof.evaluation import EVAL_STREAM, evaluate

from .conftest import Command, class_folders, start

QUICK = ("gaussian_noise", "fog", "brightness")  # one that draws a field, one a map, one nothing
WORDS = [word for name in QUICK for word in ("--corruptions", name)]
SECONDS = 60  # what a slow machine may need until its first file


def small(count: int = 20, side: int = 32) -> MemoryImages:
    """Some of the digits, in colour, with the indices that they have in the whole set."""
    return load_images("digits", "test", side, channels=3).subset(torch.arange(0, 360, 360 // count)[:count])


def on_the_fly(images: Any, operator: Any, seed: int = 0) -> torch.Tensor:
    """What `evaluate` shows its classifiers in the first realization."""
    pixels = images.read(torch.arange(len(images))) / 255
    return operator(pixels, random.fold(random.keys(seed, images.index), EVAL_STREAM, 0))


def levels(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.mul(255).round().to(torch.uint8)


def contents(folder: Path) -> dict[str, bytes]:
    """All files but those that say when and where."""
    told = ("recipe.yaml", "manifest.json", ".lock")
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file() and f.name not in told}


def interrupt_after(monkeypatch: pytest.MonkeyPatch, calls: int, error: BaseException) -> None:
    """The operators fail from some call on; the first few calls try them out."""
    left, real = [calls], operators.Corruption.__call__

    def call(self: Any, images: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        left[0] -= 1
        if left[0] < 0:
            raise error
        return real(self, images, keys)

    monkeypatch.setattr(operators.Corruption, "__call__", call)


# what is written


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 19 corruptions of twenty digits."""
    folder = tmp_path_factory.mktemp("arrays") / "copy"
    copy = wp.corrupt(small(), suite="common-19", out=folder)
    assert (copy.folder, copy.status) == (folder, 0)
    return folder


def test_arrays_hold_what_is_computed_on_the_fly(arrays: Path) -> None:
    clean, copy = small(), load_images(f"corrupted:{arrays}")
    assert list(copy.parts) == [(c.corruption, c.severity) for c in operators.suite("common-19")]
    for condition in operators.suite("common-19"):
        part = copy.subset(copy.parts[condition.corruption, condition.severity])
        expected = levels(on_the_fly(clean, condition.operator))
        assert torch.equal(part.read(torch.arange(len(part))), expected), condition
        assert torch.equal(part.index, clean.index) and torch.equal(part.labels, clean.labels)
    assert copy.classes == clean.classes and copy.name == "digits-c"


def test_an_evaluation_of_the_copy_gives_the_numbers_of_one_on_the_fly(arrays: Path) -> None:
    clean, train = small(), load_images("digits", "train", 32, channels=3)
    means = torch.stack([(train.pixels[train.labels == c] / 255).mean(0) for c in range(10)]).flatten(1)

    def nearest_mean(images: torch.Tensor) -> torch.Tensor:
        return -torch.cdist(images.flatten(1), means)

    copy, seen = load_images(f"corrupted:{arrays}"), set()
    for condition in operators.suite("common-15"):
        part = copy.subset(copy.parts[condition.corruption, condition.severity])
        (there,) = evaluate({"m": nearest_mean}, part, metrics=("top1",), batch_size=7)
        (here,) = evaluate({"m": nearest_mean}, clean, metrics=("top1",), operator=condition.operator, realizations=1)
        assert there.value == here.value, condition
        seen.add(there.value)
    assert max(seen) > 0.7 and len(seen) > 3  # the classifier works, and some corruptions hurt it


@pytest.mark.slow
def test_an_audit_of_the_copy_is_one_on_the_fly(teacher: str, photos: Path, tmp_path: Path) -> None:
    probe = wp.probe(teacher, photos, workers=0, out=tmp_path / "probe").folder
    wp.corrupt(photos, size=32, out=tmp_path / "copy")
    there = wp.audit(probe, f"corrupted:{tmp_path / 'copy'}", suite="common-15", out=tmp_path / "there")
    here = wp.audit(probe, photos, suite="common-15", size=32, out=tmp_path / "here")

    def top1(run: Any) -> dict[tuple[str, int], float]:
        return {
            (r["corruption"], r["severity"]): r["value"]
            for r in run.records
            if r["metric"] == "top1" and r["severity"] is not None
        }

    assert len(top1(there)) == 75 and top1(there) == top1(here)
    assert len({*top1(here).values()}) > 1


def test_arrays_have_the_published_layout(arrays: Path) -> None:
    for name in operators.COMMON_19:
        array = np.load(arrays / f"{name}.npy", allow_pickle=False)
        assert (array.dtype, array.shape) == (np.uint8, (100, 32, 32, 3))
    labels = np.load(arrays / "labels.npy", allow_pickle=False)
    assert labels.tolist() == small().labels.tolist() * 5
    assert sorted(f.name for f in arrays.iterdir()) == sorted(
        [*(f"{n}.npy" for n in operators.COMMON_19), "labels.npy", "index.npy", "manifest.json", "recipe.yaml", ".lock"]
    )


def test_the_manifest(arrays: Path) -> None:
    manifest = json.loads((arrays / "manifest.json").read_text())
    assert (manifest["seed"], manifest["images"], manifest["layout"], manifest["size"]) == (0, 20, "cifar-c", [32, 32])
    assert manifest["corruptions"] == list(operators.COMMON_19) and manifest["severities"] == [1, 2, 3, 4, 5]
    assert manifest["parameters"] == "cifar parameters" and "torch" in manifest["versions"]
    assert manifest["operators"]["fog"][2] == "Corruption('fog', 3)"
    assert any("frost" in note and "not comparable" in note for note in manifest["notes"])
    for name, told in manifest["files"].items():
        data = (arrays / name).read_bytes()
        assert (told["bytes"], told["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert {*manifest["files"]} == {f"{n}.npy" for n in operators.COMMON_19} | {"labels.npy", "index.npy"}


def test_batches_and_workers_do_not_matter(arrays: Path, tmp_path: Path) -> None:
    wp.corrupt(small(), suite="common-19", batch_size=7, workers=0, out=tmp_path / "copy")
    for name in operators.COMMON_19:
        here, there = (np.load(folder / f"{name}.npy").astype(int) for folder in (tmp_path / "copy", arrays))
        # Sums over other batches may differ in their last bit, and one in many then falls short of a level.
        assert np.abs(here - there).max() <= 1 and (here != there).mean() < 1e-4, name
    assert (tmp_path / "copy/labels.npy").read_bytes() == (arrays / "labels.npy").read_bytes()


def test_another_seed_is_another_copy(arrays: Path, tmp_path: Path) -> None:
    wp.corrupt(small(), corruptions=["gaussian_noise", "brightness"], seed=1, out=tmp_path / "other")
    same = {
        name: (tmp_path / "other" / f"{name}.npy").read_bytes() == (arrays / f"{name}.npy").read_bytes()
        for name in ("gaussian_noise", "brightness")
    }
    assert same == {"gaussian_noise": False, "brightness": True}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A test split of three classes, 72 pixels wide, with names that would collide as JPEG."""
    root = class_folders(tmp_path / "photos", train=1, test=4, side=72)
    ant = root / "test" / "ant"
    image = Image.open(ant / "000.png")
    image.save(ant / "000.bmp")
    image.save(ant / "other.JPEG", quality=100)
    (ant / "deep").mkdir()
    (ant / "001.png").rename(ant / "deep" / "001.png")
    return root


def test_folders_have_the_published_layout(pictures: Path, tmp_path: Path, weatherproof: Command) -> None:
    out = tmp_path / "copy"
    status, said, err = weatherproof("corrupt", pictures, *WORDS, "--severities", 2, "--severities", 5, "--out", out)
    assert (status, err) == (0, "")
    assert "14 images of photos/test under 3 corruptions at severity 2, 5: cifar parameters, lengths" in said
    parts = [f"{name}/{severity}" for name in QUICK for severity in (2, 5)]
    names = {
        "ant/000.JPEG", "ant/000.png.JPEG", "ant/deep/001.JPEG", "ant/002.JPEG", "ant/003.JPEG", "ant/other.JPEG",
        *(f"{c}/00{i}.JPEG" for c in ("bee", "cat") for i in range(4)),
    }  # fmt: skip
    assert {*contents(out)} == {f"{part}/{name}" for part in parts for name in names}
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["files"] == {part: {"images": 14} for part in parts}
    assert (manifest["jpeg_quality"], manifest["layout"], manifest["images"]) == (85, "imagenet-c", 14)

    clean, copy = load_images(pictures, "test", memory_budget=0), load_images(f"corrupted:{out}")
    assert isinstance(clean, FileImages)
    assert copy.classes == clean.classes == ("ant", "bee", "cat")
    assert list(copy.parts) == [(name, severity) for name in QUICK for severity in (2, 5)]
    for name, severity in copy.parts:
        part = copy.subset(copy.parts[name, severity])
        assert torch.equal(part.labels, clean.labels)
        expected = on_the_fly(clean, operators.Corruption(name, severity, jpeg_quality=85))
        assert torch.equal(part.read(torch.arange(14)), levels(expected)), (name, severity)


def test_small_images_in_folders_and_large_ones_in_arrays(pictures: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"corruptions": ["brightness"]}
    wp.corrupt("digits", layout="imagenet-c", severities=[3], **settings, out=tmp_path / "digits")
    copy = load_images(f"corrupted:{tmp_path / 'digits'}", channels=None)
    assert (len(copy), copy.channels, copy.image_size) == (360, 1, (32, 32))
    assert copy.classes == tuple("0123456789") and {*copy.parts} == {("brightness", 3)}
    wp.corrupt(pictures, layout="cifar-c", size=40, jpeg_quality=50, **settings, out=tmp_path / "arrays")
    copy = load_images(f"corrupted:{tmp_path / 'arrays'}@brightness/4")
    assert (len(copy), copy.image_size, copy.classes) == (14, (40, 40), ("ant", "bee", "cat"))
    clean = load_images(pictures, "test", 40)
    expected = on_the_fly(clean, operators.Corruption("brightness", 4, jpeg_quality=50))
    assert torch.equal(copy.read(torch.arange(14)), levels(expected))


@pytest.mark.parametrize("channels", [2, 4])
def test_images_of_any_number_of_channels_go_into_arrays_and_come_back(channels: int, tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (6, channels, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    clean = MemoryImages(pixels, torch.arange(6) % 2, ["a", "b"], name="toys")
    settings: dict[str, Any] = {"corruptions": ["gaussian_noise"], "parameters": "cifar"}
    wp.corrupt(clean, **settings, out=tmp_path / "copy")
    copy = load_images(f"corrupted:{tmp_path / 'copy'}@gaussian_noise/4")
    assert (copy.channels, copy.image_size) == (channels, (8, 8))
    expected = on_the_fly(clean, operators.Corruption("gaussian_noise", 4, "cifar"))
    assert torch.equal(copy.read(torch.arange(6)), levels(expected))
    assert load_images(f"corrupted:{tmp_path / 'copy'}", size=4).read(torch.arange(3)).shape == (3, channels, 4, 4)
    with pytest.raises(InputError, match=f"in {channels} channels stay as they are: leave out channels=3"):
        load_images(f"corrupted:{tmp_path / 'copy'}", channels=3)
    with pytest.raises(InputError, match=rf"1 or 3 channels, and 'toys' has {channels}: choose --layout cifar-c"):
        wp.corrupt(clean, **settings, layout="imagenet-c", out=tmp_path / "files")
    assert not (tmp_path / "files").exists()
    manifest = tmp_path / "copy" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"layout": "imagenet-c"}))
    with pytest.raises(InputError, match=f"says {channels} channels: files hold 1 or 3"):
        load_images(f"corrupted:{tmp_path / 'copy'}")


def test_images_without_labels_go_into_folders(tmp_path: Path) -> None:
    from .conftest import save_images

    save_images(tmp_path / "photos" / "test", 3, side=32)
    save_images(tmp_path / "photos" / "train", 1, side=32)
    wp.corrupt(tmp_path / "photos", corruptions=["fog"], severities=[1], out=tmp_path / "copy")
    assert {*contents(tmp_path / "copy")} == {f"fog/1/00{i}.JPEG" for i in range(3)}
    assert load_images(f"corrupted:{tmp_path / 'copy'}").labels.tolist() == [-1, -1, -1]


def test_unreadable_images_are_left_out_of_folders_and_refused_for_arrays(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "photos", train=1, test=10, side=72)
    (root / "test/bee/004.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="1 of 30 images"):
        copy = wp.corrupt(root, corruptions=["fog", "contrast"], severities=[1], batch_size=7, out=tmp_path / "copy")
    assert copy.manifest["files"] == {"fog/1": {"images": 29}, "contrast/1": {"images": 29}}
    assert [Path(path).name for path in copy.manifest["left_out"]] == ["004.png"] and copy.manifest["images"] == 29
    assert len(load_images(f"corrupted:{tmp_path / 'copy'}")) == 58
    for batch_size in (7, 1):  # a gap inside a batch, and a batch that is one
        files = load_images(root, "test", memory_budget=0)
        settings: dict[str, Any] = {"corruptions": ["fog"], "layout": "cifar-c", "batch_size": batch_size}
        with pytest.raises(InputError, match=r"have no row in an array: remove them.*004.png"):
            wp.corrupt(files, **settings, out=tmp_path / f"arrays-{batch_size}")
        assert not list((tmp_path / f"arrays-{batch_size}").glob("*.npy"))


# stopped, killed, full


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["cifar-c", "imagenet-c"])
def test_a_stopped_copy_goes_on_to_the_same_bytes(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"corruptions": [*QUICK], "layout": layout, "batch_size": 4}
    wp.corrupt(small(), **settings, out=tmp_path / "undisturbed")
    tried = 2 * 15  # each operator on two images and on their negatives; then 25 calls a corruption
    for calls in (tried + 2, tried + 25 + 7, tried + 2 * 25 + 11):
        out = tmp_path / f"stopped-{calls}"
        with monkeypatch.context() as patch:
            interrupt_after(patch, calls, KeyboardInterrupt())
            with pytest.raises(KeyboardInterrupt):
                wp.corrupt(small(), **settings, out=out)
        assert not (out / "manifest.json").exists()
        for source in ("cifar10-c", "imagenet-c", "corrupted"):
            with pytest.raises(InputError, match="corrupt has not finished: run the same command again"):
                load_images(f"{source}:{out}")
        done = json.loads((out / "progress.json").read_text())
        assert done["finished"] == [*QUICK][: (calls - tried) // 25] and done["images"] == (calls - tried) % 25 // 5 * 4
        assert {f.stem for f in out.glob("*.npy")} == ({*done["finished"]} if layout == "cifar-c" else set())
        with monkeypatch.context() as patch:  # what was done is not done again
            interrupt_after(patch, tried + 75 - (calls - tried) // 5 * 5, AssertionError("too much work"))
            wp.corrupt(small(), **settings, out=out)
        assert contents(out) == contents(tmp_path / "undisturbed")


def test_a_finished_copy_is_not_made_again(tmp_path: Path, weatherproof: Command) -> None:
    words = ("corrupt", "digits", *WORDS, "--out", tmp_path / "copy")
    first = weatherproof(*words, "--json")
    before = (tmp_path / "copy/fog.npy").stat().st_mtime_ns
    status, said, err = weatherproof(*words, "--batch-size", 99, "--workers", 1)
    assert (status, err) == (0, "") and "finished already: nothing was done" in said
    assert (tmp_path / "copy/fog.npy").stat().st_mtime_ns == before
    assert json.loads(first[1])["manifest"] == json.loads((tmp_path / "copy/manifest.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("layout", ["cifar-c", "imagenet-c"])
def test_a_killed_copy_goes_on(how: signal.Signals, layout: str, tmp_path: Path, weatherproof: Command) -> None:
    words = ("corrupt", "digits", "--layout", layout, *WORDS, "--corruptions", "elastic_transform", "--device", "cpu")
    out = tmp_path / "copy"
    process = start(*words, "--out", out)
    give_up = time.monotonic() + SECONDS
    waited_for = out / "progress.json"  # one corruption is there, another begun
    while not waited_for.exists() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.01)
    process.send_signal(how)
    said, err = process.communicate(timeout=SECONDS)
    assert not (out / "manifest.json").exists(), "finished before it could be stopped"
    assert said == "" and "Traceback" not in err
    if how == signal.SIGINT:
        assert process.returncode == 130 and "the same command goes on" in err.splitlines()[-1]
    for array in out.glob("*.npy"):
        assert np.load(array).shape == (1800, 32, 32, 1)
    for picture in out.rglob("*.JPEG"):
        Image.open(picture).load()
    assert weatherproof(*words, "--out", out)[0] == 0
    assert weatherproof(*words, "--out", tmp_path / "undisturbed")[0] == 0
    assert contents(out) == contents(tmp_path / "undisturbed")


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"corruptions": ["fog"], "batch_size": 4}
    with monkeypatch.context() as patch:
        fill_disk(patch, 100_000, ".part")
        with pytest.raises(InputError, match=r"no space left on the disk of .*fog.npy.part: need about 300 kB; free"):
            wp.corrupt(small(), **settings, out=tmp_path / "arrays")
    assert not (tmp_path / "arrays/fog.npy").exists()

    def refuse(self: Path, data: Any) -> int:
        with self.open("wb") as file:
            file.write(memoryview(data)[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        with pytest.raises(InputError, match=r"no space left on the disk of .*JPEG: free"):
            wp.corrupt(small(), **settings, layout="imagenet-c", out=tmp_path / "folders")
    assert not list((tmp_path / "folders").rglob("*.JPEG"))
    for layout, name in (("cifar-c", "arrays"), ("imagenet-c", "folders")):  # with room again, the same command
        wp.corrupt(small(), **settings, layout=layout if name == "folders" else "auto", out=tmp_path / name)
        wp.corrupt(small(), **settings, layout=layout, out=tmp_path / f"fresh-{name}")
        assert contents(tmp_path / name) == contents(tmp_path / f"fresh-{name}")


def test_other_images_than_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5 + 7, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            wp.corrupt(small(), corruptions=["fog"], batch_size=4, out=tmp_path / "copy")
    with pytest.raises(InputError, match="holds other images than when"):
        wp.corrupt(small(21), corruptions=["fog"], batch_size=4, out=tmp_path / "copy")


# refused


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("digits", "--corruptions", "fgo"), "unknown corruption 'fgo': did you mean fog"),
        (("digits", "--severities", "6"), "a severity is a whole number from 1 (mild) to 5 (harsh), got 6"),
        (("digits", "--severities", "0"), "got 0"),
        (("digits", "--severities", "mild"), "severities cannot be 'mild': expected int"),
        (("digits", "--severities", "3"), "arrays hold all five severities: leave out --severities, or choose"),
        (("digits", "--suite", "noisy"), "suite cannot be 'noisy'"),
        (("digits", "--layout", "zip"), "layout cannot be 'zip'"),
        (("digits", "--jpeg-quality", "0"), "quality is from 1 to 100, got 0"),
        (("digits", "--jpeg-quality", "101", "--layout", "imagenet-c"), "is from 1 to 100, got 101"),
        (("digits", "--batch-size", "0"), "batch_size must be at least 1, got 0"),
        (("digits", "--workers", "-1"), "workers is a number of processes, 0 or more, got -1"),
        (("digits", "--crop-fraction", "2"), "crop_fraction lies in (0, 1]; got 2.0"),
        (("nowhere",), "no folder 'nowhere'"),
        (("digits", "--split", "dev"), "digits has no split 'dev'"),
        (("digits", "--corruptions", "frost", "--frost", "nowhere"), "nowhere"),
        (("digits", "--device", "tpu"), "device must be"),
        (("digits", "--size", "4", "--parameters", "imagenet", "--corruptions", "glass_blur"), "glass"),
    ],
)
def test_bad_arguments(here: Path, refused: Callable[..., str], words: tuple[str, ...], expected: str) -> None:
    assert expected in refused("corrupt", *words)
    assert not (here / "runs").exists()


def test_images_that_cannot_be_written(tmp_path: Path, here: Path) -> None:
    pixels = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    mixed = torch.tensor([0, 1, -1, 0])
    clean = MemoryImages(pixels, mixed.clamp(min=0), ("a/b", "c"))
    np.save(here / "fog.npy", np.zeros((5, 32, 32, 3), np.uint8))
    np.save(here / "labels.npy", np.zeros(1, int))
    for images, settings, message in (
        (MemoryImages(pixels, mixed), {}, "some images in 'memory' have labels and some have none"),
        (MemoryImages(pixels, index=torch.zeros(4, dtype=torch.int64)), {}, "each with an index of its own"),
        (MemoryImages(pixels[:0]), {}, "must hold images"),
        (MemoryImages(pixels), {"layout": "cifar-c"}, "'memory' has no labels for labels.npy"),
        (clean, {"layout": "imagenet-c"}, "class 'a/b' cannot be a folder: choose --layout cifar-c"),
        (f"cifar10-c:{here}", {}, "'cifar10-c' is corrupted already"),
    ):
        with pytest.raises(InputError, match=message):
            wp.corrupt(images, corruptions=["fog"], **settings)
    assert not (here / "runs").exists()


def test_a_foreign_folder_is_left_alone(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert "holds other files and no run" in refused("corrupt", "digits", *WORDS, "--out", tmp_path)
    assert [f.name for f in tmp_path.iterdir() if f.is_file() and f.name != ".lock"] == ["thesis.tex"]


def test_another_recipe_is_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    wp.corrupt("digits", corruptions=["brightness"], out=tmp_path / "copy")
    words = ("corrupt", "digits", "--corruptions", "brightness", "--out", tmp_path / "copy")
    assert "setting 'seed' is 0 there and 1 here" in refused(*words, "--seed", 1)


@pytest.mark.slow
@pytest.mark.data
def test_cifar10_as_its_published_corruptions(data_dir: Path, tmp_path: Path) -> None:
    images = load_images(f"cifar10:{data_dir / 'cifar10'}", "test").subset(torch.arange(0, 10_000, 100))
    wp.corrupt(images, corruptions=["fog"], out=tmp_path / "copy")
    copy = load_images(f"cifar10-c:{tmp_path / 'copy'}@fog/5")
    assert copy.classes == images.classes and torch.equal(copy.index, images.index)
    expected = levels(on_the_fly(images, operators.Corruption("fog", 5)))
    assert torch.equal(copy.read(torch.arange(100)), expected)
