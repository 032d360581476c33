"""`python -m bso_runtime`: the `fairseq-bso` command where it is not installed."""

import sys

from .cli import main

sys.exit(main())
