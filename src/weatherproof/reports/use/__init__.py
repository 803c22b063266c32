"""The page's part about what to do with a run."""
