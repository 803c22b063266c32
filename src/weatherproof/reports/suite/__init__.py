"""The page's part about the common corruptions."""
