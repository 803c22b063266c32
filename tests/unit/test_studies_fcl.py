"""The studies of feature contrastive learning: claims are paired tests over seeds, every cell can be made at every
scale, the smallest scale runs, and a study that was stopped goes on."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr, ttest_rel
from torch import nn
from weatherproof.studies.fcl_cells import OverSeeds, Training
from weatherproof.studies.fcl_scales import SMOKE, SMOKE_2, SMOKE_ENCODERS
from weatherproof.studies.fcl_workshop import NOISE_SEED, FclWorkshop
from weatherproof.studies.paired import Comparison, beats, gains_more, together
from weatherproof.studies.run import table
from weatherproof.studies.scales import scale_of

from weatherproof import encoders, methods, random, studies, views
from weatherproof.data import batches, load_images, pixel_std
from weatherproof.errors import InputError
from weatherproof.evaluation import EVAL_STREAM, ClassUtility, rank_correlation
from weatherproof.operators import COMMON_19, UniformNoise
from weatherproof.readouts import Classifier
from weatherproof.studies import CountCell, FclCell, FclScale, MapCell, PairedClaim, fcl, fcl_cases, fcl_looks, fcl_maps
from weatherproof.training import Plan
from weatherproof.verbs.reproduce import reproduce

SCALES = ("smoke", "desk", "paper")
STUDIES = {**fcl.STUDIES, **fcl_looks.STUDIES}
CPU = torch.device("cpu")

# claims

HIGH, LOW = (0.91, 0.93, 0.90, 0.95, 0.92), (0.90, 0.91, 0.88, 0.92, 0.92)


@pytest.mark.parametrize("margin", [0.0, 0.005, -0.02])
def test_a_comparison_is_the_paired_t_test(margin: float) -> None:
    for high, low in ((HIGH, LOW), (LOW, HIGH)):
        found = Comparison("high over low", high, low, margin)
        wanted = ttest_rel(np.array(high) + margin, np.array(low), alternative="greater")
        assert found.p == pytest.approx(wanted.pvalue, abs=1e-12)
        assert found.gain == pytest.approx(np.mean(high) - np.mean(low))
        assert found.holds == (wanted.pvalue < 0.05)
        # the opposite, tested on its own
        other = ttest_rel(np.array(low) - margin, np.array(high), alternative="greater")
        assert (found.state() == "the reverse") == (other.pvalue < 0.05 and not found.holds)


def test_pairs_matter() -> None:
    """Where seeds differ by more than the methods do, only the pairs show it."""
    low = (0.5, 0.7, 0.6, 0.9, 0.8)
    high = tuple(value + gain for value, gain in zip(low, (0.010, 0.012, 0.009, 0.011, 0.010), strict=True))
    assert Comparison("", high, low).p < 1e-4
    assert Comparison("", high, tuple(reversed(low))).p > 0.2


@pytest.mark.parametrize("samples", [((0.5,), (0.4,)), ((0.5, 0.6), (0.4, 0.5)), ((0.5, 0.5), (0.5, 0.5))])
def test_without_a_spread_nothing_is_decided(samples: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
    found = Comparison("a over b", *samples)
    assert math.isnan(found.p) and found.state() == "not decided"
    assert "the same in every seed" in found.words(points=True)


def test_verdicts() -> None:
    samples = {
        ("UN", "a"): HIGH, ("UN", "b"): LOW, ("NUN", "a"): LOW,
        ("NUN", "b"): tuple(value + 0.02 for value in HIGH),
        ("even", "a"): (0.5, 0.7, 0.6), ("even", "b"): (0.6, 0.5, 0.7),
    }  # fmt: skip

    def check(*rows: str, margin: float = 0.0) -> dict[str, object]:
        return PairedClaim("a above b", beats("a", ("b", "a"), rows, margin)).check(samples)

    assert check("UN") == {
        "claim": "a above b", "passed": True, "verdict": "holds",
        "detail": f"1 of 1 over 5 seeds. holds: a over b at UN +1.60 points (p {ttest_rel(HIGH, LOW).pvalue / 2:.3f})",
    }  # fmt: skip
    wrong = check("UN", "NUN", "even")
    assert wrong["verdict"] == "does not hold" and not wrong["passed"]
    assert str(wrong["detail"]).startswith("1 of 3 over 5 seeds. holds: a over b at UN ")
    assert "the reverse: a over b at NUN -3.60" in str(wrong["detail"])
    assert "not decided: a over b at even +0.00" in str(wrong["detail"])
    undecided = check("UN", "even")
    assert undecided["verdict"] == "not decided" and not undecided["passed"]
    assert check("CIFAR-100") == {"claim": "a above b", "passed": False, "verdict": "not measured", "detail": "0 of 0"}
    assert check("NUN", margin=0.05)["passed"], "no more than five points below"
    dead = {**samples, ("UN", "b"): (0.9, math.nan, 0.8, 0.7, 0.9), ("NUN", "b"): (0.9, None, 0.8, 0.7, 0.9)}
    assert PairedClaim("", beats("a", ("b",), ("UN", "NUN"))).check(dead)["verdict"] == "not measured"


def test_one_comparison_among_many_is_reversed_by_chance() -> None:
    """Of claims of ten comparisons without a difference one in twenty may be called refuted, not two in five."""
    draws = np.random.default_rng(0).normal(size=(100, 2, 10, 5))
    refuted = 0
    for high, low in draws:
        samples = {(str(i), name): tuple(rows[i]) for i in range(10) for name, rows in (("a", high), ("b", low))}
        claim = PairedClaim("", beats("a", ("b",), [str(i) for i in range(10)]))
        refuted += claim.check(samples)["verdict"] == "does not hold"
    assert 1 <= refuted <= 13, refuted  # 5 expected; uncorrected it would be 40


def test_gains_more_and_together() -> None:
    samples = {
        ("many", "x"): (0.9, 0.8, 0.91), ("many", "y"): (0.5, 0.45, 0.5), ("few", "x"): (0.6, 0.6, 0.6),
        ("few", "y"): (0.5, 0.52, 0.51),
    }  # fmt: skip
    compare = gains_more("x", "y", [("many", "few"), ("none", "few")])
    (found,) = compare(samples)
    assert found.high == pytest.approx((0.4, 0.35, 0.41)) and found.low == pytest.approx((0.1, 0.08, 0.09))
    assert found.holds and "x's gain over y, many against few" in found.what
    assert len(together(compare, beats("x", ("y",), ("few", "many")))(samples)) == 3


# studies and scales


def test_names() -> None:
    assert set(STUDIES) == {
        "fcl-table-1", "fcl-table-2", "fcl-table-3", "fcl-figures", "fcl-appendix-a", "fcl-weight", "fcl-on-encoders"
    }  # fmt: skip
    assert STUDIES.items() <= studies.STUDIES.items()
    assert all(s.name == name and s.cells and s.claims and not s.published for name, s in STUDIES.items())


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", STUDIES)
def test_every_cell_can_be_made_at_every_scale(name: str, scale: str) -> None:
    settings = scale_of(name, scale)
    assert isinstance(settings, FclScale) and settings.name == scale and settings.note and settings.seeds > 1
    made = 0
    for cell in STUDIES[name].cells.values():
        own = settings if cell.data == "main" else settings.others.get(cell.data)
        if own is None or isinstance(cell, CountCell):
            made += own is not None
            continue
        assert cell.method in (*methods.LABELLED, "frozen")
        Plan(**own.plan(cell.start))
        assert own.augment is None or views.parse(own.augment)
        replace(methods.FeatureSettings(), **own.changed(cell.method))
        assert cell.start != "hardened" or own.hardening
        assert cell.start != "pretrained" or own.pretraining
        made += 1
    assert made, "no data at this scale"
    assert settings.facts(STUDIES[name].cells.values())


@pytest.mark.parametrize("name", STUDIES)
def test_every_claim_has_its_cells(name: str) -> None:
    """With all cells measured every claim compares something, and only cells that are there."""
    study = STUDIES[name]
    samples = dict.fromkeys(study.cells, (0.1, 0.2))
    for claim in study.claims:
        of = claim.check(samples if isinstance(claim, PairedClaim) else dict.fromkeys(study.cells, 1.0))["detail"]
        assert not str(of).startswith("0 of 0"), claim.text


@pytest.mark.parametrize("name", ["fcl-table-2", "fcl-table-3", "fcl-on-encoders"])
def test_an_image_weighs_as_much_as_in_the_papers_batch(name: str) -> None:
    desk = scale_of(name, "desk")
    assert isinstance(desk, FclScale)
    for start in desk.plans:
        assert desk.changed("fcl")["weight"] * desk.plan(start)["batch_size"] == pytest.approx(1e-4 * 1024)


def test_unknown_scale() -> None:
    with pytest.raises(InputError, match="did you mean desk"):
        scale_of("fcl-table-1", "dsk")


# measurements


class Summing(nn.Module):
    """An encoder and a head of which all is known: the embedding is W x, the logits are the embedding."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(weights.shape[1], weights.shape[0], bias=False))
        self.head = nn.Identity()
        self.encoder[1].weight.data = weights

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(images))


def test_corner_share_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    maps, counts = torch.rand(3, 12, 14, generator=generator), torch.tensor([5, 1, 2])
    inside = whole = 0.0
    for c in range(3):
        for y in range(12):
            for x in range(14):
                whole += float(counts[c] * maps[c, y, x])
                inside += float(counts[c] * maps[c, y, x]) * ((y < 4 or y >= 8) and (x < 4 or x >= 10))
    found = ClassUtility(("a", "b", "c"), counts, torch.zeros(3, 1, 12, 14), maps)
    assert fcl_maps.corner_share(found, 4) == pytest.approx(inside / whole)


@pytest.mark.parametrize("of", ["embedding", "probabilities", "right"])
def test_rank_correlation_and_identity_against_the_formulas(of: str) -> None:
    images = load_images("digits", "test").subset(torch.arange(11))
    weights = torch.randn(10, 32 * 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 100
    classifier = Summing(weights.float())
    batch = next(batches(images, 11))
    p = (batch.images.double().flatten(1) @ weights.T).softmax(dim=1)
    onehot = nn.functional.one_hot(batch.labels, 10).double()
    useful = ((p - onehot) @ weights).abs()
    slopes = p[:, :, None] * (weights[None] - (p @ weights)[:, None])  # d p_c / d x
    right = slopes[torch.arange(11), batch.labels].abs()
    reacts = {"embedding": weights.norm(dim=0).expand(11, -1), "probabilities": slopes.norm(dim=1), "right": right}[of]
    wanted = np.mean([spearmanr(u, s).statistic for u, s in zip(useful.numpy(), reacts.numpy(), strict=True)])
    cell = MapCell("fcl", "rank_correlation", of=of)
    assert fcl_maps.mean_correlation(classifier, images, cell, CPU) == pytest.approx(wanted, abs=1e-4)
    assert fcl_maps.identity_error(classifier, images, CPU) < 1e-5
    assert of != "right" or wanted == pytest.approx(1)
    assert rank_correlation(useful, right).min() > 0.999999


def test_counts_are_those_of_the_whole_split() -> None:
    images = load_images("synthetic-digits", "validation")
    record = fcl_maps.count(images, CountCell("validation", (10, 11, 12, 13, 14)))
    assert record.value == (images.labels >= 10).sum().item() / 5 and record.images == 5 * record.value
    assert record.data == f"{images.name} (classes 10-14)" and record.model == "validation"


# at the smallest scale, all of them


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classifiers that all studies share."""
    return tmp_path_factory.mktemp("store")


@pytest.mark.filterwarnings("ignore:small.* no weights given")
@pytest.mark.parametrize("name", STUDIES)
def test_smoke(name: str, store: Path, tmp_path: Path) -> None:
    study = STUDIES[name]
    run = reproduce(name, store=store, out=tmp_path, device="cpu")
    there = [cell for cell in study.cells.values() if cell.data in ("main", *scale_of(name, "smoke").others)]
    assert len(run.records) == len(there)
    for cell, record in zip(there, run.records, strict=True):
        if isinstance(cell, CountCell):
            continue
        assert record["seeds"] == [0, 1] and len(record["samples"]) == 2
        assert record["value"] == pytest.approx(sum(record["samples"]) / 2)
        assert record["stderr"] == pytest.approx(np.std(record["samples"], ddof=1) / 2**0.5)
        if isinstance(cell, FclCell):
            assert record["corruption"] == (None if cell.tested_on == "clean" else cell.tested_on)
            assert record["metric"] == ("top1" if fcl_cases.suite_of(cell.tested_on) == "noisy" else "mca")
            assert str(tmp_path) not in json.dumps(record) and str(store) not in json.dumps(record)
    assert run.checks == json.loads((tmp_path / "checks.json").read_text()) and len(run.checks) == len(study.claims)
    text = (tmp_path / "table.md").read_text()
    assert text.startswith(f"# {study.title}") and "standard error over 2 training seeds" in text
    assert (tmp_path / "report.html").is_file()
    pictures = {
        "fcl-figures": ("utility_maps.safetensors", "utility_images.safetensors", "gallery.json"),
        "fcl-appendix-a": ("utility_curve.json",), "fcl-on-encoders": ("utility_curve.json",),
    }  # fmt: skip
    assert all((tmp_path / file).is_file() for file in pictures.get(name, ()))


def test_the_noisy_copy_is_one_for_all(store: Path) -> None:
    """UN as a loop over images would make it, with one seed whatever the training's."""
    made = FclWorkshop(SMOKE, store, data=None, seed=0, device=CPU)
    found = made.measure(FclCell("supervised", "uniform_noise"))
    assert isinstance(found, OverSeeds)
    for own, training in zip(found.samples, made.trainings.stores, strict=True):
        classifier = made.trainings.classifier(Training("supervised"), training).eval()
        batch = next(batches(fcl_maps.at_most(made.test, SMOKE.test_images), 1000))
        right = 0
        for image, label, index in zip(batch.images, batch.labels, batch.index, strict=True):
            keys = random.fold(random.keys(NOISE_SEED, index[None]), EVAL_STREAM, 0)
            with torch.no_grad():
                right += int(classifier(UniformNoise(0.15)(image[None], keys)).argmax() == label)
        assert own == pytest.approx(right / len(batch.labels))


def test_nonuniform_noise_follows_the_training_images(store: Path) -> None:
    made = FclWorkshop(SMOKE, store, data=None, seed=0, device=CPU)
    record = made.measure(FclCell("supervised", "nonuniform_noise"))
    assert isinstance(record, OverSeeds)
    assert record.record.operator == "NonUniformNoise(std='(of the training images)')"
    (file,) = store.glob(f"{made._pixel_std().name}")
    assert np.allclose(np.load(file), pixel_std(made.trainings.train).numpy())


def test_rare_is_the_classes_10_to_14(store: Path) -> None:
    made = FclWorkshop(SMOKE, store, data=None, seed=0, device=CPU)
    found = made.measure(FclCell("fcl", rare=True))
    assert isinstance(found, OverSeeds) and found.record.images == SMOKE.test_images
    assert found.record.data.endswith("(classes 10-14)")
    assert set(fcl_cases.of_classes(made.test, fcl_cases.RARE).labels.tolist()) == set(range(10, 15))


def test_other_data_are_other_trainings(store: Path) -> None:
    made = FclWorkshop(SMOKE_2, store, data=None, seed=0, device=CPU)
    assert len(made.others["CIFAR-100"].trainings.train) == 96 and len(made.trainings.train) == 64
    assert made.measure(FclCell("fcl", data="STL-10")) is None


def test_a_tenth_of_lambda_is_a_training_of_its_own(store: Path) -> None:
    made = FclWorkshop(SMOKE, store, data=None, seed=0, device=CPU)
    whole, tenth = Training("fcl"), FclCell("fcl", weight_times=0.1).training
    assert made.trainings.settings(tenth, 1.0).weight == pytest.approx(made.trainings.settings(whole, 1.0).weight / 10)
    first = made.trainings.stores[0]
    assert made.trainings.home(tenth, first) != made.trainings.home(whole, first)
    assert made.trainings.home(FclCell("fcl", "uniform_noise").training, first) == made.trainings.home(whole, first)
    assert tenth.name == "fcl, lambda x 0.1" and Training("fcl", "hardened").name == "hardened, fcl"


def test_records_and_pages_say_what_the_classifiers_were_trained_with(store: Path) -> None:
    made = FclWorkshop(SMOKE, store, data=None, seed=0, device=CPU)

    def met(method: str) -> str | None:
        found = made.measure(FclCell(method))
        assert isinstance(found, OverSeeds)
        return found.record.trained_on

    assert met("supervised") is None
    assert met("xe-gaussian") == "WholeNoise()"
    assert met("patch-gaussian-fcl") == "PatchGaussian(25, 0.1), UtilityNoise()"
    encoders = FclWorkshop(SMOKE_ENCODERS, store, data=None, seed=0, device=CPU).trainings
    noise = SMOKE_ENCODERS.hardening.damages["noise-range"] if SMOKE_ENCODERS.hardening else ""
    assert encoders.met(Training("frozen", "hardened")) == noise
    assert encoders.met(Training("fcl", "hardened")) == f"{noise}, UtilityNoise()"
    facts = made.facts(
        [CountCell("train", (0,)), *(FclCell(m) for m in ("supervised", "cl-gaussian", "patch-gaussian"))]
    )
    assert facts == {
        "settings of cl-gaussian": "sigma 0.5, weight 0.001, start_epoch 0.0, ramp_epochs 0.0, temperature 0.5",
        "settings of patch-gaussian": "on images with `PatchGaussian(25, 0.1)`",
    }


def test_a_stopped_study_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cells.json and the store hold is neither trained nor measured again."""
    measured: list[str] = []
    plain = FclWorkshop.measure

    def counted(self: FclWorkshop, cell: FclCell) -> OverSeeds:
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(repr(cell))
        return plain(self, cell)

    monkeypatch.setattr(FclWorkshop, "measure", counted)
    with pytest.raises(KeyboardInterrupt):
        reproduce("fcl-appendix-a", store=tmp_path / "store", out=tmp_path / "run", device="cpu")
    assert len(json.loads((tmp_path / "run/cells.json").read_text())) == 3
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "store").glob("*/*") if p.suffix in (".json", ".safetensors")}
    assert sum(p.name == "encoder.safetensors" for p in files) == 4  # XE and FCL, two seeds
    assert sum(p.name.startswith("measured-") for p in files) == 6
    first, measured[:] = list(measured), []
    monkeypatch.setattr(FclWorkshop, "measure", lambda self, cell: measured.append(repr(cell)) or plain(self, cell))
    reproduce("fcl-appendix-a", store=tmp_path / "store", out=tmp_path / "run", device="cpu")
    assert len(measured) == len(STUDIES["fcl-appendix-a"].cells) - 3 and not set(measured) & set(first)
    assert {p: p.stat().st_mtime_ns for p in files} == files
    # a second workshop reads what the first has measured beside the classifiers
    again = FclWorkshop(SMOKE, tmp_path / "store", data=None, seed=0, device=CPU)
    monkeypatch.setattr(fcl_maps, "measured", lambda *_, **__: pytest.fail("measured again"))
    assert again.measure(MapCell("supervised", "rank_correlation")).samples


def test_on_a_frozen_encoder_the_second_term_has_no_gradient() -> None:
    """Why the study of hardened and pretrained encoders has no frozen FCL: it would be cross-entropy."""
    with pytest.warns(UserWarning, match="randomly initialised"):
        encoder, head = encoders.load_encoder("small(width=4)", seed=0), nn.Linear(32, 10)
    batch = next(batches(load_images("digits", "train"), 16))
    keys = random.keys(0, batch.index)
    settings = methods.FeatureSettings(weight=1.0)

    def gradient(name: str) -> torch.Tensor:
        learner = methods.build_labelled(name, encoder, head, settings).train()
        encoder.requires_grad_(False).eval()
        loss = learner(batch.images, batch.labels, batch.index, keys, lambda x: x)["loss"]
        return torch.autograd.grad(loss, head.weight)[0]

    assert torch.allclose(gradient("fcl"), gradient("supervised"), atol=1e-7)


def test_table_says_what_is_not_decided() -> None:
    study = STUDIES["fcl-appendix-a"]
    (row, column), *_ = study.cells
    record = {"value": 0.71234, "stderr": 0.0123, "samples": [0.7, 0.72], "metric": "rank_correlation", "images": 4,
              "data": "digits/test", "realizations": 1}  # fmt: skip
    checks = [{"claim": "c", "passed": False, "verdict": "not decided", "detail": "0 of 1"}]
    lines = table(study, SMOKE, {(row, column): record}, checks, {"seed": 3}).splitlines()
    assert f"| {row} | 0.712 ± 0.012 |" in lines
    assert "| c | not decided (0 of 1) |" in lines
    assert "- ±: standard error over 2 training seeds; the damage is the same in all" in lines


def test_the_encoders_of_other_studies_are_shared(store: Path) -> None:
    made = FclWorkshop(SMOKE_ENCODERS, store, data=None, seed=0, device=CPU)
    probe = made.classifier("frozen", "pretrained")
    assert isinstance(probe, Classifier)
    begun = made.trainings.begin("pretrained", made.trainings.stores[0])
    for name, value in begun.state().items():
        assert torch.equal(value, probe.encoder.state()[name]), "a probe leaves its encoder as it is"
    tuned = made.classifier("fcl", "pretrained")
    assert any(not torch.equal(value, tuned.encoder.state()[name]) for name, value in begun.state().items())


# the crop


def test_padded_crop_against_a_loop() -> None:
    images = torch.rand(9, 3, 10, 12, generator=torch.Generator().manual_seed(0))
    keys = random.keys(3, torch.arange(9))
    crop = views.PaddedCrop(4)
    top, left = crop.draw(keys)
    for i, cut in enumerate(crop(images, keys)):
        large = torch.zeros(3, 18, 20)
        large[:, 4:-4, 4:-4] = images[i]
        assert torch.equal(cut, large[:, top[i] : top[i] + 10, left[i] : left[i] + 12])
    drawn = crop.draw(random.keys(0, torch.arange(9000)))
    assert drawn.min() == 0 and drawn.max() == 8
    assert (torch.bincount(drawn.flatten(), minlength=9) / 18000 - 1 / 9).abs().max() < 0.01
    with pytest.raises(InputError, match="pads by 1 to 1,000 pixels"):
        views.PaddedCrop(0)


def test_a_whole_suite_has_all_groups() -> None:
    for damage in ("clean", "uniform_noise", "common-15", "common-19", "noise", "blur", "weather", "digital"):
        assert fcl_cases.suite_of(damage) in ("noisy", "common-15", "common-19")
    cases = fcl_cases.cases_of("common-19", load_images("digits", "test"), lambda: pytest.fail("no file needed"))
    assert {case.corruption for case in cases} == {None, *COMMON_19} and len(cases) == 96
