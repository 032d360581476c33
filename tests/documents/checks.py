"""The checks of documents. Each check yields one line for each error."""

import argparse
import ast
import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Iterator, List, Sequence

from documents.known_options import (
    FAIRSEQ_PROGRAMS,
    all_options,
    options_of,
    parser_of,
    script_options,
    subcommands,
)
from documents.markdown import PICTURES, ROOT, Document, read

OPEN = "..."
"""a placeholder in a command for omitted options"""
OUR_FOLDERS = "fairseq_bso bso_runtime scripts tests docs user_dir_examples findings".split()


def titles(document: Document) -> Iterator[str]:
    """A document has one title, in its first line."""
    if document.titles()[1:] or not document.text.startswith("# "):
        yield f"{document.name}: needs one title, in its first line; has {document.titles()}"


def links(document: Document) -> Iterator[str]:
    """Files, anchors and pictures that links name exist."""
    for picture, target in document.links():
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (document.path.parent / file).resolve() if file else document.path
        if file and not path.exists():
            yield f"{document.name}: the link {target} leads nowhere"
        elif picture and path.suffix not in PICTURES:
            yield f"{document.name}: {target} is shown as a picture, but is none"
        elif anchor and path.suffix == ".md" and anchor not in (document if not file else read(path)).anchors():
            yield f"{document.name}: {path.name} has no heading #{anchor}"


def unused(documents: Sequence[Document], files: Sequence[Path]) -> Iterator[str]:
    """A document links each of these files."""
    used = {
        (document.path.parent / target.partition("#")[0]).resolve()
        for document in documents
        for _, target in document.links()
    }
    for file in files:
        if file.resolve() not in used:
            yield f"no document shows or links {file.name}"


def paths(document: Document) -> Iterator[str]:
    """Inline code that looks like a path of this repository is an existing path."""
    for code in document.inline_code():
        for word in code.split():
            if re.fullmatch(rf"({'|'.join(OUR_FOLDERS)})(/[\w.-]+)+/?", word) and not (ROOT / word).exists():
                yield f"{document.name}: there is no {word}"


def options(document: Document) -> Iterator[str]:
    """Every named option exists in some parser."""
    text = re.sub(r"\(https?:[^)]*\)|<!--.*?-->", "", document.text, flags=re.DOTALL)
    for option in sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*", text)) - all_options()):
        yield f"{document.name}: no parser has {option}"


def commands(document: Document) -> Iterator[str]:
    """Command lines name existing programs and scripts, with options that they accept."""
    for words in document.commands():
        line = " ".join(words)[:100]
        for problem in _problems(words):
            yield f"{document.name}: {line}: {problem}"


def _problems(words: List[str]) -> Iterator[str]:
    program, rest = words[0], words[1:]
    if Path(program).name in ("python", "python3") and rest and not rest[0].startswith("-"):
        yield from _script(rest[0], rest[1:])
    elif Path(program).name in ("python", "python3") and rest[:1] == ["-m"] and rest[1].startswith("bso_runtime"):
        yield from _subcommand(rest[2:])
    elif program == "fairseq-bso":
        yield from _subcommand(rest)
    elif program in FAIRSEQ_PROGRAMS:
        yield from _fairseq(program, rest)
    elif program.startswith("fairseq-"):
        yield f"there is no program {program}"
    elif program == "make":
        yield from _make(rest)
    elif program == "pip":
        yield from _extras(rest)


def _script(script: str, rest: List[str]) -> Iterator[str]:
    if not (ROOT / script).is_file():
        yield f"there is no {script}"
        return
    cut = rest.index("--") if "--" in rest else len(rest)
    known = script_options(ROOT / script)
    for option in _named(rest[:cut]):
        if option not in known:
            yield f"{Path(script).name} has no option {option}"
    program = "fairseq-generate" if script.endswith("parse.py") else "fairseq-train"
    for option in _named(rest[cut:]):
        if option not in options_of(program):
            yield f"{program} has no option {option}"


def _named(words: Sequence[str]) -> List[str]:
    return [word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)]


def _open(words: Sequence[str]) -> bool:
    return any(OPEN in word or word.startswith("$") for word in words)


def _fairseq(program: str, rest: List[str]) -> Iterator[str]:
    unknown = [option for option in _named(rest) if option not in options_of(program)]
    if unknown or _open(rest):
        yield from (f"{program} has no option {option}" for option in unknown)
        return
    from fairseq import options

    parser, said = parser_of(program), io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            given = [_filled_in(word) for word in _before_redirection(rest)]
            if program == "fairseq-preprocess":  # its parser has no options of tasks
                parser.parse_args(given)
            else:
                options.parse_args_and_arch(parser, input_args=given)
    except SystemExit:
        yield said.getvalue().strip().splitlines()[-1]


def _filled_in(word: str) -> str:
    """Replaces N by a number, and a user-dir of this repository by its absolute path."""
    if word == "N":
        return "1"
    return str(ROOT / word) if word == "fairseq_bso" or word.startswith("user_dir_examples/") else word


def _before_redirection(words: List[str]) -> List[str]:
    return words[: min((words.index(mark) for mark in "<>|" if mark in words), default=len(words))]


def _subcommand(rest: List[str]) -> Iterator[str]:
    rest = _before_redirection(rest)
    name = rest[0] if rest and not rest[0].startswith("-") else ""
    if name not in subcommands():
        yield f"fairseq-bso has no subcommand {name}"
        return
    known = subcommands()[name]._option_string_actions
    unknown = [option for option in _named(rest) if option not in known]
    yield from (f"fairseq-bso {name} has no option {option}" for option in unknown)
    if name and not unknown and not _open(rest) and "--help" not in rest:
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                subcommands()[name].parse_args(rest[1:])
        except SystemExit:
            yield said.getvalue().strip().splitlines()[-1]


def _make(rest: List[str]) -> Iterator[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in rest:
        if "=" not in word and not re.search(rf"^{re.escape(word)}:", makefile, flags=re.MULTILINE):
            yield f"the Makefile has no target {word}"
        if "=" in word and word.split("=")[0] not in makefile:
            yield f"the Makefile knows no {word.split('=')[0]}"


def _extras(rest: List[str]) -> Iterator[str]:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for word in rest:
        for extra in re.findall(r"\.\[([\w,]+)\]", word):
            for name in extra.split(","):
                if not re.search(rf"^{name} = \[", project, flags=re.MULTILINE):
                    yield f"pyproject.toml has no extra {name}"


def public_face(document: Document) -> Iterator[str]:
    """Python blocks are valid Python, and import only the public names of fairseq_bso."""
    for block in document.code_blocks("python"):
        try:
            tree = ast.parse(block)
        except SyntaxError as problem:
            yield f"{document.name}: line {problem.lineno} of a Python block: {problem.msg}"
            continue
        yield from (f"{document.name}: {problem}" for problem in imported_from_below(tree))


def imported_from_below(tree: ast.AST) -> Iterator[str]:
    """Imports from fairseq_bso of names that are not public."""
    import fairseq_bso

    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        module = getattr(node, "module", None) or ""
        if isinstance(node, ast.Import):
            yield from (f"imports {name}" for name in names if name.startswith("fairseq_bso."))
        elif module.startswith("fairseq_bso."):
            yield f"imports from {module}"
        elif module == "fairseq_bso":
            yield from (f"fairseq_bso has no {name}" for name in names if name not in fairseq_bso.__all__)


def form(document: Document, lines: int, characters: int) -> Iterator[str]:
    """A document has at most so many lines of so many characters."""
    rows = document.text.splitlines()
    if len(rows) > lines:
        yield f"{document.name}: {len(rows)} lines; at most {lines}"
    for number, row in enumerate(rows, 1):
        if len(row) > characters:
            yield f"{document.name}: line {number} has {len(row)} characters; at most {characters}"


def long_sentences(document: Document, most: int = 25) -> Iterator[str]:
    """A sentence has at most 25 words, by the house rule of prose."""
    for sentence in document.sentences():
        if len(re.findall(r"[\w'’.%+-]*\w[\w'’.%+-]*", sentence)) > most:
            yield f"{document.name}: more than {most} words: {sentence}"


def tables(document: Document) -> Iterator[str]:
    """A table has rows."""
    lines = document.text.split("\n")
    for number, line in enumerate(lines[:-1], 1):
        if re.fullmatch(r"\|(\s*:?-+:?\s*\|)+", line) and not lines[number].startswith("|"):
            yield f"{document.name}: the table of line {number} has no row"


def version(document: Document, number: str) -> Iterator[str]:
    """A changelog has an entry for the version."""
    if not re.search(rf"^## \[{re.escape(number)}\]", document.text, flags=re.MULTILINE):
        yield f"{document.name}: no entry ## [{number}]"


if __name__ == "__main__":  # checks single documents while they are written
    argument = argparse.ArgumentParser(description=__doc__)
    argument.add_argument("documents", nargs="+", type=Path)
    for one in argument.parse_args().documents:
        for check in (titles, links, paths, options, commands, public_face, long_sentences):
            print(*check(read(one.resolve())), sep="\n", file=sys.stderr)
