"""The demo with the shortest trainings: the same pieces, files and page as the whole one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import weatherproof as wp
from weatherproof.data import load_images
from weatherproof.encoders.gate import Gated
from weatherproof.encoders.gauge import fit
from weatherproof.readouts import load_readout
from weatherproof.reports.hardened.curve import CURVE
from weatherproof.reports.hardened.gauge import GAUGED
from weatherproof.reports.hardened.promise import PROMISE
from weatherproof.reports.parts import read_list, read_part
from weatherproof.verbs.demo import page_parts, tasks, verb
from weatherproof.verbs.outcome import Outcome


def in_this_process(seeds: int, folder: Path, parts: Path) -> None:
    for name in ("ours", "rival"):
        records = getattr(tasks, name)(0, folder, lambda *_: None)
        (parts / f"{name}-0.json").write_text(json.dumps([record.to_dict() for record in records]))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    plans = {name: getattr(tasks, name)(0) for name in ("teacher_plan", "student_plan")}
    damages = tuple(replace(damage, fractions=(1.0,)) for damage in tasks.DAMAGES)
    few = replace(tasks.LABELLED[1.0], draws=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "_STEPS", 200)
        for name, plan in plans.items():
            patch.setattr(tasks, name, lambda seed, plan=plan: replace(plan, epochs=3, warmup_epochs=0))
        patch.setattr(tasks, "LABELLED", {1.0: few})
        for module in (tasks, verb):
            patch.setattr(module, "DAMAGES", damages)
        for module in (tasks, page_parts):
            patch.setattr(module, "REALIZATIONS", 2)
        patch.setattr(verb, "_work", in_this_process)
        return wp.demo(seeds=1, out=tmp_path_factory.mktemp("demo") / "run")


@pytest.mark.parametrize("name", ["masks", "mixed"])
def test_the_page_leads_with_four_numbers_and_has_curve_gauge_and_promise(outcome: Outcome, name: str) -> None:
    folder = outcome.folder if name == "masks" else outcome.folder / name
    first, *_ = read_list(folder, CURVE)
    assert (first.metric, first.readout) == ("top1", "clean-probe")
    assert first.damaged is not None and first.clean.images == first.damaged.images == 360
    families = ["RandomMask"] if name == "masks" else ["RandomMask", "GaussianNoise", "GaussianBlur"]
    assert [curve.family for curve in first.curves] == families
    assert all(curve.levels[0] == 0 and curve.levels[-1] > curve.trained[0][1] for curve in first.curves)
    gauged, promise = read_part(folder, GAUGED), read_part(folder, PROMISE)
    assert gauged is not None and [kind.family for kind in gauged.kinds] == families
    assert promise is not None and promise.asked == 0.95 and promise.kept
    page = (folder / "report.html").read_text(encoding="utf-8")
    places = [page.index(words) for words in ("Under the damage", "From none to beyond", "estimated level", "Kept")]
    assert places == sorted(places) and places[-1] < page.index("What was done")


def test_the_clean_numbers_are_the_encoders_as_it_was(outcome: Outcome) -> None:
    """At most one clean image of the test set went through the gate."""
    first, *_ = read_list(outcome.folder, CURVE)
    assert abs(first.clean.difference) <= 0.01
    records = {(r["model"], r["readout"], r["operator"]): r["value"] for r in outcome.records}
    assert records["hardened", "clean-probe", None] == pytest.approx(first.clean.after)
    assert records["teacher", "clean-probe", None] == pytest.approx(first.clean.before)


def test_the_rival_stays_in_the_table_and_in_its_chart(outcome: Outcome) -> None:
    assert {r["operator"] for r in outcome.records if r["model"] == "supervised"} == {
        None if operator is None else repr(operator) for operator in tasks.MASKS.tested_on
    }
    page = (outcome.folder / "report.html").read_text(encoding="utf-8")
    assert "supervised" in page[page.index("<svg", page.index("Before and after")) :]


def test_the_folder_holds_the_encoder_behind_its_gate_with_a_probe_on_it(outcome: Outcome) -> None:
    encoder, readout = wp.load_encoder(str(outcome.folder)), load_readout(outcome.folder)
    assert isinstance(encoder, Gated) and readout is not None and readout.kind == "probe"
    images = load_images("digits", "test").read(torch.arange(64)).float() / 255
    original, hardened = (wp.load_encoder(str(outcome.folder / name)) for name in ("teacher", "hardened"))
    with torch.no_grad():
        clean, gated = original(images), encoder(images)
        worst = wp.operators.RandomMask(0.95)(images, wp.random.keys(0, torch.arange(64)))
        assert torch.equal(encoder.hardened(worst), hardened(worst))
    assert int((clean != gated).any(dim=1).sum()) <= 1


def test_its_gauge_can_be_asked(outcome: Outcome, tmp_path: Path) -> None:
    audited = wp.audit(outcome.folder, "digits", gauge=True, out=tmp_path / "audit")
    assert audited.report.is_file() and any("audit" in step and "--gauge" in step for step in outcome.next_steps)
