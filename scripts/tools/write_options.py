"""Writes docs/options.md: every option of the plugins and of `fairseq-bso`, from the parsers themselves.

    python scripts/tools/write_options.py [--out docs/options.md]

`make docs` runs it. A test compares the file with this script's output.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import fairseq_bso  # noqa: E402, F401
from bso_runtime.endings import exit_after  # noqa: E402
from fairseq_bso.overview.registered import (  # noqa: E402
    Option,
    named_sizes,
    own_registrations,
    own_sections,
    sections_of,
)

HEAD = """# Options

`make docs` writes this page from the package: do not edit it. A switch has no value. `fairseq-bso options` prints the
same in a terminal. With `--task NAME`, `--arch NAME` or `--criterion NAME` it also prints what that one inherits from
fairseq.

The options of a model, criterion or task exist once it is named, with `--user-dir fairseq_bso`. `fairseq-train --help`
lists none of them, nor those of fairseq's own models and tasks: it prints its help before it reads these names.
"""


def config_tables():
    """The parts of the page on models, criterions and tasks. A class that several configs share has one part."""
    listed = list(own_sections())
    for section in listed:
        names = ", ".join(f"`{name}`" for name in section.names)
        yield f"## `{section.kind}` {names}\n\n{table(section.options)}"
    named = {(section.kind, name) for section in listed for name in section.names}
    bare = [f"`{kind} {name}`" for kind, name, _ in own_registrations() if (kind, name) not in named]
    yield f"## Without options of their own\n\n{', '.join(bare)}\n"


def architectures():
    """The named sizes of this package's models."""
    rows = ["| `--arch` | layers | units | dropout |", "|---|---|---|---|"]
    for name, sizes in named_sizes().items():
        rows.append(f"| `{name}` | {sizes.encoder_layers} | {sizes.encoder_hidden_size} | {sizes.dropout} |")
    return "## Named sizes\n\n" + "\n".join(rows)


def subcommand_tables():
    """The parts of the page on `fairseq-bso`."""
    from fairseq_bso.cli import build_parser

    of_task = {option for section in sections_of("--task", "sequence_distillation") for option in section.options}
    parser = build_parser()
    (choices,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name, subparser in sorted(choices.choices.items()):
        shown = (one for one in subparser._actions if one.help != argparse.SUPPRESS and one.dest != "help")
        options = [Option.of(action) for action in shown]
        text = f"## `fairseq-bso {name}`\n\n{subparser.description}\n"
        if name == "distill":
            options = [option for option in options if option not in of_task]
            text += "\nIt also takes the data folder and the options of `--task sequence_distillation`.\n"
        yield text + (f"\n{table(options)}" if options else "")


def table(options):
    """One row for each option."""
    rows = ["| option | value | default | meaning |", "|---|---|---|---|"]
    for option in options:
        names = ", ".join(f"`{name}`" for name in option.names)
        default = f"`{option.default}`" if option.default not in ("", "required") else option.default
        rows.append(f"| {names} | {_value(option)} | {default} | {option.meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def _value(option):
    if option.choices:
        return ", ".join(f"`{choice}`" for choice in option.choices)
    return f"`{option.value}`" if option.value.isupper() else option.value


def page():
    """The whole page."""
    parts = [HEAD, architectures(), *config_tables(), *subcommand_tables()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "options.md", metavar="FILE", help="docs/options.md"
    )
    arguments = parser.parse_args(argv)
    arguments.out.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    exit_after(main)
