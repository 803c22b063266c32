"""Studies of pretraining: the published numbers, what columns share, and what one training is measured by."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from programs import ROOT

from weatherproof.data import MemoryImages
from weatherproof.operators import COMMON_15
from weatherproof.studies import STUDIES, Store
from weatherproof.studies.lab.classifiers import Labelled
from weatherproof.studies.lab.measures import Suite
from weatherproof.studies.lab.recipes import stretched
from weatherproof.studies.papers.pretraining.models import CALIBRATION, ERROR, SUITE, TOP1, Models
from weatherproof.studies.papers.pretraining.scales import SMOKE, Network
from weatherproof.training import Plan
from weatherproof.training.plan import Course

NAMES = ("urrl-table-1", "urrl-table-4", "label-efficiency-table-1", "layer-wise", "tikhonov-table-2")
CPU = torch.device("cpu")


def test_published_numbers_spot_checks() -> None:
    one, four, few, _, tikhonov = (STUDIES[name].published for name in NAMES)
    assert one[TOP1, "URRL"]["value"] == 0.6847 and one[ERROR, "AugMix (MoCo)"]["value"] == 0.9018
    assert four["PIRL", ERROR]["value"] == 1.0315 and four["InstDis w/ URRL", CALIBRATION]["value"] == 0.183
    assert few["1%", "Supervised Model"]["value"] == 0.3092 and few["100%", "Fine-Tuned"]["value"] == 0.7705
    assert tikhonov["lambda 1", "Contrastive Model"]["value"] == 0.6776 and len(tikhonov) == 8
    assert all(
        tikhonov["lambda 0", column] == few["100%", column] for column in ("Supervised Model", "Contrastive Model")
    )


@pytest.mark.parametrize("name", NAMES)
def test_columns_of_a_desk_study_share_everything_but_what_is_compared(name: str) -> None:
    """The same images, steps and linear evaluation: pretrainings differ by method only where batches must."""
    models = {cell.model for own in STUDIES[name].at("desk").cells.values() for cell in own.cells}
    starts = {model.start for model in models if hasattr(model.start, "plan")}
    assert starts
    assert len({(own.plan.epochs, own.plan.batch_size, own.plan.precision, own.data) for own in starts}) == 1


def test_with_fewer_labels_as_many_steps_or_as_many_epochs(tmp_path: Path) -> None:
    store = Store(tmp_path, data=None, device=CPU)

    def epochs(same_steps: bool) -> float:
        scale = replace(SMOKE, same_steps=same_steps, supervised_plan={"epochs": 3, "batch_size": 4, "lr": 0.1})
        made = Models(scale, 0).supervised(Network("supervised", labels=0.1))
        assert isinstance(made, Labelled)
        return made.course(store).epochs

    assert epochs(same_steps=False) == 3
    # of 64 images a tenth of the labels is one of every class, so 10: 2 whole batches instead of 16
    assert epochs(same_steps=True) == 3 * 16 / 2


def test_as_many_steps_of_fewer_labels_are_the_same_course() -> None:
    images, few = MemoryImages(torch.zeros(100, 1, 2, 2, dtype=torch.uint8)), torch.arange(10)
    plan = Plan(30, 5, 0.1, schedule="step", milestones=(10, 20), warmup_epochs=3, drop_last=False, accumulate=4)
    longer = stretched(plan, images, few)
    assert (longer.epochs, longer.milestones, longer.warmup_epochs) == (150, (50, 100), 15)  # 5 steps an epoch; now 1
    course, other = Course(plan, 100), Course(longer, 10)
    assert course.steps == other.steps and [course.lr(t) for t in range(150)] == [other.lr(t) for t in range(150)]


def test_facts_name_the_settings() -> None:
    facts = STUDIES["label-efficiency-table-1"].at("smoke").facts
    assert facts["views, SimCLR"] == "`SimCLR(16)`"
    assert facts["supervised"].startswith("epochs 1, ") and facts["supervised"].endswith("as many steps")


def test_the_page_on_views_says_which_table_has_them() -> None:
    page = (ROOT / "docs/views.md").read_text("utf-8")
    text, number = re.findall(r"`(URRL\(.*\))` is the setting of URRL's Table (\d)", page)[0]
    facts = STUDIES[f"urrl-table-{number}"].at("paper").facts
    assert facts["views, URRL"] == f"`{text}`".replace('"', "'").replace("'all', 224", "'all', size=224")


@pytest.mark.slow
def test_robustness_is_measured_under_the_whole_benchmark(tmp_path: Path) -> None:
    store = Store(tmp_path, data=None, device=CPU)
    cell = Models(SMOKE, 0).cell(Network("supervised"), "corruption_error")
    assert isinstance(cell.measure, Suite) and cell.measure.name == SUITE
    found, number = store.measured(cell.model, cell.measure, cell.data, name="it"), cell.number(store)
    errors = [
        r.value for r in found.records if r.metric == "error" and r.corruption in COMMON_15 and r.severity is None
    ]
    assert number is not None and len(errors) == 15 and number.value == pytest.approx(sum(errors) / 15)
