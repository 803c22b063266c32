"""A sentence of "Robustness of Contrastive Learning Models" (2020) below its equation 2: that for the contrastive loss,
which is a mean over the batch already, the mean of eq. 2 over the images averages twice and dampens the penalty.

With N images in a batch, eq. 2 word for word is 1 / N of the sum of eq. 3: the training with lambda is that of eq. 3
with lambda / N.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from weatherproof import random, views
from weatherproof.data import ImageSet, batches
from weatherproof.evaluation.record import make_record, protocol_facts
from weatherproof.modes import eval_mode
from weatherproof.objectives import InputGradient, NTXent
from weatherproof.objectives.input_gradient import contrastive_exact
from weatherproof.spec import component
from weatherproof.studies.lab.claims import Values, Verdict, awaiting_values
from weatherproof.studies.lab.published import sized
from weatherproof.studies.lab.store import Bench, Measured
from weatherproof.studies.lab.study import Cell, Claim, Key, Scale, Study, Wanted
from weatherproof.studies.papers.pretraining.models import Models
from weatherproof.studies.papers.pretraining.scales import DESK_TIKHONOV, PAPER_LABELS, SMOKE, Pretraining
from weatherproof.studies.papers.robustness.tables import CONTRASTIVE, LAMBDAS, regularized

ONCE, TWICE = "eq. 3", "averaged twice"
ACCURACY, LENGTH = "top-1", "length of the gradient by the pixels"
DAMPENED = 0.5  # of what eq. 3 takes off the gradient
_PAIRS, _IMAGES = 32, 256  # images in a batch of the measurement, and in all
_VIEWS = 0x76696577  # "view"


@component
class GradientLength:
    """sqrt(4N R): the root mean square, over the views of batches of 32 images, of the length of the gradient of an
    image's NT-Xent at the embedding by the pixels of its view.

    At the embedding, since a training's projector is not kept.

    Attributes:
        looks: the views' text.
    """

    looks: str
    temperature: float
    seed: int = 0

    @property
    def passes(self) -> int:
        """Of an image through the model: two views, and a gradient by the pixels is two more each."""
        return 6

    def __call__(self, model: nn.Module, images: ImageSet, bench: Bench) -> Measured:
        look, objective, found = views.parse(self.looks), NTXent(self.temperature), list[Tensor]()
        for batch in batches(images, _PAIRS, device=bench.store.device):
            if len(batch.index) < 2:
                continue
            keys = random.fold(random.keys(self.seed, batch.index), _VIEWS)
            both = torch.cat(look(batch.images, keys)[:2]).detach().requires_grad_()
            with eval_mode(model), InputGradient(1.0).differentiable(both):
                loss = objective(*model(both).float().chunk(2))
                found.append(contrastive_exact(loss, both, per_sample=True).detach().cpu())
        facts = protocol_facts(images, None, (self.seed,), bench.data.called(images), views=self.looks)
        value = float(torch.stack(found).mean().sqrt())
        return Measured((make_record("gradient_length", [value], len(images), bench.name, 0, facts, readout=None),))


def _study() -> Study:
    columns = [(weight, form) for weight in LAMBDAS for form in (ONCE, TWICE)]
    claims = (
        *(
            Claim(f"lambda {weight:g}: eq. 3 takes more off the gradient than averaging twice", _takes_more(weight))
            for weight in LAMBDAS
        ),
        Claim(
            "averaged twice the penalty is dampened: at lambda 10 it takes off less than half of what eq. 3 does",
            _dampened(LAMBDAS[-1]),
        ),
    )
    note = (
        "SimCLR with the penalty of eq. 3, a sum over the images of a batch, and with the mean over the images that "
        "eq. 2 has, which is eq. 3 with lambda / N. The length of the gradient is measured on clean test images at the "
        "embedding, the accuracy by a linear readout. The paper says that it confirmed this by experiment and gives "
        "no number."
    )

    def at(settings: Pretraining, seed: int) -> Scale:
        return _at(settings, seed, columns)

    scales = {"smoke": SMOKE, "desk": DESK_TIKHONOV, "paper": PAPER_LABELS}
    title = "Robustness of Contrastive Learning Models: a penalty that is averaged twice"
    return sized("averaging-twice", title, scales, at, claims, note)


def _at(settings: Pretraining, seed: int, columns: list[tuple[float, str]]) -> Scale:
    models, batch = Models(settings, seed), int(settings.plans["simclr"]["batch_size"])
    networks = {_name(weight, form): regularized(CONTRASTIVE, weight / batch if form == TWICE else weight)
                for weight, form in [(0.0, ONCE), *columns]}  # fmt: skip
    measure = GradientLength(settings.views["SimCLR"], float(settings.methods["simclr"]["temperature"]), seed)
    test = models.test(_IMAGES if settings.test_images is None else min(_IMAGES, settings.test_images))
    cells: dict[Key, Cell | None] = {}
    for name, network in networks.items():
        cells[ACCURACY, name] = models.cell(network, "top1")
        about = replace(models.about(network), readout=None)
        cells[LENGTH, name] = Cell(models.pretrained(network), measure, test, about, Wanted("gradient_length"))
    facts: Mapping[str, str] = {**settings.facts(networks.values()), "images in a batch (N)": str(batch)}
    return Scale(settings.name, settings.note, cells, facts)


def _name(weight: float, form: str) -> str:
    return f"lambda {weight:g}, {form}" if weight else "no penalty"


def _reductions(values: Values, weight: float) -> tuple[float, float] | None:
    """What eq. 3 and averaging twice take off the length of the gradient."""
    keys = [(LENGTH, _name(0.0, ONCE)), (LENGTH, _name(weight, ONCE)), (LENGTH, _name(weight, TWICE))]
    if any(key not in values for key in keys):
        return None
    plain, once, twice = (values[key] for key in keys)
    return plain - once, plain - twice


@awaiting_values
def _takes_more(values: Values, weight: float) -> Verdict:
    cuts = _reductions(values, weight)
    return (0, 0, "") if cuts is None else (int(cuts[0] > cuts[1]), 1, f"{cuts[0]:+.3g} against {cuts[1]:+.3g}")


@awaiting_values
def _dampened(values: Values, weight: float) -> Verdict:
    cuts = _reductions(values, weight)
    if cuts is None:
        return 0, 0, ""
    return int(0 < cuts[0] and cuts[1] < DAMPENED * cuts[0]), 1, f"{cuts[1]:+.3g} of {cuts[0]:+.3g}"


STUDIES = {study.name: study for study in (_study(),)}
