"""Bad input: one clear line, exit status 2, and nothing half-written."""

import errno
import os
import pickle
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import weatherproof as wp

from .conftest import ALONE, PLAIN, Command, class_folders, results, save_images

Refused = Callable[..., str]

HARDEN = ("--epochs", 1, "--batch-size", 8, "--realizations", 1, "--workers", 0)


@pytest.fixture(autouse=True)
def nothing_is_left(here: Path) -> Iterator[None]:
    """What is refused leaves no run folder (runs/VERB is where one would be)."""
    yield
    assert not (here / "runs").exists()


# images


def test_missing_path(teacher: str, refused: Refused) -> None:
    assert "no folder 'nowhere'" in refused("harden", teacher, "nowhere")
    assert "no folder" in refused("harden", teacher, "folder:nowhere")
    assert "did you mean digits" in refused("harden", teacher, "digts:somewhere")


def test_empty_folder(teacher: str, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "empty").mkdir()
    assert "no images in" in refused("harden", teacher, tmp_path / "empty")
    (tmp_path / "empty" / "x").mkdir()
    assert "found 1 entry (x/)" in refused("harden", teacher, tmp_path / "empty")


def test_folder_of_other_files(teacher: str, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("no image")
    assert "notes.txt" in refused("harden", teacher, tmp_path / "texts")
    assert "is a file" in refused("harden", teacher, tmp_path / "texts" / "notes.txt")


def test_unreadable_images(teacher: str, tmp_path: Path, refused: Refused) -> None:
    for name in ("train", "test"):
        save_images(tmp_path / "photos" / name, 10)
    for i in range(5):
        (tmp_path / "photos" / "train" / f"{i:03}.png").write_bytes(b"not a picture")
    said = refused("harden", teacher, tmp_path / "photos")
    assert "5 of 10 images (50.0%)" in said and "000.png" in said and "more than the 5.0% that are left out" in said
    assert "repair them or take them out" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_without_permission(teacher: str, tmp_path: Path, refused: Refused) -> None:
    save_images(tmp_path / "photos", 10)
    (tmp_path / "photos").chmod(0)
    try:
        assert "Permission denied" in refused("harden", teacher, tmp_path / "photos")
    finally:
        (tmp_path / "photos").chmod(0o755)


def test_a_folder_that_cannot_be_listed(
    teacher: str, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_images(tmp_path / "photos", 10)

    def refuse(folder: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    monkeypatch.setattr(os, "scandir", refuse)
    assert "Permission denied" in refused("harden", teacher, tmp_path / "photos")


def test_images_of_different_sizes(teacher: str, tmp_path: Path, refused: Refused, weatherproof: Command) -> None:
    photos = class_folders(tmp_path / "photos")
    save_images(photos / "train" / "ant", 3, side=20)
    assert "give --size N" in refused("harden", teacher, photos, *PLAIN)
    assert weatherproof("harden", teacher, photos, *PLAIN, "--size", 16, *HARDEN, "--out", tmp_path / "run")[0] == 0


def test_a_class_without_images_to_learn_from(teacher: str, tmp_path: Path, refused: Refused) -> None:
    photos = class_folders(tmp_path / "photos")
    save_images(photos / "test" / "dog", 2)
    for words in (("probe", teacher, photos), ("train", "supervised", photos, "--encoder", teacher)):
        assert "no image of class 'dog'" in refused(*words)


def test_labels_where_there_are_none(teacher: str, tmp_path: Path, refused: Refused) -> None:
    save_images(tmp_path / "flat" / "train", 8)
    save_images(tmp_path / "flat" / "test", 4)
    for words in (
        ("probe", teacher, tmp_path / "flat"),
        ("train", "supervised", tmp_path / "flat", "--encoder", teacher),
    ):
        assert "has no labels: put the images into one folder per class" in refused(*words)


def test_labels_of_one_class_alone(teacher: str, tmp_path: Path, refused: Refused) -> None:
    for split in ("train", "test"):
        save_images(tmp_path / "pets" / split / "cat", 4)
    said = refused("probe", teacher, tmp_path / "pets")
    assert "has one class alone, cat: put a folder of each other one beside it" in said


@pytest.mark.parametrize("fraction", ["0", "-0.1", "1.5"])
def test_a_fraction_of_labels_out_of_range(teacher: str, photos: Path, refused: Refused, fraction: str) -> None:
    assert "the fraction of labels lies in (0, 1]" in refused("probe", teacher, photos, f"--labels={fraction}")


# encoders


def test_a_name_that_means_random_weights(photos: Path, teacher: str, refused: Refused) -> None:
    """Which is never what a verb gets that wants a pretrained encoder; nor by a slip."""
    for verb in ("harden", "audit", "embed", "probe", "finetune"):
        assert (
            "no weights are published for small: give a file, small@FILE, or random weights, small@random"
            in refused(verb, "small", photos)
        )
    assert "no weights are published for resnet20(preact=True): give" in refused("export", "resnet20(preact=True)")
    assert "no weights are published for small: give" in refused("audit", teacher, photos, "--teacher", "small")


def test_a_file_where_a_run_or_a_name_is_expected(classifier: Path, photos: Path, here: Path, refused: Refused) -> None:
    (here / "weights.pth").write_bytes(b"")
    said = refused("harden", classifier / "encoder.safetensors", photos)
    assert said.endswith(f"is a file of a run: give the run's folder, {classifier}")
    assert "such as resnet20@weights.pth" in refused("harden", "weights.pth", photos)


def test_a_run_that_is_compared_with_itself(classifier: Path, refused: Refused) -> None:
    twice = "is given twice, before as"
    assert f"{twice} {classifier}: give each run once" in refused("compare", classifier, f"{classifier}/../model")
    assert "is given twice: give" in refused("compare", classifier, classifier)


def test_unknown_encoder(photos: Path, refused: Refused) -> None:
    assert "did you mean resnet20" in refused("harden", "resnet21", photos)
    assert "did you mean" in refused("harden", "torchvision:resnet19", photos)
    assert "did you mean" in refused("harden", "timm:resnet19", photos)


def test_weights_that_do_not_fit(photos: Path, tmp_path: Path, refused: Refused) -> None:
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    said = refused("harden", f"resnet20@{tmp_path / 'other.safetensors'}", photos)
    assert "do not fit resnet20" in said and "missing" in said and "conv.weight" in said
    assert "no weights file" in refused("harden", f"resnet20@{tmp_path / 'none.safetensors'}", photos)


class Harmful:
    """What a malicious weights file is made of: reading it as a pickle would make a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("suffix", ["pt", "pth", "safetensors"])
def test_a_pickle_as_weights(photos: Path, tmp_path: Path, refused: Refused, suffix: str) -> None:
    (tmp_path / f"weights.{suffix}").write_bytes(pickle.dumps({"a": Harmful(tmp_path / "harmed")}))
    refused("harden", f"small@{tmp_path / f'weights.{suffix}'}", photos)
    torch.save({"a": Harmful(tmp_path / "harmed")}, tmp_path / "zipped.pt")
    assert "only tensors are read" in refused("harden", f"small@{tmp_path / 'zipped.pt'}", photos)
    assert not (tmp_path / "harmed").exists()


def test_a_run_folder_without_an_encoder(photos: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "run").mkdir()
    assert "encoder.json" in refused("audit", tmp_path / "run", photos)


# what is done to the images


def test_unknown_names(teacher: str, photos: Path, refused: Refused) -> None:
    assert "did you mean RandomMask?" in refused("harden", teacher, photos, *PLAIN, "--operator", "RandomMsk(0.5)")
    assert "did you mean StudentTeacher" in refused(
        "harden", teacher, photos, *PLAIN, "--objective", "StudentTeecher()"
    )
    assert "did you mean HorizontalFlip" in refused("harden", teacher, photos, *PLAIN, "--augment", "HorizontalFlop()")
    assert "did you mean table-1" in refused("reproduce", "table_1")
    assert "did you mean harden" in refused("hardn")


@pytest.mark.parametrize(
    "text",
    ["RandomMask(0.5", "RandomMask(0.5))", "", "0.5", "RandomMask(1.5)", "RandomMask()", "RandomMask(fracton=1)"],
)
def test_malformed_text(teacher: str, photos: Path, refused: Refused, text: str) -> None:
    assert "operator" in refused("harden", teacher, photos, *PLAIN, "--operator", text)


def test_a_blur_too_wide_for_the_images(teacher: str, photos: Path, refused: Refused) -> None:
    for text in ("GaussianBlur(9.0)", "Chain(RandomMask(0.5), GaussianBlur((1, 20)))"):
        assert "give a smaller sigma or kernel_size" in refused("harden", teacher, photos, *PLAIN, "--operator", text)


OPERATORS = """
import torch
def fog(images, keys):
    return 0.5 * images + 0.5
def raises(images, keys):
    raise KeyError("no fog today")
def shrinks(images, keys):
    return images[:, :, ::2]
def bytes(images, keys):
    return (255 * images).to(torch.uint8)
def nothing(images, keys):
    pass
def burns(images, keys):
    return images / 0
"""


def test_an_operator_of_the_user_that_does_not_work(
    teacher: str, photos: Path, tmp_path: Path, refused: Refused
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OPERATORS)
    for name, expected in {
        "raises": "mine.py:raises fails: KeyError: 'no fog today'",
        "shrinks": "mine.py:shrinks' must give images like those it takes, float [2, 3, 16, 16]; it gave torch.float32",
        "bytes": "it gave torch.uint8",
        "nothing": "it gave NoneType",
        "burns": "not finite",
        "smog": "did you mean fog?",
    }.items():
        assert expected in refused("harden", teacher, photos, *PLAIN, "--operator", f"{file}:{name}"), name
    assert "no file" in refused("harden", teacher, photos, *PLAIN, "--operator", f"{tmp_path}/none.py:fog")
    (tmp_path / "broken.py").write_text("import nonsense_of_the_user")
    assert "nonsense_of_the_user" in refused(
        "harden", teacher, photos, *PLAIN, "--operator", f"{tmp_path}/broken.py:fog"
    )


# settings


def test_settings_out_of_range(teacher: str, photos: Path, refused: Refused) -> None:
    for option, value, expected in (
        ("--epochs", "0", "epochs must be a positive number"),
        ("--epochs", "many", "epochs cannot be 'many': expected float"),
        ("--lr", "-1", "lr must be a positive number"),
        ("--batch-size", "0", "batch_size must be at least 1"),
        ("--realizations", "0", "realizations must be at least 1"),
        ("--test-images", "0", "test_images must be at least 1"),
        ("--size", "0", "at least 1 pixel"),
        ("--size", "big", "size is a number of pixels such as 224, or rows x columns such as 224x288; got 'big'"),
        ("--schedule", "linear", "expected 'cosine' or 'constant' or 'as_run'"),
        ("--device", "tpu", "device must be auto, cpu, cuda"),
        ("--epoch", "1", "unrecognized arguments"),
    ):
        assert expected in refused("harden", teacher, photos, *PLAIN, f"{option}={value}"), option


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_where_there_is_none(teacher: str, photos: Path, refused: Refused) -> None:
    for verb in (("harden", teacher, photos, *PLAIN), ("probe", teacher, photos), ("audit", teacher, photos)):
        assert "use --device cpu" in refused(*verb, "--device", "cuda")
    assert "use --device cpu" in refused("reproduce", "table-7", "--device", "cuda")


def test_a_classifier_of_other_classes(teacher: str, photos: Path, tmp_path: Path, refused: Refused) -> None:
    run = wp.probe(teacher, photos, workers=0, realizations=1, out=tmp_path / "probe")
    assert "knows ant, bee, cat, the images are 0, 1, 2, ... (10 classes)" in refused("audit", run.folder, "digits")


def test_runs_that_cannot_be_compared(tmp_path: Path, here: Path, refused: Refused) -> None:
    assert "two or more" in refused("compare", tmp_path)
    assert "no run folder" in refused("compare", "one", "two")
    assert "expected a finished run" in refused("compare", tmp_path, here)


def test_data_of_a_study_that_is_not_there(refused: Refused, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEATHERPROOF_DATA", raising=False)
    said = refused("reproduce", "table-1", "--scale", "desk", "--out", here / "out", "--store", here / "store")
    assert "give --data DIR or set WEATHERPROOF_DATA" in said


# the output


def test_an_output_that_is_a_file_or_holds_something_else(
    teacher: str, photos: Path, tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / "file").write_text("mine")
    assert "is a file" in refused("harden", teacher, photos, *PLAIN, "--out", tmp_path / "file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("mine")
    assert "holds other files" in refused("harden", teacher, photos, *PLAIN, "--out", tmp_path / "folder")
    assert [f.name for f in (tmp_path / "folder").iterdir() if not f.name.startswith(".")] == ["thesis.tex"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_no_space_left(teacher: str, photos: Path, tiny_disk: Path, refused: Refused) -> None:
    out = tiny_disk / "run"
    assert "no space left" in refused("harden", teacher, photos, *PLAIN, *HARDEN, "--out", out)
    assert not out.exists()  # nothing to go on from


@pytest.mark.parametrize("name", ["checkpoint.pt", "encoder.safetensors", "results.json", "report.html"])
def test_no_space_left_for_one_file(
    teacher: str, photos: Path, tmp_path: Path, refused: Refused, weatherproof: Command, name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Wherever the disk is full, the same command finishes the run once there is room again."""
    replace = os.replace

    def full(source: str, target: str, **kwargs: object) -> None:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace(source, target)

    out = tmp_path / "run"
    command = ("harden", teacher, photos, *PLAIN, *HARDEN, "--out", out)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert "no space left" in refused(*command).lower()
        assert not (out / name).exists()
        assert not [f for f in out.rglob("*") if "tmp" in f.name]
    assert weatherproof(*command)[0] == 0
    assert (out / name).is_file() and results(out)


# input that is odd and welcome


def test_odd_images_are_welcome(teacher: str, tmp_path: Path, weatherproof: Command) -> None:
    photos = class_folders(tmp_path / "photos", train=30)
    folder = photos / "train" / "ant"
    grey = np.full((16, 16), 77, np.uint8)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(grey).convert("P").save(folder / "palette.gif")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(folder / "turned.jpg", exif=turned)
    whole = (folder / "turned.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    Image.new("1", (20_000, 20_000)).save(folder / "huge.png")
    out = tmp_path / "run"
    with pytest.warns(UserWarning, match="cannot be read and are left out"):
        run = wp.harden(teacher, photos, epochs=1, batch_size=16, realizations=1, workers=0, **ALONE, out=out)
    assert run.report.is_file()
    images = wp_load(photos)
    assert len(images) == 90 + 3
    assert {Path(path).name for path in images.bad} == {"truncated.jpg", "huge.png"}


def wp_load(photos: Path) -> wp.data.ImageSet:
    with pytest.warns(UserWarning, match="cannot be read"):
        return wp.load_images(photos)


def test_bad_images_are_told_in_one_line(teacher: str, tmp_path: Path, weatherproof: Command) -> None:
    photos = class_folders(tmp_path / "photos", train=30)
    (photos / "train" / "ant" / "000.png").write_bytes(b"no picture")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.filters", [])
        status, _, err = weatherproof("harden", teacher, photos, *PLAIN, *HARDEN, "--out", tmp_path / "run", "--json")
    lines = [line for line in err.splitlines() if "cannot be read" in line]
    assert status == 0 and len(lines) == 1
    assert lines[0].startswith("weatherproof: 1 of 90 images") and "000.png: not an image" in lines[0]


@pytest.mark.parametrize("labelled", ["neither", "train"])
def test_images_without_labels(teacher: str, tmp_path: Path, labelled: str) -> None:
    photos = class_folders(tmp_path / "photos")
    for split in ("train", "test"):
        if labelled != split:
            for file in (photos / split).glob("*/*.png"):
                file.rename(photos / split / f"{file.parent.name}-{file.name}")
            for folder in (photos / split).iterdir():
                if folder.is_dir():
                    folder.rmdir()
    run = wp.harden(teacher, photos, epochs=1, batch_size=8, realizations=1, workers=0, **ALONE, out=tmp_path / "run")
    assert {r["metric"] for r in run.records} == {"cosine", "recall@1", "recall@5"}
    assert run.report.is_file() and (run.folder / "encoder.safetensors").is_file()
    audit = wp.audit(run.folder, photos, operator="RandomMask(0.5)", workers=0, out=tmp_path / "audit")
    assert {r["metric"] for r in audit.records} == {"cosine", "recall@1", "recall@5"}


def test_an_operator_of_the_user(teacher: str, photos: Path, tmp_path: Path, weatherproof: Command) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OPERATORS)
    for i, text in enumerate((f"{file}:fog", f"Chain('{file}:fog', GaussianNoise(0.1))")):
        out = tmp_path / f"run-{i}"
        assert weatherproof("harden", teacher, photos, *PLAIN, "--operator", text, *HARDEN, "--out", out)[0] == 0
        assert any("mine.py:fog" in str(r["operator"]) for r in results(out))
        again = tmp_path / f"again-{i}"
        assert weatherproof("harden", "--config", out / "recipe.yaml", "--out", again)[0] == 0
        assert results(again) == results(out)
