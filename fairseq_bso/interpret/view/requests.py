"""What a request for a selection or a match says: which states are looked at, and what a cell has to do where."""

import re
from typing import List, Sequence

import numpy

from ..folder.index import Index
from ..folder.reader import Side, States
from ..units.patterns import DIRECTIONS
from .fields import Fields, Refused

__all__ = ["LONGEST_RANGE", "MOST_OFF", "Query", "View"]

LONGEST_RANGE = 200  # words of a selection
MOST_OFF = 20  # steps around it


class View:
    """The columns of the states that are looked at."""

    def __init__(self, side: Side, states: Sequence[States]):
        self.side, self.states = side, states
        self.columns = numpy.concatenate([numpy.arange(one.first, one.first + one.units) for one in states])

    def names(self, columns: Sequence[int]) -> List[str]:
        """ "hidden1:17" for each column."""
        found = []
        for column in columns:
            one = next(one for one in self.states if one.first <= column < one.first + one.units)
            found.append(f"{one.name}:{column - one.first}")
        return found

    def numbers(self, text: str) -> numpy.ndarray:
        """The columns of names that are separated by commas."""
        by_name = {one.name: one for one in self.states}
        columns = set()
        for name in text.split(","):
            states, _, unit = name.rpartition(":")
            one = by_name.get(states)
            if one is None or not re.fullmatch("[0-9]{1,6}", unit) or int(unit) >= one.units:
                raise Refused(f"cells names {name[:40]!r}, but the states in view are {', '.join(by_name)}")
            columns.add(one.first + int(unit))
        return numpy.array(sorted(columns))

    def cells(self, index: Index, steps: int) -> numpy.ndarray:
        """(C in view, steps) int8: mapped, not copied, where the columns stand side by side."""
        first, last = int(self.columns[0]), int(self.columns[-1])
        if last - first + 1 == len(self.columns):
            return index.cells[first : last + 1, :steps]
        return index.cells[self.columns, :steps]

    def others(self, chosen: numpy.ndarray) -> numpy.ndarray:
        """The columns in view that are not chosen."""
        return numpy.setdiff1d(self.columns, chosen, assume_unique=True)


class Query:
    """A range of words and what a cell has to do there."""

    def __init__(self, side: Side, fields: Fields):
        optional = [None] if "cells" in fields.left else []
        self.first = fields.integer("from", 0, side.steps - 1, *optional)
        self.last = fields.integer("to", 0, side.steps - 1, *optional)
        self.level = fields.hundredths("threshold", 30)
        self.direction = fields.choice("direction", DIRECTIONS, "above")
        self.left = fields.integer("left", 0, MOST_OFF, 1)
        self.right = fields.integer("right", 0, MOST_OFF, 0)
        if (self.first is None) != (self.last is None):
            raise Refused("of from and to only one is given")
        if self.first is not None and not self.first <= self.last < self.first + LONGEST_RANGE:
            raise Refused(
                f"from is {self.first} and to is {self.last}, but a range has 1 to {LONGEST_RANGE} words, first to last"
            )

    def on(self, levels: numpy.ndarray) -> numpy.ndarray:
        """levels int8 -> bool of the same shape."""
        return levels >= self.level if self.direction == "above" else levels <= -self.level
