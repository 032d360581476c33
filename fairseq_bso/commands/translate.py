"""`fairseq-bso translate`: in the list of subcommands for its help. It runs from bso_runtime, where fairseq is not
needed: the command itself goes there before this package is imported."""

from bso_runtime.command import HELP, add_arguments, run

NAME = "translate"

__all__ = ["HELP", "NAME", "add_arguments", "run"]
