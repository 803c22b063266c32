"""AugMix: mild operations in chains, mixed with the image."""
