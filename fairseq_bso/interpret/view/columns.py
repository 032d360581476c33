"""The units of the states in view, by name and by number. The number of a unit is its column in the index.

Requests name a side and states; `side_of` and `states_of` read these fields.
"""

import re
from typing import Dict, Iterable, List, Sequence, Tuple

import numpy

from ..folder.index import Index
from ..folder.reader import CaptureReader, Side
from ..folder.states import States
from .fields import RequestFields

__all__ = ["UnitColumns", "side_of", "states_of"]


def side_of(capture: CaptureReader, fields: RequestFields) -> Side:
    """The side of the request. A capture with one side needs no field."""
    names = list(capture.sides)
    return capture.sides[fields.choice("side", names, names[0] if len(names) == 1 else None)]


def states_of(side: Side, fields: RequestFields) -> Tuple[str, ...]:
    """The names of the states in view; all if the field is not given."""
    return fields.choices("states", side.state_names)


class UnitColumns:
    """The columns of the states in view.

    Args:
        side: the side.
        states: names of the states in view, in the order of the side.
    """

    def __init__(self, side: Side, states: Sequence[str]):
        self.side = side
        self.states: Dict[str, States] = {shown.name: shown for shown in side.states if shown.name in states}
        parts = [numpy.arange(shown.first, shown.first + shown.units) for shown in self.states.values()]
        self.columns = numpy.concatenate(parts)  # (C,) in view

    def __len__(self) -> int:
        return len(self.columns)

    def names(self, columns: Iterable[int]) -> List[str]:
        """The name of each column, such as "hidden1:17"."""
        return [self.side.unit_name(int(column)) for column in columns]

    def number(self, name: str) -> int:
        """The column of a name.

        Raises:
            KeyError: no unit in view has this name.
        """
        state, _, unit = name.rpartition(":")
        states = self.states.get(state)
        if states is None or not re.fullmatch("[0-9]{1,6}", unit) or int(unit) >= states.units:
            raise KeyError(name)
        return states.first + int(unit)

    def levels(self, index: Index, steps: int) -> numpy.ndarray:
        """(C in view, steps) int8. Adjacent columns are memory-mapped and not copied."""
        first, last = int(self.columns[0]), int(self.columns[-1])
        if last - first + 1 == len(self.columns):
            return index.units[first : last + 1, :steps]
        return index.units[self.columns, :steps]

    def others(self, chosen: numpy.ndarray) -> numpy.ndarray:
        """The columns in view that are not chosen."""
        return numpy.setdiff1d(self.columns, chosen, assume_unique=True)
