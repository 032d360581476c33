"""Options that still have an earlier name, for one version (docs/stability.md)."""

import argparse
import sys
from typing import Any

__all__ = ["OldName"]


class OldName(argparse.Action):
    """An option under its earlier name: sets the option of ``dest``, and prints a warning."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        new = "--" + self.dest.replace("_", "-")
        print(f"warning: {option_string} is deprecated: use {new} {values}", file=sys.stderr)
        setattr(namespace, self.dest, values)
