"""The page's part about single images with the guesses of every model."""
