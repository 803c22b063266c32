"""Turn what people have into what studies read, and fetch what is free."""

from weatherproof.verbs.prepare.verb import prepare

__all__ = ["prepare"]
