"""Speed and memory against their floors: `make bench`, or `python -m benchmarks [steps operators memory startup]`."""
