"""What training minimises: pure functions, one per equation, and the components that carry their settings.

An objective is any callable ``objective(student, teacher) -> scalar`` on un-normalised embeddings whose rows belong to
the same images. `parse` reads its text.
"""

from weatherproof.functions import given
from weatherproof.objectives.alignment import MSE, alignment, squared_error
from weatherproof.objectives.consistency import jensen_shannon
from weatherproof.objectives.contrastive import (
    NTXent,
    StudentBoth,
    StudentStudent,
    StudentTeacher,
    nt_xent,
    student_both,
    student_student,
    student_teacher,
)
from weatherproof.objectives.dense import Dense, gram_distance, parse_dense, position_distance
from weatherproof.objectives.feature_contrast import (
    FeatureContrast,
    FeatureContrastMargin,
    feature_contrast,
    feature_contrast_margin,
)
from weatherproof.objectives.input_gradient import InputGradient
from weatherproof.objectives.instances import info_nce
from weatherproof.objectives.l2sp import L2SP
from weatherproof.objectives.similarity import SimilarityMatrix, similarity_distance
from weatherproof.protocols import Objective
from weatherproof.spec import parse as _parse
from weatherproof.spec import parsed as _parsed

TABLE = {
    "MSE": MSE,
    "StudentTeacher": StudentTeacher,
    "StudentStudent": StudentStudent,
    "StudentBoth": StudentBoth,
    "NTXent": NTXent,
}
FEATURE_OBJECTIVES = {  # objective(anchor, low, high=None, keep=None) -> scalar
    "FeatureContrast": FeatureContrast,
    "FeatureContrastMargin": FeatureContrastMargin,
}
REGULARIZERS = {  # what a method adds to its loss
    "SimilarityMatrix": SimilarityMatrix,
    "L2SP": L2SP,
    "InputGradient": InputGradient,
}
Regularizer = SimilarityMatrix | L2SP | InputGradient

__all__ = [
    "FEATURE_OBJECTIVES",
    "L2SP",
    "MSE",
    "REGULARIZERS",
    "TABLE",
    "Dense",
    "FeatureContrast",
    "FeatureContrastMargin",
    "InputGradient",
    "NTXent",
    "Regularizer",
    "SimilarityMatrix",
    "StudentBoth",
    "StudentStudent",
    "StudentTeacher",
    "alignment",
    "feature_contrast",
    "feature_contrast_margin",
    "gram_distance",
    "info_nce",
    "jensen_shannon",
    "nt_xent",
    "parse",
    "parse_dense",
    "parse_regularizer",
    "position_distance",
    "similarity_distance",
    "squared_error",
    "student_both",
    "student_student",
    "student_teacher",
]


def parse(text: str | Objective) -> Objective:
    """An objective from its text; an objective is returned as it is. Raises `InputError`."""
    return _parsed(text, TABLE, "objective")


def parse_regularizer(text: str | Regularizer) -> Regularizer:
    """A regularizer from its text; a regularizer is returned as it is. Raises `InputError`."""
    return _parse(text, REGULARIZERS, "regularizer") if isinstance(text, str) else given(text)
