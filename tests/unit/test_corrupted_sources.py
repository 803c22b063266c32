"""Test sets under the common corruptions: what is read of a folder, in which order, and what is refused."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weatherproof.data import CORRUPTED_SOURCES, CORRUPTIONS, CorruptedImages, ImageSet, batches, load_images
from weatherproof.data.class_lists import IMAGENET_100
from weatherproof.errors import InputError
from weatherproof.evaluation import evaluate
from weatherproof.evaluation.embeddings import embedded
from weatherproof.evaluation.engine.run import Settings

N = 6
LEVELS = (1, 2, 3, 4, 5)


def arrays(
    folder: Path, names: Sequence[str] = ("fog", "gaussian_noise"), *, n: int = N, side: int = 4, repeat: int = 1
) -> Path:
    """Arrays whose pixels say which file (red), severity (green) and image (blue) they belong to."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        pixels = np.empty((5, n, side, side, 3), np.uint8)
        pixels[..., 0] = CORRUPTIONS.index(name)
        pixels[..., 1] = np.arange(1, 6)[:, None, None, None]
        pixels[..., 2] = np.arange(n)[:, None, None]
        np.save(folder / f"{name}.npy", pixels.reshape(-1, side, side, 3))
    np.save(folder / "labels.npy", np.tile(np.arange(n, dtype=np.uint8)[::-1] % 10, repeat))
    return folder


def files(root: Path, *parts: str, names: Sequence[str] = ("n01440764/b.JPEG", "n01440764/a.JPEG", "n02102040/c.png")):
    """Files whose grey level is twenty times the place of the part, plus that of the name."""
    for p, part in enumerate(parts):
        for i, name in enumerate(names):
            path = root / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 20 * p + i).save(path)
    return root


def of(images: ImageSet) -> list[tuple[int, ...]]:
    """File, severity and image of each, as its pixels tell."""
    return [tuple(pixels[:, 0, 0].tolist()) for pixels, _, _ in images]


# --- arrays


@pytest.mark.parametrize("repeat", [1, 5])
def test_all_parts_in_canonical_order(tmp_path: Path, repeat: int) -> None:
    images = load_images(f"cifar10-c:{arrays(tmp_path, repeat=repeat)}")
    assert isinstance(images, ImageSet) and isinstance(images, CorruptedImages)
    expected = [(CORRUPTIONS.index(c), s, i) for c in ("gaussian_noise", "fog") for s in LEVELS for i in range(N)]
    assert of(images) == expected
    assert images.labels.tolist() == [5, 4, 3, 2, 1, 0] * 10
    assert images.index.tolist() == list(range(N)) * 10
    assert images.classes[:3] == ("airplane", "automobile", "bird") and len(images.classes) == 10
    assert (images.name, images.image_size, images.channels, len(images)) == ("cifar10-c", (4, 4), 3, 60)
    assert list(images.parts) == [(c, s) for c in ("gaussian_noise", "fog") for s in LEVELS]
    assert images.parts["fog", 2].tolist() == list(range(36, 42))
    assert of(images.subset(images.parts["fog", 2])) == [(9, 2, i) for i in range(N)]
    assert {*images.bad} == set()
    with pytest.raises(IndexError):
        images[60]


def test_cifar100_has_its_hundred_fine_classes(tmp_path: Path) -> None:
    arrays(tmp_path, ["fog"])
    np.save(tmp_path / "labels.npy", np.array([0, 99, 1, 8, 97, 23]))
    images = load_images(f"cifar100-c:{tmp_path}", "test")
    assert len({*images.classes}) == 100 and list(images.classes) == sorted(images.classes)
    assert [images.classes[i] for i in (0, 1, 8, 23, 97, 99)] == [  # of the published meta file
        "apple", "aquarium_fish", "bicycle", "cloud", "wolf", "worm",
    ]  # fmt: skip
    assert images.labels[:6].tolist() == [0, 99, 1, 8, 97, 23]


def test_a_subset_keeps_its_parts(tmp_path: Path) -> None:
    images = load_images(f"cifar10-c:{arrays(tmp_path)}")
    some = images.subset(torch.tensor([40, 0, 39, 59, 1]))
    assert of(some) == [(9, 2, 4), (0, 1, 0), (9, 2, 3), (9, 5, 5), (0, 1, 1)]
    assert {part: places.tolist() for part, places in some.parts.items()} == {
        ("gaussian_noise", 1): [1, 4], ("fog", 2): [0, 2], ("fog", 5): [3],
    }  # fmt: skip
    assert some.index.tolist() == [4, 0, 3, 5, 1] and some.labels.tolist() == [1, 5, 2, 0, 4]
    again = some.subset(some.parts["fog", 2])
    assert of(again) == [(9, 2, 4), (9, 2, 3)] and list(again.parts) == [("fog", 2)]
    none = some.subset(torch.empty(0, dtype=torch.int64))
    assert len(none) == 0 and none.parts == {} and none.read(torch.empty(0, dtype=torch.int64)).shape == (0, 3, 4, 4)
    assert torch.equal(pickle.loads(pickle.dumps(some)).read(torch.arange(5)), some.read(torch.arange(5)))  # noqa: S301


def test_one_corruption_or_one_part(tmp_path: Path) -> None:
    folder = arrays(tmp_path / "at@home" / "set")
    fog = load_images(f"cifar10-c:{folder}@fog")
    assert (fog.name, len(fog)) == ("cifar10-c/fog", 30) and {part[0] for part in fog.parts} == {"fog"}
    part = load_images(f"cifar10-c:{folder}@fog/3")
    assert (part.name, of(part)) == ("cifar10-c/fog/3", [(9, 3, i) for i in range(N)])
    for text, message in (
        ("@fgo", "unknown corruption 'fgo': did you mean fog"),
        ("@fog/6", "severity is a whole number from 1 .* got 6"),
        ("@fog/x", "got 'x'"),
        ("@fog/", "got ''"),
        ("@snow", "unknown corruption in cifar10-c 'snow'.*known: fog, gaussian_noise"),
    ):
        with pytest.raises(InputError, match=message):
            load_images(f"cifar10-c:{folder}{text}")


def test_files_are_mapped_and_never_unpickled(tmp_path: Path) -> None:
    images = load_images(f"cifar10-c:{arrays(tmp_path)}")
    assert all(isinstance(array, np.memmap) for array in images.corrupted.store._arrays)
    np.save(tmp_path / "fog.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"fog.npy holds Python objects, which are never read"):
        load_images(f"cifar10-c:{tmp_path}")
    np.save(tmp_path / "fog.npy", np.asfortranarray(np.load(tmp_path / "gaussian_noise.npy")))
    assert of(load_images(f"cifar10-c:{tmp_path}@fog/2")) == [(0, 2, i) for i in range(N)]


def test_other_sizes_and_grey(tmp_path: Path) -> None:
    images = load_images(f"cifar10-c:{arrays(tmp_path)}", size=8, channels=1)
    assert (images.image_size, images.channels) == ((8, 8), 1)
    assert images.read(torch.tensor([3])).shape == (1, 1, 8, 8)
    found = list(batches(images, 7, workers=2))
    assert torch.equal(torch.cat([b.index for b in found]), images.index)
    assert torch.equal(found[1].images, images.read(torch.arange(7, 14)) / 255)


def test_batches_are_those_of_the_set(tmp_path: Path) -> None:
    images = load_images(f"cifar10-c:{arrays(tmp_path)}")
    order = torch.tensor([50, 2, 31])
    (batch,) = batches(images, 8, order=order, workers=2)
    assert torch.equal(batch.images, images.read(order) / 255)
    assert batch.labels.tolist() == images.labels[order].tolist() and batch.index.tolist() == [2, 2, 1]


def spoil(folder: Path, name: str, array: np.ndarray | None = None, *, size: int | None = None, more: int = 0) -> None:
    path = folder / name
    if array is not None:
        np.save(path, array)
    elif not more and size is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:size])
    if more:
        path.write_bytes(path.read_bytes() + bytes(more))


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        ({"name": "labels.npy"}, r"no .*labels.npy"),
        ({"name": "fog.npy", "size": 1000}, r"fog.npy is not whole: expected 1,568 bytes .* found 1,000"),
        ({"name": "fog.npy", "more": 3}, r"fog.npy goes on behind its array: expected 1,568 bytes .* found 1,571"),
        ({"name": "index.npy", "array": np.arange(6), "more": 1}, r"index.npy goes on behind its array"),
        ({"name": "fog.npy", "size": 0}, r"fog.npy is not an .npy file \(0 bytes\)"),
        ({"name": "fog.npy", "size": 40}, r"fog.npy is not an .npy file \(40 bytes\)"),
        ({"name": "labels.npy", "size": 130}, r"labels.npy is not whole: expected 134 bytes .* found 130"),
        (
            {"name": "fog.npy", "array": np.zeros((29, 4, 4, 3), np.uint8)},
            r"fog.npy does not fit the others: expected \[30, 4, 4, 3\], found \[29, 4, 4, 3\]",
        ),
        ({"name": "fog.npy", "array": np.zeros((30, 4, 4, 3), np.float32)}, r"fog.npy .* found float32"),
        ({"name": "labels.npy", "array": np.zeros(7, int)}, r"labels.npy .* expected 6 or 30 .* found int64 \[7\]"),
        ({"name": "labels.npy", "array": np.zeros(6)}, r"labels.npy .* found float64 \[6\]"),
        ({"name": "labels.npy", "array": np.full(6, 10)}, r"labels.npy: expected labels from 0 to 9, found 10 to 10"),
        ({"name": "labels.npy", "array": np.array([0, 1, 2, 3, 4, -1])}, r"from 0 to 9, found -1 to 4"),
        ({"name": "labels.npy", "array": np.arange(30) % 10}, r"expected the same 6 labels 5 times"),
        ({"name": "index.npy", "array": np.arange(5)}, r"index.npy .* expected 6 whole numbers"),
    ],
)
def test_files_that_are_missing_short_or_do_not_fit(tmp_path: Path, spoiled: dict[str, object], message: str) -> None:
    spoil(arrays(tmp_path, ["fog", "snow", "frost"]), **spoiled)
    with pytest.raises(InputError, match=message) as caught:
        load_images(f"cifar10-c:{tmp_path}")
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_nothing_to_read(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    np.save(arrays(tmp_path / "odd", ["fog"]) / "fog.npy", np.zeros((12, 4, 4, 3), np.uint8))
    np.save(arrays(tmp_path / "floats", ["fog"]) / "fog.npy", np.zeros((30, 4, 4, 3), np.float32))
    arrays(tmp_path / "set")
    (tmp_path / "folder" / "fog.npy").mkdir(parents=True)
    files(tmp_path / "files", "fog/1")
    for source, split, message in (
        (f"cifar10-c:{empty}", "test", "no corrupted images in .*expected files such as fog.npy, found nothing"),
        (f"imagenet-c:{empty}", "test", "expected folders such as fog/3 or weather/fog/3, found no folders"),
        (f"imagenet-c:{tmp_path / 'set'}", "test", "expected folders such as"),
        (f"cifar10-c:{tmp_path / 'files'}", "test", "expected files such as fog.npy, found fog/"),
        (f"cifar10-c:{tmp_path / 'folder'}", "test", "expected files such as fog.npy, found fog.npy/"),
        (f"cifar10-c:{tmp_path / 'floats'}", "test", "fog.npy holds no pixels of 8 bits.* found float32"),
        (f"cifar10-c:{tmp_path / 'gone'}", "test", "no folder"),
        (f"cifar10-c:{tmp_path / 'gone'}@fog", "test", "no folder"),
        ("cifar10-c:", "test", "names no folder"),
        ("cifar-10-c:x", "test", "did you mean cifar10-c"),
        (f"cifar10-c:{tmp_path / 'odd'}", "test", r"expected \[5 n, H, W, 1 or 3\].* found \[12, 4, 4, 3\]"),
        (f"cifar10-c:{tmp_path / 'set'}", "train", "cifar10-c has no split 'train': corrupted images are for testing"),
        (f"corrupted:{tmp_path / 'set'}", "test", "no .*manifest.json: expected a folder that weatherproof corrupt"),
    ):
        with pytest.raises(InputError, match=message):
            load_images(source, split)
    assert {"cifar10-c", "cifar100-c", "imagenet-c", "imagenet100-c", "corrupted"} == CORRUPTED_SOURCES.keys()


# --- folders


@pytest.mark.parametrize(
    "parts",
    [
        ("fog/1", "fog/3", "saturate/1", "saturate/3"),
        ("weather/fog/1", "weather/fog/3", "extra/saturate/1", "extra/saturate/3"),
        ("fog/1", "fog/3", "anything/saturate/1", "anything/saturate/3"),
    ],
)
def test_folders_in_canonical_order(tmp_path: Path, parts: Sequence[str]) -> None:
    images = load_images(f"imagenet-c:{files(tmp_path, *parts)}")
    assert list(images.parts) == [("fog", 1), ("fog", 3), ("saturate", 1), ("saturate", 3)]
    levels = [pixels[0, 0, 0].item() for pixels, _, _ in images]
    assert levels == [20 * part + name for part in range(4) for name in (1, 0, 2)]  # a.JPEG before b.JPEG
    assert images.labels.tolist() == [0, 0, 1] * 4 and images.index.tolist() == [0, 1, 2] * 4
    assert images.classes == ("n01440764", "n02102040")
    assert (images.name, images.image_size, images.channels) == ("imagenet-c", (8, 8), 3)
    part = load_images(f"imagenet-c:{tmp_path}@saturate/3", size=4)
    assert (part.name, len(part), part.image_size) == ("imagenet-c/saturate/3", 3, (4, 4))
    assert [p[0, 0, 0].item() for p, _, _ in part] == [61, 60, 62]


def test_imagenet100_keeps_its_classes(tmp_path: Path) -> None:
    names = [f"{wnid}/1.png" for wnid in (*IMAGENET_100, "n00000001")]
    images = load_images(f"imagenet100-c:{files(tmp_path, 'fog/5', names=names)}", "test")
    assert images.classes == IMAGENET_100 and images.labels.tolist() == list(range(100)) and len(images) == 100
    assert len(load_images(f"imagenet-c:{tmp_path}").classes) == 101


def test_parts_that_do_not_fit(tmp_path: Path) -> None:
    parts = ("fog/1", "fog/2", "snow/1", "snow/2")
    short = files(tmp_path / "short", *parts)
    (short / "fog/2/n01440764/a.JPEG").unlink()
    lacking = files(tmp_path / "lacking", *parts[:3])
    twice = files(tmp_path / "twice", *parts, "blur/fog/1")
    other = files(tmp_path / "other", "fog/1", names=["dog/1.png"])
    flat = files(tmp_path / "flat", "fog/1", names=["1.png"])
    for source, message in (
        (f"imagenet-c:{short}", r"fog/2 holds 2 images, expected the 3 of snow/1: it lacks n01440764/a.JPEG"),
        (f"imagenet-c:{lacking}", r"no folder .*snow/2: every corruption needs severities 1, 2"),
        (f"imagenet-c:{twice}", r"fog is there twice, as .*twice/fog and .*blur/fog"),
        (f"imagenet-c:{other}", r"expected ImageNet's class folders .* got a folder dog/"),
        (f"imagenet-c:{flat}", r"expected ImageNet's class folders .* without class folders"),
        (f"imagenet100-c:{short}", r"lacks 100 of 100 classes"),
    ):
        with pytest.raises(InputError, match=message):
            load_images(source)


def test_a_part_that_is_asked_for_does_not_need_the_others(tmp_path: Path) -> None:
    files(tmp_path, "fog/1", "fog/2")
    (tmp_path / "fog/2/n01440764/a.JPEG").unlink()
    assert len(load_images(f"imagenet-c:{tmp_path}@fog/1")) == 3
    assert len(load_images(f"imagenet-c:{tmp_path}@fog/2")) == 2
    for part, message in (("fog", "fog/2 holds 2 images"), ("snow", "fog/2 holds 2"), ("fog/3", "fog/2 holds 2")):
        with pytest.raises(InputError, match=message):
            load_images(f"imagenet-c:{tmp_path}@{part}")


def test_bad_files_are_left_out_and_named(tmp_path: Path) -> None:
    names = [f"n01440764/{i:02}.png" for i in range(20)]
    files(tmp_path, "fog/1", "fog/2", names=names)
    (tmp_path / "fog/2/n01440764/07.png").write_bytes(b"no image")
    images = load_images(f"imagenet-c:{tmp_path}")
    with pytest.warns(UserWarning, match=r"1 of 40 images \(2.5%\) in 'imagenet-c' cannot be read .*07.png"):
        found = list(batches(images, 8, workers=2))
    assert torch.cat([b.index for b in found]).tolist() == [*range(20), *(i for i in range(20) if i != 7)]
    assert [Path(path).name for path in images.subset(torch.tensor([0])).bad] == ["07.png"]  # shared by all subsets
    with pytest.raises(InputError, match=r"cannot read .*fog/2/n01440764/07.png"):
        images.read(torch.tensor([27]))
    with pytest.raises(InputError, match=r"more than the 0.0% that are left out"):
        list(batches(load_images(f"imagenet-c:{tmp_path}", max_bad=0.0), 8))


def test_an_evaluation_of_one_part(tmp_path: Path) -> None:
    images = load_images(f"cifar10-c:{arrays(tmp_path)}")

    def classifier(pixels: torch.Tensor) -> torch.Tensor:  # right for the images 0 to 2 of severity 3
        blue = (pixels[:, 2, 0, 0] * 255).round().long()
        right = (blue < 3) & ((pixels[:, 1, 0, 0] * 255).round() == 3)
        return torch.nn.functional.one_hot(torch.where(right, 5 - blue, 9), 10).float()

    for severity, expected in ((3, 0.5), (4, 0.0)):
        (record,) = evaluate(
            {"m": classifier}, images.subset(images.parts["fog", severity]), metrics=("top1",), corruption="fog"
        )
        assert (record.value, record.images, record.data) == (expected, N, "cifar10-c")


def test_answers_to_all_parts_stand_where_their_images_do(tmp_path: Path) -> None:
    names = [f"n01440764/{i:02}.png" for i in range(20)]
    files(tmp_path, "fog/1", "fog/2", names=names)
    (tmp_path / "fog/2/n01440764/07.png").write_bytes(b"no image")
    images = load_images(f"imagenet-c:{tmp_path}")  # image 7 of fog/1 has the same number, and can be read
    with pytest.warns(UserWarning, match=r"1 of 40 images"):
        found = embedded(lambda pixels: pixels[:, :1, 0, 0], images, Settings(batch_size=8), "grey")
    good = [i for i in range(40) if i != 27]
    assert found.place.tolist() == good
    assert found["embedding"].mul(255).round().flatten().tolist() == good  # fog/2 begins at 20, in grey too


# --- what `corrupt` wrote


def manifest(folder: Path, **changed: object) -> Path:
    told = {"name": "digits/test", "layout": "cifar-c", "channels": 3, "classes": list("abcdef")} | changed
    (folder / "manifest.json").write_text(json.dumps(told))
    return folder


def test_a_copy_knows_its_classes_and_indices(tmp_path: Path) -> None:
    folder = manifest(arrays(tmp_path, ["fog"]))
    np.save(folder / "index.npy", np.array([11, 3, 7, 2, 90, 5]))
    images = load_images(f"corrupted:{folder}@fog/2")
    assert (images.name, images.classes) == ("digits-c/fog/2", tuple("abcdef"))
    assert images.index.tolist() == [11, 3, 7, 2, 90, 5]
    with pytest.raises(InputError, match=r"holds other classes \(a, b, c, ...\): write corrupted:"):
        load_images(f"cifar10-c:{folder}")


def test_a_copy_in_folders_keeps_labels_of_classes_without_images(tmp_path: Path) -> None:
    files(tmp_path, "fog/1", names=["cat/1.png", "eel/1.png"])
    classes = ["ant", "cat", "dog", "eel"]
    images = load_images(f"corrupted:{manifest(tmp_path, layout='imagenet-c', channels=1, classes=classes)}")
    assert images.classes == tuple(classes) and images.labels.tolist() == [1, 3] and images.channels == 1
    with pytest.raises(InputError, match=r"class folder 'eel' that its manifest.json does not name: take it away, or"):
        load_images(f"corrupted:{manifest(tmp_path, layout='imagenet-c', channels=1, classes=classes[:3])}")
    flat = files(tmp_path / "flat", "fog/1", names=["1.png", "2.png"])
    images = load_images(f"corrupted:{manifest(flat, layout='imagenet-c', classes=[])}")
    assert images.labels.tolist() == [-1, -1] and images.classes == ()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": 1}'])
def test_a_manifest_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    (arrays(tmp_path) / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest.json is not what corrupt writes"):
        load_images(f"corrupted:{tmp_path}")
