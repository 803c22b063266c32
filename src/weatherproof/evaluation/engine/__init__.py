"""The one way to measure: models x conditions x images -> answers, in blocks that outlive a stop."""
