"""GPUs by name: their memory and how fast they multiply, as their maker says."""

from collections.abc import Mapping
from dataclasses import dataclass

from weatherproof.errors import unknown

UTILISATION = 0.15  # of a card's peak, an assumption: ResNets of 224 pixels seldom have more, small images have less


@dataclass(frozen=True)
class Card:
    """A GPU.

    Attributes:
        memory: bytes.
        half, full: operations a second in 16 bits, and in float32 as PyTorch computes convolutions (TF32 where the card
            has it), dense.
    """

    name: str
    memory: float
    half: float
    full: float

    def hours(self, operations: float, precision: str) -> float:
        """How long so many operations take at `UTILISATION`."""
        return operations / (UTILISATION * (self.full if precision == "32-true" else self.half)) / 3600


_GIB = 2**30
CARDS: Mapping[str, Card] = {  # data sheets of NVIDIA: dense, SXM where there is a choice
    "a100": Card("A100 80 GB", 80 * _GIB, 312e12, 156e12),
    "a100-40": Card("A100 40 GB", 40 * _GIB, 312e12, 156e12),
    "h100": Card("H100 80 GB", 80 * _GIB, 989e12, 494e12),
    "v100": Card("V100 32 GB", 32 * _GIB, 125e12, 15.7e12),
    "l4": Card("L4 24 GB", 24 * _GIB, 121e12, 60e12),
    "t4": Card("T4 16 GB", 16 * _GIB, 65e12, 8.1e12),
}


def card(name: str) -> Card:
    """The card of a name. Raises `InputError` for an unknown one."""
    if name not in CARDS:
        raise unknown("card", name, CARDS)
    return CARDS[name]
