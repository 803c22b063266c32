"""An encoder from unlabelled images."""

from weatherproof.verbs.pretrain.verb import pretrain

__all__ = ["pretrain"]
