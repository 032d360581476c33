"""Atomic writes and checksums."""

import hashlib
import os
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterable, Iterator

from .errors import UserError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`. The file that is written there takes the place of `path` at the end.

    Under `path` there is never half a file, not even after a crash of the machine. After an exception nothing of the
    new file is left, and an earlier one stays.

    Args:
        path: its folder is made if it is missing. Where it is a link, its target is written.

    Raises:
        OSError: it cannot be written.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


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
    if path.exists() and (not path.is_file() or path.parts[:2] in (("/", "dev"), ("/", "proc"))):
        with open(path, mode, **options) as file:
            yield file
        return
    with atomic_path(path) as partial, open(partial, mode, **options) as file:
        yield file


class AtomicFolder:
    """A folder that is written under a temporary name and renamed when it is complete. An earlier one is removed then.

    Args:
        path: its name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part, self.old = (path.with_name(path.name + ending) for ending in (".part", ".old"))

    def __enter__(self) -> Path:
        """The empty folder to write into. Raises OSError if it cannot be made."""
        for left in (self.part, self.old):
            shutil.rmtree(left, ignore_errors=True)
        self.part.mkdir(parents=True)
        return self.part

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Renames the folder, or removes it after an exception."""
        if kind is not None:
            shutil.rmtree(self.part, ignore_errors=True)
            return
        if self.path.exists():
            self.path.replace(self.old)
        self.part.replace(self.path)
        shutil.rmtree(self.old, ignore_errors=True)


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
