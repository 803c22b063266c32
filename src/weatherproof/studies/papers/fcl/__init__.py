"""Balancing Robustness and Sensitivity using Feature Contrastive Learning."""
