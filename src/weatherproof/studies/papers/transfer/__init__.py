"""Encoders that are fine-tuned: what URRL and the front share, and the front."""
