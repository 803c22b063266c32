"""The precisions that a network may compute in, and what this machine's processor is and computes in. Loads nothing but
PyTorch."""

import platform
from pathlib import Path
from typing import Literal

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]  # of a training, as Lightning Fabric names them


def computes_bfloat16() -> bool:
    """Whether the processor can do convolutions and products in bfloat16 (AVX-512, AMX) without emulation."""
    import torch

    asked = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return asked is not None and bool(asked())


def processor_name() -> str:
    """As the system says it; elsewhere than on Linux the architecture must do."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
