"""What was promised of clean images, and whether it was kept, as a file of a run folder."""

from dataclasses import dataclass

from weatherproof.reports.parts import PartFile


@dataclass(frozen=True)
class Promise:
    """The share of the original's clean performance that was to be kept.

    Attributes:
        asked, reached: in [0, 1]; `reached` of the encoder that the run has saved.
        images: clean validation images that `reached` rests on.
        kept: whether it is.
        best: the most that was reached at any look while it trained; None: not known.
        epoch: after which epoch the saved encoder is the one; None: not known.
        measure: what the numbers are, in words.
    """

    asked: float
    reached: float
    images: int
    kept: bool
    best: float | None = None
    epoch: int | None = None
    measure: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.asked <= 1 or not -1 <= self.reached <= 1e3 or self.images < 0:
            raise ValueError("asked must lie in [0, 1], reached in [-1, 1000], images must not be negative")


PROMISE = PartFile("promise.json", "a promise about clean images", Promise)


def promise_words(promise: Promise) -> str:
    """What was asked, and what was reached, on how many images."""
    measure = f" ({promise.measure})" if promise.measure else ""
    return (
        f"Promised {promise.asked:g}, reached {promise.reached:.3f}{measure} on {promise.images:,} clean validation "
        "images"
    )


def promise_beside(promise: Promise) -> str:
    """Which epoch's encoder it is, and what the best one reached; "" where neither is known."""
    saved = "" if promise.epoch is None else f"The saved encoder is that after epoch {promise.epoch:,}"
    best = "" if promise.best is None or promise.kept else f"the most at any look was {promise.best:.3f}"
    details = "; ".join(part for part in (saved, best) if part)
    return f"{details[:1].upper()}{details[1:]}." if details else ""
