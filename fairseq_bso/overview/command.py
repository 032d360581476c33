"""`fairseq-bso options`: the options of models, criterions and tasks."""

import argparse
import textwrap
from typing import TYPE_CHECKING, Iterator

if TYPE_CHECKING:
    from .registered import Option

WIDTH, INDENT = 100, 28


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the names to list."""
    parser.add_argument("--task", metavar="NAME", help="list the options of this task, those of fairseq's included")
    parser.add_argument("--arch", metavar="NAME", help="list the options of this model or named size likewise")
    parser.add_argument("--criterion", metavar="NAME", help="list the options of this criterion likewise")
    parser.add_argument("--user-dir", help="folder with plugins of your own")


def run(arguments: argparse.Namespace) -> int:
    """Prints the options; without a name those of every model, criterion and task of this package.

    Returns the exit status.

    Raises:
        UserError: there is no task, model or criterion of this name.
    """
    from ..logs import show_logs
    from ..user_dirs import import_user_dir
    from .registered import KINDS, own_sections, sections_of

    show_logs()
    import_user_dir(arguments)
    named = [(kind, getattr(arguments, kind[2:])) for kind in KINDS if getattr(arguments, kind[2:])]
    sections = [section for kind, name in named for section in sections_of(kind, name)]
    for section in sections if named else own_sections():
        print(f"{section.kind} {', '.join(section.names)}{', from fairseq' if section.inherited else ''}")
        for option in section.options:
            print("\n".join(_lines(option)))
        if not section.options:
            print("  no options of its own")
        print()
    return 0


def _lines(option: "Option") -> Iterator[str]:
    """One option as lines of text."""
    value = f"{{{','.join(option.choices)}}}" if option.choices else option.value.replace(" ", "-").upper()
    head = f"  {', '.join(option.names)} {value}".rstrip()
    default = f" ({option.default if option.default == 'required' else f'default: {option.default}'})"
    text = option.meaning + (default if option.default else "")
    lines = textwrap.wrap(text, WIDTH - INDENT) or [""]
    if len(head) + 2 > INDENT:
        yield head
    else:
        lines[0] = head.ljust(INDENT) + lines[0]
        yield lines.pop(0)
    yield from (" " * INDENT + line for line in lines)
