"""`fairseq-bso`: help and version need neither torch nor fairseq, and a subcommand registers what it needs."""

import os
import subprocess
import sys

import pytest

from fairseq_bso.cli import SUBCOMMANDS, command_of

WITHOUT = "import sys; sys.modules['torch'] = sys.modules['fairseq'] = None; from bso_runtime.cli import main; "


def python(code, *words):
    """Runs code in an interpreter of its own; `words` are its arguments."""
    wide = {**os.environ, "COLUMNS": "200"}
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=wide)


def test_the_help_names_every_subcommand_without_torch_and_fairseq():
    done = python(f"{WITHOUT} main(sys.argv[1:])", "--help")
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    for name, subcommand in SUBCOMMANDS.items():
        assert f"{name} {subcommand.help}" in shown
        assert callable(command_of(name).run)
    assert "translate" in shown and "user-dir" in shown


@pytest.mark.parametrize("words", [["view", "--help"], ["states", "--help"], ["export", "--help"], ["--version"]])
def test_help_and_version_need_neither_torch_nor_fairseq(words):
    done = python(f"{WITHOUT} main(sys.argv[1:])", *words)
    assert done.returncode == 0, done.stderr
    assert "usage: fairseq-bso" in done.stdout or "fairseq-bso 0." in done.stdout


def test_a_subcommand_that_needs_fairseq_registers_everything(tmp_path):
    code = "import sys; from bso_runtime.cli import main; main(sys.argv[1:]); from fairseq_bso import register_delta; "
    code += "from fairseq.models import ARCH_MODEL_REGISTRY; print('bso_lstm' in ARCH_MODEL_REGISTRY)"
    done = python(code, "options", "--arch", "bso_lstm")
    assert done.returncode == 0, done.stderr
    assert "--init-range" in done.stdout and done.stdout.rstrip().endswith("True")
    assert not done.stderr  # importing fairseq writes messages


def test_the_public_face_is_there_after_an_import_without_fairseq():
    code = "import sys, bso_runtime.cli as cli; cli.without_fairseq = True; import fairseq_bso; "
    code += "assert 'fairseq' not in sys.modules; from fairseq_bso import register_successors, compat; "
    code += "assert 'fairseq' in sys.modules; fairseq_bso.nothing"
    done = python(code)
    assert "has no attribute 'nothing'" in done.stderr.strip().splitlines()[-1]
