"""What the page of a pretraining shows: curves of what was watched, views, nearest neighbours, a map by class."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
import yaml
from html_page import Strict
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import MemoryImages
from weatherproof.errors import InputError
from weatherproof.operators import GaussianNoise
from weatherproof.reports import (
    FamilyLooks,
    save_map,
    save_neighbours,
    save_views,
    write_comparison,
    write_report,
)
from weatherproof.reports.drawing.charts import MARKERS
from weatherproof.reports.drawing.pictures import data_address
from weatherproof.reports.neighbours.section import NEIGHBOURS
from weatherproof.reports.parts import read_part
from weatherproof.reports.plane.section import MOST, MapFile, Plane, draw_class, draw_map, make_plane, read_map
from weatherproof.reports.training.curves import training_charts, watched_charts
from weatherproof.reports.views.section import VIEWS

EVIL = "<script>alert(1)</script>"


def log(epochs: int = 4, start: float = 0.3, steps: int = 10) -> list[dict[str, Any]]:
    """A line every second step, and at the end of every epoch what was watched."""
    lines = []
    for step in range(2, epochs * steps + 1, 2):
        line = {"step": step, "epoch": step / steps, "loss": 5 - step / 20, "lr": 0.1, "images_per_second": 99.0}
        if step % steps == 0:
            epoch = step // steps
            line |= {"knn_accuracy": start + epoch / 20, "alignment": 1 / epoch, "uniformity": -epoch / 2}
        lines.append(line)
    return lines


def record(value: float, **more: Any) -> dict[str, Any]:
    base = {
        "metric": "top1", "value": value, "stderr": None, "realizations": 1, "seeds": [0], "images": 1000,
        "model": "pretrained", "readout": "probe", "data": "cifar10/test", "label_fraction": 1.0, "operator": None,
        "corruption": None, "severity": None, "attack": None, "trained_on": None, "protocol": "aa11",
    }  # fmt: skip
    return base | more


def run_folder(path: Path, value: float = 0.71, start: float = 0.3, **recipe: Any) -> Path:
    path.mkdir(parents=True)
    settings = {"verb": "pretrain", "method": "mocov2", "encoder": "small", "images": "digits", "views": "auto"}
    (path / "recipe.yaml").write_text(yaml.safe_dump(settings | recipe))
    records = [record(0.3, model="start"), record(value - 0.2, label_fraction=0.01), record(value)]
    own = f"views of {path.name}"  # what alignment is measured on
    records.append(record(0.4, metric="alignment", readout=None, label_fraction=None, protocol=own))
    (path / "results.json").write_text(json.dumps({"records": records}))
    (path / "log.jsonl").write_text("\n".join(map(json.dumps, log(start=start))))
    return path


def bytes_like(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def picture_of(address: str) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition("base64,")[2]))))


def test_what_was_watched_stands_over_the_epochs_and_says_what_it_means() -> None:
    loss, accuracy, alignment, uniformity, rate = training_charts({"": log()})
    assert [c.title for c in (loss, accuracy, alignment, uniformity, rate)] == [
        "loss", "k-NN accuracy, %", "Alignment", "Uniformity", "learning rate",
    ]  # fmt: skip
    assert accuracy.series[0].points == tuple((e, pytest.approx(0.3 + e / 20), 0.0) for e in (1.0, 2.0, 3.0, 4.0))
    assert {c.across.label for c in (loss, accuracy, rate)} == {"epoch"}
    assert len(loss.series[0].points) == 20 and loss.series[0].points[-1] == (4.0, 3.0, 0.0)
    assert "0: they are alike" in alignment.subtitle and "more evenly" in uniformity.subtitle
    assert accuracy.series[0].marked and not loss.series[0].marked
    assert accuracy.up.low == 0 and accuracy.up.high > 0.5


def test_a_training_that_nobody_watched_stands_over_its_steps() -> None:
    plain = [{k: line[k] for k in ("step", "epoch", "loss")} for line in log()]
    (loss,) = training_charts({"": plain})
    assert loss.across.label == "step" and loss.series[0].points[-1] == (40.0, 3.0, 0.0)


def test_runs_side_by_side_have_a_line_each_where_two_were_watched() -> None:
    plain = [{k: line[k] for k in ("step", "epoch", "loss")} for line in log()]
    shown = watched_charts([("a", log()), ("b", plain), ("c", log(start=0.1))])
    assert [name for _, name in shown.legend] == ["a", "c"]
    assert [[s.name for s in chart.series] for chart in shown.charts] == [["a", "c"]] * 3
    assert len({series.style for series in shown.charts[0].series}) == 2
    assert watched_charts([("a", log()), ("b", plain)]).charts == ()


def test_views_come_back_as_they_were_drawn(tmp_path: Path) -> None:
    image, pairs, pieces = bytes_like(3, 8, 8), bytes_like(4, 3, 8, 8, seed=1), bytes_like(18, 3, 4, 4, seed=2)
    families = [
        FamilyLooks("SimCLR", "SimCLR(8)", [[*pairs[:2]], [*pairs[2:]]], used=True),
        FamilyLooks("Jigsaw", "Jigsaw(8)", [[*pieces[:9]], [*pieces[9:]]]),
    ]
    save_views(tmp_path, image, families)
    looks = read_part(tmp_path, VIEWS)
    assert looks is not None and looks.pixelated
    simclr, jigsaw = looks.families
    assert (simclr.name, simclr.text, simclr.used, simclr.across) == ("SimCLR", "SimCLR(8)", True, 0)
    assert (jigsaw.used, jigsaw.across, len([*jigsaw.draws]), len(next(jigsaw.draws))) == (False, 3, 2, 9)
    assert np.array_equal(picture_of(data_address(looks.image)), image.permute(1, 2, 0).numpy())
    for family, given in ((simclr, pairs), (jigsaw, pieces)):
        shown = [picture_of(look) for draw in family.draws for look in draw]
        assert np.array_equal(np.stack(shown), given.permute(0, 2, 3, 1).numpy())
    assert read_part(tmp_path / "nowhere", VIEWS) is None


def test_large_pictures_are_stored_at_the_size_of_the_page(tmp_path: Path) -> None:
    image = bytes_like(1, 200, 150)
    save_views(tmp_path, image, [FamilyLooks("SimCLR", "SimCLR(200)", [[image, image]])])
    looks = read_part(tmp_path, VIEWS)
    assert looks is not None and not looks.pixelated and picture_of(next(looks.families[0].draws)[0]).shape == (96, 72)
    with pytest.raises(InputError, match="one shape"):
        save_views(tmp_path, image, [FamilyLooks("Odd", "Odd()", [[image, image[:, :9]]])])
    with pytest.raises(InputError, match="at least one family"):
        save_views(tmp_path, image, [])


def near(tmp_path: Path, labelled: bool = True, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    labels = torch.tensor([[0, 1], [-1, 1]]) if labelled else torch.full((2, 2), -1)
    return save_neighbours(
        tmp_path, bytes_like(2, 3, 8, 8), bytes_like(2, 2, 3, 8, 8, seed=1), torch.tensor([[0.9, 0.8], [0.7, 0.654]]),
        query_labels=torch.tensor([0, 1]) if labelled else torch.full((2,), -1), labels=labels, classes=classes,
        bank="pets/train", images=1234,
    )  # fmt: skip


def test_neighbours_know_who_is_of_the_same_class(tmp_path: Path) -> None:
    near(tmp_path)
    shown = read_part(tmp_path, NEIGHBOURS)
    assert shown is not None and shown.labelled and (shown.bank, shown.images) == ("pets/train", 1234)
    first, second = shown.rows
    assert (first.label, first.hits, second.label, second.hits) == ("cat", 1, "dog", 1)
    assert [(n.label, n.right, n.similarity) for n in first.near] == [("cat", True, "0.90"), ("dog", False, "0.80")]
    assert [(n.label, n.right, n.similarity) for n in second.near] == [("", None, "0.70"), ("dog", True, "0.65")]
    expected = bytes_like(2, 2, 3, 8, 8, seed=1)[1, 0].permute(1, 2, 0).numpy()
    assert np.array_equal(picture_of(second.near[0].image), expected)


def test_a_map_keeps_directions_and_one_scale_for_both() -> None:
    points = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 1.0], [4.0, 1.0]])
    plane = make_plane(MapFile(points, torch.tensor([0, 0, 1, 1]), ("cat", "dog"), "pca", (0.5, 0.25), "pets/test"))
    (low, right), (high, _) = (shown.points for shown in plane.classes)
    assert right[0] > low[0] and high[1] < low[1]  # SVG's y points down
    assert (right[0] - low[0]) / (low[1] - high[1]) == pytest.approx(4)
    assert plane.axes == ("first direction, 50 % of the variance", "second direction, 25 %")
    assert make_plane(MapFile(points, torch.tensor([0, 0, 1, 1]), ("cat", "dog"), "tsne", (), "pets/test")).axes == (
        "",
        "",
    )


def test_every_class_has_a_colour_and_shape_of_its_own() -> None:
    n = MOST + 3
    labels = torch.cat([torch.arange(n), torch.arange(2, n), torch.tensor([-1])])
    plane = make_plane(
        MapFile(torch.randn(len(labels), 2), labels, tuple(f"class {i}" for i in range(n)), "pca", (), "all")
    )
    assert len(plane.named) == MOST
    looks = {(c.style.colour, (c.style.colour + c.style.variant) % MARKERS) for c in plane.named}
    assert len(looks) == MOST and not any(colour == 0 for colour, _ in looks)
    assert "class 0" not in {c.name for c in plane.named}  # the rarest are grey, with those of no class
    assert plane.classes[0].name == "other images" and sum(len(c.points) for c in plane.classes) == len(labels)
    one = make_plane(MapFile(torch.ones(3, 2), torch.full((3,), -1), (), "pca", (), "unlabelled"))
    assert [c.name for c in one.classes] == ["images"] and one.named == ()


def both_maps(plane: Plane) -> list[ET.Element]:
    return [ET.fromstring(drawn) for drawn in (draw_map(plane), draw_class(plane, plane.named[0]))]


def test_the_drawings_are_well_formed_escaped_and_hold_every_point_once() -> None:
    plane = make_plane(MapFile(torch.randn(50, 2), torch.arange(50) % 5, (EVIL, *"bcde"), "pca", (0.2, 0.1), "all"))
    whole, small = both_maps(plane)
    paths = [path.get("d") or "" for path in whole.iter("path")]
    assert len(paths) == 5 and sum(path.count("M") for path in paths) == 50
    where = [tuple(map(float, found)) for path in paths for found in re.findall(r"M(-?[\d.]+) (-?[\d.]+)", path)]
    _, _, width, height = map(float, (whole.get("viewBox") or "").split())
    assert all(0 <= x <= width and 0 <= y <= height for x, y in where)
    drawn = {group.get("id") for group in whole.iter("g") if group.get("id")}
    used = [use.get("href", "")[1:] for use in small.iter("use")]
    assert sorted(used) == sorted(drawn) and used[-1] == "map-0" and not list(small.iter("path"))


def test_the_page_holds_all_of_it_and_nothing_from_outside(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", views=EVIL)
    save_views(run, bytes_like(3, 8, 8), [FamilyLooks(EVIL, EVIL, [[*bytes_like(2, 3, 8, 8)]], used=True)])
    near(run, classes=(EVIL, "dog"))
    save_map(
        run, torch.randn(40, 2), torch.arange(40) % 2, classes=(EVIL, "dog"), by="pca", shares=(0.3, 0.2), data=EVIL
    )
    page = write_report(run).read_text(encoding="utf-8")
    parsed = Strict(page)
    assert "script" not in parsed.tags and page.count("&lt;script&gt;") >= 6
    assert all(address.startswith(("data:image/png;base64,", "#map-")) for address in parsed.addresses)
    assert sum(address.startswith("data:") for address in parsed.addresses) == 3 + 6
    assert not re.search(r"url\(|@import|https?://", page)
    assert "the pretrained encoder is right on 71\N{NO-BREAK SPACE}% of the images" in page  # with all labels
    assert "The encoder that it started as is right on 30\N{NO-BREAK SPACE}% of the images." in page
    assert "With 1\N{NO-BREAK SPACE}% of the labels it is right on 51\N{NO-BREAK SPACE}% of the images." in page
    assert "by MoCo v2 with the views &lt;script" in page and "Before and after" not in page
    assert "k-NN accuracy, %" in page and "the lower, the more evenly spread" in page
    assert "✓" in page and "✗" in page and "other class," in page  # not by colour alone


def test_a_page_without_labels_calls_nothing_right_or_wrong(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    near(run, labelled=False)
    save_map(run, torch.randn(9, 2), torch.full((9,), -1), classes=(), by="tsne", data="photos")
    page = write_report(run).read_text(encoding="utf-8")
    Strict(page)
    assert "✓" not in page and "✗" not in page and 'class="small-maps"' not in page and "by t-SNE" in page


def test_a_comparison_of_pretrainings_draws_what_was_watched_and_no_pictures(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / name, 0.6 + i / 10, 0.2 + i / 10) for i, name in enumerate(("plain", "urrl", "more"))]
    near(runs[0])
    save_views(runs[0], bytes_like(3, 8, 8), [FamilyLooks("SimCLR", "SimCLR(8)", [[*bytes_like(2, 3, 8, 8)]])])
    page = write_comparison(runs, tmp_path / "out").read_text(encoding="utf-8")
    Strict(page)
    assert "protocol views of plain" in page  # alignments do not share a row
    assert "3 runs, measured in the same way." in page and "While they were trained" in page
    assert (
        "<img" not in page and page.count("k-NN accuracy, %</figcaption>") + page.count("k-NN accuracy, %<small>") == 1
    )


class Quarters(nn.Module):
    """An encoder: the mean brightness of the quarters of an image."""

    feature_dim = 4

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images, 2).mean(1).flatten(1)


def bright(n: int, name: str) -> MemoryImages:
    """Images whose brightest quarter is the class."""
    pixels = np.random.default_rng(len(name)).integers(0, 40, (n, 3, 8, 8))
    for i, image in enumerate(pixels):
        image[:, 4 * (i % 4 // 2) : 4 * (i % 4 // 2) + 4, 4 * (i % 2) : 4 * (i % 2) + 4] += 150
    labels = torch.arange(n) % 4
    return MemoryImages(torch.from_numpy(pixels.astype(np.uint8)), labels, list("abcd"), name=name)


def test_the_verb_saves_what_the_page_needs(tmp_path: Path) -> None:
    from weatherproof.verbs.pretrain.pictures import save_pretraining_pictures

    train, test = bright(80, "train"), bright(42, "test")
    families = {"Noise": (GaussianNoise(0.2), True)}  # one look at a time: drawn twice for a pair
    run = run_folder(tmp_path / "run")
    save_pretraining_pictures(run, Quarters(), train, test, families, batch_size=16, limit=40)
    shown = read_part(run, NEIGHBOURS)
    assert shown is not None and shown.images == 40 and len(shown.queries) == 8
    assert all(n.right for query in shown.rows for n in query.near)  # the classes are easy to tell
    assert np.array_equal(picture_of(next(shown.rows).image), test.pixels[0].permute(1, 2, 0).numpy())
    plane = read_map(run)
    assert plane is not None and plane.images == 40 and [c.name for c in plane.classes] == list("abcd")
    looks = read_part(run, VIEWS)
    assert looks is not None and [len(draw) for draw in looks.families[0].draws] == [2, 2, 2]
    pictures = {look for draw in looks.families[0].draws for look in draw}
    assert len(pictures) == 6  # all drawn apart
    Strict(write_report(run).read_text(encoding="utf-8"))


def test_the_families_on_the_page_mark_the_one_that_was_used() -> None:
    from weatherproof import views
    from weatherproof.verbs.pretrain.pictures import example_families

    plain = example_families(32)
    assert len(plain) == 9 and not any(used for _, used in plain.values())
    own = views.MoCoV2(32)
    marked = example_families(32, own)
    assert next(iter(marked.items())) == ("MoCo v2", (own, True)) and len(marked) == 9
    other = example_families(32, views.Twice(views.HorizontalFlip()))
    assert next(iter(other)) == "Twice" and len(other) == 10
    image, keys = torch.rand(1, 3, 32, 32), random.keys(0, torch.arange(1))
    for family, _ in plain.values():
        assert all(0 <= look.min() and look.max() <= 1 for look in family(image, keys))


@pytest.mark.parametrize(
    ("channels", "side", "shown"),
    [
        (3, 32, 9),
        (1, 8, 8),  # too small for the blur among MoCo's operations
        (3, 2, 7),  # and for a puzzle
        (4, 32, 2),  # and those that change no colours
    ],
)
def test_a_family_that_cannot_look_at_an_image_is_not_on_the_page(
    channels: int, side: int, shown: int, tmp_path: Path
) -> None:
    from weatherproof import views
    from weatherproof.verbs.pretrain.pictures import example_families, save_pretraining_pictures

    pixels = torch.randint(0, 256, (20, channels, side, side), generator=torch.Generator().manual_seed(0))
    images = MemoryImages(pixels.to(torch.uint8), torch.arange(20) % 2, ["a", "b"], name="toys")
    used = views.Twice(views.HorizontalFlip())
    save_pretraining_pictures(tmp_path, Quarters(), images, images, example_families(side, used))
    looks = read_part(tmp_path, VIEWS)
    assert looks is not None and len(looks.families) == 1 + shown and looks.families[0].used
    with pytest.raises(InputError, match="blur kernel"):
        small = MemoryImages(images.pixels[:, :1, :4, :4], name="small")
        save_pretraining_pictures(tmp_path, Quarters(), small, small, {"Mixed": (views.AugMixMoCo(4), True)})
