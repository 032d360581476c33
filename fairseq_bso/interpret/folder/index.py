"""The index of one side: all its states as whole hundredths in one byte each, by rows and by columns.

A level is trunc(100 v), toward zero, kept within -127 and 127. For a threshold of whole hundredths up to 1.00,
v >= threshold is then exactly level >= 100 threshold. Both orders are kept because a selection reads a few rows of all
cells and a match all rows of a few cells; both files are mapped into memory, not loaded.
"""

import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import numpy

from ...errors import BadInput
from .reader import Side, States

__all__ = ["Index", "build_index", "levels", "open_index"]

VERSION = 1
BLOCK = 1 << 24  # states that are read at a time
ROWS, CELLS, DESCRIPTION = "index.rows.i8", "index.cells.i8", "index.json"

Progress = Callable[[int, int], None]


class Index:
    """The mapped files of one side.

    Arguments:
        rows: (T, C) int8.
        cells: (C, T) int8, the transpose of rows.
    """

    def __init__(self, rows: numpy.ndarray, cells: numpy.ndarray):
        self.rows, self.cells = rows, cells


def levels(values: numpy.ndarray) -> numpy.ndarray:
    """Values of any shape as int8 hundredths. In float64, where 100 v of a float32 is exact."""
    return numpy.clip(numpy.trunc(100.0 * values.astype(numpy.float64)), -127, 127).astype(numpy.int8)


def build_index(side_folder: Path, progress: Optional[Progress] = None) -> None:
    """Writes the index of a side folder (DIR/encoder or DIR/decoder), beside its names first.

    Arguments:
        progress: called with the steps done and all steps.

    Raises:
        BadInput: for a folder that is no side of a capture, for states that are no numbers, and where nothing can be
            written.
    """
    side_folder = Path(side_folder)
    _build(Side(side_folder, side_folder.name), progress)


def open_index(side: Side, progress: Optional[Progress] = None) -> Index:
    """The index of a side, built first where it is missing or does not belong to the states."""
    if not _is_current(side):
        _build(side, progress)
    shape = (side.steps, side.columns)
    # Copy-on-write, because torch wants memory that could be written; nothing is, and no copy is made.
    rows = numpy.memmap(side.folder / ROWS, numpy.int8, "c", shape=shape)
    return Index(rows, numpy.memmap(side.folder / CELLS, numpy.int8, "c", shape=shape[::-1]))


def _describe(side: Side) -> Dict[str, Any]:
    source = os.stat(side.states[0].data.file.filename)
    return {
        "version": VERSION,
        "steps": side.steps,
        "columns": [
            {"states": one.name, "first": one.first, "units": one.units, "transform": one.transform}
            for one in side.states
        ],
        "source_size": source.st_size,
        "source_mtime_ns": source.st_mtime_ns,
    }


def _is_current(side: Side) -> bool:
    try:
        described = json.loads((side.folder / DESCRIPTION).read_text(encoding="utf-8"))
        sizes = [(side.folder / name).stat().st_size for name in (ROWS, CELLS)]
    except (OSError, ValueError):
        return False
    return described == _describe(side) and sizes == 2 * [side.steps * side.columns]


def _build(side: Side, progress: Optional[Progress]) -> None:
    description = _describe(side)
    # The number of the process, so that two that build at the same time do not write into the same file.
    parts = {name: side.folder / f"{name}.{os.getpid()}.part" for name in (ROWS, CELLS, DESCRIPTION)}
    try:
        _write(side, parts[ROWS], parts[CELLS], progress)
        parts[DESCRIPTION].write_text(json.dumps(description), encoding="utf-8")
        for name, part in parts.items():  # the description last
            part.replace(side.folder / name)
    except OSError as fault:
        raise BadInput(f"the index of {side.folder} cannot be written: {fault.strerror or fault}") from None
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _write(side: Side, rows_path: Path, cells_path: Path, progress: Optional[Progress]) -> None:
    """Block by block of whole rows; the columns' file is written through a map, strip by strip."""
    height = max(1, BLOCK // side.columns)
    cells = numpy.memmap(cells_path, numpy.int8, "w+", shape=(side.columns, side.steps))
    with open(rows_path, "wb") as rows_file:
        for start in range(0, side.steps, height):
            stop = min(start + height, side.steps)
            block = numpy.concatenate([_block(one, start, stop) for one in side.states], axis=1)  # (n, C) int8
            rows_file.write(block.tobytes())
            cells[:, start:stop] = block.T
            if progress is not None:
                progress(stop, side.steps)
    cells.flush()


def _block(states: States, start: int, stop: int) -> numpy.ndarray:
    values = states.window(start, stop)
    if numpy.isnan(values).any():
        row = start + int(numpy.isnan(values).any(axis=1).argmax())
        raise BadInput(f"{states.data.file.filename}: {states.name} holds a value that is no number, at step {row:,}")
    return levels(values)
