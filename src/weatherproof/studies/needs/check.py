"""Everything that a study needs, in a list: `needs`."""

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from weatherproof.cards import Card
from weatherproof.errors import InputError
from weatherproof.progress import phase
from weatherproof.studies.lab.classifiers import NoNumber
from weatherproof.studies.lab.joins import at_seeds
from weatherproof.studies.lab.means import Means
from weatherproof.studies.lab.shares import Share
from weatherproof.studies.lab.store import Recipe
from weatherproof.studies.lab.study import Cell, Study
from weatherproof.studies.needs.data import data_needs
from weatherproof.studies.needs.dry import DryStore, Training, needed, reason
from weatherproof.studies.needs.find import FEWER, MISSING, REFUSED, Need, package_needs
from weatherproof.studies.needs.weights import weight_needs

FITS, TOO_MUCH, ABOUT = "fits", "too much", "about"
_GIB = 2**30
UTILISATION = 0.15  # of a card's peak, an assumption: ResNets of 224 pixels seldom have more, small images have less
_CHECKPOINT = 4  # a checkpoint's weights, gradients' moments and what is written beside it before it is replaced


def needs(
    study: Study, scale: str, *, seed: int, seeds: int = 1, data: str | None, store: Path, means: Means, card: Card,
    share: Share | None = None,
) -> list[Need]:  # fmt: skip
    """What the study needs at this scale: data, weights and packages, which are here or missing; memory, hours and
    disk, counted on made-up images.

    Args:
        data: what ``$DATA`` stands for.
        store: where the models would go.
        means: with which they would be trained.
        share: of the models, with all that these are made of.
    """
    grid = at_seeds(study, scale, seed, seeds).cells
    cells = list(dict.fromkeys(cell for own in grid.values() if own is not None for cell in own.cells))
    if share is not None:
        cells = share.cells(cells)
    models = list(dict.fromkeys(cell.model for cell in cells))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [*data_needs(cells, data), *weight_needs(models, data), *package_needs(cells)]
        dry = DryStore(data=data, means=means, memory=card.memory)
        failures = _Failures()
        tried = _models(study.name, models, dry, failures)
        _measure(cells, tried, dry, failures)
    found += failures.needs(found)
    found += [_memory(list(dry.trainings.values()), card), _hours(dry, card, failures.uncounted, share)]
    return [*found, _disk(list(dry.trainings.values()), store)]


@dataclass
class _Failures:
    """What could not be counted, by the name of its component.

    Attributes:
        refused: input that cannot be used, which a run would refuse too.
        uncounted: anything else: the rest is counted all the same.
    """

    refused: dict[str, str] = field(default_factory=dict)
    uncounted: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def of(self, component: object) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            self.refused.setdefault(str(error), type(component).__name__)
        except Exception as error:  # of whatever a study is made of
            self.uncounted[type(component).__name__] = reason(error)

    def needs(self, found: Sequence[Need]) -> list[Need]:
        """What is refused, but for what other needs say already."""
        texts = [need.text for need in found]
        return [
            Need("run", REFUSED, name, line)
            for line, name in self.refused.items()
            if not any(line in text for text in texts)
        ]


def _models(name: str, models: Sequence[Recipe], dry: DryStore, failures: _Failures) -> set[Recipe]:
    """Those that could be made here, none of them trained."""
    tried: set[Recipe] = set()
    with phase(f"counting {name}", len(models), "models") as meter:
        for model in models:
            with failures.of(model), suppress(NoNumber):
                dry.get(model)
                tried.add(model)
            meter.advance()
    return tried


def _measure(cells: Sequence[Cell], tried: set[Recipe], dry: DryStore, failures: _Failures) -> None:
    """Count all measurements."""
    for model, measure, images in dict.fromkeys((cell.model, cell.measure, cell.data) for cell in cells):
        if model in tried:
            with failures.of(measure):
                dry.look_through(dry.get(model), dry.images(images), getattr(measure, "passes", 1))


def _memory(trainings: Sequence[Training], card: Card) -> Need:
    if not trainings:
        return Need("memory", FITS, card.name, "nothing is trained")
    largest = max(trainings, key=lambda training: training.bytes)
    step, plan = largest.step, largest.plan
    whole = f"{largest.bytes / _GIB:.1f} GiB a GPU in the largest training ({_called(largest)})"
    parted = step.parted if plan.micro_batch else None
    fixed, each = (step.memory.fixed, step.memory.per_image) if parted is None else (parted.fixed, parted.per_image)
    part = "" if parted is None else f" + {plan.micro_batch} in a part x {parted.per_row / 2**20:,.1f} MiB"
    how = f"{fixed / _GIB:.2f} GiB + {largest.share:,} images x {each / 2**20:,.1f} MiB{part}, {plan.precision}"
    if largest.bytes <= card.memory:
        return Need("memory", FITS, card.name, f"{whole}: {how}")
    return Need("memory", TOO_MUCH, card.name, f"{whole}: {how}; {' or '.join(_smaller(largest, card))}")


def _smaller(training: Training, card: Card) -> list[str]:
    """What makes it fit."""
    step, plan, ways = training.step, training.plan, []
    if step.recomputed is not None and (now := needed(step, step.recomputed, training.share)) <= card.memory:
        ways.append(f"--checkpoint-gradients ({now / _GIB:.1f} GiB, the same numbers)")
    rows = training.share // 2  # as many as there are images are no part, whatever views each of them has
    while rows > 1 and needed(step, step.memory, training.share, rows) > card.memory:
        rows //= 2
    if rows and not step.whole and needed(step, step.memory, training.share, rows) <= card.memory:
        near = ", batch normalisation over as many" if step.normalised else ", the same numbers"
        ways.append(f"--micro-batch {rows} ({needed(step, step.memory, training.share, rows) / _GIB:.1f} GiB{near})")
    devices = plan.devices
    while devices < plan.batch_size and needed(step, step.memory, plan.batch_size // devices) > card.memory:
        devices *= 2
    if plan.batch_size % devices == 0:
        now = needed(step, step.memory, plan.batch_size // devices)
        ways.append(f"--devices {devices} ({now / _GIB:.1f} GiB on each)")
    return ways or [f"no way to {card.memory / _GIB:.0f} GiB: {step.whole or 'take a larger card'}"]


def _called(training: Training) -> str:
    recipe = training.recipe
    method = getattr(recipe, "method", None)
    return f"{type(recipe).__name__}{f' {method}' if method else ''}, batch {training.plan.batch_size:,}"


def _hours(dry: DryStore, card: Card, failed: Mapping[str, str], share: Share | None) -> Need:
    trainings, devices = list(dry.trainings.values()), dry.means.devices if isinstance(dry.means, Means) else 1
    trained = sum(hours(one.flops, one.plan.precision, card) for one in trainings) / devices
    read = hours(sum(dry.readouts.values()) + dry.measurements, "32-true", card)
    text = "" if share is None else f"share {share}, with all that its models are made of: "
    text += (
        f"{_time(trained + read)} on {f'{devices} x ' if devices > 1 else ''}{card.name}: {len(trainings)} trainings "
        f"{_time(trained)} ({sum(one.flops for one in trainings):.1e} operations), readouts and measurements "
        f"{_time(read)}, at {UTILISATION:.0%} of the card's peak, an assumption; loading of images is not in it"
    )
    for name, seconds in dry.processor.items():
        text += f"; {name} beside it: {_time(seconds / 3600)} of a processor like this one, shared by its cores"
    if failed:
        text += f"; not counted: {', '.join(f'{name} ({why})' for name, why in failed.items())}"
    return Need("hours", ABOUT, card.name, text)


def hours(operations: float, precision: str, card: Card) -> float:
    """How long so many operations, most of them convolutions, take at `UTILISATION`."""
    peak = (card.tf32 or card.full) if precision == "32-true" else card.half
    return operations / (UTILISATION * peak) / 3600


def _time(hours: float) -> str:
    return f"{hours * 60:.1f} minutes" if hours < 1 else f"{hours:,.1f} hours" if hours < 100 else f"{hours:,.0f} hours"


def _disk(trainings: Sequence[Training], store: Path) -> Need:
    each = [training.step.weights for training in trainings if training.times == 1]
    wanted = sum(each) * 2 + max(each, default=0) * _CHECKPOINT
    there = next(folder for folder in (store.absolute(), *store.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    state = FITS if wanted <= free else TOO_MUCH
    return Need(
        "disk", state, str(store),
        f"{wanted / _GIB:.2f} GiB for {len(each)} models with their checkpoints, {free / _GIB:,.1f} GiB are free",
    )  # fmt: skip


def lacks(found: Sequence[Need]) -> list[Need]:
    """What stands in the way."""
    return [need for need in found if need.state in (MISSING, REFUSED, TOO_MUCH)]


def fewer(found: Sequence[Need]) -> list[Need]:
    """What does not stand in the way, and makes other numbers than the published ones."""
    return [need for need in found if need.state == FEWER]
