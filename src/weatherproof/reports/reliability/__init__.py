"""The page's part about confidence against accuracy."""
