"""The page's part about attacks."""
