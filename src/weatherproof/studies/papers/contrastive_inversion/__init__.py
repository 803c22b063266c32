"""Inverse Problems Leveraging Pre-trained Contrastive Representations (NeurIPS 2021)."""
