"""Atomic writes of the runtime. fairseq_bso/files.py has those of the whole package."""

import re
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Dict, Iterator

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def atomic_write(path: Path, mode: str = "wb", **options: Any) -> Iterator[Any]:
    """Opens a file beside `path` that takes its place at the end.

    After an exception nothing of it is left, and an earlier file stays. Pipes and devices are written to directly.

    Args:
        path: its folder is made if it is missing. Where it is a link, its target is written.
        mode, options: as for `open`.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists() and (not path.is_file() or path.parts[:2] in (("/", "dev"), ("/", "proc"))):
        with open(path, mode, **options) as file:
            yield file
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with _locked(beside, mode, options) as file:
            yield file
            file.flush()
            beside.replace(path)
    except BaseException:
        with suppress(OSError):  # the first error says more
            beside.unlink()
        raise


def _locked(path: Path, mode: str, options: Dict[str, Any]) -> Any:
    """A new file, open and locked until it is closed or the process ends, where the file system has locks."""
    while True:
        file = open(path, mode, **options)
        with suppress(OSError):
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists():  # otherwise another process took it for abandoned before it was locked
            return file
        file.close()


def _remove_abandoned(path: Path) -> None:
    """Removes what killed processes left of `atomic_write`: parts that no process has locked."""
    ours = re.compile(re.escape(path.name) + r"\.([0-9a-f]{32}|[0-9]+)\.part")
    for left in path.parent.iterdir() if fcntl is not None else []:
        if ours.fullmatch(left.name):
            with suppress(OSError), open(left, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
