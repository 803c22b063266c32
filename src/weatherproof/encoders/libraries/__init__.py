"""Encoders whose network is written by somebody else."""
