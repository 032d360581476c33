"""Runs Python programs as forks of one process that has imported fairseq.

A new interpreter needs some seconds for that import. A program gets its own arguments, environment, output and exit
status, as from `subprocess.Popen`.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import resource
import runpy
import signal
import subprocess
import sys
import threading
from multiprocessing import forkserver
from pathlib import Path

HERE = str(Path(__file__).resolve().parent)
PROCESSOR_TIME = "seconds of processor time:"  # begins the last line that a program leaves in its output


def server(environment, modules=()):
    """The process that is forked. There is one: the first call starts it, with its environment for glibc and torch.

    Args:
        environment: its variables.
        modules: what it imports besides fairseq.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["preload", *modules])
    before = dict(os.environ)
    os.environ.update(environment)
    os.environ["PYTHONPATH"] = os.pathsep.join([HERE, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def server_process():
    """The process id of the server; None where it does not run."""
    return forkserver._forkserver._forkserver_pid


class Forked:
    """A running program, with the part of the interface of `subprocess.Popen` that is used here."""

    def __init__(self, script, arguments, output, environment):
        given = (str(script), [str(word) for word in arguments], str(output), dict(environment), os.getcwd())
        self.process = server(environment).Process(target=_run, args=given)
        self.process.start()

    @property
    def returncode(self):
        """The exit status, negative for a signal; None while it runs."""
        return self.process.exitcode

    def wait(self, timeout=None):
        """Waits for the end. Raises subprocess.TimeoutExpired."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired(self.process.name, timeout)
        return self.process.exitcode

    def terminate(self):
        """Sends the program a request to end."""
        self.process.terminate()


def script_of(command):
    """(script, its arguments) for a command of this Python or its fairseq; (None, command) for any other command."""
    first, *rest = map(str, command)
    if first == sys.executable and rest and rest[0].endswith(".py"):
        return rest[0], rest[1:]
    if Path(first).name.startswith("fairseq-") and Path(first).parent == Path(sys.executable).parent:
        return first, rest
    return None, command


def _run(script, arguments, output, environment, folder):
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)
    sys.stdout = open(1, "w", buffering=1, closefd=False)
    sys.stderr = open(2, "w", buffering=1, closefd=False)
    multiprocessing.set_start_method("fork" if sys.platform == "linux" else None, force=True)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv, sys.path[0] = [script, *arguments], str(Path(script).resolve().parent)
    logging.root.handlers.clear()  # importing fairseq sets logging up, and a program's own setting would have no effect
    logging.root.setLevel(logging.WARNING)
    _take_threads(environment)
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit:
        raise
    except BaseException:
        sys.excepthook(*sys.exc_info())  # an interpreter calls it, and multiprocessing does not
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        sys.exit(1)
    finally:
        sys.stdout.flush()
        _write_processor_time()


def _end_with(parent):
    """Ends this program when the one that started it is killed: another run may then do the same anew."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _write_processor_time():
    """Writes the seconds of this process and of those that it waited for, as a line of its output."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    os.write(1, f"{PROCESSOR_TIME} {sum(one.ru_utime + one.ru_stime for one in used):.1f}\n".encode())


def _stop(number, _frame):
    """Ends the program by the signal that it got, but writes its time first."""
    _write_processor_time()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def processor_time(log):
    """The seconds of processor time of all programs whose output is in the file `log`, or None if none is there."""
    with open(log, encoding="utf-8", errors="replace") as lines:
        found = [float(line[len(PROCESSOR_TIME) :]) for line in lines if line.startswith(PROCESSOR_TIME)]
    return sum(found) if found else None


def _take_threads(environment):
    """Sets torch's threads. torch read OMP_NUM_THREADS when the server imported it, perhaps for another program."""
    threads = environment.get("OMP_NUM_THREADS", "")
    if threads.isdecimal() and int(threads) > 0:
        import torch

        torch.set_num_threads(int(threads))
