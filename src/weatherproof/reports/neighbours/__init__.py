"""The page's part about the nearest neighbours of a few images."""
