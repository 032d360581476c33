"""Programs whose output nobody reads any more, and interrupted ones, end without a traceback."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bso_runtime.endings import INTERRUPTED, UNREAD, ended

ROOT = Path(__file__).resolve().parents[2]
WORKERS = {"benchmark_risk.py", "benchmark_peer.py"}  # other benchmarks start and read them
LOG = "T-0\ta b\nH-0\t-1.0\ta b\n"


def python(*words, unbuffered=""):
    """Runs Python with an output that has no reader; returns (exit status, errors)."""
    reading, writing = os.pipe()
    os.close(reading)
    streams = {"stdout": writing, "stderr": subprocess.PIPE, "text": True}
    done = subprocess.run([sys.executable, *words], env={**os.environ, "PYTHONUNBUFFERED": unbuffered}, **streams)
    os.close(writing)
    return done.returncode, done.stderr


def programs():
    """{path: what it does as a program} of the scripts and examples."""
    for path in sorted([*ROOT.glob("scripts/*/*.py"), *ROOT.glob("user_dir_examples/*/*.py")]):
        last = ast.parse(path.read_text(encoding="utf-8")).body[-1:]
        if last and isinstance(last[0], ast.If) and ast.unparse(last[0].test) == "__name__ == '__main__'":
            yield path, [ast.unparse(line) for line in last[0].body]


def test_every_script_and_example_ends_so():
    found = dict(programs())
    assert len(found) > 25
    for path, lines in found.items():
        assert path.name in WORKERS or lines == ["exit_after(main)"], path


@pytest.mark.parametrize("option", ["--json", "--help"])
def test_a_script_whose_output_nobody_reads_says_nothing(tmp_path, option):
    (tmp_path / "log").write_text(LOG, encoding="utf-8")
    assert python(str(ROOT / "scripts" / "tools" / "score.py"), str(tmp_path / "log"), option) == (UNREAD, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_larger_than_any_buffer_or_without_one_too(unbuffered):
    code = "import runpy, sys; end = runpy.run_path(sys.argv[1])['exit_after']; "
    code += "end(lambda: [print('a' * 100) for _ in range(10_000)])"
    assert python("-c", code, str(ROOT / "bso_runtime" / "endings.py"), unbuffered=unbuffered) == (UNREAD, "")


def test_the_status_is_what_the_program_returns():
    assert [ended(lambda status=status: status) for status in (0, 3, None, "text")] == [0, 3, 0, 0]


def test_an_interrupt_is_a_status():
    def program():
        raise KeyboardInterrupt

    assert ended(program) == INTERRUPTED


def test_another_pipe_without_a_reader_is_a_fault():
    """For example that to a process which the program started, and which has died."""
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        ended(lambda: os.write(writing, b"words"))
    os.close(writing)
