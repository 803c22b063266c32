"""Images to a file of embeddings, and what is near in such a file."""

from weatherproof.verbs.embed.verb import embed

__all__ = ["embed"]
