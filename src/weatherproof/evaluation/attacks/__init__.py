"""Numbers of classifiers under attack."""
