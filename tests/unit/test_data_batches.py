"""Sets of images, batches of them, and fewer labels."""

import math
import multiprocessing
import os
import pickle
import sys
import time
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from weatherproof.data import (
    FileImages,
    ImageSet,
    MemoryImages,
    at_most,
    batches,
    evenly_spaced,
    label_fraction,
    load_images,
    loading,
)
from weatherproof.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty noisy images in two classes."""
    draw = np.random.default_rng(0)
    for i in range(40):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (9, 12, 3), np.uint8)).save(tmp_path / "ab"[i % 2] / f"{i:02}.png")
    return tmp_path


def memory(n: int = 7) -> MemoryImages:
    pixels = torch.arange(n * 12, dtype=torch.uint8).reshape(n, 3, 2, 2)
    return MemoryImages(pixels, torch.arange(n) % 2, ("even", "odd"), index=torch.arange(n) * 10)


def test_sets_are_image_sets(folder: Path) -> None:
    for images in (memory(), load_images(folder, "all"), load_images(folder, "all", memory_budget=0)):
        assert isinstance(images, ImageSet)
        pixels, label, index = images[-1]
        assert pixels.dtype == torch.uint8 and pixels.ndim == 3
        assert (label, index) == (int(images.labels[-1]), int(images.index[-1]))
        with pytest.raises(IndexError):
            images[len(images)]
        assert len(list(images)) == len(images)


def test_a_subset_keeps_indices_and_everything_else(folder: Path) -> None:
    for images in (memory(40), load_images(folder, "all"), load_images(folder, "all", memory_budget=0)):
        positions = torch.tensor([30, 2, 17])
        part = images.subset(positions).subset(torch.tensor([2, 0]))
        assert torch.equal(part.index, images.index[[17, 30]])
        assert torch.equal(part.labels, images.labels[[17, 30]])
        assert torch.equal(part.read(torch.arange(2)), images.read(torch.tensor([17, 30])))
        assert (part.classes, part.name, type(part)) == (images.classes, images.name, type(images))
        assert len(images.subset(torch.empty(0, dtype=torch.int64))) == 0


def test_parts_that_do_not_belong_together() -> None:
    pixels = torch.zeros(3, 3, 5, 2, dtype=torch.uint8)
    for arguments, message in (
        ((pixels.float(),), "expected uint8 or uint16 pixels"),
        ((pixels.movedim(1, 3),), "usually of 1 or 3 channels"),
        ((pixels, torch.zeros(2, dtype=torch.int64)), r"labels int64 \[3\]"),
        ((pixels, torch.zeros(3)), "got torch.float32"),
        ((pixels, torch.tensor([0, 1, 2]), ("a", "b")), "label 2 has no name"),
    ):
        with pytest.raises(InputError, match=message):
            MemoryImages(*arguments)


def test_batches_are_floats_in_0_1() -> None:
    images = memory()
    found = list(batches(images, 3))
    assert [len(b.index) for b in found] == [3, 3, 1]
    assert torch.equal(torch.cat([b.images for b in found]), images.pixels.float() / 255)
    assert torch.cat([b.index for b in found]).tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert torch.cat([b.labels for b in found]).tolist() == [0, 1, 0, 1, 0, 1, 0]


def test_order_start_and_drop_last() -> None:
    def indices(**options: object) -> list[list[int]]:
        return [(b.index // 10).tolist() for b in batches(memory(), 3, **options)]

    order = torch.tensor([6, 0, 5, 1, 4])
    assert indices(order=order) == [[6, 0, 5], [1, 4]]
    assert indices(order=order, drop_last=True) == [[6, 0, 5]]
    assert indices(start=1) == [[3, 4, 5], [6]]
    assert indices(start=9) == indices(order=torch.empty(0, dtype=torch.int64)) == []
    for wrong in ({"start": -1}, {"workers": -1}):
        with pytest.raises(InputError, match="start >= 0, workers >= 0"):
            batches(memory(), 3, **wrong)
    with pytest.raises(InputError, match="got 0, 0, 0"):
        batches(memory(), 0)


@pytest.mark.parametrize("source", ["files", "resized digits"])
def test_the_same_images_for_any_batch_size_and_any_workers(folder: Path, source: str) -> None:
    if source == "files":
        images = load_images(folder, "all", 8, memory_budget=0)
        expected = load_images(folder, "all", 8)
    else:
        images = load_images("digits", "test", 40, memory_budget=0).subset(torch.arange(40))
        expected = load_images("digits", "test", 40).subset(torch.arange(40))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    for batch_size in (1, 7, 40):
        for workers in (0, 2):
            found = list(batches(images, batch_size, order=order, workers=workers, start=1))
            rest = order[batch_size:]
            assert torch.equal(
                torch.cat([torch.empty(0, dtype=torch.int64), *(b.index for b in found)]), expected.index[rest]
            )
            for batch in found:
                at = [expected.index.tolist().index(i) for i in batch.index.tolist()]
                assert torch.equal(batch.images, expected.read(torch.tensor(at)).float() / 255)
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is left alone


@given(st.integers(1, 2_000_000), st.integers(1, 500))
@settings(deadline=None, max_examples=50)
def test_evenly_spaced_places_are_those_of_exact_arithmetic(images: int, count: int) -> None:
    places = evenly_spaced(images, count).tolist()
    steps = max(1, min(count, images) - 1)
    exact = [Fraction(i * (images - 1), steps) for i in range(min(count, images))]
    off = [abs(place - wanted) for place, wanted in zip(places, exact, strict=True)]
    assert max(off) <= Fraction(1, 2)
    assert len(set(places)) == len(places) and places[0] == 0 and (len(places) == 1 or places[-1] == images - 1)


def test_places_beyond_the_precision_of_float32_are_right() -> None:
    """In float32 1,424 of these places are others."""
    places = evenly_spaced(1_281_167, 50_000)
    assert places.tolist() == [round(Fraction(i * 1_281_166, 49_999)) for i in range(50_000)]


def test_at_most_takes_the_same_images_for_every_purpose() -> None:
    images = memory(7)
    assert at_most(images, None) is images and at_most(images, 7) is images and at_most(images, 8) is images
    assert at_most(images, 3).index.tolist() == [0, 30, 60]


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_files_are_dropped_from_their_batch(folder: Path, workers: int) -> None:
    images = load_images(folder, "all", memory_budget=0)
    bad = images.paths[4]
    Path(bad).write_bytes(b"gone bad")
    with pytest.warns(UserWarning, match=r"^1 of 40 images \(2.5%\)") as caught:
        found = list(batches(images, 4, workers=workers))
    assert len(caught) == 1
    assert [len(b.index) for b in found] == [4, 3] + [4] * 8
    assert torch.cat([b.index for b in found]).tolist() == [i for i in range(40) if i != 4]
    assert dict(images.bad) == {bad: "not an image that Pillow can read"}
    list(batches(images, 4, workers=workers))  # known by now: no second warning
    with pytest.raises(InputError, match="cannot read .*not an image"):
        images[4]
    part = images.subset(torch.tensor([4]))
    assert list(batches(part, 4)) == [] and part.bad == images.bad
    for path in images.paths[5:7]:
        Path(path).write_bytes(b"")
    with pytest.raises(InputError, match=r"3 of 40 images \(7.5%\).* more than the 5.0%"):
        list(batches(images, 4, workers=workers))


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_of_a_share_are_filled_up(folder: Path, workers: int) -> None:
    images = load_images(folder, "all", memory_budget=0, max_bad=0.5)
    assert isinstance(images, FileImages)
    for place in (5, 7, 12, 13, 14, 15, 16, 39):
        Path(images.paths[place]).write_bytes(b"gone bad")
    found = list(batches(images, 4, workers=workers, fill=True))
    places = [b.place.tolist() for b in found]
    assert places[:5] == [[0, 1, 2, 3], [4, 4, 6, 6], [8, 9, 10, 11], [17] * 4, [17, 17, 18, 19]]
    assert places[5:] == [[4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3] for i in range(5, 9)] + [[36, 37, 38, 36]]
    for batch in found:
        assert torch.equal((batch.images * 255).round().byte(), images.read(batch.place))
        assert torch.equal(batch.index, images.index[batch.place]) and torch.equal(
            batch.labels, images.labels[batch.place]
        )
    assert len(images.bad) == 8
    later = list(batches(images, 4, workers=workers, fill=True, start=3))
    assert [b.place.tolist() for b in later] == places[3:]
    last = next(batches(images, 1, order=torch.tensor([39, 39, 1, 0]), start=1, fill=True))
    assert last.place.tolist() == [1]
    with pytest.raises(
        InputError, match=r"none of 4 images that follow on one another can be read: first .*not an image"
    ):
        list(batches(images.subset(torch.tensor([13, 14])), 2, fill=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_different_sizes_are_one_line(folder: Path, workers: int) -> None:
    Image.new("RGB", (5, 4)).save(folder / "a/zz.png")
    images = load_images(folder, "all")
    assert isinstance(images, FileImages)
    with pytest.raises(InputError, match=r"12x9 .* and 5x4 .*zz.png\); give a size") as caught:
        list(batches(images, 50, workers=workers))
    assert "\n" not in str(caught.value)


def test_sets_travel_to_spawned_workers(folder: Path) -> None:
    for images in (memory(), load_images(folder, "all", memory_budget=0)):
        again = pickle.loads(pickle.dumps(images))  # noqa: S301  # our own
        assert torch.equal(again.read(torch.tensor([1])), images.read(torch.tensor([1])))


@pytest.mark.gpu
def test_batches_on_the_device(cuda: torch.device, folder: Path) -> None:
    for images in (memory(), load_images(folder, "all", memory_budget=0)):
        here, there = next(batches(images, 4)), next(batches(images, 4, device=cuda, workers=1))
        assert (there.images.device.type, there.labels.device.type, there.index.device.type) == ("cuda", "cuda", "cpu")
        assert torch.allclose(there.images.cpu(), here.images, atol=1e-7)
        assert torch.equal(there.labels.cpu(), here.labels)


# --- fewer labels


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    fractions=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)),
    seed=st.integers(0, 2**63 - 1),
)
def test_label_fractions_are_balanced_nested_and_seeded(
    sizes: list[int], fractions: tuple[float, float], seed: int
) -> None:
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)] + [torch.full((5,), -1)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    small, large = (label_fraction(labels, f, seed) for f in sorted(fractions))
    assert set(small.tolist()) <= set(large.tolist())
    assert torch.equal(small, label_fraction(labels, min(fractions), seed))
    assert small.tolist() == sorted(set(small.tolist()))
    if max(fractions) < 1:
        wanted = math.ceil(sum(sizes) * max(fractions) / len(sizes) - 1e-9)
        assert labels[large].bincount().tolist() == [min(wanted, size) for size in sizes]


def test_the_papers_numbers_of_labels() -> None:
    labels = torch.arange(126_689) % 100  # as many images and classes as ImageNet-100
    per_class = [len(label_fraction(labels, f, 0)) / 100 for f in (0.01, 0.05, 0.1, 0.25, 0.5)]
    assert per_class == [13, 64, 127, 317, 634]


def test_label_fraction_details() -> None:
    labels = torch.tensor([0] * 10 + [1] * 990)
    assert len(label_fraction(labels, 1.0, 0)) == 1000
    assert len(label_fraction(torch.arange(1000) % 10, 0.07, 0)) == 70  # 1000 * 0.07 / 10 is a little above 7
    assert not torch.equal(label_fraction(labels, 0.1, 0), label_fraction(labels, 0.1, 1))
    for fraction in (0.0, -1.0, 1.5, math.nan):
        with pytest.raises(InputError, match=r"lies in \(0, 1\]"):
            label_fraction(labels, fraction, 0)
    with pytest.raises(InputError, match="no labelled image of class 1"):
        label_fraction(torch.tensor([0, 2, -1]), 0.5, 0)
    with pytest.raises(InputError, match="no labelled image of class any"):
        label_fraction(torch.tensor([-1, -1]), 0.5, 0)


def _read_slowly(images: FileImages, told: Connection) -> None:
    def decode(_images: FileImages, _positions: torch.Tensor) -> None:
        told.send(os.getpid())
        time.sleep(60)

    FileImages.decode = decode  # type: ignore[assignment, method-assign] # in this process alone
    next(batches(images, 1, workers=1))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the test forks")
def test_who_reads_ahead_ends_with_a_process_that_is_killed(folder: Path) -> None:
    here, there = multiprocessing.Pipe(duplex=False)
    images = load_images(folder, "all", memory_budget=0)
    parent = multiprocessing.get_context("fork").Process(target=_read_slowly, args=(images, there))
    parent.start()
    assert here.poll(30)
    reader = here.recv()
    there.close()  # now it is the reader's alone
    parent.kill()
    parent.join()
    assert here.poll(5), f"{reader} goes on"
    with pytest.raises(EOFError):
        here.recv()


def test_who_reads_ahead_is_silent_where_nobody_takes_the_pixels(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread of multiprocessing writes a traceback when the process that takes them is stopped in the middle."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    loading._begin(0)
    sys.excepthook(ConnectionResetError, ConnectionResetError(104, "Connection reset by peer"), None)
    assert capsys.readouterr().err == ""
    sys.excepthook(ValueError, ValueError("a fault"), None)
    assert "ValueError: a fault" in capsys.readouterr().err
