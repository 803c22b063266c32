"""Studies of no paper: encoders for clean and damaged images alike, and for damage that they never saw."""
