"""A program in a process of its own, on one thread, that answers each line of JSON with another."""

import json
import os
import subprocess
import sys

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Worker:
    """The process.

    Args:
        title: its name in a message.
        argv: a Python program and its arguments.
    """

    def __init__(self, title, *argv):
        self.title, pipe = title, subprocess.PIPE
        command, environment = [sys.executable, *map(str, argv)], {**os.environ, **THREADS}
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)

    def ask(self, *request):
        """The answer to a request. Raises SystemExit if the process has ended."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.title}: the process ended, see above")
        return json.loads(answer)

    def close(self):
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()
