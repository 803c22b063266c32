"""Tar shards: against the same images in a folder, and whatever a tar file can do to a reader."""

import hashlib
import io
import json
import os
import pickle
import tarfile
from collections.abc import Sequence
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from full_disk import fill_disk
from PIL import Image

from weatherproof import random
from weatherproof.data import MemoryImages, PackedImages, batches, load_images
from weatherproof.data.duplicates import called, duplicates
from weatherproof.data.images import order_of
from weatherproof.data.packed import images as packed_images
from weatherproof.data.packed.index import NAME
from weatherproof.data.packed.storage import LocalFiles, braces
from weatherproof.errors import InputError
from weatherproof.verbs.shard import shard


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def picture(level: int, kind: str = "PNG", side: int = 8) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(level).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def put_tar(path: Path, members: Sequence[tuple[str, bytes]], kind: int = tarfile.USTAR_FORMAT) -> Path:
    """A tar made by the standard library, not by the verb."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as tar:
        for name, content in members:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return path


def samples(places: Sequence[int], kind: str = "png") -> list[tuple[str, bytes]]:
    return [item for i in places for item in ((f"{i:06}.{kind}", picture(i)), (f"{i:06}.cls", str(i % 2).encode()))]


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Train and test, two classes, JPEG and PNG; one file cannot be read."""
    root = tmp_path / "files" / "photos"
    for split, count in (("train", 24), ("test", 9)):
        for i in range(count):
            path = root / split / ("bee", "cat")[i % 2] / f"{i:03}.{('jpg', 'png')[i % 3 == 0]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(i + 100 * (split == "test"), "PNG" if path.suffix == ".png" else "JPEG"))
    (root / "train" / "bee" / "999.jpg").write_bytes(picture(7, "JPEG")[:200])
    return root


# --- what is read


@pytest.mark.filterwarnings("ignore:.*cannot be read and are left out")
@pytest.mark.parametrize("budget", [2**30, 0])
def test_shards_are_the_folder_that_they_were_made_of(folder: Path, tmp_path: Path, budget: int) -> None:
    out = tmp_path / "tars" / "photos"
    shard(folder, out=out, images_per_shard=7)
    for split in ("train", "test"):
        a, b = (load_images(source, split, memory_budget=budget, max_bad=0.1) for source in (folder, f"shards:{out}"))
        assert (a.name, a.classes, a.channels, a.image_size) == (b.name, b.classes, b.channels, b.image_size)
        assert isinstance(b, PackedImages if budget == 0 else MemoryImages)
        found = [list(batches(images, 4)) for images in (a, b)]
        for one, other in zip(*found, strict=True):
            assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
            assert torch.equal(one.index, other.index)
        assert [*a.bad.values()] == [*b.bad.values()] and len(a.bad) == (split == "train")


def test_shards_of_others(tmp_path: Path) -> None:
    members = [
        ("./a/0007.jpg", picture(1, "JPEG")), ("./a/0007.json", b'{"label": 1, "caption": "x"}'),
        ("a/0008.mask.png", picture(2)), ("a/0008.PNG", picture(3)), ("a/0008.cls", b"0\n"),
        ("a/0009.webp", picture(4, "WEBP")), ("a/0009.json", b'{"cls": 2}'), ("a/0009.txt", b"text"), ("README", b"x"),
    ]  # fmt: skip
    for kind in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        path = put_tar(tmp_path / str(kind) / "x.tar", members, kind)
        images = load_images(f"shards:{path}", "all")
        assert images.labels.tolist() == [1, 0, 2] and images.classes == ("0", "1", "2")
        assert images.index.tolist() == [hashed(f"a/000{i}") for i in (7, 8, 9)]  # keys with folders are no numbers
        contents = picture(1, "JPEG"), picture(3), picture(4, "WEBP")
        for pixels, content in zip(images.read(torch.arange(3)), contents, strict=True):
            expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).transpose(2, 0, 1)
            assert np.array_equal(pixels.numpy(), expected)


def test_an_images_number_is_its_key(tmp_path: Path) -> None:
    put_tar(tmp_path / "b.tar", samples([30, 31, 50]))
    put_tar(tmp_path / "a.tar", samples([2, 4]))
    assert load_images(f"shards:{tmp_path}", "all").index.tolist() == [2, 4, 30, 31, 50]
    put_tar(tmp_path / "b.tar", [*samples([50, 31]), ("cat.png", picture(1)), ("cat.cls", b"0"), *samples([2**63 - 1])])
    (tmp_path / NAME).unlink()
    found = load_images(f"shards:{tmp_path}", "all").index.tolist()
    assert found == [2, 4, 50, 31, hashed("cat"), 2**63 - 1]
    put_tar(tmp_path / "0.tar", [("dog.png", picture(9)), ("dog.cls", b"1")])  # in front of the others
    assert load_images(f"shards:{tmp_path}", "all").index.tolist() == [hashed("dog"), *found]


def hashed(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") % 2**63


def test_images_of_several_shards_with_one_key_are_told_apart_by_their_shards(tmp_path: Path) -> None:
    for place, root in enumerate((tmp_path / "here", tmp_path / "there")):
        put_tar(root / "a.tar", samples([2, 4]))
        put_tar(root / "x" / "b.tar", samples([4, 5]))
        if place:
            put_tar(root / "0.tar", samples([7]))
    here, there = (load_images(f"shards:{tmp_path}/{part}", "all").index.tolist() for part in ("here", "there"))
    assert here[0] == 2 and here[3] == 5 and len({*here}) == 4 and min(here) >= 0
    assert there == [7, *here]


def test_an_index_of_an_earlier_version_is_made_anew(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    put_tar(tmp_path / "x.tar", [("cat.png", picture(1)), ("dog.png", picture(2))])
    before = load_images(f"shards:{tmp_path}", "all").index
    kept = load_file(tmp_path / NAME)
    about = {"format": "weatherproof shards 1", "names": '["x.tar"]'}
    save_file(kept | {"number": torch.tensor([-1, -1])}, tmp_path / NAME, about)
    assert torch.equal(load_images(f"shards:{tmp_path}", "all").index, before)
    assert torch.equal(load_file(tmp_path / NAME)["number"], before)


@pytest.mark.filterwarnings("ignore:small. no weights given")
def test_a_training_from_shards_with_any_keys(tmp_path: Path) -> None:
    """A table by the images' numbers would need 2^63 rows. Written again as shards, they keep them."""
    from weatherproof import load_encoder
    from weatherproof.objectives import StudentTeacher
    from weatherproof.operators import RandomMask
    from weatherproof.training import Plan, harden_encoder

    members = [(f"{i}-{name}", content) for i in range(30) for name, content in samples([i])]
    put_tar(tmp_path / "s" / "train-0.tar", members)
    images = load_images(f"shards:{tmp_path / 's'}", "train")
    plan = Plan(epochs=2, batch_size=8, lr=1e-3, device="cpu")
    teacher = load_encoder("small")
    harden_encoder(teacher, images, operator=RandomMask(0.5), objective=StudentTeacher(), plan=plan, progress=False)
    shard(f"shards:{tmp_path / 's'}", out=tmp_path / "again", split=["train"])
    again = load_images(f"shards:{tmp_path / 'again'}", "train").index
    assert torch.equal(again, images.index) and int(again.max()) > 2**53


def test_splits_by_the_names_of_the_shards(tmp_path: Path) -> None:
    put_tar(tmp_path / "set-train-0.tar", samples(range(6)))
    put_tar(tmp_path / "set-val-0.tar", samples([90]))
    assert [len(load_images(f"shards:{tmp_path}", split)) for split in ("train", "test", "val", "all")] == [6, 1, 1, 7]
    assert load_images(f"shards:{tmp_path}", "test").classes == ("0", "1")  # of all splits
    assert len(load_images(f"shards:{tmp_path}/set-val-*.tar", "test")) == 1
    with pytest.raises(InputError, match="has no split 'train': the names of its files speak of val"):
        load_images(f"shards:{tmp_path}/set-val-*.tar", "train")


def test_without_such_names_a_fifth_is_held_out_for_good(tmp_path: Path) -> None:
    put_tar(tmp_path / "0.tar", samples(range(100)))
    train, test = (load_images(f"shards:{tmp_path}", split) for split in ("train", "test"))
    assert sorted([*train.index.tolist(), *test.index.tolist()]) == [*range(100)] and 10 <= len(test) <= 30
    put_tar(tmp_path / "1.tar", samples(range(100, 120)))
    assert {*test.index.tolist()} <= {*load_images(f"shards:{tmp_path}", "test").index.tolist()}


def test_patterns(tmp_path: Path) -> None:
    for i in range(3):
        put_tar(tmp_path / f"x-{i:03}.tar", samples([i]))
    for pattern in ("x-{000..002}.tar", "x-00{0,1,2}.tar", "x-*.tar", "x-00[0-2].tar", "{x-*,y-*}.tar"):
        assert len(load_images(f"shards:{tmp_path}/{pattern}", "all")) == 3, pattern
    with pytest.raises(InputError, match="no shard .*x-003.tar: 1 of the 4 named by"):
        load_images(f"shards:{tmp_path}/x-{{000..003}}.tar", "all")
    for pattern in ("y-*.tar", "x-000.tar/*"):
        with pytest.raises(InputError, match="no shards .*expected .tar files"):
            load_images(f"shards:{tmp_path}/{pattern}", "all")


def test_braces_as_the_shell_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [*braces("a{1..3}b{x,y{8..10..2}}")] == [
        "a1bx", "a1by8", "a1by10", "a2bx", "a2by8", "a2by10", "a3bx", "a3by8", "a3by10",
    ]  # fmt: skip
    assert [*braces("{3..1}")] == ["3", "2", "1"] and [*braces("{a}{,b")] == ["{a}{,b"]
    assert [*braces("{009..011}")] == ["009", "010", "011"]
    monkeypatch.setattr("weatherproof.data.packed.storage.MOST_FILES", 1000)
    for hostile in ("{0..999999999999}", "{a,b}" * 700, "{" + "9" * 5000 + "..1}"):
        with pytest.raises(InputError, match="more than 1,000 files|more digits than"):
            braces(hostile)


def test_an_address_of_fsspec(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    path = put_tar(tmp_path / "x.tar", samples(range(5)))
    for i in range(2):
        memory.pipe(f"/bucket/x-{i}.tar", path.read_bytes())
    try:
        here, there = load_images(f"shards:{path}", "all"), load_images("shards:memory://bucket/x-*.tar", "all")
        assert torch.equal(there.read(torch.arange(5)), here.read(torch.arange(5))) and len(there) == 10
        assert len(load_images("shards:memory://bucket/x-{0..1}.tar", "all", memory_budget=0)) == 10
        with pytest.raises(InputError, match="no shards 'memory://nowhere/"):
            load_images("shards:memory://nowhere/*.tar")
    finally:
        memory.rm("/bucket", recursive=True)
    with pytest.raises(InputError, match="cannot be read by fsspec"):
        load_images("shards:nothing-such://x/*.tar")


# --- the index


def test_shards_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_tar(tmp_path / "0.tar", samples(range(4)))
    put_tar(tmp_path / "1.tar", samples(range(4, 8)))
    first = load_images(f"shards:{tmp_path}/0.tar", "all", memory_budget=0)
    put_tar(tmp_path / "2.tar", samples(range(8, 9)))
    assert (tmp_path / NAME).is_file() and len(load_images(f"shards:{tmp_path}", "all")) == 9
    monkeypatch.setattr("weatherproof.data.packed.index.walk", None)
    again = load_images(f"shards:{tmp_path}", "all", memory_budget=0)
    assert torch.equal(again.read(torch.arange(4)), first.read(torch.arange(4)))
    assert load_images(f"shards:{tmp_path}/{{0,2}}.tar", "all").index.tolist() == [0, 1, 2, 3, 8]


def test_where_no_index_can_be_written_it_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_tar(tmp_path / "s" / "0.tar", samples(range(4)))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert len(load_images(f"shards:{tmp_path}/s", "all")) == 4
    assert not (tmp_path / "s" / NAME).exists() and len([*(tmp_path / "cache").rglob("*.safetensors")]) == 1
    put_tar(tmp_path / "s" / "0.tar", samples(range(6)))  # of another length: counted anew
    assert len(load_images(f"shards:{tmp_path}/s", "all")) == 6


def test_an_index_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = put_tar(tmp_path / "0.tar", samples(range(40)))
    load_images(f"shards:{tmp_path}", "all", memory_budget=0)
    other = [*reversed(samples(range(40)))]
    put_tar(path, other[:40])
    with pytest.raises(InputError, match=r"does not fit them: 0\.tar has [\d,]+ bytes, and [\d,]+ there"):
        load_images(f"shards:{tmp_path}", "all")
    with path.open("ab") as file:  # the length is that of before
        file.truncate(bytes_in(tmp_path))
    with pytest.raises(InputError, match="0.tar has no image where it should be"):
        load_images(f"shards:{tmp_path}", "all")
    (tmp_path / NAME).write_bytes(b"nonsense")
    with pytest.raises(InputError, match="is no index of shards that can be read .*: delete it to have them counted"):
        load_images(f"shards:{tmp_path}", "all")


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_shard_with_other_keys_of_the_same_length_is_refused(tmp_path: Path, kind: int) -> None:
    content, long = picture(3), "x" * 60 + "/" + "y" * 60
    put_tar(tmp_path / "0.tar", [("b/é.png", content), ("b/2.png", content), (f"{long}.png", content)], kind)
    images = load_images(f"shards:{tmp_path}", "all", memory_budget=0)
    assert [len(batch.index) for batch in batches(images, 3)] == [3]
    put_tar(tmp_path / "0.tar", [("b/é.png", content), ("b/4.png", content), (f"{long}.png", content)], kind)
    with pytest.raises(InputError, match=r"0\.tar has b/4\.png where another image was; they were changed since"):
        [*batches(load_images(f"shards:{tmp_path}", "all", memory_budget=0), 3)]


def bytes_in(folder: Path) -> int:
    from safetensors.torch import load_file

    return int(load_file(folder / NAME)["table"][0, 0])


# --- bad input


def test_a_tar_that_is_cut_is_refused(tmp_path: Path) -> None:
    whole = put_tar(tmp_path / "whole", samples(range(4))).read_bytes()
    with tarfile.open(tmp_path / "whole") as tar:
        ends = [member.offset_data + member.size for member in tar]
    last = -(-ends[-1] // 512) * 512
    for length in (512, 600, 1500, last - 1024, last - 300, last, last + 300):
        (tmp_path / "x.tar").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"x\.tar is (cut off or damaged after|no tar file)"):
            load_images(f"shards:{tmp_path}/x.tar", "all")
    (tmp_path / "x.tar").write_bytes(whole[: last + 512])
    assert len(load_images(f"shards:{tmp_path}/x.tar", "all")) == 4
    (tmp_path / "x.tar").unlink()
    damaged = bytearray(whole)
    damaged[ends[1] // 512 * 512 + 512 : ends[1] // 512 * 512 + 530] = b"?" * 18
    (tmp_path / "y.tar").write_bytes(damaged)
    with pytest.raises(InputError, match="cut off or damaged after"):
        load_images(f"shards:{tmp_path}/y.tar", "all")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"), (b"text" * 500, "no tar file"), (b"\x1f\x8b" + b"x" * 600, r"is compressed \(gzip\)"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 600, r"is compressed \(zstd\)"), (bytes(10240), "hold no samples"),
    ],
)  # fmt: skip
def test_what_is_no_shard_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(InputError, match=says):
        load_images(f"shards:{tmp_path}/x.tar")


def test_doubled_keys_are_refused(tmp_path: Path) -> None:
    twice = [("1.png", picture(1)), ("1.png", picture(2))]
    for name, members in (("a.tar", samples([1, 2, 1])), ("b.tar", twice), ("c.tar", [*samples([1]), twice[0]])):
        with pytest.raises(InputError, match=r"holds key '0*1' twice(: | \('000001' is the same number\): )"):
            load_images(f"shards:{put_tar(tmp_path / name, members)}")


def test_samples_without_an_image_or_a_class_are_left_out_and_named(tmp_path: Path) -> None:
    members = samples(range(30))
    members[2:4] = [("000001.txt", b"no image"), ("000001.cls", b"1")]
    members[5] = ("000002.cls", b"cat")
    members[7] = ("000003.json", b'{"caption": ""}')
    members[9] = ("000004.json", b"[" * 9000)
    path = put_tar(tmp_path / "x.tar", members)
    with pytest.warns(UserWarning, match=r"4 of 30 images .* left out: first .*x\.tar/000001.txt: no image"):
        images = load_images(f"shards:{path}", "all", max_bad=0.2)
    assert [k.rpartition("/")[2] for k in images.bad] == ["000001.txt", "000002.png", "000003.png", "000004.png"]
    assert images.index.tolist() == [0, *range(5, 30)] and len(images.labels) == 26
    assert [reason.split(" (")[0] for reason in images.bad.values()][1:] == ["its class", "no class", "its class"]
    with pytest.raises(InputError, match="more than the 5.0% that are left out"):
        load_images(f"shards:{path}", "all")


def test_hostile_members_are_passed_over_and_nothing_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("../../evil\n\x1b[2J.png", "/etc/passwd.png", "ok.png"):
            about = tarfile.TarInfo(name)
            about.size = len(picture(0))
            tar.addfile(about, io.BytesIO(picture(0)))
        for name, kind in (("link.png", tarfile.SYMTYPE), ("dir.png", tarfile.DIRTYPE), ("pipe.png", tarfile.FIFOTYPE)):
            about = tarfile.TarInfo(name)
            about.type, about.linkname = kind, "/etc/passwd"
            tar.addfile(about)
    before = names_in(tmp_path)
    images = load_images(f"shards:{path}", "all", memory_budget=0)
    assert len(images) == 3 and images.read(torch.arange(3)).shape == (3, 3, 8, 8)
    assert names_in(tmp_path) == {*before, NAME}
    assert called(images, 0).isprintable()


def test_a_pipe_is_no_shard(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.tar")
    with pytest.raises(InputError, match="is a named pipe"):
        load_images(f"shards:{tmp_path}")


# --- reading


@pytest.fixture
def many(tmp_path: Path) -> PackedImages:
    for i in range(12):
        put_tar(tmp_path / f"{i:02}.tar", samples(range(10 * i, 10 * i + 10)))
    images = load_images(f"shards:{tmp_path}", "all", memory_budget=0)
    assert isinstance(images, PackedImages)
    return images


def test_workers_read_the_same(many: PackedImages) -> None:
    order = many.order(3, 1)
    found = [torch.cat([b.images for b in batches(many, 16, order=order, workers=w)]) for w in (0, 2)]
    assert torch.equal(*found) and torch.equal(found[0], many.read(order).float() / 255)


def test_sent_to_another_process_they_stay_readable_here(many: PackedImages) -> None:
    order = many.order(3, 1)
    before = many.read(order)
    sent = ForkingPickler.dumps(many)  # as spawn does it: tensors move into shared memory
    assert torch.equal(many.read(order), before)
    assert torch.equal(ForkingPickler.loads(sent).read(order), before)


def test_what_is_sent_is_where_the_shards_are(tmp_path: Path) -> None:
    """Another process opens the index itself: numbers of a million images need not be sent."""
    for i in range(3):
        put_tar(tmp_path / f"{i}.tar", samples(range(400 * i, 400 * i + 400)))
    for split in ("train", "all"):
        images = load_images(f"shards:{tmp_path}", split, memory_budget=0, size=4)
        parts = {
            "whole": images, "rest": images.subset(torch.arange(1, len(images))),
            "few": images.subset(torch.tensor([3])), "shuffled": images.subset(random.order(0, 0, len(images))[:30]),
        }  # fmt: skip
        for name, part in parts.items():
            sent = pickle.dumps(part)
            there = pickle.loads(sent)  # noqa: S301 - from a line above
            assert len(sent) < 1500, name
            assert torch.equal(there.index, part.index) and torch.equal(there.labels, part.labels)
            assert torch.equal(there.read(torch.tensor([0])), part.read(torch.tensor([0])))
            assert torch.equal(there.subset(torch.tensor([0])).index, part.index[:1])


def test_other_shards_at_another_process_are_refused(tmp_path: Path) -> None:
    put_tar(tmp_path / "0.tar", samples(range(4)))
    images = load_images(f"shards:{tmp_path}", "all", memory_budget=0)
    sent = pickle.dumps(images)
    put_tar(tmp_path / "1.tar", samples([9]))
    with pytest.raises(InputError, match="the shards .* are not the same on .* as at the first process"):
        pickle.loads(sent)  # noqa: S301 - from a line above


def test_more_shards_than_files_kept_open(many: PackedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weatherproof.data.packed.storage._MOST_OPEN", 2)
    before = len(names_in(Path("/proc/self/fd")))
    assert many.read(torch.arange(len(many))).shape[0] == 120
    if before:
        assert len(names_in(Path("/proc/self/fd"))) <= before + 2


def test_an_epochs_order_mixes_few_shards_at_a_time(many: PackedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_images, "WINDOW", 30)
    order = order_of(many, 0, 0)
    assert sorted(order.tolist()) == [*range(120)]
    assert torch.equal(order, many.order(0, 0)) and not torch.equal(order, many.order(0, 1))
    shards = [{*(part // 10).tolist()} for part in order.split(30)]
    assert all(len(part) == 3 for part in shards) and [*sorted(s for part in shards for s in part)] == [*range(12)]
    assert order[:30].tolist() != sorted(order[:30].tolist())
    some = many.subset(torch.arange(0, 120, 3))
    assert sorted(order_of(some, 0, 0).tolist()) == [*range(40)]
    monkeypatch.setattr(packed_images, "WINDOW", 1)
    visits = [(own.index[order_of(own, 0, 0)] // 10).tolist() for own in (many, some)]
    assert [*dict.fromkeys(visits[0])] == [*dict.fromkeys(visits[1])]  # the same shards in the same order
    memory = MemoryImages(torch.zeros(9, 1, 2, 2, dtype=torch.uint8))
    assert torch.equal(order_of(memory, 1, 2), random.order(1, 2, 9))


def test_duplicates_by_the_bytes_of_shards_and_files(tmp_path: Path) -> None:
    put_tar(tmp_path / "s" / "0.tar", samples(range(5)))
    (tmp_path / "f").mkdir()
    for i, level in enumerate((50, 3, 51)):
        (tmp_path / "f" / f"{i}.png").write_bytes(picture(level))
    train = load_images(f"shards:{tmp_path}/s", "all", memory_budget=0)
    test = load_images(tmp_path / "f", "all", memory_budget=0)
    assert duplicates(train, test).tolist() == [[1, 3]] and duplicates(test, train).tolist() == [[3, 1]]
    assert called(train, 3).endswith("0.tar/000003.png")


# --- the verb


def test_the_verb_writes_what_it_says(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = shard(folder, out=out, images_per_shard=10).manifest
    assert told["splits"]["train"] | {"bytes": 0} == {"name": "photos/train", "images": 25, "shards": 3, "bytes": 0}
    assert [told["files"][f"train-{i:06}.tar"]["images"] for i in range(3)] == [10, 10, 5]
    with tarfile.open(out / "test-000000.tar") as tar:  # the library's own reader
        names = tar.getnames()
        assert names[:2] == ["000000000.png", "000000000.cls"] and len(names) == 18
        first = sorted((folder / "test" / "bee").iterdir())[0]
        assert tar.extractfile(names[0]).read() == first.read_bytes()  # type: ignore[union-attr]
    for name, about in told["files"].items():
        content = (out / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (about["bytes"], about["sha256"])
    assert json.loads((out / "manifest.json").read_text()) == told
    assert "finished already" in shard(folder, out=out, images_per_shard=10).next_steps[0]
    small = shard(folder, out=tmp_path / "small", size_mb=0.005, split=["test"]).manifest
    assert len(small["files"]) > 2 and sum(about["images"] for about in small["files"].values()) == 9


def test_shards_of_shards_and_of_arrays(folder: Path, tmp_path: Path) -> None:
    shard(folder, out=tmp_path / "a" / "photos", images_per_shard=4, split=["test"])
    shard(f"shards:{tmp_path / 'a' / 'photos'}", out=tmp_path / "b" / "photos", split=["test"])
    one, two = (load_images(f"shards:{tmp_path / part / 'photos'}", "test") for part in "ab")
    assert torch.equal(one.read(torch.arange(9)), two.read(torch.arange(9))) and torch.equal(one.labels, two.labels)
    grey = MemoryImages(
        torch.arange(8 * 16, dtype=torch.uint8).view(8, 1, 4, 4), torch.arange(8) % 2, ("no", "yes"),
        name="own/all", index=torch.arange(8) * 5,
    )  # fmt: skip
    shard(grey, out=tmp_path / "own")
    back = load_images(f"shards:{tmp_path / 'own'}", "all")
    assert torch.equal(back.read(torch.arange(8)), grey.pixels) and back.classes == grey.classes
    assert torch.equal(back.index, grey.index) and torch.equal(back.labels, grey.labels)
    shard(folder, out=tmp_path / "c", size=6, split=["test"])
    sized, direct = load_images(f"shards:{tmp_path / 'c'}", "test"), load_images(folder, "test", size=6)
    assert torch.equal(sized.read(torch.arange(9)), direct.read(torch.arange(9)))


def test_a_stopped_copy_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weatherproof.errors import Stopped
    from weatherproof.verbs import shard as module

    whole = shard(folder, out=tmp_path / "whole", images_per_shard=5).manifest
    written = module._Hashed.member
    count = 0

    def stopping(self: module._Hashed, name: str, content: bytes) -> None:
        nonlocal count
        count += 1
        if count == 35:
            raise KeyboardInterrupt
        written(self, name, content)

    monkeypatch.setattr(module._Hashed, "member", stopping)
    with pytest.raises(Stopped):
        shard(folder, out=tmp_path / "out", images_per_shard=5)
    assert [*(tmp_path / "out").glob(".*.tmp")] == []
    done = {path.name for path in (tmp_path / "out").glob("*.tar")}
    assert done == {f"train-{i:06}.tar" for i in range(3)}
    monkeypatch.undo()
    before = (tmp_path / "out" / "train-000000.tar").stat().st_mtime_ns
    again = shard(folder, out=tmp_path / "out", images_per_shard=5).manifest
    assert again["files"] == whole["files"] and again["splits"] == whole["splits"]
    assert (tmp_path / "out" / "train-000000.tar").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("count", "room", "ending", "written"),
    [
        (10, 0, ".tar.tmp", 0), (90, 15_000, ".tar.tmp", 0),
        (90, 0, "train-000002.tar.tmp", 0),  # all of it: without a note of progress what was written is removed
        (90, 0, "train-000002.tar.tmp", 2),
    ],
)  # fmt: skip
def test_a_full_disk_says_what_is_still_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, room: int, ending: str, written: int
) -> None:
    from weatherproof.verbs import shard as module

    for i in range(count):
        path = tmp_path / "photos" / "train" / ("bee", "cat")[i % 2] / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(i, side=20))
    settings = {"split": ["train"], "images_per_shard": 20}
    files = shard(tmp_path / "photos", out=tmp_path / "whole", **settings).manifest["files"]
    with monkeypatch.context() as patch:
        patch.setattr(module, "NOTE_SECONDS", 0 if written else 60)
        fill_disk(patch, room, ending)
        with pytest.raises(InputError, match=r"no space left on the disk of .*tar: need about \d+ kB; free") as error:
            shard(tmp_path / "photos", out=tmp_path / "out", **settings)
    needed = int(str(error.value).partition("need about ")[2].split()[0]) * 1024
    assert needed == pytest.approx(sum(about["bytes"] for about in [*files.values()][written:]), rel=0.2, abs=10_240)
    assert {path.name for path in (tmp_path / "out").glob("*.tar")} == {*list(files)[:written]}
    assert shard(tmp_path / "photos", out=tmp_path / "out", **settings).manifest["files"] == files


def test_files_that_have_gone_are_left_out_and_named(folder: Path, tmp_path: Path) -> None:
    (folder / "test" / "bee" / "zzz.jpg").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="1 of 10 images .* more than the 5.0%"):
        shard(folder, out=tmp_path / "out", split=["test"])
    assert not (tmp_path / "out").exists()
    for i in range(20):
        (folder / "test" / "cat" / f"more{i}.png").write_bytes(picture(i))
    told = shard(folder, out=tmp_path / "out", split=["test"]).manifest
    assert [*told["left_out"].values()] == ["No such file or directory"]
    assert told["splits"]["test"]["images"] == 29


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"images_per_shard": 0}, "images_per_shard must be at least 1"), ({"size_mb": 0.0}, "size_mb is a number"),
        ({"size_mb": float("nan")}, "must be a finite number"), ({"jpeg_quality": 0}, "jpeg_quality is from 1"),
        ({"split": []}, "split is an empty list"), ({"split": ["../x"]}, "has no split"),
    ],
)  # fmt: skip
def test_a_setting_out_of_range_leaves_nothing(folder: Path, tmp_path: Path, options: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        shard(folder, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_reading_at_a_place() -> None:
    files = LocalFiles()
    assert files.read(__file__, 0, 10) == Path(__file__).read_bytes()[:10]
    with pytest.raises(InputError, match="cannot read"):
        files.read("/nowhere/x.tar", 0, 1)


# --- training and measuring


def test_a_training_that_was_killed_goes_on_with_the_next_image(
    many: PackedImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch import nn

    from weatherproof.training import Plan, RunFolder, fit

    monkeypatch.setattr(packed_images, "WINDOW", 30)

    class Seen(nn.Module):
        """Its weights tell the images that it saw, in their order."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3 * 8 * 8, 4)
            nn.init.constant_(self.layer.weight, 0.01)
            nn.init.zeros_(self.layer.bias)
            self.seen: list[int] = []

        def forward(self, images, labels, index, keys, gather) -> dict[str, torch.Tensor]:  # type: ignore[no-untyped-def]
            self.seen += index.tolist()
            return {"loss": nn.functional.cross_entropy(self.layer(images.flatten(1)), labels)}

    plan = Plan(epochs=2, batch_size=24, lr=0.01, device="cpu", checkpoint_seconds=0.0)
    whole = Seen()
    fit(whole, many, plan, progress=False)
    assert sorted(whole.seen[:120]) == [*range(120)]

    class Killed(Seen):
        def forward(self, *given) -> dict[str, torch.Tensor]:  # type: ignore[no-untyped-def]
            if len(self.seen) == 24 * 7:
                raise OSError("killed")
            return super().forward(*given)

    first, second = Killed(), Seen()
    recipe = {"verb": "test"}
    run = RunFolder.open(tmp_path / "run", recipe)
    with pytest.raises(OSError, match="killed"):
        fit(first, many, plan, run, progress=False)
    run.close()
    fit(second, many, plan, RunFolder.open(tmp_path / "run", recipe), progress=False)
    assert first.seen + second.seen == whole.seen
    assert torch.equal(second.layer.weight, whole.layer.weight)


@pytest.mark.filterwarnings("ignore:.*cannot be read and are left out")
def test_an_audit_of_shards_gives_the_records_of_the_folder(folder: Path, tmp_path: Path) -> None:
    from weatherproof import audit

    out = tmp_path / "tars" / "photos"
    shard(folder, out=out, images_per_shard=4)
    found = [
        audit(
            "small@random", source, operator="RandomMask(0.5)", size=16, realizations=1, device="cpu", workers=0,
            out=tmp_path / f"audit{i}",
        ).records
        for i, source in enumerate((folder, f"shards:{out}"))
    ]  # fmt: skip
    assert found[0] and found[0] == found[1]


def test_what_is_no_folder_of_shards_is_named(tmp_path: Path) -> None:
    for text, words in ((tmp_path / "nope", "no file or folder is called so"), (tmp_path, "hold no .tar file")):
        with pytest.raises(InputError, match=f"no shards .*{words}; expected .tar files"):
            load_images(f"shards:{text}", "all")


def test_a_crop_belongs_to_a_size(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="crop_fraction is of images that are read at a size"):
        shard("digits", crop_fraction=0.5, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
