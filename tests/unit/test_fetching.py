"""`prepare` of what is free: torchvision's own code on archives made here, in place of those of the network."""

import hashlib
import io
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from published_sets import SETS, archives, packed
from torchvision.datasets import utils

import weatherproof as wp
from weatherproof.benchmark import COMMON_19
from weatherproof.data.origins import FREE, NOT_FREE
from weatherproof.data.sources import contents
from weatherproof.errors import InputError
from weatherproof.studies.needs.data import mended
from weatherproof.verbs.prepare import fetching
from weatherproof.verbs.prepare.archives import ARCHIVES, Archive


class Network:
    """What is published, by the names of the files; what was fetched of it; after how many bytes it breaks off."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.breaks: int | None = None

    def retrieve(self, url: str, filename: Any, chunk_size: int = 0) -> None:
        name = url.rpartition("/")[2]
        self.fetched.append(name)
        Path(filename).write_bytes(self.files[Path(filename).name][: self.breaks])
        if self.breaks is not None:
            try:
                raise ConnectionResetError(104, "Connection reset by peer")
            except OSError as error:
                raise URLError(error) from error

    def holds(self, path: Any, md5: str, **_: Any) -> bool:
        return Path(path).name not in self.files or Path(path).read_bytes() == self.files[Path(path).name]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    own = Network()
    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, max_hops: url)
    monkeypatch.setattr(utils, "_urlretrieve", own.retrieve)
    monkeypatch.setattr(utils, "check_md5", own.holds)
    monkeypatch.setattr(fetching, "SIZES", {})
    return own


@pytest.fixture
def publish(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Network]:
    def made(name: str) -> Network:
        network.files = archives(name, tmp_path / "published")
        if name == "sun397":
            file = tmp_path / "Partitions.zip"
            file.write_bytes(network.files["Partitions.zip"])
            monkeypatch.setattr(fetching, "_PARTITIONS", file.as_uri())
            monkeypatch.setattr(fetching, "_PARTITIONS_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
        return network

    return made


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")} if folder.exists() else set()


@pytest.mark.filterwarnings("ignore:how .* is understood")
@pytest.mark.parametrize("name", SETS)
def test_what_is_fetched_is_what_is_read(name: str, publish: Callable[[str], Network], tmp_path: Path) -> None:
    network, (_, train, test) = publish(name), SETS[name]
    out, source = tmp_path / "data" / name, FREE[name].source or name
    made = wp.prepare(name, out=out)
    assert made.path == out and made.text.startswith(f"{train} to train, {test} to test; torchvision")
    assert ("no MD5" in made.text) == (name == "aircraft")
    for split, count in (("train", train), ("test", test)):
        assert len(contents(f"{source}:{out}", split).labels) == len(wp.load_images(f"{source}:{out}", split)) == count
    assert not left(out) & ({*FREE[name].archives, "Partitions.zip", ".fetching"} - {"imagelabels.mat", "setid.mat"})
    assert mended(f"{source}:$DATA/{name}", "train", str(out.parent)) == f"weatherproof prepare {name} --out {out}"
    asked = len(network.fetched)
    assert wp.prepare(name, out=out).text == f"is there already ({train} to train, {test} to test), nothing was done"
    assert len(network.fetched) == asked


def test_every_set_that_is_fetched_names_its_archives() -> None:
    """Those that are not made here have them by torchvision's own names."""
    from torchvision import datasets

    for name in ("cifar10", "cifar100", "stl10"):
        assert FREE[name].archives == (getattr(datasets, FREE[name].kind).filename,)
    assert FREE["mnist"].archives == tuple(name for name, _ in datasets.MNIST.resources)
    assert {*SETS} | {"cifar100", "stl10"} == {*FREE}


@pytest.mark.parametrize("name", ["dtd", "mnist", "imagenette", "aircraft", "flowers"])
def test_a_download_that_breaks_leaves_nothing(name: str, publish: Callable[[str], Network], tmp_path: Path) -> None:
    network, out = publish(name), tmp_path / "data"
    network.breaks = 10
    with pytest.raises(InputError, match=rf"^{name} is not to be had \(.*Connection reset") as refused:
        wp.prepare(name, out=out)
    assert str(refused.value).isprintable() and FREE[name].archives[0] in str(refused.value)
    assert not out.exists()
    (out / ".fetching" / "dtd").mkdir(parents=True)  # of one that was killed
    network.breaks = None
    wp.prepare(name, out=out)
    assert ".fetching" not in left(out)


def test_half_an_archive_that_nobody_can_check_leaves_nothing(
    publish: Callable[[str], Network], tmp_path: Path
) -> None:
    network, out = publish("aircraft"), tmp_path / "data"
    (file,) = network.files
    network.files[file] = network.files[file][:-200]
    with pytest.raises(InputError, match="aircraft is not to be had"):
        wp.prepare("aircraft", out=out)
    assert not out.exists()


@pytest.mark.parametrize("below", ["", "dtd"])
def test_an_archive_that_is_there_is_taken(below: str, publish: Callable[[str], Network], tmp_path: Path) -> None:
    network, out = publish("dtd"), tmp_path / "data"
    ((file, content),) = network.files.items()
    (out / below).mkdir(parents=True)
    (out / below / file).write_bytes(content)
    assert "6 to train" in wp.prepare("dtd", out=out).text
    assert network.fetched == [] and (out / below / file).read_bytes() == content


def test_an_archive_that_is_not_the_published_one_is_never_left_in_halves(
    publish: Callable[[str], Network], tmp_path: Path
) -> None:
    network, out = publish("dtd"), tmp_path / "data"
    (file,) = network.files
    out.mkdir()
    (out / file).write_bytes(b"an error page")
    network.breaks = 100
    with pytest.raises(InputError, match="dtd is not to be had"):
        wp.prepare("dtd", out=out)
    assert left(out) == set()


def test_other_images_that_are_read_in_its_place_are_named(publish: Callable[[str], Network], tmp_path: Path) -> None:
    publish("dtd")
    (tmp_path / "data" / "train").mkdir(parents=True)
    with pytest.raises(InputError, match="other images there are read in its place"):
        wp.prepare("dtd", out=tmp_path / "data")


def test_lists_of_sun_that_are_not_the_published_ones(publish: Callable[[str], Network], tmp_path: Path) -> None:
    publish("sun397")
    out = tmp_path / "data"
    out.mkdir()
    (out / "Partitions.zip").write_bytes(b"an error page")
    with pytest.raises(InputError, match=r"Partitions\.zip is not what was published: put that of file:.* into"):
        wp.prepare("sun397", out=out)
    assert left(out) == {"Partitions.zip"}


@pytest.fixture
def zenodo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10-C as a file of a record."""
    folder, record = tmp_path / "CIFAR-10-C", tmp_path / "record"
    folder.mkdir()
    (record / "files").mkdir(parents=True)
    for name in COMMON_19:
        np.save(folder / f"{name}.npy", np.zeros((50, 4, 4, 3), np.uint8))
    np.save(folder / "labels.npy", np.tile(np.arange(10, dtype=np.uint8), 5))
    file = record / "files" / "CIFAR-10-C.tar"
    file.write_bytes(packed(folder, "w"))
    md5 = hashlib.md5(file.read_bytes()).hexdigest()
    monkeypatch.setitem(ARCHIVES, "cifar10-c", Archive(file.name, file.stat().st_size, md5, record.as_uri()))
    return file


def test_corrupted_images_are_fetched(zenodo: Path, tmp_path: Path) -> None:
    out = tmp_path / "cifar10-c"
    assert "20 arrays, the archive's MD5" in wp.prepare("cifar10-c", out=out).text
    assert left(out) == {f"{name}.npy" for name in (*COMMON_19, "labels")}
    assert len(wp.load_images(f"cifar10-c:{out}")) == 19 * 50
    zenodo.rename(zenodo.with_suffix(".moved"))
    assert wp.prepare("cifar10-c", out=out).text == "is there already (95 sets)"
    (out / "fog.npy").unlink()
    with pytest.raises(InputError, match=r"cifar10-c is not to be had .* CIFAR-10-C\.tar into"):
        wp.prepare("cifar10-c", out=out)
    zenodo.with_suffix(".moved").rename(out / "CIFAR-10-C.tar")  # as that line says
    assert "20 arrays" in wp.prepare("cifar10-c", out=out).text and (out / "fog.npy").is_file()


def test_another_file_than_the_published_one_leaves_nothing(zenodo: Path, tmp_path: Path) -> None:
    damaged = bytearray(zenodo.read_bytes())
    damaged[700] ^= 1
    for content, says in ((damaged, "its MD5 is"), (damaged[:5000], "5,000 bytes")):
        zenodo.write_bytes(content)
        with pytest.raises(InputError, match=says):
            wp.prepare("cifar10-c", out=tmp_path / "other")
        assert not (tmp_path / "other").exists()


def test_the_addresses_are_those_of_zenodo() -> None:
    assert ARCHIVES["cifar100-c"].url == "https://zenodo.org/records/3555552/files/CIFAR-100-C.tar"


def test_a_download_that_ends_early_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer(io.BytesIO):
        headers = Message()

    Answer.headers["Content-Length"] = "10"
    monkeypatch.setattr(fetching, "urlopen", lambda *_, **__: Answer(b"12345"))
    with pytest.raises(OSError, match="broke off after 5 of 10 bytes"):
        fetching.download("https://example.org/file", tmp_path / "file")


def test_a_full_disk_is_no_fault_of_the_network(
    publish: Callable[[str], Network], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def retrieve(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    publish("food101")
    monkeypatch.setattr(utils, "_urlretrieve", retrieve)
    with pytest.raises(InputError, match="no space left on the disk"):
        wp.prepare("food101", out=tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", NOT_FREE)
def test_what_nothing_fetches_says_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^nothing fetches {name}: .* train/ and test/ with class folders"):
        wp.prepare(name, out=tmp_path)
    assert mended(f"{name}:$DATA/{name}", "train", None) == NOT_FREE[name]
    with pytest.raises(InputError, match="leave the source out"):
        wp.prepare("dtd", tmp_path, out=tmp_path)
