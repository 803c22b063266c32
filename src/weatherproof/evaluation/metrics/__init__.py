"""Metrics are functions of answers; their standard errors stand beside them."""
