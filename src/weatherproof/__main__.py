"""`python -m weatherproof` is the command line."""

import sys

from weatherproof.cli import main

sys.exit(main())
