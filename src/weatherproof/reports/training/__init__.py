"""The page's part about a training."""
