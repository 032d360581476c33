"""The `fairseq-bso` command. A subcommand is the file `command.py` of one room; `user-dir` is below.

A subcommand's file holds `add_arguments(parser)` and `run(arguments) -> exit status`. It is imported when its name is
given. Before it runs, everything is registered with fairseq, unless it needs no fairseq. The package
fairseq-bso-runtime has some of the subcommands only.
"""

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from . import __version__
from .logs import quietly, show_logs

HERE = Path(__file__).resolve().parent


class Subcommand(NamedTuple):
    """Where a subcommand is, and what it does."""

    room: str
    help: str
    needs_fairseq: bool = True  # if False, only with --model


SUBCOMMANDS = {
    "ablate": Subcommand(
        "interpret.ablate",
        "Set hidden units to their means over the corpus of a capture, and measure how the loss rises.",
    ),
    "distill": Subcommand(
        "distill",
        "Decode a training set with a teacher into the folder that --task sequence_distillation trains on.",
    ),
    "doctor": Subcommand(
        "doctor",
        "Show versions, threads, processor and GPU, and whether a tiny model trains.",
        needs_fairseq=False,
    ),
    "export": Subcommand(
        "export",
        "Write a trained bso_lstm as one compact file for `fairseq-bso translate`, or as ONNX.",
    ),
    "options": Subcommand(
        "overview",
        "List the options of models, criterions and tasks, which fairseq-train --help does not.",
    ),
    "prune": Subcommand(
        "prune",
        "Set the smallest weights or units of a checkpoint to zero, and print how many are kept.",
    ),
    "shortlist": Subcommand(
        "shortlist",
        "Make the shortlist of a data folder: the few words that may come out for a sentence, for faster decoding.",
    ),
    "states": Subcommand(
        "interpret.capture",
        "Write the hidden and cell states of a trained LSTM over a corpus, for fairseq-bso view and for LSTMVis.",
    ),
    "view": Subcommand(
        "interpret.view",
        "Show the states that `fairseq-bso states` captured on a web page of this machine.",
        needs_fairseq=False,
    ),
}


def build_parser(argv: Optional[Sequence[str]] = None) -> argparse.ArgumentParser:
    """The parser of `fairseq-bso`, with a subparser for each subcommand.

    Args:
        argv: the arguments of the process. Then only the subcommand that they name gets its options.
    """
    from bso_runtime import translate

    parser = argparse.ArgumentParser(
        prog="fairseq-bso",
        description="Helpers for the fairseq_bso plugins. Training and decoding run through fairseq's own commands, "
        "such as fairseq-train and fairseq-generate, with --user-dir.",
    )
    parser.add_argument("--version", action="version", version=f"fairseq-bso {__version__}")
    subparsers = parser.add_subparsers(
        title="subcommands", metavar="SUBCOMMAND", dest="subcommand", parser_class=_SubcommandParser
    )
    helps = {name: subcommand.help for name, subcommand in SUBCOMMANDS.items() if is_here(name)}
    for name, about in sorted({**helps, translate.NAME: translate.HELP}.items()):
        subparser = subparsers.add_parser(name, help=about, description=about)
        if argv is None or name in argv[:1]:
            module = command_of(name) if name in SUBCOMMANDS else translate
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    if not is_whole():
        return parser
    about = 'Print the absolute path of the package: fairseq-train --user-dir "$(fairseq-bso user-dir)" ...'
    subparsers.add_parser("user-dir", help=about, description=about).set_defaults(run=print_user_dir)
    return parser


class _SubcommandParser(argparse.ArgumentParser):
    """The parser of a subcommand. An option that it does not know is an error with its own usage."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Tuple[Any, List[str]]:
        """As in argparse, whose parser of the whole command would otherwise name all subcommands."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown


def is_here(name: str) -> bool:
    """Whether the installed package has a subcommand."""
    room = SUBCOMMANDS[name].room.replace(".", "/") if name in SUBCOMMANDS else ""
    return (HERE / room / "command.py").is_file()


def is_whole() -> bool:
    """Whether this is the package fairseq-bso, and not fairseq-bso-runtime."""
    return (HERE / "plugins.py").is_file()


def command_of(name: str) -> ModuleType:
    """The module of a subcommand."""
    return importlib.import_module(f"fairseq_bso.{SUBCOMMANDS[name].room}.command")


def print_user_dir(arguments: argparse.Namespace) -> int:
    """Prints the path of the folder `fairseq_bso`. Links are resolved: fairseq refuses one package under two paths."""
    print(HERE)
    return 0


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs `fairseq-bso` with `arguments`, or with those of the process. Returns the exit status.

    Raises:
        SystemExit: for --help, --version and arguments that the parser does not know, as argparse does.
    """
    argv = sys.argv[1:] if arguments is None else list(arguments)
    if argv[:1] and argv[0] in (*SUBCOMMANDS, "user-dir") and not (is_whole() or is_here(argv[0])):
        return _needs_whole(argv[0])
    parser = build_parser(argv)
    parsed = parser.parse_args(argv)
    parsed.argv = argv  # for a subcommand that starts more processes like itself
    if parsed.subcommand is None:
        parser.print_help(sys.stderr)
        return 2
    named = SUBCOMMANDS.get(parsed.subcommand)
    if named and (named.needs_fairseq or getattr(parsed, "model", None)):
        if not is_whole():
            return _needs_whole(f"{parsed.subcommand} --model")
        with quietly():
            importlib.import_module("fairseq_bso.plugins")
        show_logs()  # before the subcommand imports h5py and the like, which have debug messages of their own
    return parsed.run(parsed)


def _needs_whole(what: str) -> int:
    """Says that this is fairseq-bso-runtime. Returns the exit status."""
    print(f"{what} needs fairseq: install the package fairseq-bso in place of fairseq-bso-runtime", file=sys.stderr)
    return 1
