"""Time and money of a hardening at scale, as a formula.

With N images, E epochs, a batch of B over G GPUs (b = B / G on each), an encoder of W flops an image and step and P
weights, embeddings of D numbers, peak flop/s F (F32 in float32) of which u is reached:

    network     b (W or W') / (u F)                   W' with a forward pass more, where a batch must go in parts
    operator    b c (2 x 4 x 3 S^2) / M               c copies of an image of S x S, memory bandwidth M
    decoding    b / (k d)                             k cores for each GPU, d images/s and core
    reading     B s / R                               s bytes an image, storage R bytes/s in all
    loss        f B^2 D / (u F32)                     on every GPU, for the whole batch
    gather      (G - 1) / G  4 x 4 B D / n + 3 l      student and teacher forward, a sum back; network n bytes/s
    all-reduce  2 (G - 1) / G  4 P / n                less what the backward pass hides
    step        max(network + operator, decoding, reading) + loss + gather + all-reduce
    checkpoint  12 P / w  every K seconds             weights and Adam's two states, by one process
    order       o N       every epoch                 in every process

    time  = E (N / B step (1 + checkpoint / K) + order)        money = G time price
"""

from collections.abc import Iterator
from dataclasses import dataclass

from weatherproof.cards import Card
from weatherproof.verbs.doctor.counting import Counted, Loss
from weatherproof.verbs.doctor.terms import Terms

FLOAT = 4  # bytes
GATHERS = 3  # student, teacher, and the sums of the backward pass, which pass twice: 4 x B D numbers
CHECKPOINT = 12  # bytes of a weight: itself and Adam's two states


@dataclass(frozen=True)
class Scale:
    """What the user wants, and has.

    Attributes:
        pixels: of an image at the size.
        mixed: whether what the backward pass needs is kept in 16 bits.
        storage: bytes/s for all GPUs together; None: as many as it takes.
    """

    images: float
    epochs: float
    batch: int
    gpus: int
    pixels: int
    peak: float
    utilisation: float
    cores_per_gpu: float
    storage: float | None
    checkpoint_seconds: float
    mixed: bool = True

    def fits(self, card: Card, counted: Counted, loss: Loss) -> float:
        """Images of which a GPU holds what the backward pass needs; in mixed precision that is half of the bytes."""
        free = card.memory - counted.fixed_bytes - FLOAT * loss.matrices * self.batch**2
        return max(0.0, free) / (counted.image_bytes / (2 if self.mixed else 1))


@dataclass(frozen=True)
class Course:
    """The formula, evaluated: seconds of a step by what they are spent on, and of the whole.

    Attributes:
        exposed: of the all-reduce, what the backward pass does not hide.
    """

    network: float
    operator: float
    decoding: float
    reading: float
    loss: float
    gather: float
    all_reduce: float
    exposed: float
    checkpoint: float
    order: float
    steps: float
    seconds: float

    @property
    def fed(self) -> float:
        """Seconds until the GPUs have done a step's images, or have got them."""
        return max(self.network + self.operator, self.decoding, self.reading)

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return self.fed + self.loss + self.gather + self.exposed


def evaluate(scale: Scale, card: Card, counted: Counted, loss: Loss, terms: Terms) -> Course:
    """The formula above."""
    own, world = scale.batch / scale.gpus, scale.gpus
    reached = scale.utilisation * scale.peak
    ring = (world - 1) / world
    again = counted.forward if own > scale.fits(card, counted, loss) else 0.0
    network = own * (counted.step + again) / reached
    all_reduce = 2 * ring * FLOAT * counted.parameters / terms.network if world > 1 else 0.0
    gathered = 4 * FLOAT * scale.batch * counted.features
    course = Course(
        network=network,
        operator=own * terms.copies * 2 * FLOAT * 3 * scale.pixels / card.bandwidth,
        decoding=own / (scale.cores_per_gpu * terms.decoded),
        reading=0.0 if scale.storage is None else scale.batch * terms.image_bytes / scale.storage,
        loss=loss.flops * scale.batch**2 * counted.features / (scale.utilisation * card.full),
        gather=ring * gathered / terms.network + GATHERS * terms.latency if world > 1 else 0.0,
        all_reduce=all_reduce,
        exposed=max(0.0, all_reduce - own * counted.backward / reached),
        checkpoint=CHECKPOINT * counted.parameters / terms.disk,
        order=terms.order_seconds * scale.images,
        steps=scale.epochs * scale.images / scale.batch,
        seconds=0.0,
    )
    stopped = 1 + course.checkpoint / scale.checkpoint_seconds
    seconds = course.steps * course.step * stopped + scale.epochs * course.order
    return Course(**{**course.__dict__, "seconds": seconds})


@dataclass(frozen=True)
class Limit:
    """Something that ends before the rest.

    Attributes:
        used: of what there is, above 1: it is exceeded, and the rest waits for it or fails.
        where: where that begins, in words.
        then: what to do.
    """

    what: str
    used: float
    where: str
    then: str


def limits(scale: Scale, card: Card, counted: Counted, loss: Loss, terms: Terms, course: Course) -> list[Limit]:
    """What ends first, the most used at the top."""
    found = _limits(scale, card, counted, loss, terms, course)
    return sorted(found, key=lambda limit: limit.used, reverse=True)


def _limits(scale: Scale, card: Card, counted: Counted, loss: Loss, terms: Terms, course: Course) -> Iterator[Limit]:
    own = scale.batch / scale.gpus
    busy = course.network + course.operator
    rate = own / busy  # images/s that a GPU takes
    cores = rate / terms.decoded
    fed = scale.cores_per_gpu / cores * scale.gpus
    yield Limit(
        "decoding", course.decoding / busy,
        f"a GPU takes {rate:,.0f} images/s, which {cores:,.1f} cores decode: beyond "
        f"{fed:{',.0f' if fed >= 100 else '.3g'}} GPUs on these {scale.cores_per_gpu * scale.gpus:,.0f} cores",
        "store images at the size that is used (shard --size), add cores or machines that only decode, or take fewer "
        "GPUs",
    )  # fmt: skip
    needed = min(rate, own / course.fed) * scale.gpus * terms.image_bytes
    if scale.storage is not None:
        yield Limit(
            "reading", course.reading / busy,
            f"{needed / 1e9:,.2f} GB/s are read: beyond {scale.storage / (rate * terms.image_bytes):,.3g} GPUs on "
            f"{scale.storage / 1e9:g} GB/s",
            "copy shards to the machines' own disks, or store them smaller (shard --size)",
        )  # fmt: skip
    whole = course.network + course.operator
    if scale.gpus > 1:
        most = scale.batch * (whole / (course.loss + course.gather))
        yield Limit(
            "gather", (course.loss + course.gather) / whole,
            f"loss and gather take {(course.loss + course.gather) / course.step:.1%} of a step, and as long as the "
            f"network at a batch of {most:,.0f} on {scale.gpus:,} GPUs",
            "a smaller batch, or fewer images gathered: negatives of the process alone are a loss of another kind",
        )  # fmt: skip
        reach = own * counted.backward / (scale.utilisation * scale.peak)
        yield Limit(
            "all-reduce", course.all_reduce / reach,
            f"{FLOAT * counted.parameters / 1e9:,.2f} GB of gradients pass while {own:,.0f} images go back: beyond "
            f"{scale.gpus * reach / course.all_reduce:,.0f} GPUs at this batch they are waited for",
            "a larger batch, --accumulate, or an adapter such as LoRA(16), whose gradients are a hundredth",
        )  # fmt: skip
    matrix = FLOAT * loss.matrices * scale.batch**2
    fits = max(0.0, (card.memory - counted.fixed_bytes) / (FLOAT * loss.matrices)) ** 0.5
    yield Limit(
        "matrix", matrix / max(1.0, card.memory - counted.fixed_bytes),
        f"{loss.matrices:.2g} matrices of {scale.batch:,} x {scale.batch:,} are {matrix / 1e9:,.2f} GB on every GPU; "
        f"a batch of {fits:,.0f} would fill it",
        "NTXent() as objective holds no matrix; or a smaller batch",
    )  # fmt: skip
    room = scale.fits(card, counted, loss)
    yield Limit(
        "memory", own / max(room, 1e-9),
        f"weights, gradients and Adam are {counted.fixed_bytes / 1e9:,.2f} GB of {card.memory / 1e9:,.0f}, an image "
        f"{counted.image_bytes / (2e6 if scale.mixed else 1e6):,.0f} MB: {room:,.0f} images fit at a time, and "
        f"{own:,.0f} are on each GPU",
        f"--micro-batch {max(1, int(room))} (the loss stays that of the whole batch; its time is counted in)"
        if room >= 1 else "--adapt 'LoRA(16)', --checkpoint-gradients, or a larger card",
    )  # fmt: skip
    yield Limit(
        "checkpoint", course.checkpoint / scale.checkpoint_seconds,
        f"{CHECKPOINT * counted.parameters / 1e9:,.2f} GB every {scale.checkpoint_seconds:g} s take "
        f"{course.checkpoint:,.1f} s each, in which all GPUs wait",
        f"--checkpoint-seconds {max(scale.checkpoint_seconds, round(100 * course.checkpoint)):.0f}, and a quicker disk",
    )  # fmt: skip
    planning = course.order / max(1e-9, course.seconds / max(scale.epochs, 1e-9))
    memory = terms.order_bytes * scale.images
    yield Limit(
        "order", planning,
        f"an epoch's order takes {course.order:,.1f} s and {memory / 1e9:,.2f} GB in every process before it begins",
        "train on parts of the images one after the other: each a pattern of shards",
    )  # fmt: skip
