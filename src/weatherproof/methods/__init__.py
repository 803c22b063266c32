"""Views + encoder + objective + state = the loss of one batch.

A method is an `nn.Module` called as ``method(images, labels, index, keys, gather) -> {"loss": scalar, ...}``. `gather`
joins the rows of all processes in rank order, with exact gradients, so that every process sees the whole batch.
"""

from weatherproof.methods.hardening import Hardening, teacher_cache
from weatherproof.methods.simclr import SimCLR
from weatherproof.methods.supervised import Supervised

__all__ = ["Hardening", "SimCLR", "Supervised", "teacher_cache"]
