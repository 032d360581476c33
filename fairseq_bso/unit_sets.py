"""Units of a model with all the weights that belong to them, so that a unit can be pruned or left out as a whole.

A unit is one number of a layer's output. The rows of the matrices that compute it belong to it, and so do the columns
of the matrices that read it. Where all of these are zero, the unit is zero and nothing depends on it.

A model says what its units are: ``unit_sets(parameters, residual)`` of its class returns UnitSets. Let a set have n
units.
"""

from __future__ import annotations

from typing import List, Mapping, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor

Named = Tuple[Tuple[str, ...], Tensor]
"""A parameter and all its names: tied parameters have several."""


class Slice(NamedTuple):
    """The part of one parameter that belongs to the units of a set: for unit j the index `start + j` of a dimension."""

    parameter: str
    """the first name of the parameter"""
    dimension: int
    """0: a row of a matrix, or a number of a vector; 1: a column"""
    start: int


class UnitSet(NamedTuple):
    """Units that are ranked among each other, such as a layer."""

    name: str
    parts: Tuple[str, ...]
    """the layers whose units with the same number are one unit here"""
    kind: str
    """sets of one kind keep the same number of units when zero units are left out"""
    size: int
    """n"""
    slices: Tuple[Slice, ...]


def magnitudes(units: UnitSet, parameters: Mapping[str, Tensor]) -> Tensor:
    """(n,) float64: the Euclidean norm of all weights of each unit, each weight counted once.

    Args:
        units: a set of n units.
        parameters: by their first names.
    """
    total = torch.zeros(units.size, dtype=torch.float64)
    for slice in units.slices:
        squares = _part(parameters[slice.parameter], slice, units.size)
        total += squares.square().flatten(1).sum(1).cpu()
    for weight, row, column in _crossings(units):
        both = torch.arange(units.size, device=parameters[weight].device)
        total -= parameters[weight].detach()[row + both, column + both].double().square().cpu()
    return total.clamp(min=0).sqrt()


def zero_units(units: UnitSet, parameters: Mapping[str, Tensor]) -> Tensor:
    """(n,) bool, True at units whose weights are all zero."""
    zero = torch.ones(units.size, dtype=torch.bool)
    for slice in units.slices:
        zero &= (_part(parameters[slice.parameter], slice, units.size) == 0).flatten(1).all(1).cpu()
    return zero


def indices(units: UnitSet, chosen: Tensor) -> List[Tuple[str, int, Tensor]]:
    """(parameter, dimension, indices of the chosen units) for every slice of a set.

    Args:
        units: a set of n units.
        chosen: (n,) bool.
    """
    places = chosen.nonzero().squeeze(1)
    return [(slice.parameter, slice.dimension, slice.start + places) for slice in units.slices]


def _part(parameter: Tensor, slice: Slice, size: int) -> Tensor:
    """The weights of a slice in float64, the units first: (n, ...)."""
    part = parameter.detach().narrow(slice.dimension, slice.start, size).double()
    return part.movedim(slice.dimension, 0).reshape(size, -1)


def _crossings(units: UnitSet) -> Sequence[Tuple[str, int, int]]:
    """(parameter, row, column) of unit 0, wherever a row and a column of the same unit cross."""
    rows = [slice for slice in units.slices if slice.dimension == 0]
    columns = [slice for slice in units.slices if slice.dimension == 1]
    return [
        (row.parameter, row.start, column.start)
        for row in rows
        for column in columns
        if row.parameter == column.parameter
    ]
