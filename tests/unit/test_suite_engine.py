"""The suite: the same numbers as one evaluation a condition, however it is cut, resumed or shared out."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from weatherproof.benchmark import COMMON_15, COMMON_19
from weatherproof.data import MemoryImages, load_images
from weatherproof.errors import InputError
from weatherproof.evaluation import (
    ALEXNET,
    Record,
    Settings,
    SuiteResult,
    cases_of_parts,
    cases_on_the_fly,
    evaluate,
    evaluate_suite,
    expected_calibration_error,
    mean_corruption_error,
    relative_mean_corruption_error,
    rms_calibration_error,
)
from weatherproof.evaluation.engine import work
from weatherproof.evaluation.engine.answers import Answers, BlockFiles
from weatherproof.evaluation.engine.conditions import Case, limited
from weatherproof.evaluation.metrics.standard_errors import clustered_error
from weatherproof.evaluation.suites.records import Summary
from weatherproof.evaluation.suites.sets import is_imagenet, suite_of, total_metrics
from weatherproof.operators import GaussianBlur, GaussianNoise, RandomMask
from weatherproof.operators.suites import Condition

SIDE = 6


def images(n: int = 50, classes: int = 6) -> MemoryImages:
    """Noisy images whose mean brightness is the class; their indices are not their places."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    pixels = (20 + 30 * labels)[:, None, None, None] + rng.integers(0, 50, (n, 1, SIDE, SIDE))
    return MemoryImages(
        torch.from_numpy(pixels.astype(np.uint8)), torch.from_numpy(labels), [f"class {c}" for c in range(classes)],
        name="made/test", index=torch.arange(n) * 3 + 1,
    )  # fmt: skip


def classifier(classes: int = 6) -> nn.Module:
    """Softmax of the distance to each class's brightness, in parts that another process can load."""
    mean, distance = nn.Linear(SIDE * SIDE, 1), nn.Linear(1, classes)
    levels = (45 + 30 * torch.arange(classes)) / 255
    with torch.no_grad():
        mean.weight.fill_(1 / SIDE**2)
        mean.bias.zero_()
        distance.weight.copy_(80 * levels[:, None])  # -40 (m - l)^2, less what is the same for all classes
        distance.bias.copy_(-40 * levels**2)
    return nn.Sequential(nn.Flatten(), mean, distance)


CONDITIONS = (
    Condition("fog", 1, GaussianNoise(0.2)),
    Condition("fog", 2, GaussianNoise(0.6)),
    Condition("snow", 1, RandomMask(0.3)),
    Condition("snow", 2, RandomMask((0.4, 0.8))),
    Condition("blurred", None, GaussianBlur(1.0)),
)


def run(folder: Path | None = None, **settings: Any) -> SuiteResult:
    found = images()
    own = Settings(**{"block": 16, "batch_size": 7, "folder": folder, **settings})
    return evaluate_suite(classifier(), found, cases_on_the_fly(found, CONDITIONS), own, suite="mine")


def value(records: Sequence[Record], metric: str, corruption: str | None = None, severity: int | None = None) -> Record:
    (found,) = [r for r in records if (r.metric, r.corruption, r.severity) == (metric, corruption, severity)]
    return found


def test_every_condition_has_the_numbers_of_its_own_evaluation() -> None:
    result = run()
    assert (result.complete, result.missing, result.images, result.fewest) == (True, (), 50, 50)
    seen_values = set()
    for condition in (None, *CONDITIONS):
        operator = None if condition is None else condition.operator
        key = (None, None) if condition is None else (condition.corruption, condition.severity)
        for metric in ("top1", "top5"):
            (expected,) = evaluate({"m": classifier()}, images(), operator=operator, realizations=1, metrics=(metric,))
            found = value(result.records, metric, *key)
            assert found.value == expected.value and found.images == 50
            assert found.operator == expected.operator
        top1, error = value(result.records, "top1", *key), value(result.records, "error", *key)
        assert error.value == pytest.approx(1 - top1.value)
        assert error.stderr == pytest.approx(top1.stderr)
        assert top1.stderr == pytest.approx(math.sqrt(top1.value * error.value / 50))
        seen_values.add(top1.value)
    assert len(seen_values) > 3  # the damage does something


def test_clean_records_are_of_the_same_protocol_as_a_plain_evaluation() -> None:
    (plain,) = evaluate({"m": classifier()}, images(), metrics=("top1",))
    result = run()
    clean = value(result.records, "top1")
    assert clean.protocol == plain.protocol and clean.operator is None
    protocols = [r.protocol for r in result.records]
    assert len(set(protocols)) == len(protocols)
    assert protocols == [r.protocol for r in run(block=9, batch_size=50).records]
    assert value(run(seed=1).records, "mca", "mine").protocol != value(result.records, "mca", "mine").protocol


def test_blocks_and_batches_change_nothing() -> None:
    expected = run()
    for settings in ({"block": 50}, {"block": 1}, {"batch_size": 1}, {"block": 17, "batch_size": 64}):
        for found, wanted in zip(run(**settings).records, expected.records, strict=True):
            told = {"value": pytest.approx(wanted.value, abs=1e-6), "stderr": pytest.approx(wanted.stderr, rel=1e-5)}
            assert found.to_dict() == wanted.to_dict() | told  # float32 sums depend on the batch in the last digit


def test_calibration_is_of_the_sets_and_pooled() -> None:
    pixels, labels = images().pixels.float() / 255, images().labels
    with torch.no_grad():
        probabilities = classifier()(pixels).softmax(1)
    confidence, right = probabilities.max(1).values, probabilities.argmax(1) == labels
    records = run().records
    assert value(records, "rms_calibration_error").value == pytest.approx(rms_calibration_error(confidence, right))
    assert value(records, "ece").value == pytest.approx(expected_calibration_error(confidence, right))
    pooled = value(records, "ece", "mine")
    sets = [value(records, "ece", c.corruption, c.severity).value for c in CONDITIONS]
    assert value(records, "mean_ece", "mine").value == pytest.approx(sum(sets) / 5)
    assert 0 < pooled.stderr < 0.1 and pooled.value != pytest.approx(sum(sets) / 5)


def test_the_mean_over_a_corruption_and_over_the_whole() -> None:
    records = run().records
    fog = [value(records, "top1", "fog", s).value for s in (1, 2)]
    snow = [value(records, "top1", "snow", s).value for s in (1, 2)]
    blurred = value(records, "top1", "blurred")
    assert value(records, "top1", "fog").value == pytest.approx(sum(fog) / 2)
    assert value(records, "error", "snow").value == pytest.approx(1 - sum(snow) / 2)
    whole = (sum(fog) / 2 + sum(snow) / 2 + blurred.value) / 3  # over corruptions, not over conditions
    assert value(records, "mca", "mine").value == pytest.approx(whole)
    assert value(records, "unnormalised_mce", "mine").value == pytest.approx(1 - whole)
    assert not [r for r in records if r.corruption in ("noise", "common-15") or r.metric in ("mce", "relative_mce")]


class Stopped(nn.Module):
    """A classifier that the user interrupts at its n-th batch."""

    def __init__(self, after: int, error: BaseException | None = None) -> None:
        super().__init__()
        self.inner, self.after, self.calls = classifier(), after, 0
        self.error = error or KeyboardInterrupt()

    def forward(self, pixels: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > self.after:
            raise self.error
        return self.inner(pixels)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the disk has gone")])
def test_an_interrupted_suite_goes_on_where_it_was(tmp_path: Path, error: BaseException) -> None:
    def suite(model: nn.Module) -> SuiteResult:
        found = images()
        cases = cases_on_the_fly(found, CONDITIONS)
        return evaluate_suite(model, found, cases, Settings(folder=tmp_path, block=16, batch_size=16), suite="mine")

    # Blocks of 13 or 12 images, one batch each: 6 conditions x 4 blocks.
    with pytest.raises(type(error)):
        suite(Stopped(8, error))
    rest = Stopped(10**6)
    result = suite(rest)
    assert rest.calls == 24 - 8
    assert result.records == run(block=16, batch_size=16).records
    assert not [file for file in (tmp_path / "suite").iterdir() if "tmp" in file.name]
    again = Stopped(0)
    assert suite(again).records == result.records and again.calls == 0


def test_at_the_latest_every_thirty_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, saves = [0.0], []
    monkeypatch.setattr(work.time, "monotonic", lambda: clock[0])
    write = BlockFiles.write
    monkeypatch.setattr(BlockFiles, "write", lambda *given: (saves.append((clock[0], len(given[2]))), write(*given)))

    class Slow(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            clock[0] += 11
            return torch.zeros(len(pixels), 6)

    found = images()
    evaluate_suite(
        Slow(), found, cases_on_the_fly(found, CONDITIONS), Settings(folder=tmp_path, block=50, batch_size=50)
    )
    assert saves == [(33, 3), (66, 6)]


def test_a_time_budget_ends_it_and_the_next_run_goes_on(tmp_path: Path) -> None:
    first = run(tmp_path, minutes=1e-9)
    assert first.missing == ("fog/1", "fog/2", "snow/1", "snow/2", "blurred") and not first.complete
    assert {r.corruption for r in first.records} == {None} and {r.images for r in first.records} == {13}
    for done in range(2, 7):
        result = run(tmp_path, minutes=1e-9)
        assert len(result.missing) == 6 - done  # all conditions of the first block before the second block
    assert {r.images for r in result.records} == {13} and value(result.records, "mca", "mine")
    more = run(tmp_path, minutes=1e-9)
    assert value(more.records, "top1").images == 26 and value(more.records, "top1", "fog", 1).images == 13
    assert value(more.records, "mca", "mine").images == 13 and more.fewest == 13 and not more.complete
    assert run(tmp_path, minutes=60).records == run().records


def test_what_rests_on_fewer_images_says_so_in_its_protocol(tmp_path: Path) -> None:
    for _ in range(6):
        short = run(tmp_path, minutes=1e-9)
    whole = run()
    for metric, corruption in (("top1", None), ("mca", "mine"), ("top1", "fog")):
        assert value(short.records, metric, corruption).protocol != value(whole.records, metric, corruption).protocol


@pytest.mark.slow
def test_processes_change_nothing(tmp_path: Path) -> None:
    expected = run()
    run(tmp_path, minutes=1e-9)
    assert run(tmp_path, processes=2).records == expected.records
    parts, cases = in_parts()
    alone = evaluate_suite(classifier(), parts, cases, Settings(block=16))
    assert evaluate_suite(classifier(), parts, cases, Settings(block=16, processes=2)).records == alone.records


@pytest.mark.slow
def test_what_fails_in_a_process_is_said_in_one_line(tmp_path: Path) -> None:
    found = images()
    cases = cases_on_the_fly(found, CONDITIONS)
    few = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 3))
    with pytest.raises(InputError, match="^the classifier has 3 outputs, but 'made/test' has 6 classes"):
        evaluate_suite(few, found, cases, Settings(block=16))
    wrong = nn.Sequential(nn.Flatten(), nn.Linear(5, 6))
    with pytest.raises(
        InputError, match="^a process of the measurement failed: RuntimeError: .*mat1 and mat2"
    ) as caught:
        evaluate_suite(wrong, found, cases, Settings(block=16, processes=2))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be sent to another process"):
        evaluate_suite(lambda pixels: pixels.flatten(1)[:, :6], found, cases, Settings(block=16, processes=2))


def in_parts() -> tuple[MemoryImages, list[Case]]:
    """Images that were damaged before, one part after the other and not in order."""
    clean, order = images(40), torch.arange(80).view(2, 40).flip(0)
    pixels = torch.cat([clean.pixels, clean.pixels // 2 + 60])
    both = MemoryImages(pixels, clean.labels.repeat(2), clean.classes, name="made-c", index=clean.index.repeat(2))
    return both, cases_of_parts({("fog", 1): order[1], ("fog", 5): order[0]})


def test_the_parts_of_a_folder_of_damaged_images() -> None:
    both, cases = in_parts()
    result = evaluate_suite(classifier(), both, cases, Settings(block=16, batch_size=6))
    for part, severity in ((torch.arange(40), 1), (torch.arange(40, 80), 5)):
        (expected,) = evaluate({"m": classifier()}, both.subset(part), metrics=("top1",))
        found = value(result.records, "top1", "fog", severity)
        assert found.value == expected.value and found.operator is None and found.images == 40
    assert not [r for r in result.records if r.corruption is None]
    assert value(result.records, "mca", "all").images == 40


def test_at_most_so_many_images_the_same_in_every_part() -> None:
    both, cases = in_parts()
    few, same = limited(cases, both, 10)
    assert same is both and [len(case.positions) for case in few] == [10, 10]  # type: ignore[arg-type]
    assert torch.equal(both.index[few[0].positions], both.index[few[1].positions])
    on_the_fly, subset = limited(cases_on_the_fly(images(), CONDITIONS), images(), 10)
    assert len(subset) == 10 and len(on_the_fly) == 6
    assert limited(cases, both, 40)[1] is both and limited(cases, both, None)[0] == cases


def test_missing_corruptions_of_a_folder_are_named() -> None:
    with pytest.raises(InputError, match="the images have no snow, frost \\(there: fog\\)"):
        cases_of_parts({("fog", 1): torch.arange(3)}, ["fog", "snow", "frost"])


def test_files_that_cannot_be_read_are_left_out_of_every_condition(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "abc":
        (tmp_path / name).mkdir()
        for i in range(8):
            Image.fromarray(rng.integers(0, 255, (SIDE, SIDE), dtype=np.uint8)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "b" / "3.png").write_bytes(b"no image")
    found = load_images(tmp_path, "all", channels=1, memory_budget=0)
    with pytest.warns(UserWarning, match="1 of 24 images"):
        result = evaluate_suite(
            classifier(), found, cases_on_the_fly(found, CONDITIONS), Settings(block=10, batch_size=4)
        )
    assert {r.images for r in result.records} == {23} and result.images == 24 and result.complete


def test_answers_to_something_else_are_refused(tmp_path: Path) -> None:
    run(tmp_path)
    for settings in ({"seed": 1}, {"block": 20}):
        with pytest.raises(InputError, match="holds answers of another model, or to other images or conditions"):
            run(tmp_path, **settings)
    changed, found = classifier(), images()
    with torch.no_grad():
        changed[2].bias.add_(1)
    with pytest.raises(InputError, match="another model"):
        evaluate_suite(changed, found, cases_on_the_fly(found, CONDITIONS), Settings(folder=tmp_path, block=16))
    (tmp_path / "suite" / "block-00001.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="block-00001.safetensors cannot be read, delete it"):
        run(tmp_path)


def test_bad_settings(tmp_path: Path) -> None:
    for settings in ({"processes": 0}, {"block": 0}, {"batch_size": 0}, {"minutes": 0.0}, {"minutes": math.nan}):
        with pytest.raises(InputError):
            run(**settings)
    unlabelled = MemoryImages(images().pixels)
    with pytest.raises(InputError, match="not all images of 'memory' have labels"):
        evaluate_suite(classifier(), unlabelled, cases_on_the_fly(unlabelled, CONDITIONS))
    with pytest.raises(InputError, match="none twice; got clean, fog/1, fog/1"):
        cases_on_the_fly(images(), [CONDITIONS[0], CONDITIONS[0]])


def test_answers_that_are_no_numbers_are_refused_and_infinite_ones_have_no_calibration() -> None:
    def broken(value: float) -> Callable[[Tensor], Tensor]:
        def model(pixels: Tensor) -> Tensor:
            logits = classifier()(pixels)
            logits[0, -1] = value
            return logits

        return model

    found = images()
    settings = Settings(block=50, batch_size=50)
    with pytest.raises(InputError, match="the classifier gives NaN logits for images in .*: it cannot be measured"):
        evaluate_suite(broken(math.nan), found, cases_on_the_fly(found, CONDITIONS[:1]), settings)
    result = evaluate_suite(broken(math.inf), found, cases_on_the_fly(found, CONDITIONS[:1]), settings)
    assert math.isnan(value(result.records, "ece").value) and 0 < value(result.records, "top1").value < 1


# totals, from answers that are made up


def made_up(cases: Sequence[Case], n: int = 200) -> dict[str, Answers]:
    rng = np.random.default_rng(1)
    ease = rng.normal(size=n)  # of each image, under all conditions: what the clustering is about
    answers = {}
    for i, case in enumerate(cases):
        right = ease + rng.normal(size=n) > i / len(cases) - 0.5
        confidence = torch.from_numpy(rng.uniform(0.3, 1, n).astype(np.float32))
        told = torch.from_numpy(right)
        columns = {"top1": told, "top5": told, "confidence": confidence, "label": torch.zeros(n, dtype=torch.int32)}
        answers[case.label] = Answers(torch.arange(n), columns)
    return answers


def summary(classes: Sequence[str], cases: Sequence[Case], answers: dict[str, Answers], **settings: object) -> Summary:
    n = len(next(iter(answers.values())))
    pixels, labels = torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.arange(n) % len(classes)
    found = MemoryImages(pixels, labels, classes, name="set/test")
    given = {"suite": suite_of(cases), "model": "m", "seed": 0, "data": None, "trained_on": None, "about": {}}
    return Summary(found, cases, answers, **(given | settings))  # type: ignore[arg-type]


def full(names: Sequence[str], clean: bool = True) -> list[Case]:
    return [*([Case()] if clean else []), *(Case(name, s, GaussianNoise(0.1)) for name in names for s in range(1, 6))]


WORDNET = [f"n{i:08}" for i in range(1000)]


@pytest.mark.slow
def test_imagenets_thousand_classes_have_mce() -> None:
    cases = full(COMMON_15)
    answers = made_up(cases)
    records = summary(WORDNET, cases, answers).records()
    errors = {
        name: float(np.mean([1 - answers[f"{name}/{s}"]["top1"].double().mean() for s in range(1, 6)]))
        for name in COMMON_15
    }
    clean = 1 - answers["clean"]["top1"].double().mean().item()
    assert value(records, "mce", "common-15").value == pytest.approx(mean_corruption_error(errors))
    relative = relative_mean_corruption_error(errors, clean)
    assert value(records, "relative_mce", "common-15").value == pytest.approx(relative)
    assert not [r for r in records if r.metric == "unnormalised_mce"]
    per_image = {
        n: np.mean([answers[f"{n}/{s}"]["top1"].double().numpy() for s in range(1, 6)], axis=0) for n in COMMON_15
    }
    own = np.mean([(1 - per_image[n]) / ALEXNET[n] for n in COMMON_15], axis=0)
    error = own.std(ddof=1) / math.sqrt(200)
    assert value(records, "mce", "common-15").stderr == pytest.approx(error)
    lost = answers["clean"]["top1"].double().numpy()
    own = np.mean([(lost - per_image[n]) / (ALEXNET[n] - 0.435) for n in COMMON_15], axis=0)
    assert value(records, "relative_mce", "common-15").stderr == pytest.approx(own.std(ddof=1) / math.sqrt(200))
    without = summary(WORDNET, full(COMMON_15, clean=False), answers).records()
    assert value(without, "mce", "common-15").value == value(records, "mce", "common-15").value
    assert not [r for r in without if r.metric == "relative_mce"]


@pytest.mark.slow
def test_groups_and_the_fifteen_among_the_nineteen() -> None:
    cases = full(COMMON_19)
    answers = made_up(cases)
    records = summary([f"c{i}" for i in range(10)], cases, answers).records()
    accuracy = {
        name: np.mean([answers[f"{name}/{s}"]["top1"].double().numpy() for s in range(1, 6)], axis=0)
        for name in COMMON_19
    }
    wanted = {
        "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
        "common-15": COMMON_15,
        "common-19": COMMON_19,
    }
    for name, members in wanted.items():
        found = value(records, "mca", name)
        own = np.mean([accuracy[member] for member in members], axis=0)
        assert found.value == pytest.approx(own.mean())
        assert found.stderr == pytest.approx(own.std(ddof=1) / math.sqrt(200))
        assert found.stderr > 2 * math.sqrt(found.value * (1 - found.value) / (200 * 5 * len(members)))
        assert value(records, "unnormalised_mce", name).value == pytest.approx(1 - own.mean())
    assert [r.corruption for r in records if r.metric == "mca"] == [
        "noise", "blur", "weather", "digital", "common-15", "common-19",
    ]  # fmt: skip
    assert {r.metric for r in records if r.corruption == "common-19"} == set(
        total_metrics("common-19", cases, summary([f"c{i}" for i in range(10)], cases, answers).images)
    )


def test_a_total_needs_every_condition_and_a_group_all_its_members() -> None:
    cases = full(COMMON_15)
    answers = made_up(cases)
    del answers["fog/3"]
    records = summary(["a", "b"], cases, answers).records()
    assert [r.corruption for r in records if r.metric == "mca"] == ["noise", "blur", "digital"]
    assert value(records, "top1", "fog", 2) and not [r for r in records if (r.corruption, r.severity) == ("fog", None)]
    assert not [r for r in records if r.metric == "top5"]  # of two classes
    some = full(("gaussian_noise", "shot_noise", "snow"))
    assert suite_of(some) == "all"
    records = summary(["a", "b"], some, made_up(some)).records()
    assert [r.corruption for r in records if r.metric == "mca"] == ["all"]


def test_what_was_part_of_the_training_is_told_apart() -> None:
    cases = full(COMMON_15)
    answers = made_up(cases)
    records = summary(
        ["a", "b"], cases, answers, trained_on="Chain(Corruption('fog', 3), GaussianNoise(0.1))"
    ).records()
    share = {n: value(records, "top1", n).value for n in COMMON_15}
    known = ("gaussian_noise", "fog")
    assert value(records, "mca", "seen").value == pytest.approx(sum(share[n] for n in known) / 2)
    rest = [share[n] for n in COMMON_15 if n not in known]
    assert value(records, "mca", "unseen").value == pytest.approx(sum(rest) / 13)
    assert {r.trained_on for r in records} == {"Chain(Corruption('fog', 3), GaussianNoise(0.1))"}
    cases = full(("fog", "defocus_blur"))
    for text in (None, "RandomMask(0.5)", "GaussianBlur(1.0)"):  # which is another blur
        records = summary(["a", "b"], cases, made_up(cases), trained_on=text).records()
        assert not [r for r in records if r.corruption in ("seen", "unseen")]


def test_the_error_of_a_total_where_conditions_rest_on_different_images() -> None:
    """Two conditions without an image in common are independent: their variances add."""
    rng = np.random.default_rng(0)
    first, second = (torch.from_numpy(rng.uniform(size=n) < p) for n, p in ((400, 0.7), (900, 0.2)))

    def answers(told: Tensor, start: int) -> Answers:
        return Answers(torch.arange(len(told)) + start, {"top1": told})

    found = {"a": answers(first, 0), "b": answers(second, 400)}
    p, q = first.double().mean().item(), second.double().mean().item()
    apart = math.sqrt(0.25 * p * (1 - p) / 400 + 0.25 * q * (1 - q) / 900)
    assert clustered_error(found, {"a": 0.5, "b": 0.5}) == pytest.approx(apart, rel=1e-3)
    assert clustered_error(found, {"a": 1.0}) == pytest.approx(math.sqrt(p * (1 - p) / 399))
    same = {"a": answers(first, 0), "b": answers(first, 0)}
    assert clustered_error(same, {"a": 0.5, "b": 0.5}) == pytest.approx(math.sqrt(p * (1 - p) / 399))
    assert clustered_error(same, {"a": 0.5, "b": -0.5}) == pytest.approx(0)


def test_which_classes_are_imagenets() -> None:
    def named(name: str, classes: Sequence[str]) -> MemoryImages:
        return MemoryImages(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.zeros(1).long(), classes, name=name)

    assert is_imagenet(named("val", WORDNET))
    assert is_imagenet(named("imagenet/val", [f"class {i}" for i in range(1000)]))
    assert not is_imagenet(named("val", [f"class {i}" for i in range(1000)]))
    assert not is_imagenet(named("imagenet100/val", WORDNET[:100]))


def test_suites_are_known_by_what_they_hold() -> None:
    assert suite_of(full(COMMON_15)) == "common-15" and suite_of(full(COMMON_19, clean=False)) == "common-19"
    assert suite_of(full(COMMON_15)[:-1]) == "all"
    assert suite_of([Case(), Case("uniform_noise"), Case("nonuniform_noise")]) == "noisy"


def test_parameters_are_part_of_the_protocol_and_a_texts_stand_in_is_what_records_say() -> None:
    class Described:
        def __init__(self, says: str) -> None:
            self.says = says

        def __call__(self, pixels: Tensor, keys: Tensor) -> Tensor:
            return pixels

        def __repr__(self) -> str:
            return "Described()"

        def describe_parameters(self, side: int) -> str:
            return f"{self.says} at {side} px"

    found, records = images(), []
    for says in ("small", "large"):
        cases = cases_on_the_fly(found, [Condition("fog", 1, Described(says))])
        assert cases[1].parameters == f"{says} at {SIDE} px"
        records.append(value(evaluate_suite(classifier(), found, cases).records, "top1", "fog", 1))
    assert records[0].value == records[1].value and records[0].protocol != records[1].protocol
    named = [dataclasses.replace(case, text="Named()" if case.operator else None) for case in cases]
    assert value(evaluate_suite(classifier(), found, named).records, "top1", "fog", 1).operator == "Named()"


def test_keys_reach_a_classifier_that_draws() -> None:
    calls: list[Tensor] = []

    class Drawing(nn.Module):
        takes_keys = True

        def forward(self, pixels: Tensor, keys: Tensor) -> Tensor:
            calls.append(keys)
            return classifier()(pixels)

    found = images(8)
    evaluate_suite(Drawing(), found, cases_on_the_fly(found, CONDITIONS[:1]), Settings(batch_size=8))
    assert len(calls) == 2 and torch.equal(*calls) and len(calls[0].unique()) == 8


def test_modules_are_left_in_the_mode_they_had() -> None:
    model = nn.Sequential(classifier(), nn.Dropout(0.5)).train()
    found = images(8)
    cases = cases_on_the_fly(found, CONDITIONS[:1])
    first = evaluate_suite(model, found, cases)
    assert model.training and first.records == evaluate_suite(classifier(), found, cases).records
