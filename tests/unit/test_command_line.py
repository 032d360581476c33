"""`fairseq-bso`: help and version need neither torch nor fairseq, and a subcommand registers what it needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_bso.cli import SUBCOMMANDS, command_of

WITHOUT = "import sys; sys.modules['torch'] = sys.modules['fairseq'] = None; from bso_runtime.cli import main; "


COMMAND = "import sys; from bso_runtime.cli import main; sys.exit(main(sys.argv[1:]))"
OLD_MODEL = Path(__file__).resolve().parents[1] / "old_files" / "softmax.bso"


def python(code, *words, **options):
    """Runs code in an interpreter of its own; `words` are its arguments."""
    wide = {**os.environ, "COLUMNS": "200"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([sys.executable, "-c", code, *words], text=True, env=wide, **streams)


def test_a_reader_that_closes_the_output_ends_a_command_without_a_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    done = python(COMMAND, "user-dir", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + 13, "")


def test_an_interrupt_ends_a_command_without_a_traceback_and_leaves_nothing(tmp_path):
    code = "import signal, time; from bso_runtime import translate; "
    code += "signal.signal(signal.SIGINT, signal.default_int_handler); "  # a program in the background ignores it
    code += "translate._batches = lambda *_: (signal.raise_signal(signal.SIGINT), time.sleep(60)); "
    done = python(code + COMMAND, "translate", OLD_MODEL, "--input", __file__, "--output", tmp_path / "out")
    assert (done.returncode, done.stderr) == (128 + 2, "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "closed, words, message",
    [
        ("<&-", ["translate", OLD_MODEL], "standard input is closed: give it the text, or name a file with --input"),
        (
            ">&-",
            ["translate", OLD_MODEL, "--input", __file__],
            "standard output is closed: open it, or name a file with --output",
        ),
        (">&-", ["view", "nowhere"], "the folder nowhere does not exist: fairseq-bso states writes one"),
    ],
)
def test_a_stream_that_is_closed_from_the_start_gives_one_line(closed, words, message):
    words = [sys.executable, "-c", COMMAND, *map(str, words)]
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *words], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, message + "\n")


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
