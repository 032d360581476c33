"""Atomic writes, claimed outputs and checksums."""

import glob
import hashlib
import os
import re
import shutil
import uuid
import zipfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Iterable, Iterator, List, Optional

from .errors import UserError
from .locks import InUse, alone, lock, remove_if_unlocked

DAMAGED_NPZ = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile)
"""what `numpy.load` raises for a damaged file of `numpy.savez`: a single bit may claim an encryption, for example"""
UNWRITTEN = 0  # the modification time of a temporary file that has not been opened yet


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
    new file is left, and an earlier one stays. Temporary files that killed processes left of it are removed.

    Args:
        path: its folder is made if it is missing. Where it is a link, its target is written.

    Raises:
        OSError: it cannot be written.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent, path.name)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    held = lock(partial, wait=True)  # another process may just look whether it is abandoned
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


def remove_abandoned(folder: Path, name: Optional[str] = None) -> None:
    """Removes the temporary files of `atomic_path` whose processes have ended.

    Args:
        folder: where they are.
        name: of the file; None for all files.
    """
    ours = re.compile((".+" if name is None else re.escape(name)) + r"\.[0-9a-f]{32}\.partial")
    start = "*" if name is None else glob.escape(name)
    for left in list(folder.glob(f"{start}.*.partial")):
        if ours.fullmatch(left.name):
            remove_if_unlocked(left)


@contextmanager
def atomic_write(path: Path, mode: str = "wb", **options: Any) -> Iterator[Any]:
    """Opens a file beside `path` that takes its place at the end, as with `atomic_path`.

    Pipes and devices are written to directly.

    Args:
        path: as for `atomic_path`.
        mode, options: as for `open`.

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

    One process at a time writes it. Temporary folders of killed processes are removed. An earlier folder that was just
    about to be replaced gets its name back.

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
        """The temporary folders of killed processes; earlier folders (.old) come first."""
        ours = re.compile(re.escape(self.path.name) + r"\.[0-9a-f]{32}\.(part|old)")
        folders = [path for path in self.path.parent.iterdir() if ours.fullmatch(path.name)]
        return sorted(folders, key=lambda path: path.suffix)

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


def sha256(paths: Iterable[Path], remedy: str = "") -> str:
    """The SHA-256 of the contents of files, one after another.

    Raises:
        UserError: one cannot be read; the message ends with the remedy.
    """
    total = hashlib.sha256()
    for path in paths:
        try:
            with open(path, "rb") as file:
                while block := file.read(2**20):
                    total.update(block)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}){remedy and f': {remedy}'}") from None
    return total.hexdigest()
