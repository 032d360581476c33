"""The command lines of the experiments: what their parsers have in common."""

import argparse
import os
import runpy
import sys
from pathlib import Path

# Read by its path: an experiment runs with the installed package, which may be another.
exit_after = runpy.run_path(str(Path(__file__).resolve().parents[2] / "bso_runtime" / "endings.py"))["exit_after"]


def make_parser(description):
    """A parser that shows the description as it is written and accepts whole names of options alone."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def add_machine_options(parser):
    """`--threads` and `--cpu`, for an argparse parser."""
    most = min(4, os.cpu_count() or 1)
    parser.add_argument("--threads", type=one_or_more, default=most, metavar="N", help=f"CPU threads ({most})")
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone")


def one_or_more(word):
    """A type for argparse."""
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word}: must be 1 or more")
    return int(word)


def parse_with_rest(parser, argv=None):
    """Parses the arguments before ` -- `; those after it are `rest` of the returned namespace."""
    argv = sys.argv[1:] if argv is None else list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    arguments = parser.parse_args(argv[:cut])
    arguments.rest = argv[cut + 1 :]
    try:
        number_after(arguments.rest, "--max-update")
    except ValueError as problem:
        parser.error(f"after --: {problem}")
    return arguments


def check_paths(parser, *paths):
    """Ends the program with one message if a path is missing."""
    for path in paths:
        if not path.exists():
            parser.error(f"{path} is not there")


def number_after(argv, option):
    """The whole number after `option` among the arguments of a command: the last of several, 0 if there is none.

    Raises ValueError if no whole number follows the option."""
    found = 0
    for place, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if name == option:
            value = value if equals else (argv[place + 1] if place + 1 < len(argv) else "nothing")
            if not value.isdecimal():
                raise ValueError(f"{option} is followed by {value}, but must be by a whole number")
            found = int(value)
    return found
