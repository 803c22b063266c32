"""What of an encoder a hardening trains: everything, its norm layers, or low-rank changes of its weights.

An adaptation is a component with `attach(encoder) -> student`. `parse` reads its text.
"""

from weatherproof.encoders.adapters.adapted import Adapted, Adapter, merged, switched
from weatherproof.encoders.adapters.folder import load_adapters, save_adapter
from weatherproof.encoders.adapters.kinds import FULL, TABLE, Adaptation, Full, LoRA, Norms, parse

__all__ = [
    "FULL", "TABLE", "Adaptation", "Adapted", "Adapter", "Full", "LoRA", "Norms", "load_adapters", "merged", "parse",
    "save_adapter", "switched",
]  # fmt: skip
