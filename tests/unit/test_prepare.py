"""`prepare` on archives in the published layouts, made here."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.io import savemat

import weatherproof as wp
from weatherproof.benchmark import COMMON_19
from weatherproof.data.sources import contents
from weatherproof.errors import InputError
from weatherproof.verbs.prepare import archives, imagenet

SYNSETS = [f"n{number:08}" for number in (1440764, 1443537, 1484850)]


def tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def jpeg(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(file, "jpeg")
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six validation images of three classes."""
    monkeypatch.setattr(imagenet, "IMAGES", 6)
    monkeypatch.setattr(imagenet, "_CLASSES", 3)


def devkit(folder: Path) -> Path:
    """The development kit: numbers of classes, whose names are in an array of structures."""
    data = folder / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    numbers = np.array([1, 2, 3], dtype=np.float64)
    rows = np.array(list(zip(numbers, SYNSETS, strict=True)), dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")])
    savemat(data / "meta.mat", {"synsets": rows})
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text("2\n1\n3\n2\n3\n1\n")
    return data.parent


NAMES = [f"ILSVRC2012_val_{number:08}.JPEG" for number in range(1, 7)]
WANTED = [SYNSETS[number - 1] for number in (2, 1, 3, 2, 3, 1)]


@pytest.mark.parametrize("packed", [False, True])
def test_validation_images_go_into_class_folders(packed: bool, tmp_path: Path, few: None) -> None:
    files = {f"val/{name}": jpeg(i) for i, name in enumerate(NAMES)}
    source = tmp_path / "images"
    if packed:
        source = tar(tmp_path / "ILSVRC2012_img_val.tar", {**files, "../../out.JPEG": b"x", "val/readme": b"y"})
    else:
        (source / "val").mkdir(parents=True)
        for name, content in files.items():
            (source / name).write_bytes(content)
    out = tmp_path / "imagenet" / "val"
    wp.prepare("imagenet-val", source, out=out, labels=devkit(tmp_path))
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert found == {f"{wanted}/{name}": jpeg(i) for i, (wanted, name) in enumerate(zip(WANTED, NAMES, strict=True))}
    (tmp_path / "imagenet" / "train" / SYNSETS[0]).mkdir(parents=True)
    assert len(contents(f"imagenet:{tmp_path / 'imagenet'}", "test").labels) == 6
    (out / WANTED[2] / NAMES[2]).unlink()  # as after a kill: the same command goes on
    assert "6 images" in wp.prepare("imagenet-val", source, out=out, labels=devkit(tmp_path / "again")).text
    assert (out / WANTED[2] / NAMES[2]).read_bytes() == jpeg(2)


def test_labels_are_those_of_all_images(tmp_path: Path, few: None) -> None:
    lines = tmp_path / "labels.txt"
    lines.write_text("\n".join(WANTED))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / NAMES[0]).write_bytes(jpeg(0))
    with pytest.raises(InputError, match="1 of the 6 validation images"):
        wp.prepare("imagenet-val", tmp_path / "images", out=tmp_path / "val", labels=lines)
    for text, says in (("n01440764\n" * 5, "5 lines"), ("cat\n" * 6, "'cat' is no"), ("n01440764\n" * 6, "3 classes")):
        lines.write_text(text)
        with pytest.raises(InputError, match=says):
            wp.prepare("imagenet-val", tmp_path / "images", out=tmp_path / "other", labels=lines)
    with pytest.raises(InputError, match="development kit"):
        wp.prepare("imagenet-val", tmp_path / "images", out=tmp_path / "other", labels=tmp_path / "images")
    assert not (tmp_path / "other").exists()


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """The validation images side by side, as they come out of their archive."""
    (tmp_path / "images").mkdir()
    for i, name in enumerate(NAMES):
        (tmp_path / "images" / name).write_bytes(jpeg(i))
    return tmp_path / "images"


def sorted_by(labels: Path, flat: Path, out: Path) -> dict[str, str]:
    wp.prepare("imagenet-val", flat, out=out, labels=labels)
    return {path.name: path.parent.name for path in out.rglob("*.JPEG")}


def test_the_development_kit_may_be_packed(flat: Path, tmp_path: Path, few: None) -> None:
    packed = tmp_path / "ILSVRC2012_devkit_t12.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(devkit(tmp_path), "ILSVRC2012_devkit_t12")
    assert sorted_by(packed, flat, tmp_path / "val") == dict(zip(NAMES, WANTED, strict=True))
    half = tar(tmp_path / "half.tar", {"data/ILSVRC2012_validation_ground_truth.txt": b"1"})
    with pytest.raises(InputError, match=r"meta\.mat in .*half\.tar: --labels is the development kit"):
        wp.prepare("imagenet-val", flat, out=tmp_path / "other", labels=half)
    torn = tar(
        tmp_path / "torn.tar", {"data/ILSVRC2012_validation_ground_truth.txt": b"1", "data/meta.mat": b"MATLAB 5.0"}
    )
    with pytest.raises(InputError, match=r"meta\.mat in .*torn\.tar is not that of the development kit"):
        wp.prepare("imagenet-val", flat, out=tmp_path / "other", labels=torn)


def test_labels_may_be_kaggles(flat: Path, tmp_path: Path, few: None) -> None:
    """A row an image, in no order, each with the boxes of its objects, which are of one class."""
    rows = [f"{Path(name).stem},{wanted} 1 2 3 4 {wanted} 5 6 7 8 " for name, wanted in zip(NAMES, WANTED, strict=True)]
    table = tmp_path / "LOC_val_solution.csv"
    table.write_text("\r\n".join(["ImageId,PredictionString", *rows[::-1]]))
    assert sorted_by(table, flat, tmp_path / "val") == dict(zip(NAMES, WANTED, strict=True))
    for wrong, says in (
        (rows[:5], "1 have no row"), ([*rows[:5], rows[0]], "1 have no row"),
        ([*rows[:5], f"{Path(NAMES[5]).stem},"], "expected rows such as"),
        ([*rows[:5], f"{Path(NAMES[5]).stem},{SYNSETS[0]} 1 2 3 4 {SYNSETS[1]} 1 2 3 4"], "expected rows such as"),
        ([*rows[:5], f"{Path(NAMES[5]).stem},cat 1 2 3 4"], "'cat' is no WordNet id"),
    ):  # fmt: skip
        table.write_text("\n".join(["ImageId,PredictionString", *wrong]))
        with pytest.raises(InputError, match=says):
            wp.prepare("imagenet-val", flat, out=tmp_path / "other", labels=table)


def test_labels_that_are_no_text_are_not_quoted(flat: Path, tmp_path: Path, few: None) -> None:
    (tmp_path / "labels.png").write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(InputError, match=r"labels\.png is no text: --labels is") as refused:
        wp.prepare("imagenet-val", flat, out=tmp_path / "val", labels=tmp_path / "labels.png")
    assert str(refused.value).isprintable()


def test_training_images_are_in_a_tar_file_of_tar_files(tmp_path: Path) -> None:
    inner = {f"{s}.tar": tar(tmp_path / f"{s}.tar", {f"{s}_{i}.JPEG": jpeg(i) for i in range(2)}) for s in SYNSETS}
    source = tar(tmp_path / "train.tar", {name: path.read_bytes() for name, path in inner.items()})
    made = wp.prepare("imagenet-train", source, out=tmp_path / "imagenet" / "train")
    assert "6 images" in made.text
    assert len(contents(f"imagenet:{tmp_path / 'imagenet'}", "train").labels) == 6
    with pytest.raises(InputError, match="a tar file for each class"):
        wp.prepare("imagenet-train", inner[f"{SYNSETS[0]}.tar"], out=tmp_path / "other")
    assert "6 images" in wp.prepare("imagenet-train", tmp_path, out=tmp_path / "of-a-folder").text


def test_what_is_unpacked_already_needs_no_preparation(tmp_path: Path) -> None:
    train, corrupted = tmp_path / "train", tmp_path / "imagenet-c"
    (train / SYNSETS[0]).mkdir(parents=True)
    (corrupted / "weather" / "fog" / "3" / SYNSETS[0]).mkdir(parents=True)
    for what, source, read in (
        ("imagenet-train", train, train),
        ("imagenet-c", corrupted / "weather", corrupted / "weather"),
        ("imagenet-c", corrupted, corrupted / "weather"),
    ):
        with pytest.raises(InputError, match=f"^{read} is unpacked already .* make {tmp_path / 'data'} that folder"):
            wp.prepare(what, source, out=tmp_path / "data")
        with pytest.raises(InputError, match="it is where it should be"):
            wp.prepare(what, source, out=read)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no tar file in .*empty: expected those of ImageNet-C"):
        wp.prepare("imagenet-c", tmp_path / "empty", out=tmp_path / "data")
    with pytest.raises(InputError, match="a tar file for each class"):
        wp.prepare("imagenet-train", tmp_path / "empty", out=tmp_path / "data")


def test_imagenet_c(tmp_path: Path) -> None:
    folder = tmp_path / "archives"
    folder.mkdir()
    names = [f"{name}/{s}/{c}/{i}.JPEG" for name in ("fog", "snow") for s in range(1, 6) for c in SYNSETS for i in (0,)]
    tar(folder / "weather.tar", {f"weather/{name}": jpeg(1) for name in names})
    wp.prepare("imagenet-c", folder, out=tmp_path / "imagenet-c")
    images = wp.load_images(f"imagenet-c:{tmp_path / 'imagenet-c'}")
    assert len(images) == 2 * 5 * 3


def arrays() -> dict[str, bytes]:
    images, labels = npy(np.zeros((50, 4, 4, 3), np.uint8)), npy(np.tile(np.arange(10, dtype=np.uint8), 5))
    return {**{f"CIFAR-10-C/{name}.npy": images for name in COMMON_19}, "CIFAR-10-C/labels.npy": labels}


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, bytes]], Path]:
    def make(files: dict[str, bytes]) -> Path:
        path = tar(tmp_path / "CIFAR-10-C.tar", files)
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        own = archives.Archive(path.name, path.stat().st_size, md5, "https://zenodo.org/records/2535967")
        monkeypatch.setitem(archives.ARCHIVES, "cifar10-c", own)
        return path

    return make


def test_cifar_c_is_checked_and_unpacked(published: Callable[[dict[str, bytes]], Path], tmp_path: Path) -> None:
    source, out = published(arrays()), tmp_path / "cifar10-c"
    assert "20 arrays" in wp.prepare("cifar10-c", source, out=out).text
    assert len(wp.load_images(f"cifar10-c:{out}")) == 19 * 50
    damaged = bytearray(source.read_bytes())
    damaged[700] ^= 1
    source.write_bytes(damaged)
    with pytest.raises(InputError, match="its MD5 is"):
        wp.prepare("cifar10-c", source, out=tmp_path / "other")
    source.write_bytes(damaged[:5000])
    with pytest.raises(InputError, match="5,000 bytes"):
        wp.prepare("cifar10-c", source, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_published_archives_are_those_of_zenodo() -> None:
    assert {name: own.page.rpartition("/")[2] for name, own in archives.ARCHIVES.items()} == {
        "cifar10-c": "2535967", "cifar100-c": "3555552"
    }  # fmt: skip


def test_weights_become_safetensors(tmp_path: Path) -> None:
    state = {"conv.weight": torch.rand(2, 3, 1, 1), "fc.bias": torch.rand(4)}
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}, tmp_path / "w.pth"
    )
    made = wp.prepare("weights", tmp_path / "w.pth")
    found = load_file(made.path)
    assert made.path == tmp_path / "w.safetensors" and found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)
    assert "already" in wp.prepare("weights", tmp_path / "w.pth").text


def test_weights_that_are_there_and_cannot_be_read_are_no_weights(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pth")
    (tmp_path / "w.safetensors").touch()
    with pytest.raises(InputError, match="w.safetensors is not a readable.*already, and nothing is overwritten"):
        wp.prepare("weights", tmp_path / "w.pth")
    (tmp_path / "w.safetensors").unlink()
    wp.prepare("weights", tmp_path / "w.pth")
    assert wp.prepare("weights", tmp_path / "w.pth").text == "is there already with 1 tensors, nothing was done"


def test_weights_with_code_in_them_are_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(InputError, match="Python objects"):
        wp.prepare("weights", tmp_path / "w.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize(
    ("file", "name"), [("RN101.pt", "RN101"), ("ViT-L-14-336px.pt", "ViT-L-14-336"), ("mine.pt", "RN101")]
)
def test_a_program_says_by_which_name_its_weights_come(file: str, name: str, tmp_path: Path) -> None:
    """OpenAI publishes CLIP as TorchScript."""
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / file)
    with pytest.raises(InputError, match=f"is a TorchScript program.* weights open_clip:{name}/openai --out"):
        wp.prepare("weights", tmp_path / file)
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_what_cannot_be_prepared(tmp_path: Path) -> None:
    for given, says in (
        ((), "one of weights"), (("wieghts",), "did you mean weights"), (("cifar10",), "needs --out"),
        (("cifar10-c",), "needs --out"), (("imagenet-c",), "needs a source"),
        (("cifar10-c", tmp_path / "none.tar", tmp_path), "zenodo.org"),
        (("imagenet-val", tmp_path, tmp_path), "needs --labels"),
        (("weights", "torchvision:resnet101"), "a file to write"),
        (("weights", tmp_path / "none.pth", tmp_path / "w.pt"), "should end so"),
        (("weights", "torchvison:resnet101", tmp_path / "w.safetensors"), "torchvision"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            wp.prepare(*given[:2], out=given[2] if len(given) > 2 else None)
    with pytest.raises(InputError, match="labels are those of imagenet-val"):
        wp.prepare("cifar10", out=tmp_path, labels=tmp_path)
