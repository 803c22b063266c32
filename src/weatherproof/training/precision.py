"""Which precision is fast on this machine's processor."""

from weatherproof.processor import Precision, computes_bfloat16

__all__ = ["SLOW_BFLOAT16", "computes_bfloat16", "fast_precision"]

SLOW_BFLOAT16 = (
    "this processor does not compute in bfloat16: on it precision 'bf16-mixed' is emulated, several times slower than "
    "'32-true'"
)


def fast_precision() -> Precision:
    """The faster of "bf16-mixed" and "32-true" on this processor.

    Where it does not compute in bfloat16, PyTorch emulates that: on an AVX2 processor a training step of LeNet or
    ResNet-20 then takes ten times as long as in float32.
    """
    return "bf16-mixed" if computes_bfloat16() else "32-true"
