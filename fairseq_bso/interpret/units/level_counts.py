"""How often each unit has each level, and how often it turns on at each threshold, in one pass over the corpus.

A unit turns on at a step if it is on there and not at the step before; before the corpus every unit is off. It is on
from threshold t on at two adjacent steps exactly if the lower of its two levels is at least t. The levels of all steps,
and the lower level of every two adjacent steps, therefore give the runs of all thresholds. `patterns` defines levels.

T is the number of steps, C of units, L = 255 of levels.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import numpy

__all__ = ["LEVELS", "LevelCounter", "LevelCounts"]

LEVELS = 255
LARGEST = 127


class LevelCounts(NamedTuple):
    """Counts of every unit."""

    steps: numpy.ndarray
    """(C, L) int64: the steps at each level; level l is at place l + 127"""
    above: numpy.ndarray
    """(C, 127) int64: how often the unit turns on at "at least t", for t = 1 to 127"""
    below: numpy.ndarray
    """(C, 127) int64: the same for "at most -t" """

    def on(self, level: int, direction: str) -> numpy.ndarray:
        """(C,) int64: the steps at which each unit is on, for a threshold of `level` hundredths."""
        part = self.steps[:, LARGEST + level :] if direction == "above" else self.steps[:, : LARGEST - level + 1]
        return part.sum(1)

    def runs(self, level: int, direction: str) -> numpy.ndarray:
        """(C,) int64: the runs of steps at which each unit is on."""
        return (self.above if direction == "above" else self.below)[:, level - 1]


class LevelCounter:
    """Counts block by block.

    Args:
        units: C.
    """

    def __init__(self, units: int):
        self._steps = numpy.zeros((units, LEVELS + 1), dtype=numpy.int64)  # by byte, so that -128 has a place
        self._lower = numpy.zeros((units, LEVELS + 1), dtype=numpy.int64)
        self._first: Optional[numpy.ndarray] = None  # (C,) the levels of the first step
        self._last: Optional[numpy.ndarray] = None  # (C,) those of the last step so far

    def add(self, units: numpy.ndarray) -> None:
        """Counts the next steps.

        Args:
            units: (C, n) int8, contiguous rows, with levels from -127 to 127.
        """
        if not units.shape[1]:
            return
        before = units[:, :1] if self._last is None else self._last[:, None]
        framed = numpy.concatenate([before, units], axis=1)  # (C, n + 1)
        start = 1 if self._last is None else 0  # the first step of the corpus has none before
        for unit, levels in enumerate(framed):
            self._steps[unit] += numpy.bincount(levels[1:].view(numpy.uint8), minlength=LEVELS + 1)
            lower = numpy.minimum(levels[start + 1 :], levels[start:-1])
            self._lower[unit] += numpy.bincount(lower.view(numpy.uint8), minlength=LEVELS + 1)
        if self._first is None:
            self._first = units[:, 0].copy()
        self._last = units[:, -1].copy()

    def finish(self) -> LevelCounts:
        """The counts of all steps so far.

        Raises:
            ValueError: there is no step, or a level of -128.
        """
        if self._first is None or self._last is None:
            raise ValueError("no step was counted")
        places = numpy.arange(-LARGEST, LARGEST + 1) % (LEVELS + 1)
        if self._steps[:, LARGEST + 1].any():
            raise ValueError("a unit has level -128, but levels must be from -127 to 127")
        steps, lower = self._steps[:, places], self._lower[:, places]  # (C, L)
        at_least = _from_the_right(steps)[:, LARGEST + 1 :]  # (C, 127)
        above = at_least - _from_the_right(lower)[:, LARGEST + 1 :]
        # The lower of two levels is at most -t if one of them is. Both are as often as each, less this.
        either = lower.cumsum(1)[:, LARGEST - 1 :: -1]  # (C, 127) for t = 1 to 127
        thresholds = numpy.arange(1, LARGEST + 1)
        ends = [
            (levels.astype(numpy.int64)[:, None] <= -thresholds).astype(int) for levels in (self._first, self._last)
        ]
        below = either - steps.cumsum(1)[:, LARGEST - 1 :: -1] + ends[0] + ends[1]
        return LevelCounts(steps, above, below)


def _from_the_right(counts: numpy.ndarray) -> numpy.ndarray:
    """(C, L) -> (C, L), the sum from each place on."""
    return counts[:, ::-1].cumsum(1)[:, ::-1]
