"""Classes by words: CLIP hardened and asked in words, from the command line and in Python."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from clip_models import NAME, add_models, make_model, save_model
from html_page import Strict

import weatherproof as wp
from weatherproof.errors import InputError

from .conftest import ALONE, PLAIN, Command, save_images

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 8, "workers": 0, "device": "cpu", "realizations": 1}
WORDS = "cat\nant\tsmall black ant\nbee\nfire_truck\n"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clip")
    add_models(folder)
    return f"open_clip:{NAME}@{save_model(make_model(), folder / 'whole.safetensors')}"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("words") / "names.txt"
    file.write_text(WORDS)
    return file


@pytest.fixture(scope="module")
def run(clip: str, names: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hardened CLIP that was given words."""
    out = tmp_path_factory.mktemp("hardened") / "run"
    return wp.harden(clip, photos, classes=names, **QUICK, **ALONE, out=out).folder


def by_words(records: Any) -> dict[tuple[str, str, str | None], float]:
    return {(r["metric"], r["model"], r["operator"]): r["value"] for r in records if r["readout"] == "zero-shot"}


def expected(encoder: Any, photos: Path, clip: str) -> float:
    """Accuracy among the four classes of the file, by open_clip's own text encoder."""
    import open_clip

    model = make_model()
    rows = open_clip.build_zero_shot_classifier(
        model, open_clip.get_tokenizer(NAME), ["cat", "small black ant", "bee", "fire truck"], wp.readouts.PROMPTS
    )
    images = wp.load_images(photos, "test", size=32)
    with torch.no_grad():
        answers = (encoder.eval()(images.read(torch.arange(len(images))).float() / 255) @ rows).argmax(dim=1)
    truth = torch.tensor([1, 2, 0])[images.labels]  # ant, bee, cat
    return (answers == truth).double().mean().item()


def test_a_hardened_clip_is_measured_by_words_and_keeps_them(clip: str, photos: Path, run: Path, names: Path) -> None:
    said = json.loads((run / "results.json").read_text())
    found = by_words(said["records"])
    assert found["top1", "teacher", None] == pytest.approx(expected(wp.load_encoder(clip), photos, clip))
    assert found["top1", "hardened", None] == pytest.approx(expected(wp.load_encoder(run), photos, clip))
    assert {r["data"] for r in said["records"] if r["readout"] == "zero-shot"} == {"photos/test among 4 classes"}
    assert any(note.startswith("4 classes by words, of open_clip:") for note in said["notes"])
    page = (run / "report.html").read_text()
    Strict(page)
    assert "small black ant" in page and "classes by words" in page
    first = json.loads((run / "curve.json").read_text())[0]  # what page and terminal lead with
    assert (first["metric"], first["readout"]) == ("top1", "zero-shot")
    assert first["clean"]["after"] == pytest.approx(found["top1", "hardened", None])
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    assert recipe["classes"] == str(names) and str(names) in recipe["files"]
    kept = wp.readouts.load_readout(run)
    assert kept is not None and kept.spoken is not None
    assert kept.classes == ("cat", "ant", "bee", "fire_truck") and kept.spoken.said[1] == "small black ant"
    assert kept.spoken.prompts == wp.readouts.PROMPTS and kept.spoken.text == clip


@pytest.mark.parametrize(
    "how", [("--operator", "GaussianNoise(0.2)"), ("--suite", "noisy"), ("--attack", "PGD(L2(0.5), steps=1)")]
)
def test_a_run_is_audited_by_its_words_without_the_text_tower(
    run: Path, photos: Path, clip: str, how: tuple[str, str], tmp_path: Path, weatherproof: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def gone(*_: object, **__: object) -> None:
        raise AssertionError("the text tower was asked for")

    monkeypatch.setattr("weatherproof.readouts.spoken.text_tower", gone)
    audit = ("audit", run, photos, "--workers", 0, "--realizations", 1, *how, "--out", tmp_path / "out", "--json")
    status, out, _ = weatherproof(*audit)
    said = json.loads(out)
    (clean,) = {
        r["value"] for r in said["records"]
        if r["metric"] == "top1" and (r["operator"], r["corruption"], r["attack"]) == (None, None, None)
    }  # fmt: skip
    assert status == 0 and clean == pytest.approx(expected(wp.load_encoder(run), photos, clip))
    assert {r["readout"] for r in said["records"] if r["metric"] == "top1"} == {"zero-shot"}
    page = (tmp_path / "out" / "report.html").read_text()
    Strict(page)
    assert any("4 classes by words" in note for note in said["notes"]) and "classes by words" in page


@pytest.mark.slow
def test_other_words_need_the_text_tower_and_go_by_agreement_where_nothing_fits(
    run: Path, clip: str, photos: Path, tmp_path: Path
) -> None:
    ask: dict[str, Any] = {"operator": "GaussianNoise(0.2)", "workers": 0, "realizations": 1, "device": "cpu"}
    audit = wp.audit(run, photos, classes=["car", "boat", "plane"], **ask, out=tmp_path / "other")
    assert {metric for metric, *_ in by_words(audit.records)} == {"agreement"}
    assert any("by its agreement" in n and "--classes-match says" in n for n in audit.notes)
    told = wp.audit(run, photos, classes=["car", "boat", "plane"], classes_match=True, **ask, out=tmp_path / "told")
    assert {metric for metric, *_ in by_words(told.records)} == {"top1"} and "boat" in told.report.read_text()
    made = wp.readouts.zero_shot(clip, ["cat", "ant", "bee"], ["{}"])
    given = wp.audit(run, photos, classes=made, **ask, out=tmp_path / "given")
    assert {metric for metric, *_ in by_words(given.records)} == {"top1"}
    again = wp.audit(run, photos, classes=made, **ask, out=tmp_path / "given")
    assert again.records == given.records
    with pytest.raises(InputError, match="holds another run"):
        wp.audit(run, photos, classes=wp.readouts.zero_shot(clip, ["cat", "ant"]), **ask, out=tmp_path / "given")


def test_an_audit_makes_the_head_once_and_says_when_names_have_changed(
    clip: str, photos: Path, tmp_path: Path, weatherproof: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tmp_path / "names.txt"
    names.write_text(WORDS)
    audit = ("audit", clip, photos, "--classes", names, "--workers", 0, "--out", tmp_path / "audit")
    status, out, _ = weatherproof(*audit, "--json")
    (clean,) = by_words(json.loads(out)["records"]).values()
    assert status == 0 and clean == pytest.approx(expected(wp.load_encoder(clip), photos, clip))
    (tmp_path / "audit" / "results.json").unlink()  # a measurement that goes on

    def again(*_: object, **__: object) -> None:
        raise AssertionError("made again")

    with monkeypatch.context() as patch:
        patch.setattr("weatherproof.readouts.spoken.text_head", again)
        assert weatherproof(*audit)[0] == 0
    names.write_text(WORDS.replace("bee", "bees\tbee"))
    status, _, err = weatherproof(*audit)
    assert status == 2 and f"{names} has changed since the run in" in err


@pytest.mark.slow
def test_the_words_of_a_run_that_began_without(
    clip: str, photos: Path, names: Path, tmp_path: Path, weatherproof: Command
) -> None:
    """From the text with which it began, also where that was another run's."""
    whole = tmp_path / "whole.safetensors"
    whole.write_bytes(Path(clip.partition("@")[2]).read_bytes())
    text = f"open_clip:{NAME}@{whole}"
    first = wp.harden(text, photos, **QUICK, **ALONE, out=tmp_path / "first").folder
    second = wp.harden(first, photos, **QUICK, **ALONE, out=tmp_path / "second").folder
    found = wp.readouts.zero_shot(second, names)
    assert torch.equal(found.head.weight, wp.readouts.zero_shot(clip, names).head.weight)  # type: ignore[arg-type]
    audit = ("audit", second, photos, "--classes", names, "--workers", 0, "--out", tmp_path / "audit")
    whole.unlink()
    status, _, err = weatherproof(*audit)
    assert status == 2 and len(err.splitlines()) == 1 and not (tmp_path / "audit").exists()
    assert f"began with '{text}', and other words need its text tower: no weights file" in err


@pytest.mark.slow
def test_words_of_another_file_are_not_taken_for_the_runs(
    clip: str, photos: Path, names: Path, tmp_path: Path, weatherproof: Command
) -> None:
    whole = tmp_path / "whole.safetensors"
    whole.write_bytes(Path(clip.partition("@")[2]).read_bytes())
    text = f"open_clip:{NAME}@{whole}"
    run = wp.harden(text, photos, classes=names, **QUICK, **ALONE, out=tmp_path / "run").folder
    save_model(make_model(seed=1), whole)
    other = tmp_path / "other.txt"
    other.write_text("cat\ndog\n")
    status, _, err = weatherproof("audit", run, photos, "--classes", other, "--out", tmp_path / "audit")
    assert status == 2 and "whose file holds something else now" in err
    assert weatherproof("audit", run, photos, "--workers", 0, "--out", tmp_path / "audit")[0] == 0


def test_images_without_labels_are_judged_by_agreement(clip: str, names: Path, tmp_path: Path) -> None:
    save_images(tmp_path / "flat", 12)
    run = wp.harden(clip, tmp_path / "flat", classes=names, **QUICK, **ALONE, out=tmp_path / "run")
    assert {metric for metric, *_ in by_words(run.records)} == {"agreement"}
    audit = wp.audit(run.folder, tmp_path / "flat", operator="RandomMask(0.5)", workers=0, out=tmp_path / "audit")
    assert {metric for metric, *_ in by_words(audit.records)} == {"agreement"}


@pytest.mark.slow
def test_behind_a_gate_both_folders_have_the_words(
    clip: str, names: Path, tmp_path: Path, weatherproof: Command
) -> None:
    for i, name in enumerate(("ant", "bee", "cat")):
        save_images(tmp_path / "photos" / "train" / name, 30, tint=i)
        save_images(tmp_path / "photos" / "test" / name, 4, seed=1, tint=i)
    words = ("harden", clip, tmp_path / "photos", "--classes", names, "--epochs", 1, "--workers", 0, "--batch-size", 8)
    assert weatherproof(*words, "--realizations", 1, "--out", tmp_path / "run")[0] == 0
    readouts = [wp.readouts.load_readout(folder) for folder in (tmp_path / "run", tmp_path / "run" / "hardened")]
    assert all(own is not None and own.kind == "zero-shot" for own in readouts)
    status, out, _ = weatherproof(*words, "--realizations", 1, "--out", tmp_path / "run")
    assert status == 0 and "finished already" in out
    found = wp.readouts.zero_shot(tmp_path / "run" / "hardened", ["cat", "ant"])
    assert found.head.weight.shape == (2, 16)  # type: ignore[union-attr]


def test_what_cannot_be_asked_in_words_is_refused_in_a_line(
    clip: str, teacher: str, classifier: Path, photos: Path, here: Path, tmp_path: Path, refused: Any
) -> None:
    names, two, prompts, binary = (tmp_path / f"{name}.txt" for name in ("names", "two", "prompts", "binary"))
    two.write_text("car\nboat\n")
    names.write_text(WORDS)
    prompts.write_text("a photo of a {}\na photo\n")
    binary.write_bytes(bytes(range(256)))
    long = tmp_path / "long.txt"
    long.write_text("cat\n" + "dog " * 2500 + "\n")
    image = tmp_path / "image.pt"
    torch.save({f"visual.{k}": v for k, v in make_model().visual.state_dict().items()}, image)
    for verb in ("harden", "audit"):
        assert "'small@" in (said := refused(verb, teacher, photos, "--classes", names)) and "knows no words" in said
        assert "line 2 of" in refused(verb, clip, photos, "--classes", names, "--prompts", prompts)
        assert "not UTF-8 at byte 128" in refused(verb, clip, photos, "--classes", binary)
        assert "has 9,999 characters" in refused(verb, clip, photos, "--classes", long)
        assert "no file 'none.txt' of classes" in refused(verb, clip, photos, "--classes", "none.txt")
        assert "give --classes too" in refused(verb, clip, photos, "--prompts", prompts)
        alone = f"open_clip:{NAME}@{image}"
        extra = (*PLAIN, "--epochs", 1) if verb == "harden" else ()
        assert "holds the image tower of" in refused(verb, alone, photos, "--classes", names, "--workers", 0, *extra)
        said = refused(verb, clip, photos, "--classes", two, "--classes-match")
        assert "it has 2 where 'photos/test' has 3" in said
    assert "began with 'small'" in refused("audit", classifier, photos, "--classes", names)
    assert "knows no classes" in refused("audit", clip, photos, "--classes", names, "--gauge")
    assert not any(here.iterdir())
    with pytest.raises(InputError, match="classes are names, or what wp.readouts.zero_shot makes"):
        wp.audit(clip, photos, classes=wp.readouts.load_readout(classifier), out=tmp_path / "out")
    with pytest.raises(InputError, match="open_clip:NAME/TAG, or a run folder: of a Encoder give classes="):
        wp.audit(wp.load_encoder(clip), photos, classes=["cat", "dog"], out=tmp_path / "out")
    with pytest.raises(InputError, match="the text tower is not that of this encoder"):
        wp.audit(teacher, photos, classes=wp.readouts.zero_shot(clip, ["cat", "dog"]), workers=0, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
