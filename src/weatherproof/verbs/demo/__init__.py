"""The main job on the embedded digits."""

from weatherproof.verbs.demo.verb import demo

__all__ = ["demo"]
