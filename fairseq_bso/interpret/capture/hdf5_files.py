"""The files of a capture: HDF5 that grows sentence by sentence, in a folder that is there whole or not at all."""

import json
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import numpy

from ...errors import BadInput
from .records import Key, Record

CHUNK_ROWS = 256
VECTOR_CHUNK = 1 << 14  # rows of a dataset with a few numbers each
ABANDONED: List[Any] = []  # files that could not be written: HDF5 may crash where it is made to close them


def import_h5py():
    """h5py. Raises BadInput without it."""
    try:
        import h5py
    except ImportError:
        raise BadInput(
            "fairseq-bso states writes HDF5 files and needs h5py: pip install fairseq-bso[interpret]"
        ) from None
    return h5py


class CaptureFolder:
    """A folder that is written beside its name, and renamed when it is whole.

    Args:
        path: its name.
        overwrite: whether a capture that has the name is replaced.

    Raises:
        BadInput: there is something that must not be replaced, or nothing can be written there.
    """

    def __init__(self, path: str, overwrite: bool) -> None:
        self.path = Path(path)
        self.part = self.path.with_name(self.path.name + ".part")
        self.old = self.path.with_name(self.path.name + ".old")
        if self.path.exists():
            if not overwrite:
                raise BadInput(f"--out {path} exists: give --overwrite to replace it, or another name")
            if not _is_ours(self.path):
                raise BadInput(f"--out {path} exists and is no capture: --overwrite does not replace it")
        for left in (self.part, self.old):
            if left.exists() and not _is_ours(left):
                raise BadInput(f"{left} is in the way and is no capture: remove it or give another --out")

    def __enter__(self) -> Path:
        """The folder to write into, empty."""
        for left in (self.part, self.old):  # of a capture that was interrupted
            shutil.rmtree(left, ignore_errors=True)
        try:
            self.part.mkdir(parents=True)
        except OSError as fault:
            raise BadInput(f"--out {self.path} cannot be written: {fault}") from None
        return self.part

    def __exit__(self, kind: Any, fault: Any, trace: Any) -> None:
        """Renames the folder, or removes it."""
        if kind is not None:
            shutil.rmtree(self.part, ignore_errors=True)
        if isinstance(fault, OSError):
            raise BadInput(f"--out {self.path} cannot be written: {fault}") from None
        if kind is None:
            if self.path.exists():
                self.path.replace(self.old)
            self.part.replace(self.path)
            shutil.rmtree(self.old, ignore_errors=True)


def _is_ours(path: Path) -> bool:
    """Whether a folder holds nothing but what a capture does."""
    return path.is_dir() and {child.name for child in path.iterdir()} <= {"capture.json", "encoder", "decoder"}


class CaptureFiles:
    """The HDF5 files, into which sentences go one after the other.

    Args:
        folder: of the capture.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.h5py = folder, import_h5py()
        self.files: Dict[str, Any] = {}
        self.datasets: Dict[Key, Any] = {}  # kept open: one that is let go of swallows what goes wrong with its writing
        self.written: Dict[Key, int] = {}

    def create(self, sample: Record, rows: Dict[Key, int]) -> None:
        """Makes room for all sentences.

        Args:
            sample: the record of some sentence, which shows what is to be written.
            rows: for each file and dataset of the sample, how many rows there will be.
        """
        self.written = dict.fromkeys(sample, 0)
        for (name, path), values in sample.items():
            chunk = CHUNK_ROWS if values.ndim == 2 and values.shape[1] > 16 else VECTOR_CHUNK
            shape = (rows[name, path], *values.shape[1:])
            chunks = (min(chunk, shape[0]), *shape[1:])
            dataset = self.file(name).create_dataset(path, shape=shape, dtype=values.dtype, chunks=chunks)
            self.datasets[name, path] = dataset

    def file(self, name: str):
        """The open file of this name below the folder."""
        if name not in self.files:
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            self.files[name] = self.h5py.File(path, "w")
        return self.files[name]

    def append(self, records: List[Record]) -> None:
        """Adds sentences, in the order in which they are to stand."""
        for key, start in self.written.items():
            values = numpy.concatenate([record[key] for record in records])
            self.datasets[key][start : start + len(values)] = values
            self.written[key] += len(values)
        for file in self.files.values():
            file.flush()

    def write(self, name: str, path: str, values: numpy.ndarray, attributes: Optional[Dict[str, Any]] = None) -> None:
        """A whole dataset, or attributes of one that is there."""
        self.datasets[name, path] = self.file(name).create_dataset(path, data=values)
        self.datasets[name, path].attrs.update(attributes or {})

    def close(self) -> None:
        """Writes out what is still in memory."""
        for file in self.files.values():
            file.flush()
        for file in self.files.values():
            file.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turns what goes wrong with the files into one message.

        Raises:
            BadInput: the disk is full, or the like.
        """
        try:
            yield
            self.close()
        except (OSError, RuntimeError) as fault:
            if isinstance(fault, RuntimeError) and "file write failed" not in str(fault):
                raise
            found = re.search("error message = '([^']*)'", str(fault))  # of HDF5
            reason = found[1] if found else str(fault)
            ABANDONED.append(self)
            raise BadInput(
                f"the states cannot be written to {self.folder.parent} ({reason}): make room there, give another "
                "--out, or write less with --float16 and without --gates"
            ) from None


def bytes_needed(sample: Record, rows: Dict[Key, int]) -> int:
    """How large all datasets will be together."""
    return sum(rows[key] * int(numpy.prod(values.shape[1:])) * values.dtype.itemsize for key, values in sample.items())


def check_room(folder: Path, needed: int) -> None:
    """Raises BadInput if so many bytes do not fit on the disk."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise BadInput(
            f"the states take {needed / 1e9:.2f} GB, but {folder.parent} has room for {free / 1e9:.2f} GB: make room, "
            "give another --out, or write less with --float16, --sides and --no-index, without --gates"
        )


def write_json(path: Path, content: Dict[str, Any]) -> None:
    """A small file."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
