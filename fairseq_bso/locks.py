"""Locks, which keep two processes from one output.

A lock is `flock` on an open file: the system releases it when the process ends, however it ends. This file imports the
standard library alone, so that scripts can run it by its path, without fairseq.
"""

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Callable, Iterator, NamedTuple, Optional

try:
    import fcntl
except ImportError:  # not on Windows: each writer still has names of its own there
    fcntl = None  # type: ignore[assignment]


class InUse(Exception):
    """Another process holds the lock."""


class Lock(NamedTuple):
    """An open file, locked if `works`: some file systems have no locks."""

    descriptor: int
    works: bool


@contextmanager
def alone(path: Path, waiting: Optional[Callable[[], None]] = None) -> Iterator[bool]:
    """Holds a lock. The file is removed at the end; one that a killed process left locks nothing.

    Yields whether no other process can hold it: some file systems have no locks.

    Args:
        path: the file. Its folder is made if it is missing.
        waiting: called once if another process holds the lock, before this one waits for it.

    Raises:
        InUse: another process holds the lock, and there is no `waiting`.
        OSError: the file cannot be made.
    """
    path = path.resolve()
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    held = lock(path, wait=False)
    if held is None and waiting is not None:
        waiting()
        held = lock(path, wait=True)
    if held is None:
        raise InUse(str(path))
    try:
        yield held.works
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(held.descriptor)
        with suppress(OSError):  # folders that hold nothing
            for folder in made:
                folder.rmdir()


def lock(path: Path, wait: bool) -> Optional[Lock]:
    """A new or old file, locked. None if another process holds it and this one does not wait."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is None:
                return Lock(descriptor, False)
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            return Lock(descriptor, False)
        except BaseException:
            os.close(descriptor)
            raise
        if _is_at(descriptor, path):
            return Lock(descriptor, True)
        os.close(descriptor)  # the process that held the lock has removed this file


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def remove_if_unlocked(path: Path) -> None:
    """Removes a file that no process holds locked. Where there are no locks, it stays."""
    if fcntl is None:
        return
    with suppress(OSError), open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
