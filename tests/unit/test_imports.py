"""The law of imports, read from the source: pure files, the allowed imports of each room, and no import cycles."""

import ast
from pathlib import Path

import fairseq_bso

ROOT = Path(fairseq_bso.__file__).resolve().parent.parent

PURE = (
    "batches blockwise blockwise_cross_entropy byte_pieces linear registry sentence_bleu unit_sets search.* bso.costs "
    "bso.curriculum bso.losses cross_entropy.mixing distill.teacher_distribution distill.word_loss "
    "distill.blockwise_loss distill.ranking prune.schemes shortlist.lexicon interpret.units.*"
).split()
"""files that a reader understands with torch and numpy alone"""
PLAIN = set(
    "__future__ abc bisect collections copy dataclasses fractions functools heapq itertools math numpy platform random "
    "re torch typing".split()
)
"""the modules that pure files may import besides each other"""

GROUND = set(
    "batches blockwise blockwise_cross_entropy byte_pieces checkpoints compat corrections errors files linear locks "
    "logs old_names registry sentence_bleu subsets training_start unit_sets user_dirs".split()
)
"""files at the top that every room may use"""

ARROWS = {
    "batches": set(),
    "blockwise": {"linear"},
    "blockwise_cross_entropy": {"blockwise"},
    "checkpoints": {"errors"},
    "byte_pieces": set(),
    "compat": set(),
    "corrections": {"byte_pieces"},
    "errors": set(),
    "files": {"errors", "locks"},
    "linear": set(),
    "locks": set(),
    "logs": set(),
    "old_names": set(),
    "registry": set(),
    "sentence_bleu": set(),
    "subsets": {"errors"},
    "training_start": {"checkpoints", "errors"},
    "unit_sets": set(),
    "user_dirs": {"errors"},
    "search": GROUND,
    "bso": GROUND | {"search", "models"},  # the criterion calls `search_in_training`, which takes any model
    "cross_entropy": GROUND | {"search", "models"},
    "decoding": GROUND | {"search"},
    "models": GROUND | {"search"},
    "prune": GROUND,
    "shortlist": GROUND | {"search", "bso_runtime"},
    "tasks": GROUND | {"decoding", "prune", "shortlist"},
    "distill": GROUND | {"search", "decoding", "tasks", "shortlist"},
    "export": GROUND | {"shortlist", "bso_runtime"},
    "interpret.units": GROUND,
    "interpret.folder": GROUND | {"interpret.units"},  # the cards of the units come from the pass over the states
    "interpret.models": GROUND | {"models", "search"},
    "interpret.capture": GROUND | {"interpret.folder", "interpret.models"},
    "interpret.attribution": GROUND | {"interpret.models"},  # gradients run through a reader of a model
    "interpret.ablate": GROUND | {"interpret.folder", "interpret.models"},
    "interpret.live": GROUND
    | {
        "interpret.folder",
        "interpret.models",
        "interpret.capture",
        "interpret.attribution",
    },  # one text read as a corpus
    "interpret.view": GROUND
    | {"interpret.folder", "interpret.units", "interpret.models", "interpret.attribution", "interpret.live"},
    "interpret": {"interpret.view"},  # `show`, for notebooks
    "overview": GROUND,
    "doctor": GROUND | {"bso", "models", "plugins"},
    "cli": {"bso_runtime", "fairseq_bso", "logs"},
    "plugins": GROUND | {"search", "bso", "cross_entropy", "decoding", "models", "prune", "distill"},
    "fairseq_bso": {"plugins"},
    "bso_runtime": {"cli"},
}
"""room, or file at the top -> the rooms and files that it may import"""


def source_files():
    """{dotted name: path} of both packages."""
    found = {}
    for package in ("fairseq_bso", "bso_runtime"):
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name, path, files):
    """The dotted names that a file imports, imports inside functions included."""
    own = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = own[: len(own) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                yield inner if inner in files else module


def room(name):
    """The room of a file; for a file at the top, its own name."""
    parts = name.split(".")
    if parts[0] != "fairseq_bso" or len(parts) == 1:
        return parts[0]
    return ".".join(parts[1:3]) if parts[1] == "interpret" and len(parts) > 2 else parts[1]


def is_pure(name):
    """Whether PURE names a file."""
    inner = name.partition(".")[2]
    return any(inner == pattern or (pattern.endswith("*") and inner.startswith(pattern[:-1])) for pattern in PURE)


FILES = source_files()
GRAPH = {name: sorted(set(imports_of(name, path, FILES)) - {name}) for name, path in FILES.items()}


def test_pure_files_import_torch_numpy_and_each_other():
    pure = [name for name in FILES if is_pure(name)]
    assert len(pure) > 20
    for name in pure:
        for target in GRAPH[name]:
            library = target.split(".")[0]
            if library == "fairseq_bso":
                assert is_pure(target), f"{name} is pure, but imports {target}"
            else:
                assert library in PLAIN, f"{name} is pure, but imports {target}"


def test_the_page_reads_and_searches_states_without_torch():
    """The wheel of the runtime holds these rooms; tests/unit/test_build_runtime.py opens its page."""
    for name, targets in GRAPH.items():
        if room(name) in ("interpret.units", "interpret.folder"):
            libraries = {target.split(".")[0] for target in targets}
            assert not libraries & {"torch", "fairseq"}, f"{name} imports {', '.join(sorted(libraries))}"


def test_rooms_import_only_what_they_may():
    for name, targets in GRAPH.items():
        for target in targets:
            if target not in FILES or room(name) == room(target):
                continue
            if room(target) == "interpret":
                raise AssertionError(f"{name} imports {target}: interpret has several rooms, name one")
            assert room(name) in ARROWS, f"{name} is in no known room"
            assert room(target) in ARROWS[room(name)], f"the arrow {name} -> {target} goes against the house"


def test_every_arrow_is_used():
    """An unused arrow has to leave the table above."""
    used = {(room(name), room(target)) for name, targets in GRAPH.items() for target in targets if target in FILES}
    for one, targets in ARROWS.items():
        for target in targets - GROUND:
            assert (one, target) in used, f"nothing in {one} imports {target} any more"


def test_no_circle_of_files():
    done, path = set(), []

    def visit(name):
        assert name not in path, f"a circle: {' -> '.join([*path[path.index(name) :], name])}"
        if name in done:
            return
        path.append(name)
        for target in GRAPH[name]:
            if target in FILES:
                visit(target)
        path.pop()
        done.add(name)

    for name in FILES:
        visit(name)


def test_packages_name_their_files():
    """The docstring of each room is its table of contents."""
    for name, path in FILES.items():
        if path.name != "__init__.py" or name == "fairseq_bso":
            continue
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        words = set(text.replace(",", " ").split())
        for file in path.parent.glob("*.py"):
            assert file.stem.startswith("__") or file.stem in words, f"{name} does not name {file.stem}"
        for folder in path.parent.iterdir():
            if (folder / "__init__.py").exists():
                assert folder.name in words, f"{name} does not name {folder.name}"
