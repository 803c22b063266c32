"""The page's part about a study: the table beside the paper's, and the front."""
