"""What happens to an image: forward operators.

An operator is any callable ``op(images, keys) -> images`` of the same shape. `parse` reads its text.
"""

from weatherproof.benchmark import COMMON_15, COMMON_19, EXTRA_4, GROUP_OF, GROUPS
from weatherproof.operators.blur import GaussianBlur
from weatherproof.operators.combine import Chain, OneOf, Sometimes
from weatherproof.operators.compression import JPEG
from weatherproof.operators.contrast import Contrast
from weatherproof.operators.family import CommonCorruptions
from weatherproof.operators.ladder import KindLadder, kind_ladders, ladder
from weatherproof.operators.masking import RandomMask
from weatherproof.operators.mixed_chains import MixedChains
from weatherproof.operators.noise import GaussianNoise
from weatherproof.operators.pixels import NonUniformNoise, PatchGaussian, UniformNoise
from weatherproof.operators.severe import leaning, milder
from weatherproof.operators.suites import SUITES, Condition, Corruption, suite
from weatherproof.protocols import Operator
from weatherproof.spec import parsed as _parsed

TABLE = {
    "RandomMask": RandomMask,
    "GaussianNoise": GaussianNoise,
    "GaussianBlur": GaussianBlur,
    "JPEG": JPEG,
    "Contrast": Contrast,
    "PatchGaussian": PatchGaussian,
    "UniformNoise": UniformNoise,
    "NonUniformNoise": NonUniformNoise,
    "Corruption": Corruption,
    "CommonCorruptions": CommonCorruptions,
    "Chain": Chain,
    "Sometimes": Sometimes,
    "OneOf": OneOf,
    "MixedChains": MixedChains,
}

__all__ = [
    "COMMON_15", "COMMON_19", "EXTRA_4", "GROUPS", "GROUP_OF", "JPEG", "SUITES", "TABLE", "Chain",
    "CommonCorruptions", "Condition", "Contrast", "Corruption", "GaussianBlur", "GaussianNoise", "KindLadder",
    "MixedChains", "NonUniformNoise", "OneOf", "PatchGaussian", "RandomMask", "Sometimes", "UniformNoise",
    "kind_ladders", "ladder", "leaning", "milder", "parse", "suite",
]  # fmt: skip


def parse(text: str | Operator) -> Operator:
    """An operator from its text; an operator is returned as it is. Raises `InputError`."""
    return _parsed(text, TABLE, "operator")
