"""Images in the tables of Hugging Face's datasets and in Parquet files."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weatherproof.data import PackedImages, load_images
from weatherproof.errors import InputError


def picture(level: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(level).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def pixels_of(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1)


def test_without_the_library_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    for source in ("hf:nothing", "parquet:nothing"):
        with pytest.raises(InputError, match=r"datasets is not installed: pip install 'weatherproof\[hf\]'"):
            load_images(source)


@pytest.mark.parametrize("budget", [2**30, 0])
def test_a_data_set_on_the_disk(tmp_path: Path, budget: int) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"img": datasets.Image(), "n": datasets.Value("int64"), "y": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = {"img": [{"bytes": picture(i), "path": None} for i in range(8)], "n": [7] * 8, "y": [0, 1] * 4}
    table = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": table, "validation": table.select([5, 2])}).save_to_disk(tmp_path / "toys")
    train, test = (load_images(f"hf:{tmp_path / 'toys'}", s, memory_budget=budget) for s in ("train", "test"))
    assert (train.name, test.name, train.classes) == ("toys/train", "toys/validation", ("no", "yes"))
    assert train.labels.tolist() == [0, 1] * 4 and test.labels.tolist() == [1, 0]
    for i in range(8):
        assert np.array_equal(train[i][0].numpy(), pixels_of(picture(i)))
    assert np.array_equal(test[0][0].numpy(), pixels_of(picture(5))) and train.image_size == (6, 5)
    with pytest.raises(InputError, match="has no split 'unlabeled': there are train, validation"):
        load_images(f"hf:{tmp_path / 'toys'}", "unlabeled")
    table.remove_columns("img").save_to_disk(tmp_path / "bare")
    with pytest.raises(InputError, match="has no column of images: it has n, y"):
        load_images(f"hf:{tmp_path / 'bare'}")
    for wrong in (tmp_path, "nobody/nothing-such"):
        with pytest.raises(InputError, match="no Hugging Face data set"):
            load_images(f"hf:{wrong}")


def in_the_cache(folder: Path, name: str, configuration: str, splits: dict[str, list[int]]) -> None:
    """A data set of the hub as a builder of the library leaves it in its cache."""
    import datasets

    class Builder(datasets.GeneratorBasedBuilder):
        BUILDER_CONFIGS = (datasets.BuilderConfig(name=configuration, version=datasets.Version("0.0.0")),)

        def _info(self) -> object:
            features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"])}
            return datasets.DatasetInfo(features=datasets.Features(features))

        def _split_generators(self, _: object) -> list[object]:
            return [datasets.SplitGenerator(name, {"levels": levels}) for name, levels in splits.items()]

        def _generate_examples(self, levels: list[int]) -> Iterator[tuple[int, dict[str, object]]]:
            for i in levels:
                yield i, {"image": {"bytes": picture(i), "path": None}, "label": i % 2}

    Builder(
        cache_dir=str(folder),
        dataset_name=name.rpartition("/")[2],
        repo_id=name,
        config_name=configuration,
        hash="0a1b",
    ).download_and_prepare()


def test_a_data_set_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name, without a word to any hub: the sockets are gone."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    in_the_cache(tmp_path / "cache", "own/toys", "default", {"train": [*range(8)], "test": [20, 21]})
    in_the_cache(tmp_path / "cache", "own/two", "large", {"train": [1, 2, 3]})
    in_the_cache(tmp_path / "cache", "own/two", "small", {"train": [4]})

    def nobody(*_: object, **__: object) -> None:
        raise AssertionError("it asks somebody")

    monkeypatch.setattr("socket.socket.connect", nobody)
    monkeypatch.setattr("socket.getaddrinfo", nobody)
    train, test = (load_images("hf:own/toys", split) for split in ("train", "test"))
    assert (train.name, test.name, train.classes) == ("toys/train", "toys/test", ("no", "yes"))
    assert train.labels.tolist() == [0, 1] * 4 and train.index.tolist() == [*range(8)]
    for i in range(8):
        assert np.array_equal(train[i][0].numpy(), pixels_of(picture(i)))
    assert np.array_equal(test[1][0].numpy(), pixels_of(picture(21)))
    on_demand = load_images("hf:own/toys", "train", memory_budget=0)
    assert isinstance(on_demand, PackedImages)
    assert torch.equal(on_demand.read(torch.arange(8)), train.read(torch.arange(8)))
    assert np.array_equal(load_images("hf:own/two@small", "train")[0][0].numpy(), pixels_of(picture(4)))
    for wrong in ("own/two", "own/two@medium", "own/nothing"):
        with pytest.raises(InputError, match=f"no Hugging Face data set '{wrong}'"):
            load_images(f"hf:{wrong}", "train")


def test_of_a_data_set_of_training_images_alone_a_fifth_is_held_out(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    rows = {"image": [{"bytes": picture(i), "path": None} for i in range(20)], "label": list(range(20))}
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=features)}).save_to_disk(tmp_path / "one")
    train, test = ({*load_images(f"hf:{tmp_path / 'one'}", split).labels.tolist()} for split in ("train", "test"))
    assert test and not train & test and train | test == {*range(20)}


def test_parquet_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for split, first in (("train", 0), ("test", 20)):
        contents = [picture(first + i) for i in range(10)]
        contents[3] = b"no image"
        columns = {"image": contents, "label": pa.array([i % 3 for i in range(10)], pa.int64())}
        pq.write_table(pa.table(columns), tmp_path / f"{split}-0.parquet", row_group_size=4)
    with pytest.warns(UserWarning, match=r"1 of 10 images .* left out: first .*\[3\]: not an image"):
        test = load_images(f"parquet:{tmp_path}", "test", max_bad=0.2)
    assert test.index.tolist() == [0, 1, 2, *range(4, 10)] and test.classes == ("0", "1", "2")
    assert np.array_equal(test[8][0].numpy(), pixels_of(picture(29))) and test.labels.tolist()[8] == 0
    train = load_images(f"parquet:{tmp_path}/train-*.parquet", "all", size=4, memory_budget=0)
    assert isinstance(train, PackedImages) and sorted(train.order(0, 0).tolist()) == [*range(10)]
    assert train.read(torch.tensor([9, 0])).shape == (2, 3, 4, 4)
    for wrong, says in (("x-*.parquet", "no Parquet files"), ("junk.parquet", "cannot be read as Parquet")):
        (tmp_path / "junk.parquet").write_bytes(b"PAR1")
        with pytest.raises(InputError, match=says):
            load_images(f"parquet:{tmp_path}/{wrong}")
