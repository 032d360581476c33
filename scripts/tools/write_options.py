"""Writes docs/options.md: every option of the plugins and of `fairseq-bso`, from the parsers themselves.

    python scripts/tools/write_options.py [--out docs/options.md]

`make docs` runs it. A test compares the file with this script's output.
"""

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

HEAD = """# Options

`make docs` writes this page from the package: do not edit it. Options of fairseq itself are not listed; the programs'
`--help` has them. A switch has no value.

The options of a model, criterion or task exist once it is named, with `--user-dir fairseq_bso`.
"""


def registered():
    """{"--task bso_translation": its config class} and so on, for all registrations of the package, in order."""
    from fairseq.criterions import CRITERION_REGISTRY
    from fairseq.models import MODEL_REGISTRY
    from fairseq.tasks import TASK_REGISTRY

    import fairseq_bso  # noqa: F401

    found = {}
    for option, registry in (
        ("--arch", MODEL_REGISTRY),
        ("--criterion", CRITERION_REGISTRY),
        ("--task", TASK_REGISTRY),
    ):
        for name, entry in sorted(registry.items()):
            module = sys.modules[entry.__module__]
            ours = entry.__module__.startswith("fairseq_bso.") and getattr(module, entry.__name__, None) is entry
            if ours and getattr(entry, "__dataclass", None):  # leaves out tasks that a user-dir makes of fairseq's
                found[f"{option} {name}"] = getattr(entry, "__dataclass")  # noqa: B009, names are not mangled here
    return found


def own_fields(config):
    """{class: names of its fields} of this package's classes in a config, the most general first."""
    classes = [one for one in reversed(config.__mro__) if one.__module__.startswith("fairseq_bso.")]
    return {one: list(one.__dict__.get("__annotations__", {})) for one in classes}


def config_tables():
    """The parts of the page on models, criterions and tasks. A class that several configs share has one part."""
    users, actions = {}, {}
    for name, config in registered().items():
        by_name = {action.dest: action for action in _actions(config)}
        for one, names in own_fields(config).items():
            users.setdefault(one, []).append(name)
            actions[one] = [by_name[field] for field in names if field in by_name and by_name[field].help]
    sections = {}
    for one in sorted(users, key=lambda one: users[one][0].split()[0]):  # stable: general before special within a kind
        if actions[one]:
            sections.setdefault(tuple(users[one]), []).extend(actions[one])
    for names, listed in sections.items():
        yield f"## {_title(names)}\n\n{table(listed)}"
    bare = [name for name in registered() if not any(name in names for names in sections)]
    yield f"## Without options of their own\n\n{', '.join(f'`{name}`' for name in bare)}\n"


def _actions(config):
    """The parser's action for each field of a config."""
    from fairseq.dataclass.utils import gen_parser_from_dataclass

    parser = argparse.ArgumentParser(add_help=False)
    gen_parser_from_dataclass(parser, config())
    return parser._actions


def _title(names):
    option = names[0].split()[0]
    return f"`{option}` " + ", ".join(f"`{name.split()[1]}`" for name in names)


def architectures():
    """The named sizes of this package's models."""
    from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

    import fairseq_bso  # noqa: F401

    rows = ["| `--arch` | layers | units | dropout |", "|---|---|---|---|"]
    for name in sorted(ARCH_CONFIG_REGISTRY):
        model = ARCH_MODEL_REGISTRY[name]
        if model.__module__.startswith("fairseq_bso.") and ARCH_CONFIG_REGISTRY[name].__module__ == model.__module__:
            sizes = argparse.Namespace()
            ARCH_CONFIG_REGISTRY[name](sizes)
            if hasattr(sizes, "encoder_layers"):
                rows.append(f"| `{name}` | {sizes.encoder_layers} | {sizes.encoder_hidden_size} | {sizes.dropout} |")
    return "## Named sizes\n\n" + "\n".join(rows)


def subcommand_tables():
    """The parts of the page on `fairseq-bso`."""
    from fairseq_bso.cli import build_parser

    of_task = {(one.dest, one.help) for one in _actions(registered()["--task sequence_distillation"])}
    parser = build_parser()
    (choices,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name, subparser in sorted(choices.choices.items()):
        actions = [one for one in subparser._actions if one.help != argparse.SUPPRESS and one.dest != "help"]
        text = f"## `fairseq-bso {name}`\n\n{subparser.description}\n"
        if name == "distill":
            actions = [one for one in actions if (one.dest, one.help) not in of_task]
            text += "\nIt also takes the data folder and the options of `--task sequence_distillation`.\n"
        yield text + (f"\n{table(actions)}" if actions else "")


def table(actions):
    """One row for each option of a parser."""
    rows = ["| option | value | default | meaning |", "|---|---|---|---|"]
    for action in actions:
        names = (
            ", ".join(f"`{name}`" for name in action.option_strings) or f"`{(action.metavar or action.dest).upper()}`"
        )
        rows.append(f"| {names} | {_value(action)} | {_default(action)} | {_meaning(action)} |")
    return "\n".join(rows) + "\n"


def _value(action):
    if action.choices is not None:
        return ", ".join(f"`{choice}`" for choice in action.choices)
    if action.nargs == 0:
        return ""
    if not action.option_strings:
        return "first words" if action.nargs in ("*", "+") else "a word"
    if action.type in (int, float):
        return {int: "whole number", float: "number"}[action.type]
    return f"`{action.metavar}`" if action.metavar else "text"


def _default(action):
    if getattr(action, "required", False) and action.option_strings:
        return "required"
    if action.nargs == 0 or action.default in (None, "", []) or action.default == argparse.SUPPRESS:
        return ""
    return f"`{action.default}`"


def _meaning(action):
    text = argparse.HelpFormatter("")._expand_help(action)
    text = re.sub(r" \(default: [\w.]+\)$", "", " ".join(text.split()))  # the default has its own column
    return text.replace("|", "\\|")


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
    main()
