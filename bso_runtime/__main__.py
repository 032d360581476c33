"""`python -m bso_runtime translate`: the command where it is not installed."""

import sys

from .command import main

sys.exit(main())
