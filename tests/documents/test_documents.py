"""Documents are correct: their links, pictures, paths, options and commands exist."""

import ast
import importlib.util

import pytest
from documents import checks
from documents.markdown import PICTURES, ROOT, documents, read

import fairseq_bso

DOCUMENTS = documents()
PLAIN = (
    "README.md CONTRIBUTING.md PAPERS.md RELEASING.md findings/README.md "
    "docs/architecture.md docs/results.md docs/speed.md docs/stability.md docs/training.md "
    "user_dir_examples/custom_losses/README.md "
    "user_dir_examples/custom_successors/README.md user_dir_examples/dependency_parsing/README.md "
    "user_dir_examples/distillation/README.md user_dir_examples/interpretation/README.md "
    "user_dir_examples/pruning/README.md user_dir_examples/translation/README.md "
    "user_dir_examples/word_ordering/README.md"
).split()
"""documents in which every sentence follows the rule of prose"""

for_each = pytest.mark.parametrize("document", DOCUMENTS, ids=[document.name for document in DOCUMENTS])


def none(problems):
    """Fails with a list of all problems if there are any."""
    problems = list(problems)
    assert not problems, "\n".join(problems)


def tool(name):
    """A script of scripts/tools as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@for_each
def test_titles(document):
    if document.path.parent.name != ".github":  # GitHub adds a title to a template
        none(checks.titles(document))


@for_each
def test_tables_have_rows(document):
    none(checks.tables(document))


@for_each
def test_links_lead_somewhere(document):
    none(checks.links(document))


@for_each
def test_paths_exist(document):
    none(checks.paths(document))


@for_each
def test_options_exist(document):
    none(checks.options(document))


@for_each
def test_commands_parse(document):
    none(checks.commands(document))


@for_each
def test_python_takes_the_public_face_alone(document):
    none(checks.public_face(document))


def test_examples_take_the_public_face_alone():
    for path in (ROOT / "user_dir_examples").glob("*/__init__.py"):
        none(f"{path.parent.name}: {problem}" for problem in checks.imported_from_below(ast.parse(path.read_text())))


def test_every_picture_is_shown():
    none(checks.unused(DOCUMENTS, [path for path in (ROOT / "docs").iterdir() if path.suffix in PICTURES]))


def test_every_document_is_linked():
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "user_dir_examples").rglob("README.md")]
    none(checks.unused(DOCUMENTS, pages))


def test_every_example_has_a_readme():
    for folder in (ROOT / "user_dir_examples").iterdir():
        assert (folder / "README.md").exists() or folder.name.startswith(("_", ".")), folder


def test_the_changelog_has_this_version():
    none(checks.version(read(ROOT / "CHANGELOG.md"), fairseq_bso.__version__))


def test_the_citation_is_of_this_version():
    assert f"\nversion: {fairseq_bso.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_architecture_draws_and_names_every_room():
    drawing = tool("draw_rooms")
    rooms = {name for pair in drawing.arrows() for name in pair}
    assert rooms <= set(drawing.PLACES)
    named = read(ROOT / "docs" / "architecture.md").inline_code()
    assert set(drawing.PLACES) <= set(named)


def test_the_readme_is_short():
    none(checks.form(read(ROOT / "README.md"), lines=160, characters=130))


@pytest.mark.parametrize("name", PLAIN)
def test_sentences_are_short(name):
    none(checks.long_sentences(read(ROOT / name)))


def test_the_page_of_options_is_what_the_generator_writes():
    assert (ROOT / "docs" / "options.md").read_text(encoding="utf-8") == tool("write_options").page(), "run make docs"
