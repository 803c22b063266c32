"""Views + encoder + objective + state = the loss of one batch.

A method is an `nn.Module` called as ``method(images, labels, index, keys, gather) -> {"loss": scalar, ...}``. `gather`
joins the rows of all processes in rank order, with exact gradients, so that every process sees the whole batch.
"""

from weatherproof.methods.adversarial import AdversarialTraining
from weatherproof.methods.answers import check_outputs, trained_weights
from weatherproof.methods.augmix_consistency import AugMixConsistency
from weatherproof.methods.build import build, make_projector
from weatherproof.methods.clean import KeepClean
from weatherproof.methods.curriculum import Curriculum, parse_curriculum
from weatherproof.methods.feature_contrast import FeatureContrastive
from weatherproof.methods.feature_settings import (
    FCL,
    LABELLED,
    PENALISED,
    SECOND_TERM,
    USES,
    FeatureSettings,
    check_start,
    feature_settings,
)
from weatherproof.methods.finetuning import FineTuning
from weatherproof.methods.hardening import Hardening, teacher_cache
from weatherproof.methods.instdis import InstDis
from weatherproof.methods.labelled import build_labelled, check_parts, damage_of, training_damage
from weatherproof.methods.layers import LayerwiseSimCLR, layer_projectors, rising
from weatherproof.methods.moco import MoCo
from weatherproof.methods.momentum import MomentumCopy
from weatherproof.methods.moving_teacher import Anchor, MovingTeacher
from weatherproof.methods.partners import Partners, UtilityNoise, WholeNoise, check_k
from weatherproof.methods.pirl import PIRL, JigsawHead
from weatherproof.methods.recipes import RECIPES, SMALL_RECIPES, Recipe, recipe
from weatherproof.methods.simclr import SimCLR
from weatherproof.methods.supervised import Supervised
from weatherproof.methods.utility import least_useful, most_useful, sensitivity, utility

__all__ = [
    "FCL",
    "LABELLED",
    "PENALISED",
    "PIRL",
    "RECIPES",
    "SECOND_TERM",
    "SMALL_RECIPES",
    "USES",
    "AdversarialTraining",
    "Anchor",
    "AugMixConsistency",
    "Curriculum",
    "FeatureContrastive",
    "FeatureSettings",
    "FineTuning",
    "Hardening",
    "InstDis",
    "JigsawHead",
    "KeepClean",
    "LayerwiseSimCLR",
    "MoCo",
    "MomentumCopy",
    "MovingTeacher",
    "Partners",
    "Recipe",
    "SimCLR",
    "Supervised",
    "UtilityNoise",
    "WholeNoise",
    "build",
    "build_labelled",
    "check_k",
    "check_outputs",
    "check_parts",
    "check_start",
    "damage_of",
    "feature_settings",
    "layer_projectors",
    "least_useful",
    "make_projector",
    "most_useful",
    "parse_curriculum",
    "recipe",
    "rising",
    "sensitivity",
    "teacher_cache",
    "trained_weights",
    "training_damage",
    "utility",
]
