"""A suite of common corruptions on the page: heat maps, bars, the scatter, the strip, tables, and sentences."""

import base64
import io
import json
import math
import re
from collections.abc import Iterable
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from html_page import Strict
from PIL import Image
from safetensors.torch import save

from weatherproof.benchmark import COMMON_15, COMMON_19, GROUPS
from weatherproof.errors import InputError
from weatherproof.reports import console_table, markdown_table, save_strip, write_comparison, write_report
from weatherproof.reports.drawing.pictures import data_address
from weatherproof.reports.parts import read_part
from weatherproof.reports.strip.section import STRIP
from weatherproof.reports.suite.bars import group_bars
from weatherproof.reports.suite.heatmap import heat_map, step
from weatherproof.reports.suite.notes import FROST, suite_notes
from weatherproof.reports.suite.records import synthetic_frost, whole_words
from weatherproof.reports.suite.scatter import draw_scatter, scatter
from weatherproof.reports.suite.subjects import Subject, alike, split
from weatherproof.reports.suite.tables import in_sum, side_by_side
from weatherproof.reports.suite.verdict import headline, suite_verdict

EVIL = "<script>alert(1)</script>"

Json = dict[str, Any]

# Plausible top-1 accuracies of two models at severity 3; every severity away from it costs or gains a tenth of the
# damage.
TEACHER = dict(
    zip(
        COMMON_19,
        (0.46, 0.58, 0.55, 0.86, 0.52, 0.78, 0.80, 0.80, 0.74, 0.88)
        + (0.91, 0.80, 0.83, 0.76, 0.78, 0.62, 0.82, 0.79, 0.89),
        strict=True,
    )
)  # fmt: skip
CLEAN = {"teacher": 0.92, "hardened": 0.90}


def accuracy(model: str, name: str, severity: int) -> float:
    loss = (CLEAN["teacher"] - TEACHER[name]) * (0.4 + 0.2 * severity)
    return CLEAN[model] - loss * (0.35 if model == "hardened" and "noise" in name else 1.0)


def mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def suite_records(kind: str, names: tuple[str, ...] = COMMON_19, images: int = 10_000, **more: Any) -> list[Json]:
    """The records that an audit writes of a suite: cells, means, totals."""
    suite = {15: "common-15", 19: "common-19"}.get(len(names))
    trained_on = "Sometimes(GaussianNoise((0.05, 0.5)), 0.8)" if kind == "hardened" else None
    fixed = {
        "realizations": 1, "seeds": [0], "images": images, "model": kind, "readout": "own-head",
        "data": "cifar10/test", "label_fraction": None, "attack": None, "trained_on": trained_on, **more,
    }  # fmt: skip
    made: list[Json] = []

    def add(
        metric: str, value: float, corruption: str | None, severity: int | None, error: float | None, **own: Any
    ) -> None:
        operator = f"Corruption('{corruption}', {severity})" if severity else None
        condition = {"operator": operator, "corruption": corruption, "severity": severity}
        protocol = f"{metric}-{corruption}-{severity}-{images}"
        made.append(
            {"metric": metric, "value": value, "stderr": error, **fixed, **condition, "protocol": protocol, **own}
        )

    def cell(value: float, corruption: str | None, severity: int | None) -> None:
        error = math.sqrt(value * (1 - value) / images)
        add("top1", value, corruption, severity, error)
        add("error", 1 - value, corruption, severity, error)
        add("top5", 1 - (1 - value) / 6, corruption, severity, error)
        add("rms_calibration_error", 0.02 + 0.5 * (0.95 - value), corruption, severity, None)
        add("ece", 0.01 + 0.45 * (0.95 - value), corruption, severity, None)

    cell(CLEAN[kind], None, None)
    for name in names:
        for severity in range(1, 6):
            cell(accuracy(kind, name, severity), name, severity)
        add("top1", mean(accuracy(kind, name, s) for s in range(1, 6)), name, None, 0.003)
    seen = {"gaussian_noise"} if kind == "hardened" else set()
    wholes: dict[str, set[str]] = {g: set(m) for g, m in GROUPS.items() if set(m) & set(COMMON_15) <= set(names)}
    wholes |= {"common-15": set(COMMON_15)} if set(COMMON_15) <= set(names) else {}
    wholes |= {suite or "all": set(names)} | ({"seen": seen, "unseen": set(names) - seen} if seen else {})
    for whole, members in wholes.items():
        own = [n for n in names if n in members]
        value = mean(accuracy(kind, n, s) for n in own for s in range(1, 6))
        values = {"mca": value}
        if whole not in ("seen", "unseen"):
            error = 0.02 + 0.5 * (0.95 - value)
            values |= {
                "unnormalised_mce": 1 - value,
                "rms_calibration_error": error,
                "mean_rms_calibration_error": error + 0.01,
            }
        for metric, total in values.items():
            known = 0.002 if metric in ("mca", "unnormalised_mce") else None
            add(metric, total, whole, None, known, protocol=f"{metric}-{whole}-{len(own)}-{images}")
    return made


def run_folder(path: Path, records: list[Json], notes: list[str] | None = None, **recipe: Any) -> Path:
    path.mkdir(parents=True)
    settings = {"verb": "audit", "model": "resnet20", "images": "cifar10", "suite": "common-19", **recipe}
    (path / "recipe.yaml").write_text(yaml.safe_dump(settings))
    (path / "results.json").write_text(json.dumps({"records": records, "notes": notes or []}))
    return path


def both() -> list[Json]:
    return suite_records("teacher") + suite_records("hardened")


def suite_of(records: list[Json], **planned: str) -> list[Subject]:
    subjects, rest = split(records, planned)
    assert rest == []
    return subjects


def test_subjects_collect_every_record_and_leave_the_rest() -> None:
    other = {**suite_records("teacher")[0], "operator": "RandomMask(0.5)", "protocol": "mask"}
    subjects, rest = split([*both(), other])
    assert [s.name for s in subjects] == ["original", "hardened"]
    assert len(subjects[0].cells) == 19 * 5 * 5 and len(subjects[0].means) == 19
    assert subjects[0].seen == frozenset() and subjects[1].seen == {"gaussian_noise"}
    assert [r["operator"] for r in rest if r["operator"]] == ["RandomMask(0.5)"]
    assert sum(r["corruption"] is None for r in rest) == 11  # the clean ones stand beside the mask too


def test_one_corruption_is_a_curve_and_not_a_suite() -> None:
    fog = [r for r in suite_records("teacher") if r["corruption"] in ("fog", None) and r["metric"] == "top1"]
    subjects, rest = split(fog)
    assert subjects == [] and rest == fog


def test_no_record_is_lost_where_one_run_holds_two_protocols() -> None:
    again = [{**r, "protocol": f"other-{r['protocol']}", "value": 0.1} for r in suite_records("teacher")]
    first, second = suite_of([*suite_records("teacher"), *again])
    assert (first.name, second.name) == ("measurement 1", "measurement 2")
    assert second.cells["top1", "fog", 3]["value"] == 0.1
    assert [[s.name for s in group] for group in alike([first, second])] == [["measurement 1"], ["measurement 2"]]


def test_heat_map_has_every_cell_in_its_place() -> None:
    (subject,) = suite_of(suite_records("hardened"))
    shown = heat_map(subject)
    assert shown is not None and shown.severities == (1, 2, 3, 4, 5) and shown.last == "mean"
    assert {g.name: tuple(r.corruption for r in g.rows) for g in shown.groups} == GROUPS
    rows = {r.corruption: r for g in shown.groups for r in g.rows}
    # Glass blur: 0.90 - 0.4 * (0.6, 0.8, 1.0, 1.2, 1.4)
    assert [c.text for c in rows["glass_blur"].cells] == ["66.0", "58.0", "50.0", "42.0", "34.0"]
    assert [c.step for c in rows["glass_blur"].cells] == [6, 5, 5, 4, 3] and rows["glass_blur"].last.text == "50.0"
    assert rows["glass_blur"].cells[2].tooltip == "glass blur, severity 3: 50.0 ± 0.5, 10,000 images"
    assert rows["gaussian_noise"].marks == ("seen",) and rows["speckle_noise"].marks == ("extra",)
    assert [r.corruption for r in rows.values() if r.synthetic] == ["frost"]
    assert [name for name, _ in shown.totals][:3] == ["clean images", *map(whole_words, ("common-15", "common-19"))]
    assert shown.groups[1].last.text == "73.6"  # (84 + 50 + 76 + 78 + 80) / 5


def test_shades_go_from_worst_to_best_whichever_way_a_metric_counts() -> None:
    assert [step("top1", v) for v in (0.0, 0.099, 0.1, 0.3, 0.95, 1.0)] == [0, 0, 1, 3, 9, 9]
    assert [step("rms_calibration_error", v) for v in (0.0, 0.05, 0.3, 1.0)] == [9, 9, 7, 0]


def contrast(a: str, b: str) -> float:
    """Of two colours, as the accessibility guidelines (WCAG 2) define it."""

    def luminance(colour: str) -> float:
        values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_numbers_can_be_read_on_every_shade_and_shades_keep_their_order_in_grey() -> None:
    css = files("weatherproof.reports").joinpath("suite/section.css").read_text(encoding="utf-8")
    themes = [dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", css, re.S)]
    inks = dict(re.findall(r"\.h(\d) \{[^}]*color: var\(--([\w-]+)\)", css))
    assert len(themes) == 3 and len(inks) == 10 and themes[0] == themes[2]  # light, dark, print
    for theme in themes:
        assert all(contrast(theme[f"h{i}"], theme[inks[str(i)]]) >= 4.5 for i in range(10))
        to_paper = [contrast(theme[f"h{i}"], theme["h9"]) for i in range(10)]
        assert all(a > 1.1 * b for a, b in pairwise(to_paper))


def test_cut_audits_say_what_is_missing_and_what_rests_on_fewer_images() -> None:
    records = [r for r in suite_records("teacher") if r["corruption"] not in ("common-19", "digital")]
    records = [r for r in records if r["corruption"] != "saturate" and (r["corruption"], r["severity"]) != ("fog", 4)]
    for r in records:
        if (r["corruption"], r["severity"]) in (("snow", 2), ("snow", 3), ("snow", 4)):
            r["images"] = 2000
    (subject,) = suite_of([r for r in records if r["metric"] != "mca"], **{"": "common-19"})
    assert len(subject.missing) == 6
    notes = suite_notes([subject], ["Cut to 10 minutes."])
    assert notes == [
        "Cut to 10 minutes.",
        FROST,
        "Not all numbers rest on equally many images: 10,000, but 2,000 for snow 2-4.",
        "Not measured (6 of 95): fog 4; saturate.",
    ]
    shown = heat_map(subject)
    assert shown is not None and shown.fewer
    rows = {r.corruption: r for g in shown.groups for r in g.rows}
    assert [c.fewer for c in rows["snow"].cells] == [False, True, True, True, False]
    assert rows["fog"].cells[3].text == "–" and {c.text for c in rows["saturate"].cells} == {"–"}
    assert suite_verdict([subject]).sentence == (
        "No mean over the suite: the original encoder was measured on 89 of 95 conditions."
    )


def test_notes_are_not_said_twice() -> None:
    records = suite_records("teacher", parameters="cifar parameters")
    told = "frost is made up; do not compare"
    shown = [told, "Parameters: cifar parameters."]
    assert suite_notes(suite_of(records), [told, told]) == shown


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("Corruption('frost', 3)", True),
        ("Corruption('frost', 3, glass='swap')", True),
        ("Corruption('frost', 3, frost='my photos')", False),
        ("Corruption('frost', 3, 'auto', 'copy', 'my photos')", False),
        (None, False),  # a downloaded set
    ],
)
def test_synthetic_frost_is_read_from_the_operator(operator: str | None, expected: bool) -> None:
    assert synthetic_frost({"corruption": "frost", "operator": operator}) is expected


def test_verdict_of_one_model_says_what_it_had_seen() -> None:
    verdict = headline(suite_records("hardened", model="resnet20"))
    assert verdict.sentence == (
        "Over the 19 common corruptions, resnet20 is right on 78 % of the images, against 90 % of the clean ones."
    )
    assert verdict.beside[0] == "Worst is glass blur (50 %), best brightness (89 %), each averaged over its severities."
    assert verdict.beside[-1] == (
        "This model was trained on Gaussian noise; on the 18 corruptions it has never seen it scores 78 %, "
        "on the one it has seen 74 %."
    )
    assert [bar.text for bar in verdict.bars] == ["78 %"]


def test_verdict_of_a_model_that_has_seen_none() -> None:
    verdict = headline(suite_records("teacher", model="resnet20", trained_on="RandomMask(0.75)"))
    assert verdict.beside[-1] == (
        "This model was trained on 75 % of the pixels missing: it has seen none of these corruptions."
    )
    assert "trained" not in " ".join(headline(suite_records("teacher", model="resnet20")).beside)


def test_verdict_before_and_after_is_honest() -> None:
    verdict = headline(both())
    assert "the hardened encoder is right on 78 % of the images, where the original manages 75 %." in verdict.sentence
    assert verdict.beside[:2] == (
        "It is lower on clean images: 90 %, against 92 % before.",
        "Corruption by corruption it is better on 4, worse on 15.",
    )
    worse = headline([*suite_records("teacher"), *(lowered(r) for r in suite_records("hardened"))])
    assert "the hardened encoder is worse than the original" in worse.sentence
    same = [{**r, "model": "hardened"} for r in suite_records("teacher")]
    assert "no clear difference" in headline([*suite_records("teacher"), *same]).sentence


def lowered(record: Json) -> Json:
    return {**record, "value": record["value"] - 0.2} if record["metric"] in ("top1", "mca") else record


def test_mce_is_in_the_verdict_where_there_is_one() -> None:
    records = suite_records("teacher", COMMON_15, model="resnet50")
    mce = next(r for r in records if r["metric"] == "mca" and r["corruption"] == "common-15")
    records.append({**mce, "metric": "mce", "value": 0.767, "protocol": "mce"})
    assert "Its mCE is 76.7: AlexNet has 100, lower is better." in headline(records).beside


def test_totals_over_different_corruptions_are_not_compared() -> None:
    fifteen = suite_records("teacher", COMMON_15, model="a")
    nineteen = suite_records("teacher", COMMON_19, model="b")
    (group,) = alike(suite_of([*fifteen, *nineteen]))  # the 15 that both measured, they measured alike
    table = side_by_side(group)
    assert table is not None
    noise = [i for i, row in enumerate(table.rows) if row.parts[0] == "noise"]
    assert [[bool(c.text) for c in table.cells[i]] for i in noise] == [[True, False], [False, True]]
    assert all("protocol mca-noise" in table.rows[i].parts[1] for i in noise)
    shared = [i for i, row in enumerate(table.rows) if row.parts[0] == "all 15 common corruptions"]
    assert [all(c.text for c in table.cells[i]) for i in shared] == [True]
    assert [bar.note for bar in group_bars(group) if bar.name == "noise"] == [table.rows[i].parts[1] for i in noise]


def test_best_of_a_row_and_what_was_seen_are_marked() -> None:
    table = side_by_side(suite_of(both()))
    assert table is not None
    cells = {row.parts[0]: own for row, own in zip(table.rows, table.cells, strict=True)}
    assert [(c.best, c.seen) for c in cells["Gaussian noise"]] == [(False, False), (True, True)]
    assert [c.best for c in cells["clean images"]] == [True, False]
    assert [row.parts[0] for row in table.rows if row.kind == "group"] == list(GROUPS)


def test_errors_are_better_when_lower() -> None:
    table = in_sum(suite_of(both()))
    assert table is not None
    rows = {(r.key[0], r.key[1]): own for r, own in zip(table.rows, table.cells, strict=True)}
    assert [c.best for c in rows["unnormalised_mce", "all 19 common corruptions"]] == [False, True]
    assert [c.best for c in rows["rms_calibration_error", "clean images"]] == [True, False]


def test_bars_carry_their_whiskers() -> None:
    groups = {g.name: g.bars for g in group_bars(suite_of(both()))}
    assert list(groups) == [
        *("clean images", *GROUPS, "all 15 common corruptions", "all 19 common corruptions"),
        *("seen in training", "not seen in training"),
    ]
    before, after = groups["blur"]
    assert (after.text, after.error, after.best) == ("73.6", "0.2", False) and before.best
    assert after.low == pytest.approx(after.fraction - 0.002) and after.high == pytest.approx(after.fraction + 0.002)
    assert after.tooltip == "hardened: 73.6 ± 0.2"
    assert [bar.name for bar in groups["seen in training"]] == ["hardened"]


def test_scatter_puts_dots_where_they_belong() -> None:
    from xml.etree import ElementTree as ET

    alone = scatter(suite_of(suite_records("teacher")))
    assert alone is not None and len(alone.dots) == 96 and [name for _, name in alone.legend] == list(GROUPS)
    together = scatter(suite_of(both()))
    assert together is not None and [name for _, name in together.legend] == ["original", "hardened"]
    dots = {dot.tooltip: dot for dot in alone.dots}
    # Glass blur at 5: 0.92 - 0.4 * 1.4 = 0.36, and 0.02 + 0.5 * (0.95 - 0.36) = 0.315
    dot = dots["glass blur, severity 5: accuracy 36.0, calibration error 31.5"]
    assert (dot.x, dot.y) == (pytest.approx(0.36), pytest.approx(0.315))
    root = ET.fromstring(draw_scatter(alone))  # raises unless well-formed
    assert len(root.findall(".//*[@class='dot']")) == 96 and len(root.findall("g[@class='s0 ring']")) == 1
    uncalibrated = [r for r in suite_records("teacher") if r["metric"] != "rms_calibration_error"]
    assert scatter(suite_of(uncalibrated)) is None


def test_page_of_a_suite(tmp_path: Path) -> None:
    notes = ["frost is synthetic", f"Seen {EVIL}."]
    run = run_folder(tmp_path / "run", [*suite_records("hardened", model=EVIL)], notes)
    (run / "checks.json").write_text(json.dumps([{"claim": "mca at least 0.6", "passed": True, "detail": "0.78"}]))
    page = write_report(run).read_text(encoding="utf-8")
    parsed = Strict(page)
    assert "script" not in parsed.tags and page.startswith("<!doctype html>")
    assert not re.search(r"url\(|@import|https?://", page)
    assert page.count('<table class="heat">') == 4  # accuracy; folded: top-5 and two calibration errors
    assert page.count("<svg") == 5  # the scatter and its legend; no severity curves
    assert 'title="glass blur, severity 3: 50.0 ± 0.5, 10,000 images">50.0</td>' in page
    assert "† Frost is synthetic." in page and "Seen &lt;script&gt;" in page
    assert "As the damage grows" not in page and "Before and after" not in page and "Other conditions" not in page
    assert "weatherproof audit with resnet20 on cifar10, suite common-19." in page
    assert "Measured on 10,000 images of cifar10/test." in page and "mca at least 0.6" in page


def test_page_of_a_suite_beside_other_damage(tmp_path: Path) -> None:
    masks = [
        {**suite_records("teacher")[0], "operator": f"RandomMask({level})", "value": 1 - level, "protocol": f"{level}"}
        for level in (0.25, 0.5)
    ]
    page = write_report(run_folder(tmp_path / "run", [*suite_records("teacher"), *masks])).read_text()
    Strict(page)
    assert "Other conditions" in page and "As the damage grows" in page and page.count("% of the pixels missing") >= 2


def test_noise_without_severities_is_an_ordinary_table(tmp_path: Path) -> None:
    base = suite_records("teacher", model="resnet20", trained_on="UniformNoise()")[0]
    records = [base]
    for i, name in enumerate(("uniform_noise", "nonuniform_noise")):
        records.append(
            {**base, "corruption": name, "operator": "UniformNoise()", "value": 0.6 + 0.1 * i, "protocol": name}
        )
    for name, value in (("noisy", 0.65), ("seen", 0.6), ("unseen", 0.7)):
        records.append({**base, "metric": "mca", "corruption": name, "value": value, "protocol": name})
    page = write_report(run_folder(tmp_path / "run", records, suite="noisy")).read_text()
    Strict(page)
    assert "Over uniform and non-uniform noise, resnet20 is right on 65" in page
    assert "This model was trained on uniform noise; on the one it has never seen it scores 70" in page
    assert "nonuniform noise" in page and '<table class="heat">' not in page


@pytest.mark.parametrize(("size", "kind"), [(32, "png"), (224, "jpeg")])
def test_strip_round_trip(tmp_path: Path, size: int, kind: str) -> None:
    clean = torch.arange(3 * size * size, dtype=torch.int64).remainder(251).byte().reshape(3, size, size)
    parts = {(name, s): clean // s for name in ("fog", "gaussian_noise") for s in (1, 3)}
    run = run_folder(tmp_path / "run", suite_records("teacher"))
    file = save_strip(run, clean, parts)
    assert file.name == "strip.safetensors"
    strip = read_part(run, STRIP)
    assert (
        strip is not None
        and strip.clean.shape[1:] == (min(size, 96), min(size, 96))
        and strip.pixelated is (size == 32)
    )
    rows = tuple(strip.rows)
    assert [row.name for row in rows] == ["Gaussian noise", "fog"]
    assert [[image is not None for image in row.images] for row in rows] == [[True, False, True, False, False]] * 2
    page = write_report(run).read_text()
    addresses = Strict(page).addresses
    assert len(addresses) == 5 and all(a.startswith(f"data:image/{kind};base64,") for a in addresses)
    assert 'alt="fog, severity 3"' in page and ("which softens noise" in page) is (size == 224)
    if size == 32:
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(rows[1].images[2].partition(",")[2]))))  # type: ignore[union-attr]
        assert np.array_equal(pixels, (clean // 3).permute(1, 2, 0).numpy())


def test_strip_of_grey_images(tmp_path: Path) -> None:
    grey = torch.full((1, 28, 20), 7, dtype=torch.uint8)
    save_strip(tmp_path, grey, {("fog", 1): grey, ("fog", 2): grey[:]})
    strip = read_part(tmp_path, STRIP)
    assert strip is not None and strip.clean.shape[1:] == (28, 20)
    assert Image.open(io.BytesIO(base64.b64decode(data_address(strip.clean).partition(",")[2]))).mode == "L"


def test_strips_that_are_none(tmp_path: Path) -> None:
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    with pytest.raises(InputError, match="at least one corrupted image"):
        save_strip(tmp_path, image, {})
    with pytest.raises(InputError, match=r"fog at severity 2 is \(3, 8, 4\), expected \(3, 8, 8\)"):
        save_strip(tmp_path, image, {("fog", 2): image[:, :, :4]})
    (tmp_path / "strip.safetensors").write_bytes(save({"clean": image, "fog": image.clone()}))
    with pytest.raises(InputError, match="'fog' names no corruption with a severity"):
        read_part(tmp_path, STRIP)


def test_notes_that_are_no_sentences_are_refused(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", suite_records("teacher"))
    (run / "results.json").write_text(json.dumps({"records": suite_records("teacher"), "notes": "one"}))
    with pytest.raises(InputError, match="'notes' is not a list of sentences"):
        write_report(run)


def test_comparison_of_suites(tmp_path: Path) -> None:
    a = run_folder(tmp_path / "plain", suite_records("teacher", model="resnet20"), ["Same."])
    b = run_folder(tmp_path / "noisy", suite_records("hardened", model="resnet20"), ["Same.", "Own."])
    page = write_comparison([a, b], tmp_path / "ab.html").read_text()
    Strict(page)
    assert "Over the 19 common corruptions, noisy is right on 78" in page and "plain on 75" in page
    assert page.count('<table class="heat">') == 8 and "<li>Same.</li>" in page and "<li>noisy: Own.</li>" in page
    assert "2 runs, measured in the same way." in page


def test_runs_with_another_glass_are_not_in_one_table(tmp_path: Path) -> None:
    def swapped(record: Json) -> Json:
        if record["corruption"] != "glass_blur" or record["severity"] is None:
            return record
        operator = f"Corruption('glass_blur', {record['severity']}, glass='swap')"
        return {**record, "operator": operator, "protocol": f"swap-{record['protocol']}"}

    a = run_folder(tmp_path / "copy", suite_records("teacher", model="resnet20"))
    b = run_folder(tmp_path / "swap", list(map(swapped, suite_records("teacher", model="resnet20"))))
    c = run_folder(tmp_path / "few", suite_records("teacher", model="resnet20", images=500))
    page = write_comparison([a, b, c], tmp_path / "abc.html").read_text()
    Strict(page)
    assert "3 runs, measured in 3 different ways." in page and "Group 2: swap" in page and "Group 3: few" in page
    assert "Outlined and bold" not in page  # nothing stands side by side


def test_runs_that_share_what_they_measured_are_in_one_table(tmp_path: Path) -> None:
    a = run_folder(tmp_path / "fifteen", suite_records("teacher", COMMON_15, model="resnet20"), suite="common-15")
    b = run_folder(tmp_path / "nineteen", suite_records("teacher", model="resnet20"))
    page = write_comparison([a, b], tmp_path / "ab.html").read_text()
    Strict(page)
    assert "2 runs, measured in the same way." in page and "protocol mca-noise-3-10000" in page


def printed(records: list[Json]) -> list[str]:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=140)
    console.print(console_table(records))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_console_shows_severities_for_one_model_and_models_for_several() -> None:
    alone = printed(suite_records("hardened", model="resnet20"))
    (glass,) = (line for line in alone if "glass blur" in line)
    assert glass.split() == ["glass", "blur", "66.0", "58.0", "50.0", "42.0", "34.0", "50.0"]
    assert any(line.split() == ["blur", "73.6"] for line in alone)
    assert any(re.fullmatch(r" *all 19 common corruptions +77.6", line) for line in alone)
    assert any("Gaussian noise, seen in training" in line for line in alone)
    several = printed(both())
    (noise,) = (line for line in several if "Gaussian noise" in line)
    assert noise.endswith("*s") and "s: the model was trained on this corruption" in several
    assert sum("glass blur" in line for line in several) == 1


def test_markdown_of_a_suite() -> None:
    text = markdown_table(suite_records("hardened", model="resnet20"))
    assert "|  | 1 | 2 | 3 | 4 | 5 | mean |" in text
    assert "| glass blur | 66.0 | 58.0 | 50.0 | 42.0 | 34.0 | 50.0 |" in text and "| **blur** |" in text
    both_of_them = markdown_table(both())
    assert "(seen) |" in both_of_them and "| glass blur | **52.0 ± 0.3** | 50.0 ± 0.3 |" in both_of_them
    by_hand = markdown_table(suite_records("teacher"), rows=("corruption",), columns=("severity",))
    assert "glass\\_blur" in by_hand or "glass_blur" in by_hand  # own rows and columns are for all records


def test_settings_are_said_without_needless_decimals(tmp_path: Path) -> None:
    recipe = {"verb": "harden", "epochs": 20.0, "lr": 0.001, "batch_size": 256}
    page = write_report(run_folder(tmp_path / "run", suite_records("teacher"), **recipe)).read_text()
    assert "Settings: 20 epochs, batch size 256, learning rate 0.001." in page
    once = write_report(run_folder(tmp_path / "once", suite_records("teacher"), verb="train", epochs=1.0)).read_text()
    assert "Settings: 1 epoch." in once
