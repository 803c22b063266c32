"""The command line, as the command `weatherproof` and as `python -m weatherproof`."""

import sys


def main() -> int:
    """`cli.main`, without a traceback where Ctrl-C comes while it is being imported."""
    try:
        from weatherproof.interrupts import leaving

        with leaving():
            from weatherproof.cli import main as answer
    except KeyboardInterrupt:
        return 130
    return answer()


if __name__ == "__main__":
    sys.exit(main())
