"""What a study needs before it can run: data, weights, packages, memory, time, disk. Nothing of it is read or trained."""
