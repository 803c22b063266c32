"""The page's part about how settings were chosen."""
