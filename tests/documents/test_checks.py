"""Each check of documents fails on a document with errors, and passes without errors."""

import ast

import pytest
from documents import checks
from documents.markdown import ROOT, Document

GOOD = """# Title

Read [the part below](#a-part) and `scripts/tools/score.py`; `--train-beam` is an option.

![a picture](docs/demo.png)

    MODEL="--arch bso_lstm --dropout 0.2
        --encoder-bidirectional"
    fairseq-train DATA --user-dir fairseq_bso $MODEL --criterion beam_search_optimization \\
        --train-beam 6 --save-dir bso     # a comment
    fairseq-train DATA --arch bso_lstm ... --save-dir nll
    fairseq-bso translate model.bso --beam 1 < german.txt > english.txt
    python scripts/experiments/prepare_word_ordering.py --train FILE --out DIR
    make test TESTS=tests/unit
    pip install '.[demo]'

## A part

```python
from fairseq_bso import register_delta
```
"""


def document(text, name="page.md"):
    return Document(ROOT / name, text)


def problems(check, text):
    return list(check(document(text)))


PER_DOCUMENT = (
    checks.titles,
    checks.links,
    checks.paths,
    checks.options,
    checks.commands,
    checks.public_face,
    checks.long_sentences,
)


@pytest.mark.parametrize("check", PER_DOCUMENT)
def test_nothing_is_wrong_with_a_good_document(check):
    assert problems(check, GOOD) == []


@pytest.mark.parametrize("text", ["no title\n", "# One\n\n# Two\n", "\n# Late\n", "    # code\n"])
def test_titles(text):
    assert problems(checks.titles, text)


def test_a_comment_in_code_is_no_title():
    assert problems(checks.titles, "# One\n\n```\n# comment\n```\n\n    # another\n") == []


@pytest.mark.parametrize(
    "text, said",
    [
        ("[x](docs/no-such-file.md)", "leads nowhere"),
        ("![x](docs/no-such-picture.png)", "leads nowhere"),
        ("![x](README.md)", "is none"),
        ("[x](#no-such-part)", "no heading"),
        ("[x](CONTRIBUTING.md#no-such-part)", "no heading"),
        ("[`code`](no-such-folder/)", "leads nowhere"),
    ],
)
def test_links(text, said):
    (problem,) = problems(checks.links, f"# Title\n\n{text}\n")
    assert said in problem


def test_pictures_and_pages_that_nobody_shows():
    assert list(checks.unused([document(GOOD)], [ROOT / "docs" / "demo.png"])) == []
    assert list(checks.unused([document(GOOD)], [ROOT / "docs" / "other.png"])) == [
        "no document shows or links other.png"
    ]


def test_paths():
    (problem,) = problems(checks.paths, "# T\n\nSee `fairseq_bso/core/beam.py` and `scripts/tools/score.py`.\n")
    assert problem.endswith("there is no fairseq_bso/core/beam.py")


def test_options():
    (problem,) = problems(checks.options, "# T\n\nThe option `--train-beams-all` beside `--train-beam`.\n")
    assert problem.endswith("no parser has --train-beams-all")


@pytest.mark.parametrize(
    "line, said",
    [
        ("fairseq-trian DATA", "no program fairseq-trian"),
        ("fairseq-train DATA ... --no-such-option", "no option --no-such-option"),
        ("fairseq-train DATA --arch lstm --train-beam 6", "unrecognized arguments: --train-beam"),
        ("fairseq-train DATA --user-dir fairseq_bso --arch bso_lstm_99", "invalid choice"),
        ("fairseq-generate DATA --beam many", "invalid int value"),
        ("fairseq-bso squash a b", "no subcommand squash"),
        ("fairseq-bso prune a b --amount 0.8 --shrink", "no option --shrink"),
        ("fairseq-bso prune a b", "one of the arguments --amount --units is required"),
        ("python -m bso_runtime translate model --beams 2", "no option --beams"),
        ("python scripts/demo.py", "no scripts/demo.py"),
        ("python scripts/experiments/demo.py --slow", "no option --slow"),
        ("python scripts/experiments/pruning_grid.py m30k -- --prune-nothing", "no option --prune-nothing"),
        ("make coffee", "no target coffee"),
        ("pip install '.[espresso]'", "no extra espresso"),
    ],
)
def test_commands(line, said):
    (problem,) = problems(checks.commands, f"# T\n\n    {line}\n")
    assert said in problem


def test_variables_and_joined_lines_are_one_command():
    (problem,) = problems(checks.commands, '# T\n\n    A="--no-such"\n    fairseq-train DATA \\\n        $A ...\n')
    assert problem.endswith("no option --no-such")


def test_public_face():
    assert problems(checks.public_face, "# T\n\n```python\nfrom fairseq_bso.bso import costs\n```\n")
    assert problems(checks.public_face, "# T\n\n```python\nfrom fairseq_bso import no_such_name\n```\n")
    assert problems(checks.public_face, "# T\n\n```python\ndef broken(:\n```\n")
    assert list(checks.imported_from_below(ast.parse("import fairseq_bso.search")))


def test_form():
    assert list(checks.form(document("a\nb\n"), lines=1, characters=5))
    assert list(checks.form(document("a\nlonger\n"), lines=5, characters=5))
    assert list(checks.form(document("a\nb\n"), lines=2, characters=1)) == []


def test_long_sentences():
    words = "word " * 25
    assert problems(checks.long_sentences, f"# T\n\n- {words}more.\n")
    assert problems(checks.long_sentences, f"# T\n\n{words.strip()}. {words.strip()}: `a b c` end.\n") == []
    assert problems(checks.long_sentences, f"# T\n\n| {words} | {words} |\n") == []


def test_version():
    assert list(checks.version(document("## [0.1.0] - unreleased\n"), "0.1.0")) == []
    assert list(checks.version(document("## [0.1.0] - unreleased\n"), "0.2.0"))
