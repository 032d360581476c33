"""The recipes of user_dir_examples/interpretation as modules, in whichever folder a test runs."""

import importlib
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "user_dir_examples" / "interpretation"


def recipe(name):
    """A recipe as a module."""
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    return importlib.import_module(name)
