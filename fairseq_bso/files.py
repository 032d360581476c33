"""Atomic writes and checksums."""

import hashlib
import os
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterable, Iterator

from .errors import UserError


@contextmanager
def atomic_write(path: Path, mode: str = "wb", **options: Any) -> Iterator[Any]:
    """Opens a file beside `path` that takes its place at the end.

    Under `path` there is never half a file, not even after a crash of the machine. After an exception nothing of the
    new file is left, and an earlier one stays. Pipes and devices are written to directly.

    Args:
        path: its folder is made if it is missing. Where it is a link, its target is written.
        mode, options: as of `open`.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists() and (not path.is_file() or path.parts[:2] in (("/", "dev"), ("/", "proc"))):
        with open(path, mode, **options) as file:
            yield file
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with open(partial, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


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
