"""The common corruptions as a benchmark: its sets, its records, who has seen what in training."""
