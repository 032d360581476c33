"""`python -m bso_runtime translate`: the command where it is not installed."""

import sys

from .cli import main

sys.exit(main())
