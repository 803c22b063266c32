"""Views + encoder + objective + state = the loss of one batch.

A method is an `nn.Module` called as ``method(images, labels, index, keys, gather) -> {"loss": scalar, ...}``. `gather`
joins the rows of all processes in rank order, with exact gradients, so that every process sees the whole batch.
"""

from weatherproof.methods.augmix_consistency import AugMixConsistency
from weatherproof.methods.build import build, make_projector
from weatherproof.methods.hardening import Hardening, teacher_cache
from weatherproof.methods.instdis import InstDis
from weatherproof.methods.layers import LayerwiseSimCLR, layer_projectors, rising
from weatherproof.methods.moco import MoCo
from weatherproof.methods.momentum import MomentumCopy
from weatherproof.methods.pirl import PIRL, JigsawHead
from weatherproof.methods.recipes import RECIPES, SMALL_RECIPES, Recipe, recipe
from weatherproof.methods.simclr import SimCLR
from weatherproof.methods.supervised import Supervised

__all__ = [
    "PIRL",
    "RECIPES",
    "SMALL_RECIPES",
    "AugMixConsistency",
    "Hardening",
    "InstDis",
    "JigsawHead",
    "LayerwiseSimCLR",
    "MoCo",
    "MomentumCopy",
    "Recipe",
    "SimCLR",
    "Supervised",
    "build",
    "layer_projectors",
    "make_projector",
    "recipe",
    "rising",
    "teacher_cache",
]
