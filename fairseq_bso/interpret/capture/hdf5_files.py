"""The HDF5 files of a capture, which grow sentence by sentence, and the folder that holds them."""

import json
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import numpy

from ...errors import UserError
from ...files import AtomicFolder
from .records import DatasetKey, Record

CHUNK_ROWS = 256
VECTOR_CHUNK = 1 << 14  # rows of a dataset with few numbers in a row
ABANDONED: List[Any] = []  # files that could not be written: HDF5 may crash when it closes them


def import_h5py() -> Any:
    """Imports h5py. Raises UserError if it is missing."""
    try:
        import h5py
    except ImportError:
        raise UserError(
            "fairseq-bso states writes HDF5 files and needs h5py: pip install fairseq-bso[interpret]"
        ) from None
    return h5py


def check_out(folder: AtomicFolder, overwrite: bool) -> None:
    """Checks that a capture may be written to a folder.

    Args:
        folder: of `--out`.
        overwrite: whether to replace a capture of this name.

    Raises:
        UserError: the name belongs to something that must not be replaced.
    """
    if folder.path.exists():
        if not overwrite:
            raise UserError(f"--out {folder.path} exists: give --overwrite to replace it, or another name")
        if not _is_ours(folder.path):
            raise UserError(f"--out {folder.path} exists and is no capture: --overwrite does not replace it")
    unfinished = folder.path.with_name(folder.path.name + ".part")  # of an earlier release
    if _is_ours(unfinished) and not (unfinished / "capture.json").exists():
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def writing_to(folder: AtomicFolder, overwrite: bool) -> Iterator[Path]:
    """The empty folder to write into, as from `AtomicFolder.writing`.

    Args:
        folder: of `--out`.
        overwrite: whether to replace a capture of this name.

    Raises:
        UserError: it cannot be written, or another process has made it in the meantime.
    """
    try:
        with folder.writing() as part:
            yield part
            check_out(folder, overwrite)  # again, for a file system without locks
    except OSError as error:
        raise UserError(f"--out {folder.path} cannot be written: {error}") from None


def _is_ours(path: Path) -> bool:
    """Whether a folder holds only files of a capture."""
    return path.is_dir() and {child.name for child in path.iterdir()} <= {"capture.json", "encoder", "decoder"}


class CaptureFiles:
    """The HDF5 files, to which sentences are appended.

    Args:
        folder: of the capture.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.h5py = folder, import_h5py()
        self.files: Dict[str, Any] = {}
        self.datasets: Dict[DatasetKey, Any] = {}  # kept open: a dataset that is released hides its write errors
        self.written: Dict[DatasetKey, int] = {}

    def create(self, sample: Record, rows: Dict[DatasetKey, int]) -> None:
        """Creates the datasets in their final size.

        Args:
            sample: the record of some sentence, for the names, types and shapes of the datasets.
            rows: the final number of rows of each dataset of the sample.
        """
        self.written = dict.fromkeys(sample, 0)
        for (name, path), values in sample.items():
            chunk = CHUNK_ROWS if values.ndim == 2 and values.shape[1] > 16 else VECTOR_CHUNK
            shape = (rows[name, path], *values.shape[1:])
            chunks = (min(chunk, shape[0]), *shape[1:])
            dataset = self.file(name).create_dataset(path, shape=shape, dtype=values.dtype, chunks=chunks)
            self.datasets[name, path] = dataset

    def file(self, name: str) -> Any:
        """The open file of this name in the folder."""
        if name not in self.files:
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            self.files[name] = self.h5py.File(path, "w")
        return self.files[name]

    def append(self, records: List[Record]) -> None:
        """Appends sentences in their order."""
        for key, start in self.written.items():
            values = numpy.concatenate([record[key] for record in records])
            self.datasets[key][start : start + len(values)] = values
            self.written[key] += len(values)
        for file in self.files.values():
            file.flush()

    def write(self, name: str, path: str, values: numpy.ndarray, attributes: Optional[Dict[str, Any]] = None) -> None:
        """Writes a whole dataset with its attributes."""
        self.datasets[name, path] = self.file(name).create_dataset(path, data=values)
        self.datasets[name, path].attrs.update(attributes or {})

    def close(self) -> None:
        """Flushes and closes all files."""
        for file in self.files.values():
            file.flush()
        for file in self.files.values():
            file.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Closes the files at the end, and turns write errors into one message.

        Raises:
            UserError: a file cannot be written, for instance because the disk is full.
        """
        try:
            yield
            self.close()
        except (OSError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "file write failed" not in str(error):
                raise
            inner = re.search("error message = '([^']*)'", str(error))  # of HDF5
            reason = inner[1] if inner else str(error)
            ABANDONED.append(self)
            raise UserError(
                f"the states cannot be written to {self.folder.parent} ({reason}): make room there, give another "
                "--out, or write less with --float16 and without --gates"
            ) from None


def bytes_needed(sample: Record, rows: Dict[DatasetKey, int]) -> int:
    """The size of all datasets together."""
    return sum(rows[key] * int(numpy.prod(values.shape[1:])) * values.dtype.itemsize for key, values in sample.items())


def check_room(folder: Path, needed: int) -> None:
    """Raises UserError if the disk has no room for the bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"the states take {needed / 1e9:.2f} GB, but {folder.parent} has room for {free / 1e9:.2f} GB: make room, "
            "give another --out, or write less with --float16, --sides and --no-index, without --gates"
        )


def write_json(path: Path, content: Dict[str, Any]) -> None:
    """Writes a small file."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
