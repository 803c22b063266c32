"""`audit --gauge`: a folder of new images, in an order that means something, under a hardened encoder's gauge."""

import csv
import json
import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from html_page import Strict
from PIL import Image
from torch import Tensor

import weatherproof as wp
from weatherproof import operators, random
from weatherproof.cli import main
from weatherproof.data import MemoryImages, load_images
from weatherproof.data.roll import moment_of, rolled
from weatherproof.encoders import Encoder, Gauge, Preprocessing, fit_gauge, load_encoder, save_encoder
from weatherproof.encoders.gauge import KindScale, Reading, fit
from weatherproof.encoders.gauge import Settings as GaugeSettings
from weatherproof.errors import InputError
from weatherproof.evaluation.drift import GAUGE, extents, gauge_images, suspects, windows
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.engine.run import Settings
from weatherproof.reports.drift.files import Drift, KindLevel, Suspect, Window
from weatherproof.reports.drift.words import course, level_words, sentence, summary_lines, suspect_words, tick_words
from weatherproof.verbs.audit.drift import DriftOutcome

COUNT = 120
UNTRAINED = pytest.mark.filterwarnings("ignore:.*no weights given")
MASK = "RandomMask((0.0, 0.5))"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An encoder's folder with a gauge of masks up to one half."""
    folder = tmp_path_factory.mktemp("hardened")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(action="ignore"):
        encoder = load_encoder("small(width=4, channels=1)")
        patch.setattr(fit, "_STEPS", 200)
        encoder.set_gauge(
            fit_gauge(load_images("digits"), operators.parse(MASK), preprocessing=encoder.preprocessing, most=500)
        )
    save_encoder(encoder, folder, provenance={})
    return folder


def pixels() -> Tensor:
    """Digits, of which the later half has lost 80 % of its pixels."""
    images = load_images("digits", "test")
    found = images.read(torch.arange(COUNT)).float() / 255
    found[COUNT // 2 :] = operators.RandomMask(0.8)(found, random.keys(3, torch.arange(COUNT)))[COUNT // 2 :]
    return found


def save(file: Path, image: Tensor, taken: str | None = None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if taken is not None:
        exif[0x8769] = {0x9003: taken}
    Image.fromarray((image[0] * 255).round().byte().numpy()).save(file, exif=exif)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In folders by their day, and with numbers in their names that are not filled up with zeros."""
    folder = tmp_path_factory.mktemp("new")
    for i, image in enumerate(pixels()):
        save(folder / f"day {1 + i // 50}" / f"img_{i + 1}.png", image)
    return folder


@pytest.fixture(scope="module")
def audited(run: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> DriftOutcome:
    out = tmp_path_factory.mktemp("runs") / "audit"
    return audit(run, photos, out, window=30, fail_over=["beyond=0.1", "level=2"], fail_under=["clean=0.3"])


def audit(run: Path, images: object, out: Path, **options: Any) -> DriftOutcome:
    made = wp.audit(str(run), images, gauge=True, out=out, workers=0, device="cpu", **options)  # type: ignore[arg-type]
    assert isinstance(made, DriftOutcome)
    return made


def rows_of(outcome: DriftOutcome) -> list[dict[str, str]]:
    with outcome.table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_numbers_are_what_the_gauge_says_of_each_image(audited: DriftOutcome, run: Path) -> None:
    gauge = load_encoder(run).fitted_gauge
    assert gauge is not None
    told = gauge((pixels() * 255).round().expand(-1, 3, -1, -1) / 255)
    values = {record["metric"]: record for record in audited.records}
    assert {*values} == {"beyond", "damaged", "clean", "level"}
    share = float(told.beyond.float().mean())
    assert 0.4 < share < 0.6 and values["beyond"]["value"] == pytest.approx(share)
    assert values["beyond"]["stderr"] == pytest.approx(math.sqrt(share * (1 - share) / COUNT))
    assert values["damaged"]["value"] == pytest.approx(1 - values["clean"]["value"])
    assert values["level"]["value"] == pytest.approx(float(told.extent.mean()), rel=1e-5)
    assert values["level"]["stderr"] == pytest.approx(float(told.extent.std()) / COUNT**0.5, rel=1e-4)
    rows = rows_of(audited)
    assert [row["file"] for row in rows][:3] == ["day 1/img_1.png", "day 1/img_2.png", "day 1/img_3.png"]
    assert [int(row["number"]) for row in rows] == [*range(1, COUNT + 1)]
    assert [row["beyond"] == "1" for row in rows] == told.beyond.tolist()
    for row, level, kind in zip(rows, told.level.tolist(), told.kind.tolist(), strict=True):
        assert row["kind"] == gauge.kinds[kind] and bool(row["level"]) == bool(kind)
        assert not kind or float(row["level"]) == pytest.approx(level, rel=1e-3)


def test_windows_follow_the_order_and_show_where_it_changes(audited: DriftOutcome) -> None:
    beyond = [row["beyond"] == "1" for row in rows_of(audited)]
    drift = audited.drift
    assert [(own.first, own.last) for own in drift.windows] == [(1, 30), (31, 60), (61, 90), (91, 120)]
    assert [own.beyond for own in drift.windows] == [sum(beyond[i : i + 30]) / 30 for i in range(0, COUNT, 30)]
    early, late = drift.windows[0], drift.windows[-1]
    assert early.beyond < 0.2 and late.beyond > 0.8 and late.level > 1 and late.low <= late.level <= late.high
    (mask,) = late.kinds
    assert drift.kinds[mask.kind] == "RandomMask" and mask.images == 30 and mask.level == pytest.approx(0.8, abs=0.06)
    assert mask.low is not None and mask.high is not None and mask.low < 0.8 < mask.high


def test_a_limit_that_is_passed_is_status_1_and_says_by_how_much(audited: DriftOutcome) -> None:
    assert audited.status == 1
    value = next(record["value"] for record in audited.records if record["metric"] == "beyond")
    failed = [check for check in audited.checks if not check["passed"]]
    assert [check["claim"] for check in failed] == ["beyond at most 0.1"]
    assert failed[0]["detail"] == f"measured {value:.4f}, {value - 0.1:.4f} too high"
    assert len(audited.checks) == 3


def test_the_page_leads_with_the_share_and_draws_the_limits(audited: DriftOutcome) -> None:
    page = audited.report.read_text("utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert Strict(page)
    assert "images are beyond what training saw, most of them by missing pixels (trained to 50 %)" in page
    assert "trained to</th>" in page and page.count(", trained to 50 %") > 6
    assert page.count('class="limit"') == 3 and page.count('class="worst"') == 1
    assert "The most suspicious images" in page and page.count("<img") == 12
    assert "Before and after" not in page and "clean images" not in page


def test_what_the_terminal_shows(audited: DriftOutcome, capsys: pytest.CaptureFixture[str]) -> None:
    audited.show()
    shown = capsys.readouterr().out
    assert "images are beyond what training saw" in shown and "▁" in shown and "█" in shown
    assert "fails  beyond at most 0.1" in shown and "gauge.csv" in shown


def test_other_limits_are_checked_and_drawn_without_measuring_again(
    audited: DriftOutcome, run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gauge, "forward", None)
    again = audit(run, photos, audited.folder, window=30, fail_over=["beyond=0.9"])
    assert again.status == 0 and again.records == list(audited.records) and isinstance(again.encoder, Encoder)
    assert "this run is finished already: nothing was done" in again.notes
    assert again.report.read_text("utf-8").count('class="limit"') == 1
    (again.folder / "audit.json").unlink()  # as when it was killed at the end: the blocks have the answers
    assert audit(run, photos, audited.folder, window=30).records == list(audited.records)
    with pytest.raises(InputError, match="setting 'window' is 30 there and 40 here"):
        audit(run, photos, audited.folder, window=40)


def test_a_folder_that_has_changed_is_another_run(run: Path, tmp_path: Path) -> None:
    for i, image in enumerate(pixels()[:4]):
        save(tmp_path / "new" / f"{i}.png", image)
    audit(run, tmp_path / "new", tmp_path / "run")
    save(tmp_path / "new" / "4.png", pixels()[4])
    with pytest.raises(InputError, match="new has changed since the run in .* began: choose another --out"):
        audit(run, tmp_path / "new", tmp_path / "run")


def test_the_order_of_time_is_the_cameras_where_a_file_has_it_else_the_last_change(run: Path, tmp_path: Path) -> None:
    looks, folder = pixels(), tmp_path / "new"
    for name, taken in (
        ("a", "2026:03:01 12:00:00"),
        ("b", "2025:12:31 23:59:59"),
        ("c", None),
        ("d", "0000:00:00 00:00:00"),
    ):
        save(folder / f"{name}.png", looks[0], taken)
    for name, changed in (("a", 1), ("c", 1767225600), ("d", 1767225660)):  # 2026-01-01 00:00 and 00:01 UTC
        os.utime(folder / f"{name}.png", (changed, changed))
    roll = rolled(load_images(folder, "every"), "time")
    assert roll.names == ("b.png", "c.png", "d.png", "a.png") and roll.moments is not None
    assert [own.by_camera for own in roll.moments] == [True, False, False, True]
    assert str(moment_of(str(folder / "c.png")).time) == "2026-01-01 00:00:00"
    made = audit(run, folder, tmp_path / "run", order="time")
    assert [row["file"] for row in rows_of(made)] == [*roll.names]
    assert [row["time_of"] for row in rows_of(made)] == ["camera", "file", "file", "camera"]
    assert rows_of(made)[0]["time"] == "2025-12-31 23:59:59"
    page = made.report.read_text("utf-8")
    assert "of 2 the camera&#39;s clock (EXIF), of the other 2 when the file was last changed" in page
    with pytest.raises(InputError, match="has no files with a time"):
        audit(run, "digits", tmp_path / "other", order="time")


def test_a_refused_look_leaves_nothing(run: Path, tmp_path: Path) -> None:
    save(tmp_path / "new" / "small.png", pixels()[0][:, :8, :8])
    with pytest.raises(InputError, match="a gauge needs images of at least 12 pixels a side"):
        audit(run, tmp_path / "new", tmp_path / "run", fail_over=["beyond=0.1"])
    assert not (tmp_path / "run").exists()


def test_images_of_unlike_sizes_are_read_at_one(run: Path, tmp_path: Path) -> None:
    looks = pixels()
    save(tmp_path / "new" / "a.png", looks[0])
    save(tmp_path / "new" / "b.png", looks[1][:, :20])
    with pytest.raises(InputError, match="differ in size: give --size N"):
        audit(run, tmp_path / "new", tmp_path / "run")
    assert audit(run, tmp_path / "new", tmp_path / "run", size=32).drift.images == 2
    assert audit(run, "digits", tmp_path / "digits", test_images=50).drift.files == 50  # no folder: its test images


def test_files_that_cannot_be_read_are_told_of_and_left_out(run: Path, tmp_path: Path) -> None:
    for i, image in enumerate(pixels()[:40]):
        save(tmp_path / "new" / f"{i}.png", image)
    (tmp_path / "new" / "7.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"1 of 40 images .* cannot be read and are left out: first .*7\.png"):
        made = audit(run, tmp_path / "new", tmp_path / "run")
    assert made.drift.images == 39 and "1 file could not be read and is left out" in made.notes
    assert [row["file"] for row in rows_of(made)][6:8] == ["6.png", "8.png"]
    on_demand = rolled(load_images(tmp_path / "new", "every", memory_budget=0), "name")
    gauge = load_encoder(run).own_gauge
    with pytest.warns(UserWarning, match="cannot be read and are left out"):
        found = gauge_images(gauge, on_demand.images, Settings(), files=on_demand.digest, title="t").answers[GAUGE]
    assert [on_demand.names[place] for place in found.place.tolist()] == [row["file"] for row in rows_of(made)]


def test_hostile_names_are_cells_of_one_line_and_no_formulas(run: Path, tmp_path: Path) -> None:
    names = ("=cmd()", "-rf", "@x", "+1", "two\nlines", 'quote",and', "<script>alert(1)<", "caf\udce9", "a,b;c")
    (tmp_path / "new").mkdir()
    for i, name in enumerate(names):
        save(tmp_path / "0.png", pixels()[i])
        (tmp_path / "0.png").rename(tmp_path / "new" / f"{name}.png")
    made = audit(run, tmp_path / "new", tmp_path / "run")
    text = made.table.read_text("utf-8")
    found = [row["file"] for row in rows_of(made)]
    assert len(text.splitlines()) == 1 + len(names) == 1 + len(found)
    assert not any(name.startswith(("=", "-", "@", "+")) for name in found)
    assert {"./=cmd().png", "./-rf.png", "two\\x0alines.png", "caf\\xe9.png", 'quote",and.png'} <= {*found}
    assert "script" not in Strict(made.report.read_text("utf-8")).tags


def test_an_audit_without_a_passed_limit_is_status_0_on_the_command_line(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["audit", str(run), str(photos), "--gauge", "--out", str(tmp_path / "run"), "--workers", "0", "--json"]
    assert main([*words, "--fail-over", "beyond=0.9"]) == 0
    assert json.loads(capsys.readouterr().out)["checks"][0]["passed"]
    assert main([*words, "--fail-over", "beyond=0.05"]) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"operator": "RandomMask(0.5)"}, "--gauge stands alone"),
        ({"suite": "common-15"}, "--gauge stands alone"),
        ({"attack": "PGD(L2(0.5))"}, "--gauge stands alone"),
        ({"teacher": "small"}, "--gauge stands alone"),
        ({"jpeg_quality": 80}, "belong to --suite"),
        ({"crop_fraction": 0}, r"crop_fraction lies in \(0, 1\]; got 0"),
        ({"window": 0}, "window must be at least 1"),
        ({"fail_over": ["top1=0.5"]}, "an audit by the gauge measures beyond, damaged, clean, level only"),
        ({"fail_over": ["beyond"]}, "--fail-over takes METRIC=VALUE"),
        ({"fail_over": ["beyond=5"]}, "beyond is a share from 0 to 1, of which 5 % is written 0.05"),
        ({"fail_under": ["clean=-1"]}, "clean is a share from 0 to 1"),
    ],
)
def test_what_does_not_go_with_a_gauge_is_refused(
    run: Path, photos: Path, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        audit(run, photos, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@UNTRAINED
def test_an_encoder_without_a_gauge_and_an_empty_folder_are_refused(run: Path, photos: Path, tmp_path: Path) -> None:
    save_encoder(load_encoder("small(width=4)"), tmp_path / "plain", provenance={})
    with pytest.raises(InputError, match="small has no gauge: take the whole run folder"):
        audit(tmp_path / "plain", photos, tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images in .*empty.*found nothing"):
        audit(run, tmp_path / "empty", tmp_path / "run")
    with pytest.raises(InputError, match="--order and --window belong to --gauge"):
        wp.audit(run, photos, window=3, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_windows_are_as_even_as_they_can_be_or_of_the_size_that_is_asked_for() -> None:
    def sizes(count: int, size: int | None) -> list[int]:
        parts = windows(count, size)
        assert torch.equal(torch.cat([*parts]), torch.arange(count))
        return [len(part) for part in parts]

    assert sizes(5, None) == [5] and sizes(45, None) == [23, 22]
    assert len(sizes(5000, None)) == 50 and {*sizes(1240, None)} == {24, 25}
    assert sizes(10, 4) == [4, 4, 2] and sizes(9, 4) == [4, 5] and sizes(3, 4) == [3] and sizes(1, 4) == [1]


def test_an_interval_in_extents_is_0_at_none_and_1_at_the_worst_of_training_whichever_way_levels_run() -> None:
    kinds = (KindScale("JPEG", 100.0, 20.0, 5.0), KindScale("own.py:f"), KindScale("RandomMask", 0.0, 0.5, 1.0))
    gauge = Gauge(GaugeSettings(kinds, Preprocessing((0.0,), (1.0,), None, 1)))
    nan = torch.nan
    told = Reading(
        level=torch.tensor([60.0, nan, 0.5, 0.0]), low=torch.tensor([20.0, nan, 0.25, 0.0]),
        high=torch.tensor([100.0, nan, 1.0, 0.3]), kind=torch.tensor([1, 2, 3, 0]), damaged=torch.ones(4),
        extent=torch.tensor([0.5, 0.9, 1.0, 0.0]), beyond=torch.zeros(4).bool(),
    )  # fmt: skip
    torch.testing.assert_close(extents(gauge, told), torch.tensor([[0.0, 1.0], [0.9, 0.9], [0.5, 2.0], [0.0, 0.0]]))


def test_suspects_are_the_worst_of_each_kind_in_turn() -> None:
    def found(kinds: list[int], extent: list[float], beyond: list[bool], damaged: list[float]) -> list[int]:
        columns = {"kind": kinds, "extent": extent, "beyond": beyond, "damaged": damaged}
        tensors = {name: torch.tensor(own) for name, own in columns.items()}
        return suspects(Answers(torch.arange(len(kinds)), tensors), 3).tolist()

    sure = [1.0] * 5
    assert found([1, 1, 2, 0, 1], [2.0, 3.0, 1.5, 0.0, 9.0], [True, True, True, True, False], sure) == [1, 2, 3]
    assert found([1, 1, 0, 0, 0], [2.0, 3.0, 0, 0, 0], [True, True, True, True, True], [1, 1, 0.1, 0.3, 0.2]) == [
        1,
        3,
        0,
    ]
    assert found([1, 0, 2, 0, 0], [0.2, 0, 0.4, 0, 0], [False] * 5, sure) == [2, 0]
    assert found([0] * 5, [0.0] * 5, [False] * 5, sure) == []


def test_a_gauge_without_levels_tells_the_probability_of_damage_in_their_place(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Halves(Gauge):
        """Says of an image with more black than a half that it is damaged, and no more."""

        def forward(self, images: Tensor) -> Reading:
            black = (images.sum(dim=1) == 0).float().mean(dim=(1, 2))
            hurt, none = black > 0.6, torch.full_like(black, torch.nan)
            return Reading(none, none, none, hurt.long(), black, black * hurt, hurt)

    with warnings.catch_warnings(action="ignore"):
        encoder = load_encoder("small(width=4, channels=1)")
    encoder.set_gauge(Halves(GaugeSettings((KindScale("my/own.py:dead_columns"),), encoder.preprocessing)))
    words = (encoder, photos), {"gauge": True, "workers": 0, "device": "cpu", "window": 30}
    for option, limit in (("fail_over", "level=0.5"), ("fail_under", "level=0.1")):
        with pytest.raises(InputError, match=rf"{limit}: the gauge tells no level of dead_columns, only whether"):
            wp.audit(*words[0], **words[1], **{option: [limit]}, out=tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()
    made = wp.audit(*words[0], **words[1], out=tmp_path / "run", fail_over=["damaged=0.9"])  # type: ignore[arg-type]
    assert isinstance(made, DriftOutcome)
    values = {record["metric"]: record["value"] for record in made.records}
    chances = [float(row["damaged"]) for row in rows_of(made)]
    assert [*values] == ["beyond", "damaged", "clean", "damage_probability"]
    assert values["damage_probability"] == pytest.approx(sum(chances) / COUNT, abs=1e-4)
    made.show()
    page, shown = made.report.read_text("utf-8"), capsys.readouterr().out
    assert "Mean probability of damage, %" in shown and "Mean level" not in shown
    assert "Mean probability of damage, %" in page and page.count("dead_columns") > 2 and "my/own" not in page
    assert "mean level" not in page.lower() and "How bad it is" not in page and "trained to" not in page


def drift(shares: list[float], levels: tuple[KindLevel, ...], images: int = 40) -> Drift:
    parts = tuple(
        Window(1 + i * images, (1 + i) * images, images, share, share, share, share, share)
        for i, share in enumerate(shares)
    )
    count, mean = images * len(shares), sum(shares) / len(shares)
    kinds = ("clean", "RandomMask", "JPEG")
    return Drift("new", "name", count, count, mean, mean, mean, kinds, levels, parts, tops=(None, 0.6, 20.0))


def kind(place: int, images: int, beyond: int) -> KindLevel:
    return KindLevel(place, images, beyond, None, None, None)


def test_the_first_sentence_names_the_damage_that_most_are_beyond_by() -> None:
    said = sentence(drift([0.1], (kind(0, 36, 0), kind(1, 4, 4))))
    assert said == "10 % of 40 images are beyond what training saw, most of them by missing pixels (trained to 60 %)."
    assert sentence(drift([0.1], (kind(0, 36, 0), kind(1, 2, 2), kind(2, 2, 2)))).endswith("saw.")
    assert sentence(drift([0.1], (kind(0, 40, 4),))).endswith("saw, though most of them look clean.")
    assert sentence(drift([0.025], (kind(0, 39, 0), kind(2, 1, 1)))).startswith("2.5 % of 40 images is beyond")
    assert sentence(drift([0.0], (kind(0, 40, 0),))) == "None of 40 images is beyond what training saw."


def test_a_change_is_called_one_where_the_standard_errors_do_not_explain_it() -> None:
    assert course(drift([0.0, 0.0, 0.1, 0.2, 0.5], ())) == (
        "It rises from 0 % in the first fifth of them to 50 % in the last.",
    )
    assert course(drift([0.5, 0.0, 0.1, 0.2, 0.0], ()))[0].startswith("It falls from 50 %")
    assert course(drift([0.0, 0.0, 0.1, 0.2, 0.05], ()))[0].startswith("It does not clearly change")
    assert course(drift([0.0, 0.5], ())) == ()
    ends = [summary_lines(drift(shares, ()), [])[-1] for shares in ([0.0, 0.5], [0.5])]
    assert ends == ["▁█  beyond, 2 windows, at most 50 %", "█  beyond, 1 window, at most 50 %"]


def test_a_suspect_that_is_worse_than_training_says_what_that_saw() -> None:
    def words(kind: str, level: float, top: float | None, *, unlike: bool = False) -> tuple[str, str]:
        return suspect_words(Suspect("a.png", 1, kind, level, None, None, 1.0, True, unlike), top)

    assert words("RandomMask", 0.94, 0.6) == ("worse than training", "94 % pixels missing, trained to 60 %")
    assert words("JPEG", 12, 20.0)[1] == "JPEG quality 12, trained to 20"
    assert words("GaussianBlur", 4, 3.0)[1] == "blur σ 4 pixels, trained to 3 pixels"
    assert words("fog", 4.2, 3.0)[1] == "severity 4.2, trained to 3"
    assert words("RandomMask", 0.94, None)[1] == words("RandomMask", 0.94, 0.6, unlike=True)[1] == "94 % pixels missing"


def test_levels_and_times_in_words() -> None:
    assert level_words("RandomMask", 0.42, 0.38, 0.46) == "42 % pixels missing (38 to 46)"
    assert level_words("JPEG", 12.4, None, None) == "JPEG quality 12" and level_words("fog", None, None, None) == ""
    years = ["2024-01-31 00:00:00", "2026-01-31 00:00:00"]
    assert tick_words(years) == ["Jan 2024", "Jan 2026"]
    assert tick_words(["2026-01-01 00:00:00", "2026-01-31 00:00:00"]) == ["1 Jan", "31 Jan"]
    assert tick_words(["2026-01-01 00:00:00", "2026-01-01 09:30:00"]) == ["00:00", "09:30"]


def test_a_set_in_memory_is_looked_at_as_it_is(run: Path, tmp_path: Path) -> None:
    images = MemoryImages((pixels() * 255).round().byte(), name="mine")
    made = audit(run, images, tmp_path / "run")
    assert made.drift.images == COUNT and "They are in their own order." in made.report.read_text("utf-8")
    assert rows_of(made)[5]["file"] == "5"
    assert all(record["data"] == "mine" and record["readout"] == "gauge" for record in made.records)
