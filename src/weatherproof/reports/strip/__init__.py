"""The page's part about one image through a suite."""
