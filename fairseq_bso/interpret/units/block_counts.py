"""Counts the units that are on throughout each of many ranges of steps, and reads few steps more than once.

A range is cut into aligned blocks of 1, 2, 4, ... steps, at most two of each size. Blocks of one size do not overlap.
Ranges that overlap therefore share blocks, and no step is read twice for the same size.
"""

from __future__ import annotations

from typing import Callable, NamedTuple, Optional

import numpy

from .ranges import UnitQuery

__all__ = ["OtherUnits", "count_others"]

# How many levels are held in memory at once.
_BLOCK = 1 << 23


class OtherUnits(NamedTuple):
    """Units that a search counts but does not select."""

    levels: numpy.ndarray
    """(T, C) int8, possibly memory-mapped: only the rows of candidate ranges are read"""
    columns: Optional[numpy.ndarray] = None
    """(m,) int64, the columns of the other units; None for all columns"""


def count_others(
    others: OtherUnits, query: UnitQuery, starts: numpy.ndarray, lengths: numpy.ndarray, steps: int
) -> numpy.ndarray:
    """Counts the other units that match each range: on throughout, off at `left` steps before and `right` steps after.

    Args:
        others: the units.
        query: when a unit matches.
        starts: (M,) int64.
        lengths: (M,) int64 >= 1.
        steps: T; every unit counts as off from this step on.

    Returns:
        (M,) int64.

    Raises:
        ValueError: the levels are not (T, C) int8, or do not have one of the columns.
    """
    _check(others, steps)
    levels, columns = others.levels, others.columns
    if columns is not None:
        if not len(columns):
            return numpy.zeros_like(starts)
        first, last = int(columns.min()), int(columns.max())
        # Contiguous columns are read fastest. Columns in between that are not asked for are dropped at the end.
        levels, columns = levels[:, first : last + 1], columns - first
    matching = numpy.ones((len(starts), levels.shape[1]), dtype=bool)  # (M, C)
    stops = starts + lengths
    _keep_throughout(matching, levels, query.on, starts, stops)
    before, after = numpy.maximum(starts - query.left, 0), numpy.minimum(stops + query.right, steps)
    if query.left:
        _keep_throughout(matching, levels, lambda rows: ~query.on(rows), before, starts)
    if query.right:
        _keep_throughout(matching, levels, lambda rows: ~query.on(rows), stops, after)
    return (matching if columns is None else matching[:, columns]).sum(1)


def _check(others: OtherUnits, steps: int) -> None:
    """Raises ValueError unless the levels are (T, C) int8 and have all columns."""
    levels, columns = others.levels, others.columns
    if levels.dtype != numpy.int8 or levels.ndim != 2 or len(levels) < steps:
        raise ValueError(
            f"the other units are {levels.dtype} of shape {levels.shape}, but must be int8 of 2 axes, the first of "
            f"{steps} steps or more"
        )
    if columns is not None and len(columns):
        first, last = int(columns.min()), int(columns.max())
        if first < 0 or last >= levels.shape[1]:
            raise ValueError(
                f"the other units are columns {first} to {last}, but must be from 0 to {levels.shape[1] - 1}"
            )


def _keep_throughout(
    matching: numpy.ndarray,
    levels: numpy.ndarray,
    test: Callable[[numpy.ndarray], numpy.ndarray],
    starts: numpy.ndarray,
    stops: numpy.ndarray,
) -> None:
    """Clears matching (M, C) where the test fails at any step from `starts` (M,) to before `stops` (M,)."""
    low, high, size = starts.copy(), stops.copy(), 1
    while (low < high).any():
        # At each size, the odd block at either end of a range does not fit into a block of twice the size.
        first = numpy.flatnonzero((low < high) & (low % 2 == 1))
        _keep_blocks(matching, levels, test, first, low[first], size)
        low[first] += 1
        last = numpy.flatnonzero((low < high) & (high % 2 == 1))
        high[last] -= 1
        _keep_blocks(matching, levels, test, last, high[last], size)
        low, high, size = low // 2, high // 2, 2 * size


def _keep_blocks(
    matching: numpy.ndarray,
    levels: numpy.ndarray,
    test: Callable[[numpy.ndarray], numpy.ndarray],
    ranges: numpy.ndarray,
    blocks: numpy.ndarray,
    size: int,
) -> None:
    """Clears matching (M, C) at `ranges` (r,) where the test fails in the block (r,) of `size` steps of each range."""
    if not len(ranges):
        return
    distinct, inverse = numpy.unique(blocks, return_inverse=True)  # (u,), (r,)
    kept = numpy.empty((len(distinct), levels.shape[1]), dtype=bool)  # (u, C)
    several = max(1, _BLOCK // (size * levels.shape[1]))
    if size < 64:
        steps = numpy.arange(size)
        for begin in range(0, len(distinct), several):
            some = distinct[begin : begin + several]  # (b,)
            rows = levels[(some[:, None] * size + steps).reshape(-1)]  # (b * size, C)
            kept[begin : begin + several] = _all_steps(test(rows).reshape(len(some), size, -1))
    else:
        for place, block in enumerate(distinct.tolist()):
            kept[place] = test(levels[block * size : (block + 1) * size]).all(0)
    matching[ranges] &= kept[inverse]


def _all_steps(passed: numpy.ndarray) -> numpy.ndarray:
    """passed (b, size, C) bool, the size a power of two -> (b, C), True where all steps passed."""
    while passed.shape[1] > 1:
        half = passed.shape[1] // 2
        passed = passed[:, :half] & passed[:, half:]
    return passed[:, 0]
