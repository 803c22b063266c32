"""The page's part about useful pixels."""
