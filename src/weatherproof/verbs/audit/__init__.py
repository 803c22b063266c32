"""How a model degrades: under an operator, under the common corruptions, under attack."""

from weatherproof.verbs.audit.verb import audit

__all__ = ["audit"]
