"""Every file that a page shows beside the numbers: read as it was saved, also where it is older, and refused in one
line where it is empty, cut off, foreign or hostile; and the folders that show them."""

import ast
import json
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from html_page import Strict
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import weatherproof.reports
from weatherproof.errors import InputError
from weatherproof.pixel_utility import ClassUtility, UtilityCurve, UtilityExamples
from weatherproof.reports import (
    AttackExamples,
    Diagram,
    FamilyLooks,
    GalleryEntry,
    save_attack_images,
    save_certificates,
    save_gallery,
    save_map,
    save_neighbours,
    save_reliability,
    save_strip,
    save_utility_curve,
    save_utility_images,
    save_utility_maps,
    save_views,
    write_report,
)
from weatherproof.reports.attack.certificates import read_certificates
from weatherproof.reports.attack.images import ATTACKED
from weatherproof.reports.attack.panels import PANELS, Panel
from weatherproof.reports.drift.files import (
    DRIFT,
    LIMITS,
    SUSPECTS,
    Drift,
    KindLevel,
    Limit,
    Suspect,
    Suspects,
    Window,
)
from weatherproof.reports.gallery.section import read_examples
from weatherproof.reports.hardened.curve import CURVE, Change, Changed, Curve, KindChange, ModelLevels
from weatherproof.reports.hardened.gauge import GAUGED, Gauged, GaugedKind, GaugedLevel
from weatherproof.reports.hardened.promise import PROMISE, Promise
from weatherproof.reports.neighbours.section import NEIGHBOURS
from weatherproof.reports.parts import PartFile, read_list, read_part, save_list, save_part
from weatherproof.reports.plane.section import read_map
from weatherproof.reports.reliability.section import DIAGRAMS
from weatherproof.reports.search.section import SEARCH, SearchFile, Setting, Tried
from weatherproof.reports.sections import SECTIONS
from weatherproof.reports.strip.section import STRIP
from weatherproof.reports.study.front import FRONT, Combination, read_front
from weatherproof.reports.study.table import STUDY, Number, StudyTable
from weatherproof.reports.utility.curve import read_utility_curve
from weatherproof.reports.utility.images import IMAGES
from weatherproof.reports.utility.maps import MAPS
from weatherproof.reports.views.section import VIEWS

HOUSE = Path(weatherproof.reports.__file__).parents[1]
# A page is made of files: nothing that measures, trains or has equations, but the words and names that records hold.
BELOW_REPORTS = {
    "attacks.described", "benchmark", "errors", "files", "names", "pixel_utility", "progress", "recipe", "regular",
    "spec", "texts", "types", "views.contamination",
}  # fmt: skip
EVIL = "<script>alert(1)</script>"
PICTURE = torch.arange(3 * 8 * 8).reshape(3, 8, 8).byte()
RECORD = {
    "metric": "top1", "value": 0.9, "stderr": None, "realizations": 1, "seeds": [0], "images": 100, "model": "m",
    "readout": "probe", "data": "toys/test", "label_fraction": 1.0, "operator": None, "corruption": None,
    "severity": None, "attack": None, "trained_on": None, "protocol": "aa11",
}  # fmt: skip
ATTACKED_RECORD = RECORD | {"attack": "PGD(L2(0.5))", "metric": "top1", "severity": 0.5}


def combination(state: Any = "front") -> Combination:
    return Combination(EVIL, "MoCo", "SR", 1.0, (0.6, 0.5, 0.2, 0.1), (0.01, 0.01, 0.01, None), state, ("x",))


def utility_examples(channels: int = 3) -> UtilityExamples:
    images = torch.rand(2, channels, 6, 6)
    return UtilityExamples(
        (EVIL, "b"), "toys", 2, 0.5, images, images, torch.tensor([[0, 1], [2, 3]]), torch.tensor([[4, 5], [6, 7]]),
        images, images, torch.tensor([True, False]), torch.tensor([0, 1]), torch.tensor([0, 0]), torch.rand(2),
    )  # fmt: skip


def attack_examples(channels: int = 3) -> AttackExamples:
    one, sure = torch.tensor([0]), torch.tensor([0.5])
    clean = torch.rand(1, channels, 6, 6)
    return AttackExamples("PGD(L2(0.5))", "m", "l2", (EVIL,), clean, clean * 0.9, one, one, one, sure, sure, sure)


@dataclass(frozen=True)
class Row:
    """How a part is saved, and how the page reads it."""

    save: Callable[[Path], object]
    read: Callable[[Path], object]


def maps_of(channels: int = 3) -> ClassUtility:
    return ClassUtility((EVIL,), torch.tensor([4]), torch.rand(1, channels, 6, 6), torch.rand(1, 6, 6), 0, "toys")


def save_near(run: Path, picture: Tensor) -> None:
    save_neighbours(
        run, picture[None], picture[None, None], torch.tensor([[0.5]]), query_labels=torch.tensor([0]),
        labels=torch.tensor([[0]]), classes=(EVIL,), bank=EVIL, images=7,
    )  # fmt: skip


def save_looks(run: Path, picture: Tensor) -> None:
    save_views(run, picture, [FamilyLooks(EVIL, "SimCLR(8)", [[picture, picture]], used=True)])


def changed_by_hardening() -> Changed:
    change = Change(0.9, 0.5, (0.1, None, 0.1), 9)
    levels = ModelLevels(EVIL, (0.5, -0.1), (None, 0.1))
    curve = Curve(EVIL, ((0.1, 0.2),), (0.0, 0.3), (levels,), 9)
    return Changed("top1", EVIL, EVIL, EVIL, change, change, (curve,), (KindChange(EVIL, change),))


def gauged() -> Gauged:
    level = GaugedLevel(0.3, 0.2, 0.1, 0.4, 0.5, 0.1, 9)
    return Gauged(
        (GaugedKind(EVIL, (level,)),),
        9,
        (EVIL,),
        (EVIL, f"{EVIL}2"),
        ((0.9,), (1.0,)),
        (0.1, None),
        0.8,
        0.9,
        (0.6, 0.7),
        0.5,
    )


def drifted() -> Drift:
    level = KindLevel(1, 3, 1, 0.5, 0.4, 0.6)
    window = Window(1, 9, 9, 0.1, 0.3, 0.2, 0.1, 0.3, (level,), "2026-01-01 00:00:00", "2026-01-02 00:00:00")
    return Drift(EVIL, "time", 9, 9, 0.1, 0.3, 0.2, ("clean", EVIL), (level,), (window,), 9, tops=(None, 1.0))


def of(part: PartFile[Any]) -> Callable[[Path], object]:
    return lambda run: read_part(run, part)


TABLE = {
    "curve.json": Row(
        lambda run: save_list(run, CURVE, [changed_by_hardening()]), lambda run: read_list(run, CURVE)
    ),
    "promise.json": Row(
        lambda run: save_part(run, PROMISE, Promise(0.95, 0.9, 500, False, 0.91, 3, EVIL)), of(PROMISE)
    ),
    "gauged.json": Row(lambda run: save_part(run, GAUGED, gauged()), of(GAUGED)),
    "drift.json": Row(lambda run: save_part(run, DRIFT, drifted()), of(DRIFT)),
    "limits.json": Row(
        lambda run: save_list(run, LIMITS, [Limit("beyond", 0.1, False)]), lambda run: read_list(run, LIMITS)
    ),
    "suspects.safetensors": Row(
        lambda run: save_part(
            run, SUSPECTS, Suspects(PICTURE[None], (Suspect(EVIL, 1, EVIL, 0.5, None, 0.6, 0.9, True, False),))
        ),
        of(SUSPECTS),
    ),
    "certificate.json": Row(
        lambda run: save_certificates(
            run,
            [{"attack": "PGD(L2(0.5))", "model": EVIL, "images": 9,
              "checks": [{"claim": "c", "passed": False, "detail": EVIL}]}],
        ),
        read_certificates,
    ),
    "panels.json": Row(
        lambda run: save_list(run, PANELS, [Panel(EVIL, "PGD(L2(0.25))", {"m": EVIL})]),
        lambda run: read_list(run, PANELS),
    ),
    "study.json": Row(
        lambda run: save_part(
            run,
            STUDY,
            StudyTable(EVIL, "smoke", ("note",), ("a", "b"), ((EVIL, (Number("1"), None)),), (("command", "w"),)),
        ),
        of(STUDY),
    ),
    "front.json": Row(lambda run: save_list(run, FRONT, [combination(), combination("dominated")]), read_front),
    "utility_curve.json": Row(
        lambda run: save_utility_curve(
            run, {EVIL: UtilityCurve(torch.tensor([0.5]), torch.tensor([[0.1, 0.2, 0.3]]), 0.5, 3, 36)}
        ),
        read_utility_curve,
    ),
    "reliability.json": Row(
        lambda run: save_reliability(run, [Diagram(EVIL, "clean", "", "toys", 0.1, 9, ((0.5, 0.6, 0.1),))]),
        lambda run: read_list(run, DIAGRAMS),
    ),
    "search.json": Row(
        lambda run: save_part(
            run,
            SEARCH,
            SearchFile("top1", 2, 90, 10, (Tried("lr", Setting(0.1, (EVIL, "L2SP()")), 0.9, 0.1),), Setting(0.1, ())),
        ),
        of(SEARCH),
    ),
    "gallery.json": Row(
        lambda run: save_gallery(
            run, [GalleryEntry(PICTURE / 255, PICTURE / 255, "RandomMask(0.9)", {EVIL: [("cat", 0.5)]}, truth=EVIL)]
        ),
        read_examples,
    ),
    "strip.safetensors": Row(lambda run: save_strip(run, PICTURE, {("fog", 3): PICTURE}), of(STRIP)),
    "views.safetensors": Row(lambda run: save_looks(run, PICTURE), of(VIEWS)),
    "neighbours.safetensors": Row(lambda run: save_near(run, PICTURE), of(NEIGHBOURS)),
    "map.safetensors": Row(
        lambda run: save_map(
            run, torch.rand(3, 2), torch.tensor([0, 1, -1]), classes=(EVIL, "b"), by="pca", shares=(0.5, 0.2), data=EVIL
        ),
        read_map,
    ),
    "utility_maps.safetensors": Row(lambda run: save_utility_maps(run, maps_of()), of(MAPS)),
    "utility_images.safetensors": Row(lambda run: save_utility_images(run, utility_examples()), of(IMAGES)),
    "attack_images.safetensors": Row(
        lambda run: save_attack_images(run, [attack_examples()]), lambda run: read_list(run, ATTACKED)
    ),
}  # fmt: skip
OF_ANY_CHANNELS: dict[str, Callable[[Path, Tensor], object]] = {
    "strip.safetensors": lambda run, picture: save_strip(run, picture, {("fog", 3): picture}),
    "views.safetensors": save_looks,
    "neighbours.safetensors": save_near,
    "utility_maps.safetensors": lambda run, picture: save_utility_maps(run, maps_of(len(picture))),
    "utility_images.safetensors": lambda run, picture: save_utility_images(run, utility_examples(len(picture))),
    "attack_images.safetensors": lambda run, picture: save_attack_images(run, [attack_examples(len(picture))]),
}
JSON = [name for name in TABLE if name.endswith(".json")]
TENSORS = [name for name in TABLE if name not in JSON]
HOSTILE = [
    None,
    True,
    -1,
    1 << 62,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "\0",
    "../../etc/passwd",
    EVIL * 999,
    [],
    {},
    [[]],
]


def parts() -> dict[str, PartFile[Any]]:
    modules = (
        import_module(".".join(("weatherproof", *file.relative_to(HOUSE).with_suffix("").parts)))
        for file in sorted((HOUSE / "reports").rglob("*.py"))
    )
    found = (value for module in modules for value in vars(module).values())
    return {value.name: value for value in found if isinstance(value, PartFile)}


def refused(read: Callable[[Path], object], run: Path, name: str) -> str | None:
    """The one line with which a file is refused; None where it is read."""
    try:
        read(run)
    except InputError as error:
        assert "\n" not in str(error) and name in str(error) and "make the run again" in str(error)
        return str(error)
    return None


def changed(found: Any, to: object) -> Iterator[Any]:
    """What a JSON file holds, every value in turn replaced."""
    yield to
    for key in found if isinstance(found, dict) else range(len(found)) if isinstance(found, list) else ():
        for inner in changed(found[key], to):
            copy = found.copy()
            copy[key] = inner
            yield copy


def tensors_of(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(file, framework="pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118


def test_the_table_has_every_part() -> None:
    assert {*parts()} == {*TABLE}


@pytest.mark.parametrize("name", TABLE)
def test_what_is_saved_is_read(name: str, tmp_path: Path) -> None:
    assert not TABLE[name].read(tmp_path)
    TABLE[name].save(tmp_path)
    assert (tmp_path / name).is_file() and TABLE[name].read(tmp_path)


@pytest.mark.parametrize("name", OF_ANY_CHANNELS)
@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (3, 3), (4, 3)])
def test_pictures_of_any_number_of_channels_are_saved_and_shown(
    name: str, channels: int, shown: int, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"verb": "train", "images": "digits"}))
    (tmp_path / "results.json").write_text(json.dumps({"records": [RECORD, ATTACKED_RECORD]}))
    OF_ANY_CHANNELS[name](tmp_path, torch.cat([PICTURE, 255 - PICTURE])[:channels])
    assert TABLE[name].read(tmp_path)
    saved = [tensor for tensor in tensors_of(tmp_path / name)[0].values() if tensor.dtype == torch.uint8]
    assert {tensor.shape[-3] for tensor in saved if tensor.ndim > 2} == {shown}
    assert "data:image/png" in write_report(tmp_path).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TABLE)
def test_a_damaged_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    TABLE[name].save(tmp_path)
    file = tmp_path / name
    whole = file.read_bytes()
    for content in (b"", b"nothing", b"\xff\xfe\x00", whole[: len(whole) // 2], whole[:-9], b"[" * 99, b"7", b'"text"'):
        file.write_bytes(content)
        assert refused(TABLE[name].read, tmp_path, name), content


@pytest.mark.parametrize("name", TABLE)
def test_the_file_of_another_part_is_refused(name: str, tmp_path: Path) -> None:
    group = JSON if name in JSON else TENSORS
    TABLE[name].save(tmp_path)
    for other in group:
        TABLE[other].save(tmp_path / "other")
        (tmp_path / name).write_bytes((tmp_path / "other" / other).read_bytes())
        assert bool(refused(TABLE[name].read, tmp_path, name)) == (other != name), other


@pytest.mark.parametrize("name", JSON)
def test_a_file_of_an_older_or_a_newer_version_is_read(name: str, tmp_path: Path) -> None:
    """Fields that came later are missing, or there are some that this version does not know."""
    TABLE[name].save(tmp_path)
    file = tmp_path / name
    found = json.loads(file.read_text())
    later = [f.name for f in fields(parts()[name].kind) if f.default is not MISSING or f.default_factory is not MISSING]
    for entry in found if isinstance(found, list) else [found]:
        for field in later:
            entry.pop(field, None)
        entry["of the future"] = [{}]
    file.write_text(json.dumps(found))
    assert TABLE[name].read(tmp_path)


@pytest.mark.parametrize("name", JSON)
def test_whatever_a_value_is_replaced_by_is_shown_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    TABLE[name].save(tmp_path)
    file = tmp_path / name
    whole = json.loads(file.read_text())
    count = 0
    for value in HOSTILE:
        for hostile in changed(whole, value):
            file.write_text(json.dumps(hostile))
            count += refused(TABLE[name].read, tmp_path, name) is not None
    assert count > len(HOSTILE)


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_of_another_kind_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    TABLE[name].save(tmp_path)
    tensors, said = tensors_of(tmp_path / name)
    for key, tensor in tensors.items():
        lies = [
            tensor[:0],
            tensor[..., None].contiguous(),
            tensor.double() if tensor.is_floating_point() else tensor > 0,
        ]
        lies += [torch.full_like(tensor, 1 << 40)] if tensor.dtype == torch.int64 and "count" not in key else []
        for lie in lies:
            save_file(tensors | {key: lie}, tmp_path / name, said)
            assert refused(TABLE[name].read, tmp_path, name) or lie.is_floating_point(), (key, lie.shape, lie.dtype)
        save_file({other: tensors[other] for other in tensors if other != key}, tmp_path / name, said)
        assert refused(TABLE[name].read, tmp_path, name) or "/" in key, key  # a strip is cut short, too
    if said:
        for about in ("", "{}", "[]", "[{}]", "7", "nothing"):
            save_file(tensors, tmp_path / name, {"about": about})
            assert refused(TABLE[name].read, tmp_path, name) or about == "[]", about


def test_a_page_of_all_parts_is_whole_and_escaped(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"verb": "train", "images": "digits"}))
    (tmp_path / "results.json").write_text(json.dumps({"records": [RECORD, ATTACKED_RECORD]}))
    for name, row in TABLE.items():
        if name not in ("study.json", "front.json"):  # which take the place of the others
            row.save(tmp_path)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    parsed = Strict(page)
    assert "script" not in parsed.tags and page.count("&lt;script&gt;") > len(TABLE)
    (tmp_path / "gallery.json").write_bytes(b"")
    (tmp_path / "report.html").unlink()
    with pytest.raises(InputError, match=r"gallery\.json"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("folder", [section.folder for section in SECTIONS])
def test_a_section_is_a_folder(folder: str) -> None:
    assert (HOUSE / "reports" / folder / "section.html.j2").is_file()
    assert [section.folder for section in SECTIONS].count(folder) == 1


def test_every_folder_with_a_template_is_a_section_and_shows_words_of_its_own_once() -> None:
    folders = {file.parent.name for file in (HOUSE / "reports").glob("*/section.*")}
    assert folders == {section.folder for section in SECTIONS}
    words = [name for section in SECTIONS for name in section.words]
    assert len(words) == len({*words})


def test_reports_read_files_and_nothing_else() -> None:
    for file in sorted((HOUSE / "reports").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [
                    f"{node.module}.{a.name}" if node.module == "weatherproof" else str(node.module) for a in node.names
                ]
            for name in names:
                room = name.partition("weatherproof.")[2]
                assert not room or room.startswith("reports") or room in BELOW_REPORTS, f"{file} imports {name}"
