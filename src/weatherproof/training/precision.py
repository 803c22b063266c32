"""Which precision is fast on this machine's processor."""

import torch

from weatherproof.training.plan import Precision


def fast_precision() -> Precision:
    """"bf16-mixed" where the processor computes bfloat16, else "32-true".

    Elsewhere PyTorch emulates it: on an AVX2 processor a training step then takes ten times as long as in float32.
    """
    return "bf16-mixed" if computes_bfloat16() else "32-true"


def computes_bfloat16() -> bool:
    """Whether the convolutions and products of a CPU run can be in bfloat16 without being emulated (AVX-512, AMX)."""
    asked = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return asked is not None and bool(asked())
