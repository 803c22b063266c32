"""The page's parts about a training and what it made."""
