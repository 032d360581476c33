"""Atomic writes, locks and checksums.

A lock is `flock` on an open file: the system releases it when the process ends, however it ends.
"""

import glob
import hashlib
import os
import re
import shutil
import uuid
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, List, NamedTuple, Optional

from .errors import UserError

try:
    import fcntl
except ImportError:  # not on Windows: each writer still has names of its own there
    fcntl = None  # type: ignore[assignment]

UNWRITTEN = 0  # the time of change of a temporary file that nobody has opened yet


class InUse(Exception):
    """Another process holds the lock."""


class _Lock(NamedTuple):
    """An open file, locked if `works`: some file systems have no locks."""

    descriptor: int
    works: bool


@contextmanager
def alone(lock: Path, waiting: Optional[Callable[[], None]] = None) -> Iterator[bool]:
    """Holds a lock. The file is removed at the end; one that a killed process left locks nothing.

    Yields whether no other process can hold it: some file systems have no locks.

    Args:
        lock: the file. Its folder is made if it is missing.
        waiting: called once if another process holds the lock, before this one waits for it.

    Raises:
        InUse: another process holds the lock, and there is no `waiting`.
        OSError: the file cannot be made.
    """
    lock = lock.resolve()
    made = [folder for folder in (lock.parent, *lock.parent.parents) if not folder.exists()]
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = _lock(lock, wait=False)
    if held is None and waiting is not None:
        waiting()
        held = _lock(lock, wait=True)
    if held is None:
        raise InUse(str(lock))
    try:
        yield held.works
    finally:
        with suppress(OSError):
            lock.unlink()
        os.close(held.descriptor)
        with suppress(OSError):  # folders that hold nothing
            for folder in made:
                folder.rmdir()


def _lock(path: Path, wait: bool) -> Optional[_Lock]:
    """A new or old file, locked. None if another process holds it and this one does not wait."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is None:
                return _Lock(descriptor, False)
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            return _Lock(descriptor, False)
        except BaseException:
            os.close(descriptor)
            raise
        if _is_at(descriptor, path):
            return _Lock(descriptor, True)
        os.close(descriptor)  # the process that held the lock has removed this file


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def claim(output: Path, option: str) -> Iterator[bool]:
    """Keeps other processes from an output while this one makes it. Yields whether that is sure, as `alone` does.

    Args:
        output: the file or folder. The lock is NAME.lock beside it.
        option: what names it on the command line, for the message.

    Raises:
        UserError: another process makes it, or its folder cannot be written.
    """
    with ExitStack() as held:
        sure = False
        try:
            if not _is_stream(output):
                output = output.resolve()
                sure = held.enter_context(alone(output.parent / (output.name + ".lock")))
        except InUse:
            raise UserError(
                f"another process writes {output} now: wait until it has ended, or give another {option}"
            ) from None
        except OSError as error:
            raise UserError(f"{output} cannot be written: {error.strerror or error}") from None
        yield sure


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`. The file that is written there takes the place of `path` at the end.

    Under `path` there is never half a file, not even after a crash of the machine. After an exception nothing of the
    new file is left, and an earlier one stays. What killed processes left of this file is removed.

    Args:
        path: its folder is made if it is missing. Where it is a link, its target is written.

    Raises:
        OSError: it cannot be written.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent, path.name)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    held = _lock(partial, wait=True)  # another process may just look whether it is abandoned
    assert held is not None
    try:
        with _closing(held.descriptor):
            os.utime(partial, ns=(UNWRITTEN, UNWRITTEN))
            yield partial
            if partial.stat().st_mtime_ns == UNWRITTEN:
                raise FileNotFoundError(f"nothing was written to {partial}")
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
    except BaseException:
        with suppress(OSError):  # it may be gone, or its file system read-only: the first error says more
            partial.unlink()
        raise


@contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


def remove_abandoned(folder: Path, name: str) -> None:
    """Removes the temporary files of `atomic_path` for one name whose processes have ended.

    Args:
        folder: where they are.
        name: of the file.
    """
    ours = re.compile(re.escape(name) + r"\.[0-9a-f]{32}\.partial")
    found = [Path(left) for left in glob.glob(os.path.join(glob.escape(str(folder)), glob.escape(name) + ".*.partial"))]
    for left in found if fcntl is not None else []:
        if ours.fullmatch(left.name):
            _remove_if_unlocked(left)


def _remove_if_unlocked(path: Path) -> None:
    with suppress(OSError), open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


@contextmanager
def atomic_write(path: Path, mode: str = "wb", **options: Any) -> Iterator[Any]:
    """Opens a file beside `path` that takes its place at the end, as of `atomic_path`.

    Pipes and devices are written to directly.

    Args:
        path: as of `atomic_path`.
        mode, options: as of `open`.

    Raises:
        OSError: it cannot be written.
    """
    if _is_stream(path):
        with open(path, mode, **options) as file:
            yield file
        return
    with atomic_path(path) as partial, open(partial, mode, **options) as file:
        yield file


def _is_stream(path: Path) -> bool:
    """Whether a path is a pipe or a device, which is written to directly."""
    return (
        path.exists() and not path.is_dir() and (not path.is_file() or path.parts[:2] in (("/", "dev"), ("/", "proc")))
    )


class AtomicFolder:
    """A folder that is written under a temporary name and renamed when it is complete. An earlier one is removed then.

    One process at a time writes it. What killed processes left is removed, and an earlier folder that was just about to
    be replaced gets its name back.

    Args:
        path: its name.
        option: what names it on the command line.
    """

    def __init__(self, path: Path, option: str = "name") -> None:
        self.path, self.option = path.resolve(), option
        path, token = self.path, uuid.uuid4().hex
        self.part, self.old = (path.with_name(f"{path.name}.{token}.{ending}") for ending in ("part", "old"))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other processes from the folder. Raises UserError if another one writes it."""
        with claim(self.path, self.option) as sure:
            for left in self._left() if sure else []:
                if left.suffix == ".old" and not self.path.exists():
                    left.replace(self.path)
                else:
                    shutil.rmtree(left, ignore_errors=True)
            yield

    def _left(self) -> List[Path]:
        """What killed processes left, earlier folders first."""
        ours = re.compile(re.escape(self.path.name) + r"\.[0-9a-f]{32}\.(part|old)")
        return sorted(
            (one for one in self.path.parent.iterdir() if ours.fullmatch(one.name)), key=lambda one: one.suffix
        )

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """The empty folder to write into, within `alone`. It is renamed at the end, or removed after an exception.

        Raises:
            OSError: it cannot be made.
        """
        self.part.mkdir(parents=True)
        try:
            yield self.part
            if self.path.exists():
                self.path.replace(self.old)
            self.part.replace(self.path)
        except BaseException:
            shutil.rmtree(self.part, ignore_errors=True)
            raise
        shutil.rmtree(self.old, ignore_errors=True)


def reserve(path: Path, size: int) -> None:
    """Makes a file of `size` zeros whose room on the disk is reserved, so that it can be written through a memory map.

    A memory map of a file with holes ends the process (SIGBUS) where the disk has no room for a page.

    Raises:
        OSError: there is no room.
    """
    with open(path, "wb") as file:
        if hasattr(os, "posix_fallocate"):
            if size:
                os.posix_fallocate(file.fileno(), 0, size)
            return
        for start in range(0, size, 2**24):
            file.write(bytes(min(2**24, size - start)))


def sha256(paths: Iterable[Path]) -> str:
    """The SHA-256 of the contents of files, one after another. Raises UserError where one cannot be read."""
    total = hashlib.sha256()
    for path in paths:
        try:
            with open(path, "rb") as file:
                while block := file.read(2**20):
                    total.update(block)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror})") from None
    return total.hexdigest()
