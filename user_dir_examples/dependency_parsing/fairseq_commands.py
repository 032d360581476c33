"""Runs the stock fairseq programs."""

import subprocess
import sys

SOURCE, TARGET = "words", "actions"


def run_fairseq(program, arguments, log):
    """Runs `fairseq-PROGRAM` with its output in the file `log`.

    Raises SystemExit with the end of the log if the program fails."""
    command = [sys.executable, "-m", f"fairseq_cli.{program}", *map(str, arguments)]
    with open(log, "wb") as out:
        code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT).returncode
    if code:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").rstrip().split("\n")[-15:])
        raise SystemExit(f"fairseq-{program} ended with {code}; it said:\n{tail}")
