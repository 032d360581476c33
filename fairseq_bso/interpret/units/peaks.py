"""The highest peaks of every unit over a corpus, in one pass.

A *peak* is a step whose value is above those of the `apart` steps before it, and not below those of the `apart` steps
after it. Two peaks are therefore more than `apart` steps from each other. The best peaks are the highest; of equal ones
the earliest. A piece of `apart` steps has one peak at most: its highest step.

C is the number of units, K of peaks that are kept, n of steps in a block.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy

__all__ = ["PeakFinder", "Peaks"]

# How many possible peaks are compared with their neighbours at once.
_AT_ONCE = 1 << 15


class Peaks(NamedTuple):
    """The best peaks of every unit, the best first."""

    values: numpy.ndarray
    """(C, K) float32, -inf where there are fewer"""
    steps: numpy.ndarray
    """(C, K) int64, -1 where there are fewer"""


class PeakFinder:
    """Finds the peaks block by block. Memory holds one block.

    Args:
        units: C.
        count: K.
        apart: 1 or more.
    """

    def __init__(self, units: int, count: int, apart: int):
        self.count, self.apart = count, apart
        self._values = numpy.full((units, count), -numpy.inf, dtype=numpy.float32)
        self._steps = numpy.full((units, count), -1, dtype=numpy.int64)
        # The rows that are not decided, after `apart` rows that are.
        self._rows = numpy.full((apart, units), -numpy.inf, dtype=numpy.float32)
        self._decided = 0  # the first step that is not decided

    def add(self, values: numpy.ndarray) -> None:
        """Takes the next steps: (n, C) float32, no NaN."""
        self._rows = numpy.concatenate([self._rows, values])
        known = len(self._rows) - 2 * self.apart  # rows with `apart` rows on either side
        pieces = max(0, known) // self.apart
        if pieces:
            self._decide(pieces)

    def finish(self) -> Peaks:
        """The best peaks of all steps."""
        left = len(self._rows) - self.apart
        pieces = -(-left // self.apart)
        after = (pieces + 1) * self.apart - left
        self._rows = numpy.pad(self._rows, ((0, after), (0, 0)), constant_values=-numpy.inf)
        if pieces:
            self._decide(pieces)
        return Peaks(self._values, self._steps)

    def _decide(self, pieces: int) -> None:
        """Looks for peaks in the next pieces."""
        apart, rows = self.apart, self._rows
        inner = rows[apart : apart * (pieces + 1)].reshape(pieces, apart, -1)  # (pieces, apart, C)
        tops = inner.max(1)  # (pieces, C)
        piece, unit = (tops > self._values[:, -1]).nonzero()  # in order of the pieces
        for begin in range(0, len(piece), _AT_ONCE):
            some = slice(begin, begin + _AT_ONCE)
            self._compare(inner, tops, piece[some], unit[some])
        self._rows = rows[apart * pieces :].copy()
        self._decided += apart * pieces

    def _compare(self, inner: numpy.ndarray, tops: numpy.ndarray, piece: numpy.ndarray, unit: numpy.ndarray) -> None:
        """Keeps the highest steps of some pieces that are peaks."""
        top = tops[piece, unit]
        still = top > self._values[unit, -1]
        piece, unit, top = piece[still], unit[still], top[still]  # (m,) each
        if not len(piece):
            return
        steps = inner[piece[:, None], numpy.arange(self.apart), unit[:, None]]  # (m, apart)
        within = steps.argmax(1)  # (m,) the first of equal ones
        place = piece * self.apart + within + self.apart  # (m,) in self._rows
        around = numpy.arange(1, self.apart + 1)
        before = self._rows[place[:, None] - around, unit[:, None]].max(1)
        after = self._rows[place[:, None] + around, unit[:, None]].max(1)
        is_peak = (before < top) & (after <= top)
        self._keep(unit[is_peak], top[is_peak], place[is_peak] - self.apart + self._decided)

    def _keep(self, unit: numpy.ndarray, values: numpy.ndarray, steps: numpy.ndarray) -> None:
        """Merges peaks (m,), which are later than those that are kept, into the best of each unit."""
        order = numpy.lexsort((steps, -values, unit))
        unit, values, steps = unit[order], values[order], steps[order]
        units, firsts = numpy.unique(unit, return_index=True)  # (u,)
        rank = numpy.arange(len(unit)) - numpy.repeat(firsts, numpy.diff(numpy.append(firsts, len(unit))))
        best = rank < self.count
        row = numpy.searchsorted(units, unit[best])
        new_values = numpy.full((len(units), self.count), -numpy.inf, dtype=numpy.float32)
        new_steps = numpy.full(new_values.shape, -1, dtype=numpy.int64)
        new_values[row, rank[best]], new_steps[row, rank[best]] = values[best], steps[best]
        all_values = numpy.concatenate([self._values[units], new_values], axis=1)  # (u, 2 K)
        all_steps = numpy.concatenate([self._steps[units], new_steps], axis=1)
        order = (-all_values).argsort(1, kind="stable")[:, : self.count]  # equal values stay in order of their steps
        self._values[units] = numpy.take_along_axis(all_values, order, 1)
        self._steps[units] = numpy.take_along_axis(all_steps, order, 1)
