"""Embeddings in a file: what is in it, how work goes on, what is near, and what is refused."""

import csv
import json
import os
import signal
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import weatherproof as wp
from weatherproof.embedded import parts, rows, search
from weatherproof.encoders.gate import gated
from weatherproof.encoders.gauge import KindScale, Settings
from weatherproof.errors import InputError

from .conftest import Command, save_images, start

Refused = Callable[..., str]


class Means(nn.Module):
    """The mean of each channel: an encoder whose embeddings one can work out by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3)) * self.scale


def means() -> wp.encoders.Encoder:
    return wp.load_encoder(Means(), mean=0.0, std=1.0, size=8)


def colours(folder: Path, **pixels: tuple[int, int, int]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, colour in pixels.items():
        Image.new("RGB", (8, 8), colour).save(folder / f"{name}.png")
    return folder


def by_hand(encoder: wp.encoders.Encoder, paths: list[str], side: int) -> Tensor:
    """One image after the other, read by Pillow."""
    found = []
    with torch.no_grad():
        for path in paths:
            pixels = np.asarray(Image.open(path).convert("RGB").resize((side, side)))
            found.append(encoder.eval()(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255)[0])
    return torch.stack(found)


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """30 images at several depths, without classes, in an order that names and numbers give."""
    root = tmp_path / "deep"
    save_images(root, 10, side=8)
    save_images(root / "2024" / "05", 10, side=8, seed=1, tint=1)
    save_images(root / "2024", 10, side=8, seed=2, tint=2)
    return root


@pytest.fixture(scope="module")
def hardened() -> wp.encoders.Encoder:
    """Original and hardened behind a gate that a gauge opens."""
    with pytest.warns(UserWarning, match="randomly initialised"):
        original, other = (wp.load_encoder("resnet20", seed=seed) for seed in (1, 2))
    kinds = (KindScale("RandomMask", 0.0, 0.9, 1.0), KindScale("fog"))
    gauge, generator = wp.encoders.Gauge(Settings(kinds, original.preprocessing)), torch.Generator().manual_seed(0)
    for name in ("first_weight", "second_weight", "third_weight", "direct_weight", "means"):
        getattr(gauge, name).normal_(generator=generator)  # it has learnt nothing, and says something of each image
    return gated(original, other, gauge, 0.1, 0.2)


# what is in a file


@pytest.mark.parametrize("ending", ["parquet", "npz"])
def test_the_embeddings_of_a_folder_of_any_depth(ending: str, deep: Path, teacher: str, tmp_path: Path) -> None:
    run = wp.embed(teacher, deep, out=tmp_path / f"deep.{ending}", size=8, batch_size=7, workers=0)
    own = run.embeddings
    paths = [str(path) for path in own.paths()]
    assert {*paths} == {str(path) for path in deep.rglob("*.png")} and len(paths) == len(own) == 30
    assert own.labels() == [None] * 30
    expected = by_hand(wp.load_encoder(teacher, size=8), paths, 8)
    torch.testing.assert_close(own[:], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.cat(list(own.blocks(7))), own[:], rtol=0, atol=0)
    assert torch.equal(own[[29, 3]], own[:][[29, 3]]) and torch.equal(own[-1], own[29]) and own[5:5].shape == (0, 128)
    assert torch.equal(torch.stack(list(own)), own[:])  # a loop over it ends
    about = own.about
    assert (about.encoder, about.size, about.dtype, about.images, about.data) == (
        teacher,
        (8, 8),
        "float32",
        30,
        "deep/every",
    )
    assert not [item for item in tmp_path.iterdir() if item.name.startswith(".")]


def test_a_folder_and_its_shards_have_the_same_embeddings(photos: Path, teacher: str, tmp_path: Path) -> None:
    wp.shard(photos, out=tmp_path / "shards", images_per_shard=5)
    for split in ("train", "test"):
        a, b = (
            wp.embed(teacher, images, out=tmp_path / f"{i}{split}.npz", split=split, size=8, workers=0).embeddings
            for i, images in enumerate((photos, f"shards:{tmp_path / 'shards'}"))
        )
        assert torch.equal(a[:], b[:]) and a.labels() == b.labels() and len(a) == {"train": 24, "test": 12}[split]


def test_other_programs_read_both_files(photos: Path, teacher: str, tmp_path: Path) -> None:
    for ending in ("parquet", "npz"):
        wp.embed(teacher, photos, out=tmp_path / f"a.{ending}", size=8, workers=0, half=True, patches=True)
    table = pq.read_table(tmp_path / "a.parquet")
    arrays = np.load(tmp_path / "a.npz", allow_pickle=False)
    assert table.schema.field("embedding").type.list_size == 128 and arrays["embedding"].shape == (36, 128)
    assert table["path"].to_pylist() == arrays["path"].tolist()
    assert table["label"].to_pylist() == arrays["label"].tolist() == [Path(path).parent.name for path in arrays["path"]]
    assert np.array_equal(np.array(table["embedding"].to_pylist(), np.float16), arrays["embedding"])
    assert np.array_equal(np.array(table["patches"].to_pylist(), np.float16), arrays["patches"].reshape(36, -1))
    assert arrays["embedding"].dtype == np.float16
    assert json.loads(table.schema.metadata[b"weatherproof"]) == json.loads(str(arrays["weatherproof"]))


def test_patches_are_the_map_whose_mean_is_the_embedding(deep: Path, tmp_path: Path) -> None:
    encoder = wp.load_encoder("timm:test_vit@random", size=64)
    run = wp.embed(encoder, deep, out=tmp_path / "a.npz", workers=0, patches=True, logits=True)
    own, (rows_, columns, channels) = run.embeddings, run.embeddings.about.patches or (0, 0, 0)
    assert (rows_, columns, channels) == (4, 4, own.features)
    pixels = wp.load_images(deep, "every", size=64).read(torch.tensor([0])).float() / 255
    place = [str(p) for p in own.paths()].index(str(wp.load_images(deep, "every", size=64).paths[0]))  # type: ignore[attr-defined]
    with torch.no_grad():
        tokens = encoder.eval().body.forward_features((pixels - encoder.mean) / encoder.std)
    torch.testing.assert_close(own.patches(place, place + 1)[0].flatten(0, 1), tokens[0, -16:], rtol=1e-4, atol=1e-4)
    assert own.column("logits", 0, 3).shape == (3, encoder.num_classes)  # type: ignore[union-attr]


@pytest.mark.parametrize("ending", ["parquet", "npz"])
def test_what_the_gauge_says(ending: str, hardened: wp.encoders.Encoder, photos: Path, tmp_path: Path) -> None:
    run = wp.embed(hardened, photos, size=16, out=tmp_path / f"a.{ending}", workers=0, batch_size=64, gauge=True)
    own, images = run.embeddings, wp.load_images(photos, "every", size=hardened.preprocessing.size or 16)
    order = torch.tensor([images.paths.index(path) for path in own.paths()])  # type: ignore[attr-defined]
    reading = hardened.gauge(images.read(order).float() / 255)
    kinds = hardened.own_gauge.kinds
    assert own.column("gauge_kind") == [kinds[kind] for kind in reading.kind.tolist()]
    for name in ("level", "low", "high", "damaged", "extent"):
        np.testing.assert_allclose(own.column(f"gauge_{name}"), getattr(reading, name).numpy(), rtol=1e-4, atol=1e-5)
    assert own.column("gauge_beyond").tolist() == reading.beyond.tolist()  # type: ignore[union-attr]
    assert own.about.kinds == kinds


def test_sets_without_files_have_positions_and_classes(teacher: str, tmp_path: Path) -> None:
    images = wp.load_images("digits", "test")
    run = wp.embed(teacher, "digits", split="test", out=tmp_path / "a.npz", workers=0)
    expected, labels = wp.readouts.embed(wp.load_encoder(teacher), images, batch_size=128)
    assert torch.equal(run.embeddings[:], expected)
    assert run.embeddings.column("position").tolist() == images.index.tolist()  # type: ignore[union-attr]
    assert run.embeddings.labels() == [images.classes[label] for label in labels.tolist()]
    assert run.embeddings.paths(0, 1) == [None]


def test_corrupted_images_say_how(teacher: str, tmp_path: Path) -> None:
    few = wp.load_images("digits", "test").subset(torch.arange(12))
    copy = wp.corrupt(few, corruptions=["fog"], out=tmp_path / "c", workers=0)
    run = wp.embed(teacher, f"corrupted:{copy.folder}", out=tmp_path / "a.parquet", workers=0, batch_size=16)
    assert run.embeddings.column("severity").tolist() == [level for level in (1, 2, 3, 4, 5) for _ in range(12)]  # type: ignore[union-attr]
    assert {*run.embeddings.column("corruption")} == {"fog"}
    corrupted = wp.load_images(f"corrupted:{copy.folder}")
    assert torch.equal(run.embeddings[:], wp.readouts.embed(wp.load_encoder(teacher), corrupted, batch_size=16)[0])


# how work goes on


@pytest.mark.parametrize(("ending", "packed"), [("parquet", False), ("npz", False), ("npz", True)])
def test_stopped_work_comes_to_the_same_bytes(
    ending: str, packed: bool, deep: Path, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (deep / "004.png").write_bytes(b"no image")
    settings: dict[str, Any] = {"size": 8, "batch_size": 4, "workers": 0, "patches": True}
    images, bad = str(deep), str(deep / "004.png")
    if packed:
        pack = tmp_path / "0.tar"
        with tarfile.open(pack, "w") as tar:
            for path in sorted(deep.rglob("*.png")):
                tar.add(path, path.relative_to(deep))
        images, bad, settings["split"] = f"shards:{pack}", f"{pack}/004.png", "all"

    def embed(out: Path, **more: Any) -> Any:
        with pytest.warns(UserWarning, match="1 of 30 images .* cannot be read and are left out"):
            return wp.embed(teacher, images, out=out, **settings, **more)

    whole = embed(tmp_path / f"whole.{ending}")
    monkeypatch.setattr(rows, "GROUP_ROWS", 7)
    grouped = embed(tmp_path / f"grouped.{ending}")
    out, stops = tmp_path / f"again.{ending}", iter([3, 2])
    look = parts.Parts._save

    class Look:
        """Ctrl-C in the middle of a batch."""

        def __init__(self, eye: Any, left: int) -> None:
            self.eye, self.left = eye, left

        def __call__(self, images: Tensor) -> Any:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return self.eye(images)

    make = parts.Parts.make

    def interrupted(self: parts.Parts, eye: Any, *args: Any, **more: Any) -> None:
        make(self, Look(eye, next(stops, 1000)), *args, **more)

    monkeypatch.setattr(parts.Parts, "make", interrupted)
    monkeypatch.setattr(parts, "SAVE_SECONDS", 0.0)
    assert look is parts.Parts._save
    for done in (12, 20):
        with pytest.raises(KeyboardInterrupt):
            wp.embed(teacher, images, out=out, **settings)
        assert not out.exists()
        assert json.loads((tmp_path / f".again.{ending}.parts" / "progress.json").read_text())["images"] == done
    again = embed(out)
    assert out.read_bytes() == grouped.file.read_bytes()
    assert again.left_out.keys() == {bad} == whole.embeddings.about.left_out.keys()
    assert torch.equal(again.embeddings[:], whole.embeddings[:]) and len(whole.embeddings) == 29
    assert not [item for item in tmp_path.iterdir() if item.name.startswith(".")]
    before = out.stat().st_mtime_ns
    assert "nothing was done" in wp.embed(teacher, images, out=out, **settings).notes[0]
    assert out.stat().st_mtime_ns == before


def test_time_is_up(deep: Path, teacher: str, tmp_path: Path) -> None:
    run = wp.embed(teacher, deep, out=tmp_path / "a.npz", size=8, batch_size=8, workers=0, minutes=1e-9)
    assert not run.complete and run.done == 8 and not (tmp_path / "a.npz").exists()
    assert "8 of 30 images are done and there is no file yet" in run.notes[0]
    assert run.to_dict()["complete"] is False
    with pytest.raises(InputError, match="not there yet"):
        _ = run.embeddings
    again = wp.embed(teacher, deep, out=tmp_path / "a.npz", size=8, batch_size=8, workers=0)
    assert again.complete and len(again.embeddings) == 30


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_command_goes_on(how: signal.Signals, teacher: str, tmp_path: Path, weatherproof: Command) -> None:
    photos = tmp_path / "photos"
    save_images(photos, 400, side=8)
    command = ("embed", teacher, photos, "--size", 96, "--batch-size", 1, "--workers", 0, "--device", "cpu", "--out")
    assert weatherproof(*command, tmp_path / "whole.parquet")[0] == 0
    at_once = "import weatherproof.embedded.parts as parts; parts.SAVE_SECONDS = 0.0"
    process = start(*command, tmp_path / "a.parquet", first=at_once)
    progress, give_up = tmp_path / ".a.parquet.parts" / "progress.json", time.monotonic() + 60
    while not progress.exists() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.02)
    process.send_signal(how)
    said, err = process.communicate(timeout=60)
    assert said == "" and "Traceback" not in err and not (tmp_path / "a.parquet").exists()
    if how == signal.SIGINT:
        assert process.returncode == 130 and "the same command goes on" in err.splitlines()[-1]
    assert weatherproof(*command, tmp_path / "a.parquet")[0] == 0
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_what_is_held_does_not_grow_with_the_images(
    deep: Path, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts and groups are as large as they may be, however many images there are."""
    monkeypatch.setattr(parts, "MOST_BYTES", 4 * 128 * 4)  # four embeddings of 128 float32
    monkeypatch.setattr(rows, "GROUP_BYTES", 4 * 128 * 4)
    sizes = []
    read = parts.BlockFiles.read
    monkeypatch.setattr(
        parts.BlockFiles, "read", lambda *a: [sizes.append(len(p)) for p in read(*a).values()] and read(*a)
    )
    run = wp.embed(teacher, deep, out=tmp_path / "a.parquet", size=8, batch_size=4, workers=0)
    assert sizes and max(sizes) == 4
    file = pq.ParquetFile(run.file)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [4] * 7 + [2]
    assert torch.equal(run.embeddings[3:9], run.embeddings[:][3:9])


# what is near


def oracle(index: Tensor, queries: Tensor, k: int) -> list[list[int]]:
    """One query after the other, in double precision: the rows by falling cosine, then by their place."""
    found = []
    for query in queries.double():
        cosines = [float(query @ row / (query.norm() * row.norm())) for row in index.double()]
        found.append(sorted(range(len(index)), key=lambda row: (-round(cosines[row], 6), row))[:k])
    return found


@pytest.mark.parametrize("ending", ["parquet", "npz"])
@pytest.mark.parametrize("way", ["exact", "faiss", "Faiss('IVF4,Flat', probes=4)"])
def test_neighbours_are_those_of_a_loop(
    ending: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search, "_QUERIES", 13)
    monkeypatch.setattr(search, "_ROWS", 5)
    monkeypatch.setattr(search, "BLOCK", 50)
    rng = np.random.default_rng(0)
    for folder, count in (("index", 200), ("queries", 20)):
        images = {f"{i:03}": tuple(map(int, rng.integers(1, 255, 3))) for i in range(count)}
        colours(tmp_path / folder, **images)  # type: ignore[arg-type]
    index = wp.embed(means(), tmp_path / "index", out=tmp_path / f"index.{ending}", workers=0).embeddings
    run = wp.embed(means(), tmp_path / "queries", index=index.path, neighbours=7, search=way, workers=0)
    queries = wp.embed(means(), tmp_path / "queries", out=tmp_path / "q.npz", workers=0).embeddings
    assert run.found.row.tolist() == oracle(index[:], queries[:], 7)  # type: ignore[union-attr]
    assert (run.found.cosine.diff(dim=1) <= 1e-6).all()  # type: ignore[union-attr]
    first = next(run.neighbours())[0]  # type: ignore[union-attr]
    query, row = queries[0], index[first["row"]]
    assert first["image"] == str(index.paths()[first["row"]])
    assert first["cosine"] == pytest.approx(float(query @ row / query.norm() / row.norm()), abs=1e-5)
    in_python = index.search(queries, 7, way)
    assert torch.equal(in_python.row, run.found.row) and in_python.exact == (way in ("exact", "faiss"))  # type: ignore[union-attr]
    assert torch.equal(index.search(queries[:], 7, way).row, in_python.row)


def test_a_black_image_is_near_to_nothing(tmp_path: Path, weatherproof: Command) -> None:
    index = colours(tmp_path / "index", black=(0, 0, 0), red=(200, 0, 0), blue=(0, 0, 9))
    queries = colours(tmp_path / "queries", dark=(0, 0, 0), night=(0, 0, 0), rose=(100, 0, 1))
    file = wp.embed(means(), index, out=tmp_path / "index.npz", workers=0).file
    for way in ("exact", "faiss"):
        run = wp.embed(means(), queries, index=file, search=way, out=tmp_path / f"{way}.csv", workers=0)
        assert [[Path(near["image"]).stem for near in own] for own in run.neighbours()] == [[], [], ["red", "blue"]]  # type: ignore[union-attr]
        assert run.notes[0].startswith("2 queries have no neighbour")
        assert "3 images, fewer than 5 neighbours" in run.notes[1]
        run.show()
    lines = list(csv.DictReader((tmp_path / "exact.csv").read_text().splitlines()))
    assert [(Path(line["image"]).name, line["rank"]) for line in lines] == [("red.png", "1"), ("blue.png", "2")]
    assert float(lines[0]["cosine"]) == pytest.approx(100 / 10001**0.5, abs=1e-6)


def test_the_command_line(photos: Path, teacher: str, tmp_path: Path, weatherproof: Command) -> None:
    index, words = tmp_path / "index.parquet", ("--size", 8, "--workers", 0)
    status, out, _ = weatherproof("embed", teacher, photos, *words, "--out", index, "--json")
    told = json.loads(out)
    assert status == 0 and told["images"] == 36 and told["features"] == 128 and told["left_out"] == {}
    near = ("embed", teacher, photos / "test", *words, "--index", index, "--neighbours", 2)
    told = json.loads(weatherproof(*near, "--json")[1])
    assert len(told["queries"]) == 12 and told["exact"] is True and told["file"] is None
    for query in told["queries"]:
        first, second = query["neighbours"]
        assert (
            first["image"] == query["query"] and first["label"] == query["label"] and first["cosine"] > second["cosine"]
        )
    for ending in ("csv", "parquet"):
        assert weatherproof(*near, "--out", tmp_path / f"near.{ending}")[0] == 0
    table = pq.read_table(tmp_path / "near.parquet").to_pylist()
    lines = list(csv.DictReader((tmp_path / "near.csv").read_text().splitlines()))
    assert len(table) == len(lines) == 24
    for line, row in zip(lines, table, strict=True):
        assert (line["query"], line["rank"], line["image"]) == (row["query"], str(row["rank"]), row["image"])
        assert float(line["cosine"]) == pytest.approx(row["cosine"], abs=1e-6)
    said = weatherproof(*near)[1]
    assert "cosine" in said and "and 2 queries more: --out FILE.csv writes all of them" in said
    assert sorted(item.name for item in tmp_path.iterdir()) == ["index.parquet", "near.csv", "near.parquet"]


# what is refused


def test_files_that_cannot_be_written(photos: Path, teacher: str, here: Path, refused: Refused) -> None:
    words = ("embed", teacher, photos, "--size", 8, "--workers", 0)
    assert "should end in .parquet or .npz" in refused(*words, "--out", "a.pqt")
    assert "should end in .csv or .parquet" in refused(*words, "--out", "a.npz", "--index", "b.npz")
    (here / "folder.npz").mkdir()
    assert "is a folder: expected a file" in refused(*words, "--out", "folder.npz")
    (here / "mine.npz").write_bytes(b"precious")
    assert "mine.npz is there already, and no file that this command can keep" in refused(*words, "--out", "mine.npz")
    assert (here / "mine.npz").read_bytes() == b"precious"
    assert "--out is the file to write" in refused(*words, "--out", "")
    assert sorted(item.name for item in here.iterdir()) == ["folder.npz", "mine.npz"]


def test_a_file_of_another_command(
    photos: Path, teacher: str, tmp_path: Path, weatherproof: Command, refused: Refused
) -> None:
    out = tmp_path / "a.npz"
    words = ("embed", teacher, photos, "--size", 8, "--workers", 0, "--out", out)
    assert weatherproof(*words)[0] == 0
    before = out.read_bytes()
    assert "'half' is False there and True here; choose another --out" in refused(*words, "--half")
    assert "'split' is None there and 'test' here" in refused(*words, "--split", "test")
    assert weatherproof(*words, "--batch-size", 5)[0] == 0
    assert out.read_bytes() == before


def test_files_that_have_changed(
    teacher: str, deep: Path, tmp_path: Path, weatherproof: Command, refused: Refused
) -> None:
    words = ("embed", teacher, deep, "--size", 8, "--workers", 0, "--out", tmp_path / "a.npz")
    assert weatherproof(*words, "--minutes", 1e-9, "--batch-size", 4)[0] == 0
    (deep / "new.png").write_bytes((deep / "001.png").read_bytes())
    assert "has changed since the run" in refused(*words) and not (tmp_path / "a.npz").exists()


def test_what_an_encoder_has_not(photos: Path, teacher: str, here: Path, refused: Refused) -> None:
    words = ("embed", teacher, photos, "--size", 8, "--workers", 0)
    assert "has no gauge" in refused(*words, "--gauge")
    assert "has no classifier of its own: leave out logits" in refused(*words, "--logits")
    assert not [*here.iterdir()]
    with pytest.raises(InputError, match="keeps no positions apart at 8x8 pixels, so that there are no patches"):
        wp.embed(means(), photos, patches=True, workers=0)
    assert "belong to --index" in refused(*words, "--neighbours", 3)
    assert "leave out --index" in refused(*words, "--half", "--index", "a.npz")
    assert "neighbours must be at least 1" in refused(*words, "--neighbours", 0)


def test_an_empty_folder_and_bad_files(teacher: str, here: Path, refused: Refused) -> None:
    (here / "empty").mkdir()
    assert "no images in empty" in refused("embed", teacher, "empty")
    assert "no folder 'nowhere'" in refused("embed", teacher, "nowhere")
    save_images(here / "half", 4, side=8)
    for name in ("001.png", "002.png"):
        (here / "half" / name).write_bytes(b"")
    assert "of 4 images (25.0%) in 'half/every' cannot be read, more than the 5.0%" in refused(
        "embed", teacher, "half", "--size", 8, "--workers", 0
    )
    assert sorted(item.name for item in here.iterdir()) == ["empty", "half"]


def test_indexes_that_do_not_fit(
    photos: Path, teacher: str, tmp_path: Path, weatherproof: Command, refused: Refused
) -> None:
    words = (photos, "--workers", 0)
    assert weatherproof("embed", teacher, *words, "--size", 8, "--out", tmp_path / "a.npz")[0] == 0
    own = ("--index", tmp_path / "a.npz")
    assert "of images of 8x8 pixels, and these are 16x16: give --size 8" in refused(
        "embed", teacher, *words, *own, "--size", 16
    )
    with pytest.warns(UserWarning, match="randomly initialised"):
        other = wp.load_encoder("small", seed=2)
    with pytest.raises(InputError, match="holds embeddings of another encoder, 'small@.* give that one"):
        wp.embed(other, photos, size=8, workers=0, index=tmp_path / "a.npz")
    assert "holds embeddings of another encoder, 'small@" in refused(
        "embed", "small(channels=3)@random", *words, *own, "--seed", 3, "--size", 16
    )
    assert "no folder 'queries'" in refused("embed", teacher, "queries", *own)
    assert "nothing.npz cannot be read (No such file" in refused(
        "embed", teacher, *words, "--index", tmp_path / "nothing.npz"
    )
    (tmp_path / "weights.pth").write_bytes(b"x")
    assert "weights.pth is no file of embeddings: expected a file that embed wrote, .parquet or .npz" in refused(
        "embed", teacher, *words, "--index", tmp_path / "weights.pth"
    )
    assert "unknown search 'fais': did you mean faiss" in refused("embed", teacher, *words, *own, "--search", "fais")
    assert weatherproof("embed", teacher, *words, *own, "--size", 8, "--out", tmp_path / "n.csv")[0] == 0
    assert "n.csv is there already" in refused("embed", teacher, *words, *own, "--size", 8, "--out", tmp_path / "n.csv")


def test_an_index_at_another_size_says_whether_the_encoder_is_the_same(photos: Path, tmp_path: Path) -> None:
    """Positions that are resampled make other weights of the same ones; so does a size that the images had anyway."""
    same, index = "timm:test_vit(depth=1)@random", tmp_path / "a.npz"
    own: dict[str, Any] = {"workers": 0, "index": index}
    wp.embed(same, photos, size=48, workers=0, out=index)
    with pytest.raises(InputError, match="of images of 48x48 pixels, and these are 32x32: give --size 48"):
        wp.embed(same, photos, size=32, **own)
    with pytest.raises(InputError, match="holds embeddings of another encoder, 'timm:test_vit"):
        wp.embed(same, photos, size=32, seed=1, **own)
    index.unlink()
    wp.embed("small(channels=3)@random", photos, workers=0, out=index)
    side = wp.load_images(photos).image_size
    assert side is not None
    assert wp.embed("small(channels=3)@random", photos, size=side, **own).neighbours


@pytest.mark.parametrize("ending", ["parquet", "npz"])
def test_a_damaged_file(ending: str, deep: Path, teacher: str, tmp_path: Path) -> None:
    run = wp.embed(teacher, deep, out=tmp_path / f"a.{ending}", size=8, workers=0)
    data = run.file.read_bytes()
    for kept in (0, 10, len(data) // 2, len(data) - 1):
        run.file.write_bytes(data[:kept])
        with pytest.raises(InputError, match="cannot be read as .*, is it cut off"):
            wp.load_embeddings(run.file)
    for said, wrong, message in (
        ("features", 127, "says 127 numbers of 'embedding' an image, and has others"),
        ("images", 29, "has 30 rows and says 29"),
        ("format", 7, "does not say what its embeddings are .*format 7"),
        ("size", "large", "does not say what its embeddings are"),
    ):
        run.file.write_bytes(data)
        _say(run.file, **{said: wrong})
        with pytest.raises(InputError, match=message):
            wp.load_embeddings(run.file)


def _say(file: Path, **wrong: Any) -> None:
    """Change what a file says of itself."""
    if file.suffix == ".npz":
        arrays = dict(np.load(file))
        arrays["weatherproof"] = np.array(json.dumps(json.loads(str(arrays["weatherproof"])) | wrong))
        np.savez(file, **arrays)
        return
    table = pq.read_table(file)
    told = json.loads(table.schema.metadata[b"weatherproof"]) | wrong
    pq.write_table(table.replace_schema_metadata({"weatherproof": json.dumps(told)}), file)


def test_names_that_are_no_texts(photos: Path, teacher: str, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(wp.embed(teacher, photos, out=tmp_path / "a.parquet", workers=0).file)
    for name, column, said in (
        ("label", pa.array(range(len(table))), "column 'label' that holds no texts"),
        ("path", pa.array([1.5] * len(table)), "column 'path' that holds no texts"),
        ("position", pa.array(["x"] * len(table)), "column 'position' that holds no whole numbers"),
    ):
        changed = table.set_column(table.schema.get_field_index(name), name, column)
        pq.write_table(changed.replace_schema_metadata(table.schema.metadata), tmp_path / "b.parquet")
        with pytest.raises(InputError, match=said):
            wp.load_embeddings(tmp_path / "b.parquet")
    large = table.set_column(table.schema.get_field_index("label"), "label", table["label"].cast(pa.large_string()))
    pq.write_table(large.replace_schema_metadata(table.schema.metadata), tmp_path / "c.parquet")
    assert wp.load_embeddings(tmp_path / "c.parquet").labels() == wp.load_embeddings(tmp_path / "a.parquet").labels()


def test_files_of_others(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", embedding=np.zeros((3, 4), np.float32))
    np.savez_compressed(tmp_path / "small.npz", embedding=np.zeros((3, 4), np.float32))
    np.savez(tmp_path / "pickled.npz", embedding=np.array([{}], object))
    pq.write_table(pq.read_table(_parquet(tmp_path / "b.parquet")), tmp_path / "c.parquet")
    with pytest.raises(InputError, match="does not say what its embeddings are"):
        wp.load_embeddings(tmp_path / "plain.npz")
    with pytest.raises(InputError, match="compressed"):
        wp.load_embeddings(tmp_path / "small.npz")
    with pytest.raises(InputError, match="no array of numbers or texts"):
        wp.load_embeddings(tmp_path / "pickled.npz")
    with pytest.raises(InputError, match="does not say what its embeddings are"):
        wp.load_embeddings(tmp_path / "c.parquet")
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(InputError, match="is a named pipe"):
        wp.load_embeddings(tmp_path / "pipe.npz")


def _parquet(file: Path) -> Path:
    import pyarrow as pa

    pq.write_table(pa.table({"embedding": [[1.0, 2.0]]}), file)
    return file


def test_a_full_disk(deep: Path, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weatherproof.verbs.embed import write

    def full(stream: Any, *_: Any) -> None:
        stream.write(b"some")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(write, "write_npz", full)
        with pytest.raises(InputError, match="no space left on the disk .* run the same command again"):
            wp.embed(teacher, deep, out=tmp_path / "a.npz", size=8, workers=0)
        assert not (tmp_path / "a.npz").exists()
    run = wp.embed(teacher, deep, out=tmp_path / "a.npz", size=8, workers=0)
    assert len(run.embeddings) == 30


def test_numbers_that_float16_has_not(tmp_path: Path) -> None:
    network = Means()
    with torch.no_grad():
        network.scale.fill_(1e6)
    large = wp.load_encoder(network, mean=0.0, std=1.0, size=8)
    colours(tmp_path / "a", red=(200, 0, 0), blue=(0, 0, 200))
    with pytest.raises(InputError, match="beyond 65,504, float16's largest: leave out half"):
        wp.embed(large, tmp_path / "a", out=tmp_path / "a.npz", half=True, workers=0)
    assert [item.name for item in tmp_path.iterdir()] == ["a"]


def test_an_extra_that_is_not_installed(photos: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match=r"pyarrow is not installed: pip install 'weatherproof\[embed\]'"):
        wp.embed(means(), photos, out="a.parquet", workers=0)
    wp.embed(means(), photos, out="a.npz", workers=0)
    for way in ("faiss", "auto"):
        with monkeypatch.context() as patch:
            patch.setattr(search, "LARGE", 10)
            with pytest.raises(InputError, match=r"faiss-cpu is not installed: pip install 'weatherproof\[faiss\]'"):
                wp.embed(means(), photos, index="a.npz", search=way, workers=0)
    assert len(wp.embed(means(), photos, index="a.npz", workers=0).found) == 36  # type: ignore[union-attr]
    assert [item.name for item in here.iterdir()] == ["a.npz"]


def test_precision(photos: Path, teacher: str, tmp_path: Path) -> None:
    full = wp.embed(teacher, photos, out=tmp_path / "a.npz", size=8, workers=0).embeddings[:]
    half = wp.embed(teacher, photos, out=tmp_path / "b.npz", size=8, workers=0, precision="bf16-mixed").embeddings[:]
    assert not torch.equal(full, half)
    torch.testing.assert_close(full, half, rtol=0.05, atol=0.05)


def test_all_of_the_digits_are_both_of_their_splits(teacher: str, tmp_path: Path) -> None:
    whole = wp.load_images("digits", "all")
    parts_of = [wp.load_images("digits", split) for split in ("train", "test")]
    assert sorted(torch.cat([own.index for own in parts_of]).tolist()) == whole.index.tolist() == [*range(1797)]
    place = int(parts_of[1].index[3])
    assert torch.equal(whole.read(torch.tensor([place])), parts_of[1].read(torch.tensor([3])))
    assert len(wp.embed(teacher, "digits", split="all", batch_size=512, out=tmp_path / "a.npz").embeddings) == 1797


def test_numbers_and_searches_that_are_none(photos: Path, teacher: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neighbours must be a whole number, got 2\.5"):
        wp.embed(teacher, photos, neighbours=2.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"crop_fraction lies in \(0, 1\]; got 0"):
        wp.embed(teacher, photos, crop_fraction=0, out=tmp_path / "a.npz")
    index = wp.embed(teacher, photos, size=8, workers=0, out=tmp_path / "a.npz").file
    with pytest.raises(InputError, match="unknown search 'exakt': did you mean .*exact.*auto"):
        wp.embed(teacher, photos, size=8, workers=0, index=index, search="exakt")


def test_images_that_are_no_squares_and_a_network_in_train_mode(photos: Path, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    before = {name: value.clone() for name, value in network.train().state_dict().items()}
    encoder = wp.load_encoder(network, mean=0.5, std=0.5, size=None).train()
    found = wp.embed(encoder, photos, size="8x12", workers=0, out=tmp_path / "a.npz").embeddings
    assert found.about.size == (8, 12)
    sets = [wp.load_images(photos, split, size=(8, 12)) for split in ("train", "test")]
    seen = torch.cat([own.read(torch.arange(len(own))) for own in sets]).float() / 255
    torch.testing.assert_close(found[:].sum(dim=0), network.eval()((seen - 0.5) / 0.5).sum(dim=0).detach())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
