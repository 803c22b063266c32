"""What a study needs before it can run: data, weights, packages, memory, time, disk. Nothing is trained."""
