"""The units by name, their means over the capture, and random units of the same states as a control."""

import re
from typing import Dict, List, Sequence, Tuple

import numpy
import torch

from ...errors import UserError
from ..folder.reader import Side
from ..models.changes import UnitEdit
from ..models.settable import settable

__all__ = ["UnitGroup", "control_groups", "edits_of", "named_units", "unit_names"]

UnitGroup = Tuple[Tuple[str, int], ...]
"""units that are set to their means together: the name of the state and the column of each"""


def unit_names(units: UnitGroup) -> List[str]:
    """Such as hidden1:17."""
    return [f"{state}:{column}" for state, column in units]


def named_units(side: Side, names: Sequence[str]) -> UnitGroup:
    """The units of a side by name: `hidden1:17`, `hidden1` for all units of a state, `all` for all of all states.

    Raises:
        UserError: a name is not known, or names a gate.
    """
    states = settable(state.name for state in side.states)
    sizes = {state.name: state.units for state in side.states if state.name in states}
    found: Dict[Tuple[str, int], None] = {}
    for name in names:
        if name != "all" and name.partition(":")[0] not in sizes:
            raise UserError(
                f"--units {name}: the {side.name} of this capture has the states {', '.join(sizes)}: give "
                "hidden1:17, a state for all of its units, or all"
            )
        found.update(dict.fromkeys(_units_of(name, sizes)))
    return tuple(found)


def _units_of(name: str, sizes: Dict[str, int]) -> List[Tuple[str, int]]:
    """The units that one name stands for.

    Args:
        name: `all`, a state, or a state with the column of a unit.
        sizes: the units of each state.
    """
    if name == "all":
        return [(state, column) for state, size in sizes.items() for column in range(size)]
    state, separator, column = name.partition(":")
    if not separator:
        return [(state, column) for column in range(sizes[state])]
    if re.fullmatch("[0-9]{1,6}", column) and int(column) < sizes[state]:
        return [(state, int(column))]
    raise UserError(f"--units {name}: {state} has the units {state}:0 to {state}:{sizes[state] - 1}")


def edits_of(units: UnitGroup, means: Dict[str, numpy.ndarray]) -> Dict[str, UnitEdit]:
    """The edit of each state that sets the units to their means."""
    columns: Dict[str, List[int]] = {}
    for state, column in units:
        columns.setdefault(state, []).append(column)
    return {
        state: UnitEdit(torch.tensor(chosen), torch.from_numpy(means[state][chosen]).float())
        for state, chosen in columns.items()
    }


def control_groups(
    chosen: UnitGroup, states: Tuple[str, ...], sizes: Dict[str, int], count: int, seed: int
) -> List[UnitGroup]:
    """Random groups of units, all different. There are fewer than `count` if the states have no more.

    Args:
        chosen: the units that are left out, unless a state would then have too few units.
        states: the state of each unit of a group.
        sizes: units of each state.
        count: number of groups.
        seed: of the random numbers.
    """
    generator = numpy.random.default_rng(seed)
    needed = {state: states.count(state) for state in states}
    left_out = set(chosen)
    pools: Dict[str, List[int]] = {}
    for state, need in needed.items():
        free = [column for column in range(sizes[state]) if (state, column) not in left_out]
        pools[state] = free if len(free) >= need else list(range(sizes[state]))
    groups: Dict[UnitGroup, None] = {}
    for _ in range(50 * count):
        if len(groups) == count:
            break
        drawn = [
            (state, int(column))
            for state, need in needed.items()
            for column in sorted(generator.choice(pools[state], need, replace=False))
        ]
        groups[tuple(drawn)] = None
    return list(groups)
