"""Robustness of Contrastive Learning Models (2020)."""
