"""Transferable Unsupervised Robust Representation Learning (ICLR 2021 submission)."""
