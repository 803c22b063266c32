"""What is measured of models, as components. Their seeds are those of the damage: all models meet the same images."""

import math
from collections.abc import Collection, Sequence

from torch import nn

from weatherproof import attacks, operators
from weatherproof.attacks.described import STEPS, facts_of
from weatherproof.benchmark import GROUP_OF, SEVERITIES
from weatherproof.data import CorruptedImages, ImageSet
from weatherproof.encoders import Encoder, map_place
from weatherproof.errors import InputError
from weatherproof.evaluation import (
    Case,
    Record,
    cases_of_parts,
    cases_on_the_fly,
    effective_rank,
    embedding_deviation,
    evaluate,
    evaluate_suite,
    readings,
    robust_accuracy,
    run_attacks,
    sanity_certificate,
)
from weatherproof.evaluation.attacks.perturbation import curve_records, levels_of
from weatherproof.evaluation.attacks.robust import accuracy_records
from weatherproof.evaluation.embeddings import embedded
from weatherproof.evaluation.engine.run import Settings
from weatherproof.evaluation.record import make_record, protocol_facts
from weatherproof.operators.suites import Condition, suite
from weatherproof.protocols import Attack
from weatherproof.spec import component
from weatherproof.studies.lab.store import Bench, Measured, Recipe


@component
class Damaged:
    """Metrics of `evaluate` under a damage, all of the same passes."""

    operator: str
    realizations: int
    metrics: tuple[str, ...] = ("top1",)
    seed: int = 0

    @property
    def passes(self) -> int:
        """Of an image through the model."""
        return self.realizations

    def __call__(self, model: nn.Module, images: ImageSet, bench: Bench) -> Measured:
        records = evaluate(
            {bench.name: model}, images, operator=operators.parse(self.operator), realizations=self.realizations,
            seed=self.seed, metrics=self.metrics, device=bench.store.device, batch_size=256,
        )  # fmt: skip
        return Measured(tuple(records))


@component
class Likeness:
    """How near an encoder's embeddings under a damage are to those that its teacher gives for the clean images, and how
    many positions of its last map find themselves in the teacher's."""

    teacher: Recipe
    operator: str
    seed: int = 0

    def __call__(self, model: nn.Module, images: ImageSet, bench: Bench) -> Measured:
        teacher, damage = bench.store.encoder(self.teacher), operators.parse(self.operator)
        assert isinstance(model, Encoder)
        asked = readings.Likeness((bench.name,), teacher, [damage], map_place(teacher, images.image_size))
        settings = Settings(seed=self.seed, device=bench.store.device)
        found = readings.read(
            {bench.name: model}, [asked], images, [damage], settings, realizations=1, trained_on={}
        )  # fmt: skip
        return Measured(tuple(found.records()))


@component
class Spread:
    """How spread out an encoder's embeddings of the images are: whether they have collapsed."""

    def __call__(self, model: nn.Module, images: ImageSet, bench: Bench) -> Measured:
        found = embedded(model, images, Settings(device=bench.store.device), bench.name)["embedding"]
        facts = protocol_facts(images, None, (), None)
        values = {"effective_rank": effective_rank(found), "embedding_deviation": embedding_deviation(found)}
        records = (make_record(name, [value], len(found), bench.name, 0, facts) for name, value in values.items())
        return Measured(tuple(records))


@component
class Clean:
    """Everything that `evaluate_suite` says of clean images."""

    seed: int = 0

    def __call__(self, model: nn.Module, images: ImageSet, bench: Bench) -> Measured:
        return measured_suite(model, images, [Case()], bench, name="clean", seed=self.seed)


@component
class Suite:
    """Everything that `evaluate_suite` says of common corruptions: made on the fly, or those of images that lie
    corrupted in files.

    Attributes:
        name: of `operators.suites.suite`; with fewer severities or corruptions its records are called "all".
        group: its corruptions alone; None: all.
    """

    name: str
    severities: tuple[int, ...] = SEVERITIES
    seed: int = 0
    group: str | None = None

    @property
    def conditions(self) -> list[Condition]:
        """Each corruption at each severity."""
        return [
            own
            for own in suite(self.name)
            if own.severity in self.severities and self.group in (None, GROUP_OF.get(own.corruption))
        ]

    @property
    def passes(self) -> int:
        """Of an image through the model."""
        return len(self.conditions)

    def __call__(self, model: nn.Module, images: ImageSet, bench: Bench) -> Measured:
        cases = (
            self._of_files(images) if isinstance(images, CorruptedImages) else cases_on_the_fly(images, self.conditions)
        )
        return measured_suite(model, images, cases, bench, name=self.called, seed=self.seed)

    def check(self, images: ImageSet) -> None:
        """Raises `InputError` where images that lie corrupted in files lack one of its sets."""
        if isinstance(images, CorruptedImages) and (said := self.lacking(images.parts)):
            raise InputError(f"{images.name} {said}: add them, or move the folder away to have all made on the fly")

    def lacking(self, parts: Collection[tuple[str, int]]) -> str:
        """Which of its sets are not among these, in words; "": none."""
        wanted = [(own.corruption, own.severity) for own in self.conditions]
        missing = [f"{name}/{severity}" for name, severity in wanted if (name, severity) not in parts]
        names = ", ".join([*missing[:5], *(["..."] if len(missing) > 5 else [])])
        return f"lacks {len(missing)} of {len(wanted)} sets of corrupted images ({names})" if missing else ""

    def _of_files(self, images: CorruptedImages) -> list[Case]:
        wanted = [(own.corruption, own.severity) for own in self.conditions]
        parts = {part: positions for part, positions in images.parts.items() if part in wanted}
        return cases_of_parts(parts, list(dict.fromkeys(name for name, _ in wanted)))

    @property
    def called(self) -> str:
        """What its records call the whole."""
        return self.name if self.severities == SEVERITIES and self.group is None else "all"


@component
class Curve:
    """Errors under an attack against the size of the perturbation, and the attack's certificate.

    Attributes:
        attack: the eps of its ball is that of the certificate; the curve has every size of its norm's grid.
        certificate_images: how many images the certificate is tried on.
    """

    attack: Attack
    certificate_images: int
    seed: int = 0

    @property
    def passes(self) -> int:
        """Of an image through the model, at least."""
        return len(facts_of(self.attack).sweep(levels_of(self.attack))) * passes_of(self.attack)

    def __call__(self, model: nn.Module, images: ImageSet, bench: Bench) -> Measured:
        levels = levels_of(self.attack)
        balls = facts_of(self.attack).sweep(levels)
        result = run_attacks(
            {bench.name: model}, images, balls, Settings(self.seed, bench.store.device, folder=bench.folder)
        )
        records = [
            *accuracy_records(result, [bench.name], [] if facts_of(self.attack).smallest else balls),
            *curve_records(result, [bench.name], self.attack, levels),
        ]
        return certified(records, model, images, self.attack, self.certificate_images, self.seed, bench)


@component
class Attacked:
    """Accuracy under an attack, and the attack's certificate.

    Attributes:
        attack: its text.
        certificate_images: how many images the certificate is tried on.
    """

    attack: str
    certificate_images: int
    seed: int = 0

    @property
    def passes(self) -> int:
        """Of an image through the model, at least."""
        return passes_of(attacks.parse(self.attack))

    def __call__(self, model: nn.Module, images: ImageSet, bench: Bench) -> Measured:
        attack = attacks.parse(self.attack)
        _, record = robust_accuracy({bench.name: model}, images, attack, Settings(self.seed, bench.store.device))
        return certified([record], model, images, attack, self.certificate_images, self.seed, bench)

    @property
    def eps(self) -> float | None:
        """The size of its ball, which its record calls the severity."""
        return facts_of(attacks.parse(self.attack)).eps


def passes_of(attack: Attack) -> int:
    """How many forward passes an attack is as long as: three for each step that its settings tell of (a gradient by the
    pixels is two)."""
    return 3 * math.prod(int(getattr(attack, name)) for name in (*STEPS, "restarts") if hasattr(attack, name))


def measured_suite(
    model: nn.Module, images: ImageSet, cases: list[Case], bench: Bench, *, name: str | None, seed: int
) -> Measured:
    """What `evaluate_suite` says of these conditions."""
    found = evaluate_suite(
        model, images, cases, Settings(seed, bench.store.device), suite=name, model=bench.name,
        data=bench.data.called(images),
    )  # fmt: skip
    return Measured(found.records)


def certified(
    records: Sequence[Record], model: nn.Module, images: ImageSet, attack: Attack, most: int, seed: int, bench: Bench
) -> Measured:
    """Records under an attack with its certificate, on at most so many of the images."""
    limit = min(most, len(images))
    checks = sanity_certificate(
        model, images, attack, name=bench.name, limit=limit, seed=seed, device=bench.store.device
    )
    return Measured(tuple(records), {"attack": repr(attack), "images": limit, "checks": checks})
