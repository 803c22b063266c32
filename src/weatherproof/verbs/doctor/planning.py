"""`doctor --plan`: the formula with a user's numbers, and in words."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from weatherproof.cards import Card, card_of
from weatherproof.encoders import Encoder
from weatherproof.encoders.own import IN_HAND
from weatherproof.errors import InputError
from weatherproof.processor import Precision
from weatherproof.progress import phase
from weatherproof.sizes import GivenSize, sides, size_of
from weatherproof.verbs.doctor.counting import Counted, Loss, counted, counted_loss
from weatherproof.verbs.doctor.formula import Course, Limit, Scale, evaluate, limits
from weatherproof.verbs.doctor.outcome import Diagnosis, Finding, Section, bytes_words
from weatherproof.verbs.doctor.terms import Terms, terms_of

NEAR = 1.0  # of what there is


@dataclass(frozen=True)
class Wishes:
    """What the user asks of the plan, in the words of the command line."""

    encoder: str
    size: GivenSize
    images: float
    epochs: float
    batch_size: int
    operator: str
    gpus: int
    gpu: str
    utilisation: float
    price: float | None
    cores_per_gpu: float
    network: float | None
    storage: float | None
    checkpoint_seconds: float
    precision: Precision

    @property
    def pixels(self) -> int:
        """Of an image."""
        given = size_of(self.size)
        assert given is not None
        return math.prod(sides(given))

    def scale(self, card: Card) -> Scale:
        """What the formula takes of it."""
        return Scale(
            images=self.images, epochs=self.epochs, batch=self.batch_size, gpus=self.gpus, pixels=self.pixels,
            peak=card.peak(self.precision), utilisation=self.utilisation, cores_per_gpu=self.cores_per_gpu,
            storage=None if self.storage is None else self.storage * 1e9, checkpoint_seconds=self.checkpoint_seconds,
            mixed=self.precision != "32-true",
        )  # fmt: skip


def name_of(encoder: str | Path | nn.Module) -> str:
    """What the plan calls an encoder."""
    if isinstance(encoder, Encoder):
        return encoder.name
    return IN_HAND + type(encoder).__qualname__ if isinstance(encoder, nn.Module) else str(encoder)


def planned(
    encoder: str | Path | nn.Module, wishes: Wishes, measured: str | Path | None, seconds: float, seed: int
) -> Diagnosis:
    """The plan of a hardening of the encoder. Raises `InputError` for wishes that do not go together."""
    if wishes.batch_size < wishes.gpus or wishes.batch_size > wishes.images:
        raise InputError(
            f"batch_size {wishes.batch_size:,} cannot be shared by {wishes.gpus:,} GPUs, or is more than the "
            f"{wishes.images:,.0f} images"
        )
    card = card_of(wishes.gpu)
    scale = wishes.scale(card)
    with phase("counting flops, measuring terms", 2, "parts") as meter:
        of_encoder, of_loss = counted(encoder, wishes.size), counted_loss()
        meter.advance()
        terms = terms_of(measured, wishes.network, wishes.operator, wishes.size, seconds, seed)
        meter.advance()
    return diagnosis(wishes, card, scale, of_encoder, of_loss, terms)


def diagnosis(wishes: Wishes, card: Card, scale: Scale, encoder: Counted, loss: Loss, terms: Terms) -> Diagnosis:
    """The formula's results as numbers and in words."""
    course = evaluate(scale, card, encoder, loss, terms)
    ends = limits(scale, card, encoder, loss, terms, course)
    sections = [
        Section("Plan", list(_wishes(wishes, scale, encoder, card))),
        Section("Terms", list(_terms(terms))),
        Section("A step", list(_step(course))),
        Section("In all", list(_whole(wishes, course))),
        Section("What ends first", [_limit(one) for one in ends]),
    ]
    numbers = {
        "wishes": asdict(wishes), "card": asdict(card), "counted": {**asdict(encoder), "step": encoder.step},
        "loss": asdict(loss), "terms": asdict(terms), "course": {**asdict(course), "step": course.step},
        "limits": [asdict(one) for one in ends],
        "cost": None if wishes.price is None else money(wishes, course),
    }  # fmt: skip
    return Diagnosis("plan", sections, {"plan": numbers})


def money(wishes: Wishes, course: Course) -> float:
    """In the user's currency."""
    return wishes.gpus * course.seconds / 3600 * (wishes.price or 0.0)


def _wishes(wishes: Wishes, scale: Scale, encoder: Counted, card: Card) -> Iterator[Finding]:
    yield Finding(
        "training", f"{wishes.encoder} at {wishes.size}, {wishes.images:,.0f} images, {wishes.epochs:g} epoch(s), "
        f"batch {wishes.batch_size:,}"
    )  # fmt: skip
    yield Finding(
        "encoder", f"{encoder.parameters / 1e6:,.1f} M weights, {encoder.features:,} features, "
        f"{encoder.step / 1e9:,.1f} Gflop an image and step (counted: forward {encoder.forward / 1e9:,.1f}, backward "
        f"{encoder.backward / 1e9:,.1f}, the teacher's forward once more)"
    )  # fmt: skip
    yield Finding(
        "GPUs", f"{wishes.gpus:,} of {card.name}, {scale.peak / 1e12:,.0f} Tflop/s in {wishes.precision} "
        f"({card.source}), of which {wishes.utilisation:.0%} are reached (assumed)"
    )  # fmt: skip


def _terms(terms: Terms) -> Iterator[Finding]:
    yield Finding("decoding", f"{terms.decoded:,.0f} images/s and core ({terms.sources['decoded']})")
    yield Finding("image", f"{bytes_words(terms.image_bytes)} as stored")
    yield Finding("operator", f"{terms.copies:,.0f} copies of an image, with crop and flip ({terms.sources['copies']})")
    yield Finding("network", f"{terms.network / 1e9:,.3g} GB/s a GPU ({terms.sources['network']})")
    yield Finding("disk", f"{terms.disk / 1e9:,.2g} GB/s ({terms.sources['disk']})")
    yield Finding("order", f"{terms.order_seconds * 1e6:,.2f} s a million images ({terms.sources['order_seconds']})")


def _step(course: Course) -> Iterator[Finding]:
    waited = course.fed - course.network - course.operator
    rows = (
        ("network", course.network, ""), ("operator", course.operator, ""),
        ("waiting", waited, "for images that are decoded or read" if waited > 0 else ""),
        ("loss", course.loss, ""), ("gather", course.gather, ""),
        ("all-reduce", course.exposed, f"of {course.all_reduce * 1e3:,.1f} ms, the rest goes on meanwhile"),
    )  # fmt: skip
    for what, seconds, more in rows:
        yield Finding(what, f"{seconds * 1e3:,.2f} ms, {seconds / course.step:.1%}{more and ', '}{more}")
    yield Finding("step", f"{course.step * 1e3:,.1f} ms")


def _whole(wishes: Wishes, course: Course) -> Iterator[Finding]:
    hours = course.seconds / 3600
    yield Finding("steps", f"{course.steps:,.0f}, {wishes.batch_size / course.step:,.0f} images/s")
    yield Finding("time", f"{duration(course.seconds)}, {hours * wishes.gpus:,.1f} GPU hours")
    if wishes.price is not None:
        yield Finding("money", f"{money(wishes, course):,.2f} at {wishes.price:g} a GPU hour, as you say")


def duration(seconds: float) -> str:
    """Seconds as a person says them: "3.2 hours"."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} seconds"


def _limit(limit: Limit) -> Finding:
    beyond = limit.used > NEAR
    return Finding(
        limit.what, f"{limit.used:.2g} of what there is; {limit.where}", "problem" if beyond else "ok",
        limit.then if beyond else "",
    )  # fmt: skip
