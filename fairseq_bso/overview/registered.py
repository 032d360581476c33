"""The options of registered models, criterions and tasks.

fairseq prints its help before it knows the model, criterion and task of a command line. `fairseq-train --help` lists
none of their options, whether they are named or not.
"""

import argparse
import re
import sys
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ..errors import UserError

KINDS = ("--arch", "--criterion", "--task")


class Option(NamedTuple):
    """One option of a parser."""

    names: Tuple[str, ...]
    """the first word alone for an argument without dashes"""
    choices: Tuple[str, ...]
    value: str
    """the kind of its value if there are no choices; "" for a switch"""
    default: str
    """"" for none, or `required`"""
    meaning: str

    @classmethod
    def of(cls, action: argparse.Action) -> "Option":
        """The option of a parser's action."""
        names = tuple(action.option_strings) or (str(action.metavar or action.dest).upper(),)
        choices = () if action.choices is None else tuple(map(str, action.choices))
        text = " ".join(argparse.HelpFormatter("")._expand_help(action).split())
        return cls(names, choices, _value(action), _default(action), re.sub(r" \(default: [\w.]+\)$", "", text))


class Section(NamedTuple):
    """The options that one or more registrations share."""

    kind: str
    """`--arch`, `--criterion` or `--task`"""
    names: Tuple[str, ...]
    options: Tuple[Option, ...]
    inherited: bool = False
    """whether they are those that a class of this package has from fairseq"""


def registry(kind: str) -> Dict[str, type]:
    """All registrations of a kind, fairseq's and a user's too."""
    from fairseq.criterions import CRITERION_REGISTRY
    from fairseq.models import MODEL_REGISTRY
    from fairseq.tasks import TASK_REGISTRY

    return dict(zip(KINDS, (MODEL_REGISTRY, CRITERION_REGISTRY, TASK_REGISTRY)))[kind]


def named_sizes() -> Dict[str, argparse.Namespace]:
    """{named size of this package's models: the values that it sets}."""
    from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

    found = {}
    for name in sorted(ARCH_CONFIG_REGISTRY):
        sizes = argparse.Namespace()
        if ARCH_MODEL_REGISTRY[name].__module__.startswith("fairseq_bso."):
            ARCH_CONFIG_REGISTRY[name](sizes)
        if vars(sizes):
            found[name] = sizes
    return found


def own_registrations() -> List[Tuple[str, str, type]]:
    """Kind, name and config class of this package's registrations, in order."""
    found = []
    for kind in KINDS:
        for name, entry in sorted(registry(kind).items()):
            module = sys.modules[entry.__module__]
            ours = entry.__module__.startswith("fairseq_bso.") and getattr(module, entry.__name__, None) is entry
            if ours and getattr(entry, "__dataclass", None):  # leaves out tasks that a user-dir makes of fairseq's
                found.append((kind, name, getattr(entry, "__dataclass")))  # noqa: B009, names are not mangled here
    return found


def own_sections() -> Iterator[Section]:
    """The options of this package. A config class that several registrations share makes one section."""
    users: Dict[type, List[Tuple[str, str]]] = {}
    options: Dict[type, List[Option]] = {}
    for kind, name, config in own_registrations():
        by_name = {action.dest: action for action in _actions_of_config(config)}
        for owner, fields in _own_fields(config).items():
            users.setdefault(owner, []).append((kind, name))
            actions = (by_name[field] for field in fields if field in by_name)
            options[owner] = [Option.of(action) for action in actions if action.help]
    sections: Dict[Tuple[Tuple[str, str], ...], List[Option]] = {}
    for owner in sorted(users, key=lambda owner: users[owner][0][0]):  # stable: general before special within a kind
        if options[owner]:
            sections.setdefault(tuple(users[owner]), []).extend(options[owner])
    for named, listed in sections.items():
        yield Section(named[0][0], tuple(name for _, name in named), tuple(listed))


def sections_of(kind: str, name: str) -> Iterator[Section]:
    """All options of one registration: those of this package, then fairseq's or a user's. One may be empty.

    Raises:
        UserError: there is no such registration.
    """
    from fairseq.models import ARCH_MODEL_REGISTRY

    sizes = named_sizes().get(name) if kind == "--arch" else None
    entry: Optional[Any] = registry(kind).get(name)
    if entry is None and kind == "--arch":
        entry = ARCH_MODEL_REGISTRY.get(name)
    if entry is None:
        known = {registered for of_kind, registered, _ in own_registrations() if of_kind == kind}
        known |= set(named_sizes()) if kind == "--arch" else set()
        raise UserError(f"{kind} {name} is not registered: give {', '.join(sorted(known))}, or a name of fairseq's")
    seen = set()
    for section in own_sections():
        if section.kind == kind and any(registry(kind)[user] is entry for user in section.names):
            seen.update(option.names for option in section.options)
            yield section._replace(options=tuple(_with_sizes(option, sizes) for option in section.options))
    others = (Option.of(action) for action in _actions(entry) if action.help not in (None, argparse.SUPPRESS))
    rest = tuple(option for option in others if option.names not in seen)
    if rest or not seen:
        yield Section(kind, (name,), rest, inherited=bool(seen))


def _with_sizes(option: Option, sizes: Optional[argparse.Namespace]) -> Option:
    """The option with the default of a named size."""
    default = getattr(sizes, option.names[0].lstrip("-").replace("-", "_"), None)
    return option if default is None else option._replace(default=str(default))


def _own_fields(config: type) -> Dict[type, List[str]]:
    """{class: names of its fields} of this package's classes in a config, the most general first."""
    classes = [owner for owner in reversed(config.__mro__) if owner.__module__.startswith("fairseq_bso.")]
    return {owner: list(owner.__dict__.get("__annotations__", {})) for owner in classes}


def _actions_of_config(config: type) -> List[argparse.Action]:
    """The parser's action for each field of a config."""
    from fairseq.dataclass.utils import gen_parser_from_dataclass

    parser = argparse.ArgumentParser(add_help=False)
    gen_parser_from_dataclass(parser, config())
    return parser._actions


def _actions(entry: Any) -> List[argparse.Action]:
    """The parser's actions of a registered class."""
    config = getattr(entry, "__dataclass", None)
    if config is not None:
        return _actions_of_config(config)
    parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    if hasattr(entry, "add_args"):
        entry.add_args(parser)
    return parser._actions


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if not action.option_strings:
        return "first words" if action.nargs in ("*", "+") else "a word"
    if action.type in (int, float):
        return "whole number" if action.type is int else "number"
    return str(action.metavar or "text")


def _default(action: argparse.Action) -> str:
    if getattr(action, "required", False) and action.option_strings:
        return "required"
    nothing = action.nargs == 0 or action.default in (None, "", []) or action.default == argparse.SUPPRESS
    return "" if nothing else str(action.default)
