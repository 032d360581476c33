"""How a program ends: without a traceback at Ctrl-C, and where the reader of its output has closed it.

Programs of `scripts` and `user_dir_examples` read this file by its path, for it needs the standard library alone.
"""

import os
import select
import sys
from typing import Any, Callable, NoReturn

INTERRUPTED, UNREAD = 128 + 2, 128 + 13  # what a shell says of a program that SIGINT or SIGPIPE ended


def ended(program: Callable[[], Any]) -> int:
    """Runs a program, such as `main`.

    Returns the exit status: what the program returns, if that is a number.

    Raises:
        BrokenPipeError: the reader of another pipe is gone, such as a process that the program started.
    """
    try:
        try:
            status = program()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        if not _is_unread():
            raise
        drop_output()
        return UNREAD
    return status if isinstance(status, int) else 0


def exit_after(program: Callable[[], Any]) -> NoReturn:
    """Runs a program and ends the process."""
    sys.exit(ended(program))


def _is_unread() -> bool:
    """Whether the reader of standard output is gone."""
    if sys.stdout is None or not hasattr(select, "poll"):  # Windows has no such function
        return sys.stdout is not None
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def drop_output() -> None:
    """Discards what standard output could not take, or the process would fail a second time when it ends."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
