"""Audits under attack: the numbers, their certificate and page, cut short, stopped, shared out, and refused."""

import csv
import json
import math
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from html_page import Strict

import weatherproof as wp
from weatherproof import attacks
from weatherproof.attacks import L2
from weatherproof.attacks.described import GRIDS
from weatherproof.errors import InputError
from weatherproof.evaluation import Record
from weatherproof.spec import component
from weatherproof.verbs.audit.attack import AttackOutcome, checked_attacks
from weatherproof.verbs.audit.limits import read_limits

from .conftest import Command, results, save_images, start

QUICK = {"workers": 0, "device": "cpu"}
SECONDS = 120  # what a slow machine may need to load the package
FGSM = "PGD(Linf(8/255), steps=1, step_size=8/255, best=False)"
BARRIER = "LogBarrier(outer=2, inner=3, draws=10)"
MINE = """
import torch

def blunt(model, images, labels, keys):
    return (images + 0.1).clamp(0, 1)

def lost(model, images, labels, keys):
    return blunt(model, images, labels, keys).masked_fill((labels == 2)[:, None, None, None], torch.nan)
"""


@pytest.fixture(scope="module")
def audited(classifier: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> AttackOutcome:
    out = tmp_path_factory.mktemp("audits") / "audit"
    run = wp.audit(classifier, photos, attack=[FGSM, "PGD(L2(0.5), steps=4)", BARRIER], curve=True, workers=0, out=out)
    assert isinstance(run, AttackOutcome)
    return run


def test_one_step_is_fgsm_by_hand(audited: AttackOutcome, classifier: Path, photos: Path) -> None:
    encoder, readout = wp.load_encoder(classifier), wp.readouts.load_readout(classifier)
    assert readout is not None
    classifier = wp.readouts.Classifier(encoder, readout.head).eval()
    images = wp.load_images(photos, "test", size=encoder.preprocessing.size)
    right = []
    for i in range(len(images)):
        pixels, label, _ = images[i]
        x = (pixels[None].float() / 255).requires_grad_()
        F.cross_entropy(classifier(x), torch.tensor([label])).backward()
        assert x.grad is not None
        with torch.no_grad():
            right.append(int(classifier((x + 8 / 255 * x.grad.sign()).clamp(0, 1)).argmax()) == label)
    (found,) = [r for r in audited.records if r["metric"] == "top1" and "steps=1" in str(r["attack"])]
    assert found["value"] == pytest.approx(sum(right) / 12) and found["images"] == 12
    share = found["value"]
    assert found["stderr"] == pytest.approx(math.sqrt(share * (1 - share) / 12))


def test_calibration_and_its_diagrams_by_hand(audited: AttackOutcome, classifier: Path, photos: Path) -> None:
    encoder, readout = wp.load_encoder(classifier), wp.readouts.load_readout(classifier)
    assert readout is not None
    images = wp.load_images(photos, "test", size=encoder.preprocessing.size)
    pixels = torch.stack([images[i][0] for i in range(len(images))]).float() / 255
    with torch.no_grad():
        sure = wp.readouts.Classifier(encoder, readout.head).eval()(pixels).softmax(dim=1).max(dim=1)
    right = (sure.indices == images.labels).double()
    gap = abs(float(sure.values.double().mean() - right.mean()))  # twelve images are one bin
    rms = {r["attack"]: r for r in audited.records if r["metric"] == "rms_calibration_error"}
    assert list(rms) == [None, audited.records[2]["attack"], "PGD(L2(0.5), steps=4)"]
    assert rms[None]["value"] == pytest.approx(gap, abs=1e-6)
    drawn = json.loads((audited.folder / "reliability.json").read_text())
    assert [entry["name"] for entry in drawn] == ["", *list(rms)[1:]]
    assert [entry["error"] for entry in drawn] == [record["value"] for record in rms.values()]
    assert all(0 <= number <= 1 for bins in drawn[0]["bins"] for number in bins) and drawn[0]["images"] == 12
    page = audited.report.read_text()
    assert "How sure it is, and how often right" in page and "Under attack by PGD (L2, ε 0.5, steps=4)" in page


def test_its_numbers(audited: AttackOutcome, classifier: Path, photos: Path) -> None:
    records = results(audited.folder)
    assert records == list(audited.records) and [*records[0], "over"] == list(Record.__dataclass_fields__)
    plain = wp.audit(classifier, photos, workers=0, out=audited.folder.with_name("clean"))
    (clean,) = [r for r in plain.records if r["metric"] == "top1"]
    assert records[0] == clean | {"stderr": records[0]["stderr"]}  # the same protocol as without an attack
    errors = {(r["attack"], r["severity"]): r["value"] for r in records if r["metric"] == "error"}
    barrier = [(level, errors[BARRIER, level]) for level in GRIDS["l2"]]
    assert barrier[0][1] == pytest.approx(1 - clean["value"])
    assert [e for _, e in barrier] == sorted(e for _, e in barrier)
    for level in GRIDS["l2"]:
        assert (f"PGD(L2({level!r}), steps=4)", level) in errors
    top1 = next(r["value"] for r in records if r["metric"] == "top1" and r["attack"] == "PGD(L2(0.5), steps=4)")
    assert errors["PGD(L2(0.5), steps=4)", 0.5] == pytest.approx(1 - top1)
    assert {r["metric"] for r in records} == {
        "top1", "rms_calibration_error", "error", "median_perturbation", "attack_failures",
    }  # fmt: skip
    assert {r["readout"] for r in records} == {"end-to-end"} and {r["model"] for r in records} == {"model"}


def test_its_files_page_and_certificates(audited: AttackOutcome) -> None:
    names = {f.name for f in audited.folder.iterdir() if not f.name.startswith(".")}
    assert names == {
        "recipe.yaml", "results.json", "report.html", "attacks.json", "attacks", "certificate.json", "samples.csv",
        "attack_images.safetensors", "reliability.json",
    }  # fmt: skip
    recipe = yaml.safe_load((audited.folder / "recipe.yaml").read_text())
    assert recipe["curve"] is True and recipe["attack"][1] == "PGD(L2(0.5), steps=4)" and "suite" not in recipe
    certificates = json.loads((audited.folder / "certificate.json").read_text())
    assert certificates == audited.certificates and [c["attack"] for c in certificates] == recipe["attack"]
    for own in certificates:
        assert own["images"] == 12 and [set(check) for check in own["checks"]] == [{"claim", "passed", "detail"}] * 9
    with (audited.folder / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 * (3 + 8 + 6 - 2)  # of each sweep one size is an attack by itself
    page = audited.report.read_text()
    read = Strict(page)
    assert all(a.startswith("data:image/png") for a in read.addresses) and len(read.addresses) == 3 * 6 * 3
    for text in ("Under attack", "attack by PGD (L2, ε 0.5, steps=4)", "Certificate", "log-barrier (L2", "change ×"):
        assert text in page
    failed = [check for own in certificates for check in own["checks"] if not check["passed"]]
    assert page.count("fails: ") == len(failed) and page.count("holds: ") == 27 - len(failed)


def test_the_command_line(classifier: Path, photos: Path, tmp_path: Path, weatherproof: Command, audited) -> None:
    weak = "PGD(L2(2), steps=1, step_size=0.001)"
    audit = ("audit", classifier, photos, "--attack", weak, "--workers", 0, "--out", tmp_path / "run")
    status, out, _ = weatherproof(*audit, "--fail-over", "top1=1")
    lines = out.splitlines()
    assert status == 0 and "attack by PGD (L2, ε 2, steps=1" in out
    (head,) = [line for line in lines if "certificate: " in line]
    assert head.startswith("PGD (L2, ε 2, steps=1, step_size=0.001): accuracy ") and head.endswith("on 12 images")
    assert "points fail" in head and "  fails  a" in out  # an attack that hardly moves
    status, out, _ = weatherproof(*audit, "--fail-over", "top1=0", "--json")
    said = json.loads(out)
    assert status == 1 and "finished already" in said["notes"][-1]
    assert [c["claim"] for c in said["checks"]] == [
        "top1 at most 0 under PGD (L2, ε 2, steps=1, step_size=0.001)"
    ]  # fmt: skip
    assert "accuracy falls as eps grows" in [
        check["claim"] for own in said["certificates"] for check in own["checks"] if not check["passed"]
    ]
    again = ("--config", tmp_path / "run" / "recipe.yaml", "--out", tmp_path / "again", "--workers", 0)
    assert weatherproof("audit", classifier, photos, *again)[0] == 0
    assert results(tmp_path / "again") == results(tmp_path / "run")
    page = wp.compare(audited.folder, tmp_path / "again", out=tmp_path / "both").report.read_text()
    Strict(page)
    assert "audit, model" in page and "again, model" in page  # their certificates stand under both names


def test_time_that_is_up_and_the_rest_of_it(
    classifier: Path, photos: Path, tmp_path: Path, weatherproof: Command, audited: AttackOutcome
) -> None:
    words = [word for text in (FGSM, "PGD(L2(0.5), steps=4)", BARRIER) for word in ("--attack", text)]
    audit = ("audit", classifier, photos, *words, "--curve", "--workers", 0, "--out", tmp_path / "run")
    status, out, _ = weatherproof(*audit, "--minutes", 1e-9, "--json")
    said = json.loads(out)
    assert status == 0 and said["notes"][0].startswith("time was up: the numbers rest on 12 or more of 12 images and")
    assert {r["attack"] for r in said["records"]} == {None}
    status, out, _ = weatherproof(*audit, "--json")
    assert status == 0 and json.loads(out)["records"] == list(audited.records)


STOPPED = {
    "attack": ["PGD(L2(0.5), steps=10)", "PGD(Linf(8/255), steps=20)"],
    "curve": True,
    "workers": 0,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def undisturbed(classifier: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wp.audit(classifier, photos, **STOPPED, out=tmp_path_factory.mktemp("undisturbed") / "run").folder


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_audit_goes_on(
    how: signal.Signals, undisturbed: Path, classifier: Path, photos: Path, tmp_path: Path
) -> None:
    words = [word for text in STOPPED["attack"] for word in ("--attack", text)]
    process = start(
        "audit", classifier, photos, *words, "--curve", "--workers", 0, "--device", "cpu", "--out", tmp_path / "cut"
    )  # fmt: skip
    give_up = time.monotonic() + SECONDS
    while not [*tmp_path.rglob("block-*")] and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.02)
    process.send_signal(how)
    said, err = process.communicate(timeout=SECONDS)
    assert not (tmp_path / "cut" / "results.json").exists(), "finished before it could be stopped"
    assert said == "" and "Traceback" not in err
    if how == signal.SIGINT:
        assert process.returncode == 130 and "the same command goes on" in err.splitlines()[-1]
    wp.audit(classifier, photos, **STOPPED, out=tmp_path / "cut")
    assert results(tmp_path / "cut") == results(undisturbed)


@pytest.mark.slow
def test_processes_give_the_numbers_of_one(classifier: Path, tmp_path: Path) -> None:
    for tint, name in enumerate(("ant", "bee", "cat")):
        save_images(tmp_path / "many" / "test" / name, 100, tint=tint)
    audit = {"attack": ["PGD(L2(0.5), steps=3, random_start=True)"], "workers": 0, "split": "test"}
    one, two = (
        wp.audit(classifier, tmp_path / "many", processes=n, out=tmp_path / str(n), **audit) for n in (1, 2)
    )  # fmt: skip
    assert list(one.records) == list(two.records) and one.records[-1]["realizations"] == 3


def test_an_attack_of_ones_own(classifier: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    run = wp.audit(classifier, photos, attack=f"{tmp_path}/mine.py:blunt", workers=0, out=tmp_path / "run")
    assert [r["metric"] for r in run.records] == ["top1", "rms_calibration_error"] * 2
    assert run.records[2]["severity"] is None
    assert isinstance(run, AttackOutcome)
    told = {check["claim"]: check for check in run.certificates[0]["checks"]}
    assert told["accuracy falls as eps grows"]["detail"].startswith("not checked")
    assert "mine.py:blunt" in run.report.read_text()


@component
class Idle:
    """Finds nothing, in any ball."""

    ball: L2
    steps: int = 1

    def __call__(self, model: object, images: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        return images.clone()


def test_a_median_beyond_all_sizes_is_above_every_limit(classifier: Path, photos: Path, tmp_path: Path) -> None:
    claim = "median_perturbation at least 0.5 under Idle (L2)"
    for _ in range(2):  # the second call reads results.json, which has no infinite numbers
        run = wp.audit(
            classifier, photos, attack=Idle(L2(0.5)), curve=True, workers=0, fail_under=["median_perturbation=0.5"],
            fail_over=["median_perturbation=9"], out=tmp_path / "run",
        )  # fmt: skip
        assert run.status == 1 and [check["passed"] for check in run.checks] == [True, False]
        assert run.checks[0] == {"claim": claim, "passed": True, "detail": "measured inf"}


def test_a_size_of_the_grid_is_measured_once_however_it_is_written(
    classifier: Path, photos: Path, tmp_path: Path
) -> None:
    attack = ["PGD(L2(1), steps=1)", "PGD(L2(1.0), steps=1)", "PGD(L2(0.5), steps=1)"]
    run = wp.audit(classifier, photos, attack=attack, curve=True, workers=0, out=tmp_path / "run")
    found = [r for r in run.records if r["severity"] == 1 and r["metric"] in ("top1", "error")]
    assert [(r["metric"], r["attack"], r["realizations"]) for r in found] == [
        ("top1", attack[0], 1), ("error", attack[0], 1),
    ]  # fmt: skip
    share = found[0]["value"]
    assert found[0]["stderr"] == pytest.approx(math.sqrt(share * (1 - share) / 12))


def test_a_limit_is_not_kept_under_an_attack_that_was_not_reached(audited: AttackOutcome) -> None:
    weak, strong = attacks.parse(FGSM), attacks.parse("PGD(L2(0.5), steps=4)")
    cut = replace(audited, records=[r for r in audited.records if r["attack"] in (None, repr(weak))])
    limits = read_limits(["top1=0"], None)
    assert [check["passed"] for check in checked_attacks(cut, limits, [weak], False).checks] == [True]
    with pytest.raises(InputError, match=r"top1=0: time was up before .* under PGD \(L2, ε 0.5, steps=4\)"):
        checked_attacks(cut, limits, [weak, strong], False)


def test_an_attack_may_give_no_image(classifier: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    run = wp.audit(classifier, photos, attack=f"{tmp_path}/mine.py:lost", workers=0, out=tmp_path / "run")
    with (run.folder / "samples.csv").open() as file:
        assert "inf" in {row["size"] for row in csv.DictReader(file)}
    assert "∞" in run.report.read_text()


def test_refused(classifier: Path, teacher: str, photos: Path, tmp_path: Path, here: Path, refused) -> None:
    audit = ("audit", classifier, photos, "--workers", 0)
    assert "at least 0" in refused(*audit, "--attack", "PGD(L2(-0.5))")
    assert "write Linf(8/255)" in refused(*audit, "--attack", "PGD(Linf(8))")
    assert "divide it by 255" in refused(*audit, "--attack", "PGD(L2(128))")
    assert "did you mean PGD" in refused(*audit, "--attack", "PDG(L2(0.5))")
    assert "write PGD(L2(0.5))" in refused(*audit, "--attack", "L2(0.5)")
    attack = ("--attack", "PGD(L2(0.5))")
    for other in (("--operator", "RandomMask(0.5)"), ("--suite", "common-15"), ("--teacher", teacher)):
        assert "--attack stands alone" in refused(*audit, *attack, *other)
    assert "--curve belongs to --attack" in refused(*audit, "--curve")
    assert "belong to --suite" in refused(*audit, *attack, "--jpeg-quality", 80)
    said = refused(*audit, *attack, "--fail-under", "median_perturbation=1")
    assert "this audit under attack measures top1" in said
    assert "an attack needs a classifier" in refused("audit", teacher, photos, *attack)
    save_images(tmp_path / "loose" / "test", 4)
    assert "without a label" in refused("audit", classifier, tmp_path / "loose", *attack)
    (tmp_path / "mine.py").write_text(MINE)
    assert "no sizes are known" in refused(*audit, "--curve", "--attack", f"{tmp_path}/mine.py:blunt")
    assert not any(here.iterdir())


@pytest.mark.parametrize("attack", [3, [3], ["PGD(L2(0.5))", None]])
def test_what_is_no_attack_is_refused(attack: object, classifier: Path, photos: Path, here: Path) -> None:
    with pytest.raises(InputError, match="expected the attack as a text"):
        wp.audit(classifier, photos, attack=attack, workers=0)
    assert not any(here.iterdir())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda logits: logits * torch.nan, "NaN logits"),
        (lambda logits: logits.softmax(dim=1), "are probabilities"),
        (lambda logits: logits.detach(), "can be differentiated"),
        (lambda logits: logits[:, :2], "labels up to 2"),
    ],
)
def test_models_that_cannot_be_attacked(change, said: str, photos: Path, here: Path, monkeypatch) -> None:
    with pytest.warns(UserWarning, match="randomly initialised"):
        encoder = wp.load_encoder("resnet20", num_classes=3)
    logits = encoder.logits
    monkeypatch.setattr(encoder, "logits", lambda images: change(logits(images)))
    with pytest.raises(InputError, match=said):
        wp.audit(encoder, photos, attack="PGD(L2(0.5))", classes_match=True, workers=0)
    assert not any(here.iterdir())
