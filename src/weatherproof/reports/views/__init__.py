"""The page's part about how training looks at one image."""
