"""The existing options of fairseq's programs, of `fairseq-bso` and of the scripts."""

import argparse
import ast
import functools
import re
from pathlib import Path
from typing import Dict, Iterator, Set

from documents.markdown import ROOT

FAIRSEQ_PROGRAMS = (
    "fairseq-preprocess",
    "fairseq-train",
    "fairseq-generate",
    "fairseq-interactive",
    "fairseq-validate",
)
SCRIPT_FOLDERS = ("scripts", "user_dir_examples")
OTHER_PROGRAMS = {
    "--no-cov",
    "--no-deps",
    "--noconftest",
    "--model_path",
    "--data_dir",
    "--user_dir",
    "--quantization",
    "--output_dir",
    "--all-files",
    "--no-enhanced",
    "--config-dir",
    "--config-name",
}
"""options of pytest, pip, pre-commit, udeval and hydra that documents name"""


def parser_of(program: str) -> argparse.ArgumentParser:
    """A new parser of one of fairseq's programs, with registered plugins and without any choice of task or model."""
    from fairseq import options

    import fairseq_bso  # noqa: F401

    return {
        "fairseq-preprocess": options.get_preprocessing_parser,
        "fairseq-train": options.get_training_parser,
        "fairseq-generate": options.get_generation_parser,
        "fairseq-interactive": options.get_interactive_generation_parser,
        "fairseq-validate": options.get_validation_parser,
    }[program]()


def _options(parser: argparse.ArgumentParser) -> Set[str]:
    return {word for word in parser._option_string_actions if word.startswith("--")}


@functools.lru_cache(maxsize=None)
def options_of(program: str) -> Set[str]:
    """All options that one of fairseq's programs accepts with any model, task, criterion and so on."""
    from fairseq.dataclass.utils import gen_parser_from_dataclass
    from fairseq.models import ARCH_MODEL_REGISTRY
    from fairseq.registry import REGISTRIES
    from fairseq.tasks import TASK_REGISTRY

    found = _options(parser_of(program))
    classes = [*ARCH_MODEL_REGISTRY.values(), *TASK_REGISTRY.values()]
    classes += [entry for registry in REGISTRIES.values() for entry in registry["registry"].values()]
    for entry in set(classes):
        parser = argparse.ArgumentParser(conflict_handler="resolve")
        if getattr(entry, "add_args", None):
            entry.add_args(parser)
        elif getattr(entry, "__dataclass", None):
            gen_parser_from_dataclass(parser, getattr(entry, "__dataclass")())  # noqa: B009, avoids name mangling
        found |= _options(parser)
    return found


@functools.lru_cache(maxsize=None)
def subcommands() -> Dict[str, argparse.ArgumentParser]:
    """name -> parser of the subcommand; "" is `fairseq-bso` itself."""
    from fairseq_bso.cli import build_parser

    parser = build_parser()
    (choices,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {"": parser, **choices.choices}


@functools.lru_cache(maxsize=None)
def script_options(path: Path) -> Set[str]:
    """The options of a script, read from its source. Functions of neighbouring files may add some to its parser.

    If a variable is part of an option's name, any word in the file counts as its value.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set(_added(tree, tree)) | {"--help"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            neighbours = [path.parent / f"{node.module}.py", *(ROOT / "scripts").glob(f"*/{node.module}.py")]
            names = {alias.name for alias in node.names}
            for other in (file for file in neighbours if file.is_file()):
                inner = ast.parse(other.read_text(encoding="utf-8"))
                for function in inner.body:
                    if isinstance(function, ast.FunctionDef) and function.name in names:
                        if any("parser" in argument.arg for argument in function.args.args):
                            found |= set(_added(function, inner))
    return found


def _added(tree: ast.AST, file: ast.AST) -> Iterator[str]:
    words = {node.value for node in ast.walk(file) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    words = {word for word in words if re.fullmatch(r"[a-z][a-z0-9-]*", word)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            for argument in node.args:
                if isinstance(argument, ast.Constant) and str(argument.value).startswith("--"):
                    yield str(argument.value)
                elif isinstance(argument, ast.JoinedStr):
                    parts = [part.value if isinstance(part, ast.Constant) else None for part in argument.values]
                    yield from ("".join(word if part is None else part for part in parts) for word in words)


@functools.lru_cache(maxsize=None)
def all_options() -> Set[str]:
    """Every option that a document may name."""
    found = set(OTHER_PROGRAMS).union(*(options_of(program) for program in FAIRSEQ_PROGRAMS))
    found = found.union(*(_options(parser) for parser in subcommands().values()))
    for folder in SCRIPT_FOLDERS:
        found = found.union(*(script_options(path) for path in (ROOT / folder).rglob("*.py")))
    return found
