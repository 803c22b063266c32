"""weatherproof makes image encoders hold up in bad conditions, and shows how well they do.

>>> import weatherproof as wp
>>> run = wp.harden("torchvision:resnet18@weights.safetensors", "photos/", operator="RandomMask((0.5, 0.95))")

Every public name is listed here and loaded when it is first used, so that importing the package costs nothing.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weatherproof import (
        attacks,
        cluster,
        data,
        embedded,
        encoders,
        evaluation,
        methods,
        objectives,
        operators,
        random,
        readouts,
        reports,
        restoration,
        studies,
        training,
        views,
    )
    from weatherproof.data import load_images
    from weatherproof.embedded import load_embeddings
    from weatherproof.encoders import load_encoder
    from weatherproof.verbs.audit import audit
    from weatherproof.verbs.compare import compare
    from weatherproof.verbs.corrupt import corrupt
    from weatherproof.verbs.demo import demo
    from weatherproof.verbs.doctor import doctor
    from weatherproof.verbs.embed import embed
    from weatherproof.verbs.export import export
    from weatherproof.verbs.finetune import finetune
    from weatherproof.verbs.harden import harden
    from weatherproof.verbs.prepare import prepare
    from weatherproof.verbs.pretrain import pretrain
    from weatherproof.verbs.probe import probe
    from weatherproof.verbs.reproduce import reproduce
    from weatherproof.verbs.shard import shard
    from weatherproof.verbs.train import train

__version__ = "0.1.0"

# PyTorch reads it at its first allocation: large tensors on a CPU lie in huge pages, which cost fewer page faults.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__all__ = [
    "attacks",
    "audit",
    "cluster",
    "compare",
    "corrupt",
    "data",
    "demo",
    "doctor",
    "embed",
    "embedded",
    "encoders",
    "evaluation",
    "export",
    "finetune",
    "harden",
    "load_embeddings",
    "load_encoder",
    "load_images",
    "methods",
    "objectives",
    "operators",
    "prepare",
    "pretrain",
    "probe",
    "random",
    "readouts",
    "reports",
    "reproduce",
    "restoration",
    "shard",
    "studies",
    "train",
    "training",
    "views",
]

_FUNCTIONS = {
    "load_images": "weatherproof.data",
    "load_embeddings": "weatherproof.embedded",
    "load_encoder": "weatherproof.encoders",
    "audit": "weatherproof.verbs.audit",
    "compare": "weatherproof.verbs.compare",
    "corrupt": "weatherproof.verbs.corrupt",
    "demo": "weatherproof.verbs.demo",
    "doctor": "weatherproof.verbs.doctor",
    "embed": "weatherproof.verbs.embed",
    "export": "weatherproof.verbs.export",
    "finetune": "weatherproof.verbs.finetune",
    "harden": "weatherproof.verbs.harden",
    "pretrain": "weatherproof.verbs.pretrain",
    "probe": "weatherproof.verbs.probe",
    "prepare": "weatherproof.verbs.prepare",
    "reproduce": "weatherproof.verbs.reproduce",
    "shard": "weatherproof.verbs.shard",
    "train": "weatherproof.verbs.train",
}


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        value = getattr(import_module(_FUNCTIONS[name]), name)
    elif name in __all__:
        value = import_module(f"weatherproof.{name}")
    else:
        raise AttributeError(f"module 'weatherproof' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
