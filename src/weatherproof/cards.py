"""Peak numbers of cards, dense (without structured sparsity), as their makers print them."""

from dataclasses import dataclass

from weatherproof.errors import InputError, unknown
from weatherproof.processor import Precision

_NVIDIA = "https://www.nvidia.com/en-us/data-center/"


@dataclass(frozen=True)
class Card:
    """A GPU on paper.

    Attributes:
        name: what it is called.
        half: flop/s of products in bfloat16 or float16 with sums in float32.
        full: flop/s in float32, as PyTorch multiplies unless it is told otherwise.
        memory: bytes.
        bandwidth: of its memory, bytes/s.
        tf32: flop/s of convolutions in float32, which PyTorch rounds to TF32 where the card has it; None: it has not.
        bfloat16: whether it computes in it.
        source: the maker's data sheet.
    """

    name: str
    half: float
    full: float
    memory: float
    bandwidth: float
    source: str
    tf32: float | None = None
    bfloat16: bool = True

    def peak(self, precision: Precision) -> float:
        """Flop/s in this precision. Raises `InputError` for one that it has not."""
        if precision == "bf16-mixed" and not self.bfloat16:
            raise InputError("this card does not compute in bfloat16: give --precision 16-mixed")
        return self.full if precision == "32-true" else self.half


CARDS = {
    card.name.lower(): card
    for card in (
        Card("V100", 125e12, 15.7e12, 32e9, 0.9e12, f"{_NVIDIA}v100/ (SXM2, 32 GB)", bfloat16=False),
        Card("T4", 65e12, 8.1e12, 16e9, 0.3e12, f"{_NVIDIA}tesla-t4/", bfloat16=False),
        Card("A100", 312e12, 19.5e12, 80e9, 2.039e12, f"{_NVIDIA}a100/ (SXM, 80 GB)", 156e12),
        Card("A100-40", 312e12, 19.5e12, 40e9, 1.555e12, f"{_NVIDIA}a100/ (SXM, 40 GB)", 156e12),
        Card("A10", 125e12, 31.2e12, 24e9, 0.6e12, f"{_NVIDIA}products/a10-gpu/", 62.5e12),
        Card("L4", 121e12, 30.3e12, 24e9, 0.3e12, f"{_NVIDIA}l4/", 60e12),
        Card("L40S", 362e12, 91.6e12, 48e9, 0.864e12, f"{_NVIDIA}l40s/", 183e12),
        Card("H100", 989e12, 67e12, 80e9, 3.35e12, f"{_NVIDIA}h100/ (SXM)", 494e12),
        Card("H200", 989e12, 67e12, 141e9, 4.8e12, f"{_NVIDIA}h200/ (SXM)", 494e12),
    )
}


def card_of(text: str) -> Card:
    """A card by its name, or one with this peak in flop/s in every precision, and of which nothing else is known: it
    is taken to be an A100 else.

    Raises:
        InputError: neither.
    """
    known = CARDS.get(text.strip().casefold())
    if known is not None:
        return known
    try:
        peak = float(text)
    except ValueError:
        raise unknown("card", text, CARDS) from None
    if not 0 < peak < 1e18:
        raise InputError(f"gpu is the name of a card or its peak in flop/s, such as 312e12; got {text}")
    a100 = CARDS["a100"]
    return Card(f"{peak:.3g} flop/s", peak, peak, a100.memory, a100.bandwidth, "given")
