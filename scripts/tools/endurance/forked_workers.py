"""`fairseq-bso distill` whose further workers are forks of it, in place of new interpreters that import everything."""

import os
import signal
import sys


class _Fork:
    """A worker, with the part of the interface of `subprocess.Popen` that the command uses."""

    def __init__(self, words):
        self.returncode = None
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                from fairseq_bso.cli import main

                status = main(words)
            except BaseException as error:
                sys.excepthook(type(error), error, error.__traceback__)
            finally:
                os._exit(status)

    def poll(self):
        if self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if found else None
        return self.returncode

    def terminate(self):
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def wait(self, timeout=None):
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


def distill():
    """Runs the command with the arguments of this process."""
    from fairseq_bso.cli import main
    from fairseq_bso.distill import command

    command._start = lambda words, rank: _Fork([*words, "--rank", str(rank), "--parent", str(os.getpid())])
    return main()
