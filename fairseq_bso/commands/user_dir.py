"""`fairseq-bso user-dir`: where the package lies, for the `--user-dir` of the fairseq commands."""

import argparse
from pathlib import Path

NAME = "user-dir"
HELP = 'Print the absolute path of the package: fairseq-train --user-dir "$(fairseq-bso user-dir)" ...'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This subcommand takes no arguments."""


def run(arguments: argparse.Namespace) -> int:
    """Print the path of the folder `fairseq_bso`, links resolved: fairseq refuses one package under two paths."""
    print(Path(__file__).resolve().parent.parent)
    return 0
