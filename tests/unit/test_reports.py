"""Tables, verdicts, charts and pages, against numbers worked out by hand."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from html_page import Strict

from weatherproof import operators
from weatherproof.errors import InputError
from weatherproof.reports import (
    GalleryEntry,
    console_table,
    markdown_table,
    save_gallery,
    write_comparison,
    write_report,
)
from weatherproof.reports.details import done_sentences
from weatherproof.reports.files import read_run
from weatherproof.reports.tables import make_tables
from weatherproof.reports.training.curves import Palette, label_charts, severity_charts, training_charts
from weatherproof.reports.verdict import make_verdict
from weatherproof.reports.words import records as w

EVIL = "<script>alert(1)</script>"


def record(model: str, value: float, operator: str | None = None, **more: Any) -> dict[str, Any]:
    base = {
        "metric": "top1", "value": value, "stderr": 0.002 if operator else None, "realizations": 10 if operator else 1,
        "seeds": [0], "images": 1000, "model": model, "readout": "probe", "data": "cifar10/test", "label_fraction": 1.0,
        "operator": operator, "corruption": None, "severity": None, "attack": None,
        "trained_on": "RandomMask(0.75)" if model == "hardened" else None, "protocol": "aa11",
    }  # fmt: skip
    return base | more


def sweep() -> list[dict[str, Any]]:
    teacher = {None: 0.91, "RandomMask(0.5)": 0.4, "RandomMask(0.75)": 0.15, "RandomMask(0.9)": 0.1}
    after = {None: 0.88, "RandomMask(0.5)": 0.86, "RandomMask(0.75)": 0.84, "RandomMask(0.9)": 0.5}
    return [record("teacher", v, o) for o, v in teacher.items()] + [record("hardened", v, o) for o, v in after.items()]


def run_folder(path: Path, records: list[dict[str, Any]], **recipe: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    settings = {"verb": "harden", "encoder": "small", "images": "digits", "operator": "RandomMask(0.75)", **recipe}
    (path / "recipe.yaml").write_text(yaml.safe_dump(settings))
    (path / "results.json").write_text(json.dumps({"records": records}))
    return path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"operator": "RandomMask(0.75)"}, "75 % of the pixels missing"),
        ({"operator": "RandomMask(fraction=(0.5, 0.95))"}, "50 to 95 % of the pixels missing"),
        ({"operator": "UniformNoise()"}, "random grey on 15 % of the pixels"),
        ({"operator": "UniformNoise(fraction=0.4)"}, "random grey on 40 % of the pixels"),
        ({"operator": "GaussianBlur(5, kernel_size=21)"}, f"Gaussian blur ({w.SIGMA} 5, kernel_size=21)"),
        ({"operator": "Sometimes(RandomMask(0.5), 0.8)"}, "50 % of the pixels missing on 80 % of the images"),
        ({"operator": "import os; x"}, "import os; x"),
        ({"operator": "Mine(3)"}, "Mine(3)"),
        ({"corruption": "motion_blur", "severity": 3}, "motion blur, severity 3"),
        ({}, "clean images"),
    ],
)  # fmt: skip
def test_conditions_in_words(given: dict[str, Any], expected: str) -> None:
    assert w.condition_words(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"operator": "RandomMask(0.75)"}, ("RandomMask", 0.75)),
        ({"operator": "RandomMask((0.5, 0.9))"}, None),
        ({"operator": "Chain(RandomMask(0.5))", "severity": 2}, ("Chain", 2.0)),
        ({"corruption": "fog", "severity": 4}, ("fog", 4.0)),
        ({"operator": "JPEG(90.0)"}, ("JPEG", 10.0)),
        ({"operator": "RandomMask(0.75)", "attack": "PGD"}, None),
        ({}, None),
    ],
)
def test_levels(given: dict[str, Any], expected: tuple[str, float] | None) -> None:
    assert w.level(given) == expected


def test_nan_is_not_a_number_on_the_page() -> None:
    assert w.number("top1", float("nan"), 0.1) == "n/a" == w.number("cosine", None)
    assert w.number("top1", 0.5, float("nan")) == "50.0"


def test_table_has_models_as_columns_and_conditions_as_rows() -> None:
    (table,) = make_tables(sweep()[::-1])  # the order of the file does not matter
    assert [c.parts[0] for c in table.columns] == ["original", "hardened"]
    assert [r.parts[0] for r in table.rows][:2] == ["clean images", "50 % of the pixels missing"]
    assert [c.text for c in table.cells[2]] == ["15.0 ± 0.2", "84.0 ± 0.2"]
    assert [[c.best for c in row] for row in table.cells] == [[True, False]] + [[False, True]] * 3


def test_an_infinite_median_is_the_best_and_no_missing_number() -> None:
    medians = [("a", None), ("b", 0.5), ("c", 0.7)]  # as results.json has them
    made = make_tables(record(name, value, metric="median_perturbation", stderr=None) for name, value in medians)
    assert [(cell.text, cell.best) for cell in made[0].cells[0]] == [("∞", True), ("0.5000", False), ("0.7000", False)]


def test_unlike_protocols_never_share_a_row() -> None:
    (table,) = make_tables([record("teacher", 0.5), record("hardened", 0.6, protocol="bb22")])
    assert len(table.rows) == 2 and not any(c.best for row in table.cells for c in row)


def test_no_number_is_lost_when_two_would_share_a_cell() -> None:
    records = [record("hardened", 0.5, trained_on="A()"), record("hardened", 0.6, trained_on="B()")]
    (table,) = make_tables(records)
    assert sorted(c.text for row in table.cells for c in row) == ["50.0", "60.0"]


def test_markdown_table_stays_a_table() -> None:
    text = markdown_table([record("a|b", 0.5), record(EVIL, 0.7)], rows=("condition",), columns=("model",))
    head, rule, row = text.strip().splitlines()[2:]
    assert head == "|  | a\\|b | &lt;script&gt;alert(1)&lt;/script&gt; |"
    assert rule.count("|") == 4 and row == "| clean images | 50.0 | **70.0** |"
    with pytest.raises(InputError, match="unknown key 'modle'"):
        markdown_table([record("a", 0.5)], columns=("modle",))


def test_console_table_shows_every_metric_and_no_markup() -> None:
    from rich.console import Console

    records = [record("[red]x[/red]", 0.5), record("hardened", 0.6), record("hardened", 0.9, metric="cosine")]
    console = Console(file=io.StringIO(), width=140)
    console.print(console_table(records, title="[b]numbers[/b]"))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]x[/red]" in shown and "[b]numbers[/b]" in shown and "60.0*" in shown and "0.900" in shown


def test_verdict_says_the_trained_condition_and_the_clean_cost() -> None:
    verdict = make_verdict(sweep())
    assert verdict.sentence == (
        "With 75 % of the pixels missing, the hardened encoder is right on 84 % of the images, "
        "where the original manages 15 %."
    )
    assert verdict.beside[0] == "It is lower on clean images: 88 %, against 91 % before."
    assert verdict.beside[1] == "It is better in all 3 comparisons under damage."


def test_a_loss_on_clean_images_is_said_though_both_round_to_the_same() -> None:
    found = {None: (0.983, 0.975), "RandomMask(0.75)": (0.15, 0.9)}
    records = [record(name, own[i], o) for i, name in enumerate(("teacher", "hardened")) for o, own in found.items()]
    assert make_verdict(records).beside[0] == "It is lower on clean images: 97.5 %, against 98.3 % before."
    records[0]["value"] = records[2]["value"] = 0.9752
    assert make_verdict(records).beside[0] == "It is the same on clean images: 97.5 %, against 97.5 % before."


def test_verdict_is_honest_when_it_got_worse_or_is_unclear() -> None:
    operator = "RandomMask(0.75)"
    worse = make_verdict([record("teacher", 0.6, operator), record("hardened", 0.4, operator)])
    assert "the hardened encoder is worse than the original: it is right on 40 %" in worse.sentence
    # 2 standard errors of the difference are 2 * sqrt(0.002^2 + 0.002^2) = 0.0057
    unclear = make_verdict([record("teacher", 0.6, operator), record("hardened", 0.605, operator)])
    assert "no clear difference" in unclear.sentence
    clear = make_verdict([record("teacher", 0.6, operator), record("hardened", 0.606, operator)])
    assert "no clear difference" not in clear.sentence


def test_one_draw_is_clear_by_the_images_or_not_known_to_be() -> None:
    operator = "RandomMask(0.75)"
    once = {"stderr": None, "realizations": 1, "images": 400}

    def sentence(before: float, after: float, **more: Any) -> str:
        pair = [
            record("teacher", before, operator, **once, **more),
            record("hardened", after, operator, **once, **more),
        ]
        return make_verdict(pair).sentence

    # 2 standard errors of the difference of two shares of 400 images near 60 % are 0.069
    assert "no clear difference" in sentence(0.6, 0.66) and "no clear difference" not in sentence(0.6, 0.68)
    assert sentence(0.6, 0.9, metric="cosine").endswith("the original 0.60: how clear that is, one draw cannot tell.")


def test_the_headline_of_one_model_is_under_the_damage_that_was_asked_for() -> None:
    records = [record("small", 1 - level, f"RandomMask({level})") for level in (0.25, 0.5, 0.75, 0.9)]
    assert make_verdict(records).sentence.startswith("With 75 % of the pixels missing")
    assert make_verdict(records, "RandomMask( .25 )").sentence.startswith("With 25 % of the pixels missing")
    assert make_verdict(records, "GaussianBlur(1)").sentence == make_verdict(records).sentence


def test_the_trained_condition_is_known_however_it_is_written() -> None:
    levels = ("JPEG(50.0)", "JPEG(25.0)", "JPEG(10.0)")
    records = [
        record(model, 0.5, level, trained_on="JPEG(50)" if model == "hardened" else None)
        for level in levels for model in ("teacher", "hardened")
    ]  # fmt: skip
    assert make_verdict(records).sentence.startswith("With JPEG(50), ")


def test_verdict_compares_like_with_like() -> None:
    operator = "RandomMask(0.75)"
    unlike = [record("teacher", 0.1, operator, readout="own-head"), record("hardened", 0.9, operator)]
    assert "original" not in make_verdict(unlike).sentence
    nothing = make_verdict([record("teacher", float("nan"))])
    assert "n/a" in nothing.sentence


def test_verdict_of_a_run_without_labels() -> None:
    more = {"metric": "cosine", "readout": None, "label_fraction": None}
    operator = "RandomMask(0.75)"
    records = [record("teacher", 0.33, operator, **more), record("hardened", 0.91, operator, **more)]
    assert "stays at cosine similarity 0.91" in make_verdict(records).sentence


def test_severity_and_label_charts() -> None:
    few = [{**r, "label_fraction": 0.1, "value": r["value"] / 2} for r in sweep()]
    records = sweep() + few
    severity = severity_charts(records, Palette(records)).charts
    assert {chart.title for chart in severity} == {"all labels", "10 % of the labels"}
    hardened = next(s for s in severity[0].series if s.name == "hardened")
    assert sorted(hardened.points)[0] == (0.0, 0.88, 0.0)  # the clean images stand at level 0
    assert sorted(hardened.points)[-1] == (0.9, 0.5, 0.002)
    labels = label_charts(records, Palette(records)).charts
    assert len(labels) == 4 and labels[0].across.ticks == (0.1, 1.0)


def test_the_axis_of_a_quality_or_a_share_says_what_its_numbers_are() -> None:
    qualities = {None: 0.9, "JPEG(90.0)": 0.8, "JPEG(50.0)": 0.7, "JPEG(10.0)": 0.3}
    records = [record("teacher", value, operator) for operator, value in qualities.items()]
    (chart,) = severity_charts(records, Palette(records)).charts
    assert chart.across.label == "100 less the JPEG quality"
    points = [(x, y) for x, y, _ in sorted(chart.series[0].points)]
    assert points == [(0.0, 0.9), (10.0, 0.8), (50.0, 0.7), (90.0, 0.3)]
    (table,) = make_tables(records[::-1])
    assert [row.parts[0] for row in table.rows] == ["clean images", "JPEG(90)", "JPEG(50)", "JPEG(10)"]
    records = [record("teacher", 0.5, f"Contrast({amount})") for amount in (0.1, 0.25)]
    (chart,) = severity_charts(records, Palette(records)).charts
    assert chart.across.label == "contrast lost, %" and chart.across.show(0.25) == "25"


def test_a_name_that_several_models_have_is_no_curve() -> None:
    """It shows by two values at one level; the same number twice is one point, and without curves there is no chart."""
    other, again = record("hardened", 0.3, "RandomMask(0.5)"), record("hardened", 0.86, "RandomMask(0.5)")

    def drawn(*records: dict[str, Any]) -> list[list[str]]:
        charts = severity_charts(records, Palette(records)).charts
        return [[series.name for series in chart.series] for chart in charts]

    assert drawn(*sweep(), again) == drawn(*sweep()) == [["original", "hardened"]]
    assert drawn(*sweep(), other) == [["original"]]
    assert drawn(*(r for r in sweep() if r["model"] == "hardened"), other) == []


def test_severity_needs_two_levels() -> None:
    records = [record("hardened", 0.5, "RandomMask(0.5)"), record("hardened", 0.5, "RandomMask((0.5, 0.9))")]
    assert severity_charts(records, Palette(records)).charts == ()


def test_training_curve_averages_stretches_and_drops_repeats() -> None:
    lines = [{"step": i, "loss": i % 2, "same": i % 2, "lr": 0.1, "images_per_second": 5} for i in range(640)]
    loss, rate = training_charts({"": lines})
    assert (loss.title, rate.title) == ("loss", "learning rate")
    assert len(loss.series[0].points) == 160 and loss.series[0].points[0] == (3.0, 0.5, 0.0)


def picture(value: float, size: int = 8, channels: int = 3) -> torch.Tensor:
    return torch.full((channels, size, size), value)


def test_gallery_round_trip(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    def read(name: str) -> Any:
        return np.asarray(Image.open(tmp_path / name))

    guesses = {"hardened": [("cat", 0.7), ("dog", 0.2), ("cow", 0.1), ("ant", 0.0)]}
    entries = [
        GalleryEntry(picture(0.5), picture(-2.0), "RandomMask(0.9)", guesses, truth="cat"),
        GalleryEntry(picture(1.0, channels=1), picture(1.7, channels=1), "GaussianNoise(0.5)", guesses),
    ]
    listed = json.loads(save_gallery(tmp_path, entries).read_text())
    assert listed[0]["predictions"] == {"hardened": [["cat", 0.7], ["dog", 0.2], ["cow", 0.1]]}
    assert listed[1]["truth"] is None
    assert read(listed[0]["clean"]).shape == (8, 8, 3) and np.unique(read(listed[0]["clean"])).tolist() == [128]
    assert read(listed[0]["damaged"]).max() == 0
    assert read(listed[1]["damaged"]).shape == (8, 8) and read(listed[1]["damaged"]).min() == 255


def test_page_is_complete_self_contained_and_escaped(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", [*sweep(), record(EVIL, float("nan"))], images=EVIL, hardware={"cpu": EVIL})
    save_gallery(run, [GalleryEntry(picture(0.5), picture(0.1), EVIL, {"hardened": [(EVIL, 0.5)]}, truth=EVIL)])
    (run / "checks.json").write_text(json.dumps([{"claim": EVIL, "passed": False, "detail": "why"}]))
    (run / "log.jsonl").write_text('{"step": 1, "loss": 2}\n{"step": 2, "loss": 1}\n{"step": 3, "lo')
    (run / "teacher").mkdir()
    (run / "teacher" / "log.jsonl").write_text('{"step": 1, "loss": 2}\n{"step": 2, "loss": 1}\n')
    (run / "encoder.safetensors").write_bytes(b"")
    page = write_report(run).read_text(encoding="utf-8")
    parsed = Strict(page)
    assert "script" not in parsed.tags and page.count("&lt;script&gt;") >= 6
    assert all(address.startswith("data:image/png;base64,") for address in parsed.addresses) and parsed.addresses
    assert not re.search(r"url\(|@import|https?://", page)
    assert "n/a" in page and "nan" not in page.lower().replace("ttnan", "")
    assert "where the original manages 15\N{NO-BREAK SPACE}%" in page
    assert "✗ failed" in page and "wp.load_encoder(" in page and "aa11" in page
    assert "<figcaption>teacher: loss" in page and ">loss" in page
    assert not list(run.glob(".*"))  # no temporary file is left


def test_page_without_labels_says_nothing_of_truth(tmp_path: Path) -> None:
    more = {"metric": "cosine", "readout": None, "label_fraction": None}
    run = run_folder(tmp_path / "run", [{**r, **more} for r in sweep()])
    save_gallery(run, [GalleryEntry(picture(0.5), picture(0.1), "RandomMask(0.9)", {"hardened": [("cat", 0.5)]})])
    page = write_report(run).read_text()
    Strict(page)
    assert "✓" not in page and "✗" not in page and "With fewer labels" not in page and "Cosine similarity" in page


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "results.json").unlink(), "has no results.json"),
        (lambda run: (run / "recipe.yaml").unlink(), "has no recipe.yaml"),
        (lambda run: (run / "results.json").write_text("{"), "is not JSON"),
        (lambda run: (run / "results.json").write_text('{"records": []}'), "holds no records"),
        (
            lambda run: (run / "results.json").write_text('{"records": [{"metric": "top1", "seeds": 5}]}'),
            "holds no rec",
        ),
        (lambda run: (run / "recipe.yaml").write_text("a: [\nb"), "is not YAML"),
        (
            lambda run: (run / "gallery.json").write_text('[{"clean": "../../etc/passwd", "damaged": ""}]'),
            "is no file in",
        ),
        (lambda run: (run / "checks.json").write_text("{}"), "is not a list"),
    ],
)
def test_half_finished_runs_are_refused_in_one_line(tmp_path: Path, spoil: Any, message: str) -> None:
    run = run_folder(tmp_path / "run", sweep())
    spoil(run)
    with pytest.raises(InputError, match=message) as caught:
        write_report(run)
    assert "\n" not in str(caught.value) and not (run / "report.html").exists()


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run folder"):
        write_report(tmp_path / "nowhere")


def test_comparison_puts_only_like_protocols_in_one_table(tmp_path: Path) -> None:
    a = run_folder(tmp_path / "a" / "run", sweep())
    b = run_folder(tmp_path / "b" / "run", sweep())
    c = run_folder(tmp_path / "c", [{**r, "protocol": "bb22", "images": 50} for r in sweep()])
    alike = write_comparison([a, b], tmp_path / "alike.html").read_text()
    assert "2 runs, measured in the same way." in alike and "run (1)" in alike and "run (2)" in alike
    mixed = write_comparison([a, b, c], tmp_path / "out").read_text()
    Strict(mixed)
    assert "3 runs, measured in 2 different ways." in mixed
    assert "Group 1: run (1), run (2)" in mixed and "Group 2: c" in mixed
    assert "Protocol bb22" in mixed and (tmp_path / "out" / "comparison.html").is_file()
    with pytest.raises(InputError, match="at least two"):
        write_comparison([a], tmp_path / "one.html")


def test_what_a_verb_has_fixed_reads_like_its_arguments(tmp_path: Path) -> None:
    run = run_folder(tmp_path, sweep())
    fixed = {"fixed": {"encoder": "small", "images": "digits", "operator": "RandomMask(0.9)"}}
    (run / "recipe.yaml").write_text(yaml.safe_dump({"verb": "demo", "seeds": 3} | fixed))
    first, *_ = done_sentences(read_run(run))
    assert "A copy of small learned to give, for an image with 90 % of the pixels missing" in first
    audit = {"verb": "audit", "model": "small", "images": "digits", "operator": "RandomMask(0.9)"}
    (run / "recipe.yaml").write_text(yaml.safe_dump(audit))
    first, *_ = done_sentences(read_run(run))
    assert first == "weatherproof audit with small on digits, with 90 % of the pixels missing."


def test_a_level_that_an_operators_text_leaves_out_has_its_place_on_the_axis() -> None:
    assert {name: getattr(operators, name).fraction for name in w.UNSAID} == w.UNSAID
    found = [w.level({"operator": repr(operators.UniformNoise(share))}) for share in (0.05, 0.15, 0.3)]
    assert found == [("UniformNoise", 0.05), ("UniformNoise", 0.15), ("UniformNoise", 0.3)]
    assert w.level({"operator": "NonUniformNoise(std='std.npy')"}) == ("NonUniformNoise", 0.15)
