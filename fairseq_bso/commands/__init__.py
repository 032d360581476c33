"""The `fairseq-bso` command. Each subcommand is one file beside this one.

A subcommand's file holds NAME, HELP, `add_arguments(parser)` and `run(arguments) -> exit status`, and stands in
SUBCOMMANDS below. All of these files are imported to print the help: import heavy modules inside `run`.
"""

import argparse
import sys
from typing import Optional, Sequence

from .. import __version__
from . import distill, export, prune, states, translate, user_dir, view

SUBCOMMANDS = (distill, export, prune, states, translate, user_dir, view)


def build_parser() -> argparse.ArgumentParser:
    """The parser of `fairseq-bso` with one subparser for each subcommand."""
    parser = argparse.ArgumentParser(
        prog="fairseq-bso",
        description="Helpers for the fairseq_bso plugins. Training and decoding themselves run through the fairseq "
        "commands: fairseq-train, fairseq-generate and so on, with --user-dir.",
    )
    parser.add_argument("--version", action="version", version="fairseq-bso {}".format(__version__))
    subparsers = parser.add_subparsers(title="subcommands", metavar="SUBCOMMAND", dest="subcommand")
    for module in SUBCOMMANDS:
        subparser = subparsers.add_parser(module.NAME, help=module.HELP, description=module.HELP)
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return parser


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run `fairseq-bso` with `arguments`, else with those of the process. Returns the exit status.

    Raises SystemExit for --help, --version and for words that the parser does not know, as argparse does.
    """
    parser = build_parser()
    words = sys.argv[1:] if arguments is None else list(arguments)
    parsed = parser.parse_args(words)
    parsed.words = words  # for a subcommand that starts more of its kind
    if parsed.subcommand is None:
        parser.print_help(sys.stderr)
        return 2
    return parsed.run(parsed)
