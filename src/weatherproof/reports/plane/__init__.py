"""The page's part about the map of the classes."""
