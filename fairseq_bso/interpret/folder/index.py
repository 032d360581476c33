"""The index of one side: every state as whole hundredths in one byte, by rows and by units.

The same pass over the states also gives the cards of all units (`cards`).

The level of a value v is trunc(100 v), clipped to -127 and 127. For a threshold of whole hundredths up to 1.00,
v >= threshold then holds exactly if level >= 100 threshold. The index has both orders: a selection reads a few rows of
all units, and a match reads all rows of a few units. Both files are memory-mapped, not loaded.
"""

import json
import os
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Optional

import numpy

from ...errors import UserError
from ...files import atomic_path, atomic_write, reserve
from .cards import CardBuilder, Cards, read_cards, write_cards
from .reader import Side
from .states import States

__all__ = ["Index", "build_index", "levels", "open_cards", "open_index"]

VERSION = 1
BLOCK = 1 << 23  # values that are read at a time
CACHED = 1 << 15  # values that are converted at a time
# The file of the units keeps its first name, so that older captures need no new index.
ROWS, UNITS, DESCRIPTION = "index.rows.i8", "index.cells.i8", "index.json"

Progress = Callable[[int, int], None]


class Index:
    """The memory-mapped files of one side.

    Args:
        rows: (T, C) int8.
        units: (C, T) int8, the transpose of rows.
    """

    def __init__(self, rows: numpy.ndarray, units: numpy.ndarray):
        self.rows, self.units = rows, units


def levels(values: numpy.ndarray) -> numpy.ndarray:
    """Values of any shape as int8 hundredths. Computed in float64, where 100 v of a float32 is exact."""
    flat = numpy.ascontiguousarray(values).reshape(-1)
    found = numpy.empty(flat.shape, dtype=numpy.int8)
    for begin in range(0, len(flat), CACHED):  # few at a time, which stay in the processor's cache
        wide = flat[begin : begin + CACHED].astype(numpy.float64)
        wide *= 100.0
        numpy.clip(wide, -127, 127, out=wide)
        found[begin : begin + CACHED] = wide  # which truncates
    return found.reshape(values.shape)


def build_index(side_folder: Path, progress: Optional[Progress] = None) -> None:
    """Writes the index of a side folder (DIR/encoder or DIR/decoder).

    Args:
        side_folder: the folder.
        progress: called with the number of finished steps and of all steps.

    Raises:
        UserError: the folder is no side of a capture, a state is not a number, or the folder is not writable.
    """
    side_folder = Path(side_folder)
    _build(Side(side_folder, side_folder.name), progress)


def open_index(side: Side, progress: Optional[Progress] = None) -> Index:
    """The index of a side. Builds the index first if it is missing or does not fit the states."""
    if not _is_current(side):
        _build(side, progress)
    shape = (side.steps, side.units)
    rows = numpy.memmap(side.folder / ROWS, numpy.int8, "r", shape=shape)
    return Index(rows, numpy.memmap(side.folder / UNITS, numpy.int8, "r", shape=shape[::-1]))


def open_cards(side: Side) -> Optional[Cards]:
    """The cards of a side. None if there are none, as in captures of earlier versions, or if they do not fit."""
    return read_cards(side, _describe(side))


def _describe(side: Side) -> Dict[str, Any]:
    """The states that an index is of. Those of another program may be in several files."""
    first, *others = (os.stat(name) for name in dict.fromkeys(states.data.file.filename for states in side.states))
    several = {"other_sources": [[other.st_size, other.st_mtime_ns] for other in others]} if others else {}
    return {
        "version": VERSION,
        "steps": side.steps,
        "columns": [
            {"states": states.name, "first": states.first, "units": states.units, "transform": states.transform}
            for states in side.states
        ],
        "source_size": first.st_size,
        "source_mtime_ns": first.st_mtime_ns,
        **several,
    }


def _is_current(side: Side) -> bool:
    try:
        described = json.loads((side.folder / DESCRIPTION).read_text(encoding="utf-8"))
        sizes = [(side.folder / name).lstat().st_size for name in (ROWS, UNITS)]
    except (OSError, ValueError):
        return False
    return described == _describe(side) and sizes == 2 * [side.steps * side.units]


def _build(side: Side, progress: Optional[Progress]) -> None:
    """Writes the index and the cards; the description comes last. Raises UserError if a file cannot be written."""
    description = _describe(side)
    for name in (ROWS, UNITS, DESCRIPTION):
        if (side.folder / name).is_symlink():  # another file would be overwritten
            raise UserError(f"{side.folder / name} is a link: remove it")
    try:
        with atomic_path(side.folder / UNITS) as units, atomic_write(side.folder / ROWS) as rows:
            cards = _write(side, rows, units, progress)
        write_cards(side, cards, description)
        with atomic_write(side.folder / DESCRIPTION, "w", encoding="utf-8") as file:  # last: it says that all is whole
            json.dump(description, file)
    except (OSError, RuntimeError) as error:  # h5py raises both for states that it cannot read
        raise UserError(
            f"the index of {side.folder} cannot be written: {getattr(error, 'strerror', None) or error}"
        ) from None


def _write(side: Side, rows_file: BinaryIO, units_path: Path, progress: Optional[Progress]) -> Cards:
    """Writes both files block by block, the file of the units through a memory map. Returns the cards."""
    height = max(1, BLOCK // side.units)
    reserve(units_path, side.units * side.steps)
    units = numpy.memmap(units_path, numpy.int8, "r+", shape=(side.units, side.steps))
    cards = CardBuilder(side)
    for start in range(0, side.steps, height):
        stop = min(start + height, side.steps)
        values = numpy.concatenate([_block(states, start, stop) for states in side.states], axis=1)  # (n, C) float32
        rows = levels(values)  # (n, C) int8
        rows_file.write(rows.tobytes())
        columns = numpy.ascontiguousarray(rows.T)  # (C, n)
        units[:, start:stop] = columns
        cards.add(values, columns)
        if progress is not None:
            progress(stop, side.steps)
    units.flush()
    return cards.finish(units)


def _block(states: States, start: int, stop: int) -> numpy.ndarray:
    """``States.window``. Raises UserError for a NaN."""
    values = states.window(start, stop)
    if numpy.isnan(values).any():
        row = start + int(numpy.isnan(values).any(axis=1).argmax())
        raise UserError(f"{states.data.file.filename}: {states.name} holds a value that is no number, at step {row:,}")
    return values
