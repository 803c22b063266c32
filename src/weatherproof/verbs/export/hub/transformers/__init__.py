"""transformers' layout, of the image side alone or, with the text side of its origin, of both."""

from weatherproof.verbs.export.hub.transformers.images import layout

__all__ = ["layout"]
