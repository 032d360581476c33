"""Copies a capture without its index to a small disk, and opens it there as `fairseq-bso view` does."""

import shutil
import sys


def main():
    """Exit status 9: not even the copy has room."""
    source, target = sys.argv[1:]
    try:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("index.*"))
    except OSError:
        sys.exit(9)
    from . import view_requests

    sys.argv = ["view", target, "1", "8"]
    return view_requests.main()
