"""The `fairseq-bso` command. A subcommand is the file `command.py` of one room; `user-dir` stands below.

A subcommand's file holds NAME, HELP, `add_arguments(parser)` and `run(arguments) -> exit status`. The help imports all
of these files, so they import heavy modules inside `run`.
"""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Optional, Sequence

from . import __version__

SUBCOMMANDS = (
    "distill",
    "export",
    "prune",
    "shortlist",
    "interpret.ablate",
    "interpret.capture",
    "interpret.view",
    "overview",
)
"""the rooms that have a subcommand"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of `fairseq-bso`, with a subparser for each subcommand."""
    from bso_runtime import translate

    parser = argparse.ArgumentParser(
        prog="fairseq-bso",
        description="Helpers for the fairseq_bso plugins. Training and decoding run through fairseq's own commands, "
        "such as fairseq-train and fairseq-generate, with --user-dir.",
    )
    parser.add_argument("--version", action="version", version=f"fairseq-bso {__version__}")
    subparsers = parser.add_subparsers(title="subcommands", metavar="SUBCOMMAND", dest="subcommand")
    modules = [importlib.import_module(f"fairseq_bso.{room}.command") for room in SUBCOMMANDS]
    for module in sorted([*modules, translate], key=lambda module: module.NAME):
        subparser = subparsers.add_parser(module.NAME, help=module.HELP, description=module.HELP)
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    about = 'Print the absolute path of the package: fairseq-train --user-dir "$(fairseq-bso user-dir)" ...'
    subparsers.add_parser("user-dir", help=about, description=about).set_defaults(run=print_user_dir)
    return parser


def print_user_dir(arguments: argparse.Namespace) -> int:
    """Prints the path of the folder `fairseq_bso`. Links are resolved: fairseq refuses one package under two paths."""
    print(Path(__file__).resolve().parent)
    return 0


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs `fairseq-bso` with `arguments`, or with those of the process. Returns the exit status.

    Raises:
        SystemExit: for --help, --version and arguments that the parser does not know, as argparse does.
    """
    parser = build_parser()
    words = sys.argv[1:] if arguments is None else list(arguments)
    parsed = parser.parse_args(words)
    parsed.words = words  # for a subcommand that starts more processes like itself
    if parsed.subcommand is None:
        parser.print_help(sys.stderr)
        return 2
    return parsed.run(parsed)
