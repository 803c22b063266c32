"""Damaged copies of images, on disk."""

from weatherproof.verbs.corrupt.verb import corrupt

__all__ = ["corrupt"]
