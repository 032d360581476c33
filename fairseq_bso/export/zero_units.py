"""Leaves out the units whose weights are all zero, so that the matrices of an exported model are smaller."""

from typing import Any, Dict, List, Tuple

import torch
from torch import Tensor

from ..checkpoints import config_of, distinct_parameters, model_class, option
from ..unit_sets import UnitSet, indices, zero_units

Counts = Dict[str, Tuple[int, int]]


def without_zero_units(state: Dict[str, Any], tensors: Dict[str, Tensor]) -> Tuple[Dict[str, Tensor], Counts]:
    """Removes the rows and columns of zero units.

    Sets of one kind (such as both directions of the encoder) keep the same number of units, and at least one.

    Args:
        state: a checkpoint.
        tensors: its parameters by their names.

    Returns:
        The parameters, and for each set that lost units how many it keeps and how many it had.
    """
    name_units = getattr(model_class(state), "unit_sets", None)
    if name_units is None:
        return tensors, {}
    parameters = distinct_parameters(state)
    first = {name: names[0] for names, _ in parameters for name in names}
    whole = {names[0]: tensor for names, tensor in parameters}
    sets: List[UnitSet] = name_units(parameters, bool(option(config_of(state, "model"), "residual", False)))
    zeros = {units: zero_units(units, whole).nonzero().squeeze(1) for units in sets}
    kept = dict.fromkeys({units.kind for units in sets}, 1)  # the number of units that all sets of a kind keep
    for units, zero in zeros.items():
        kept[units.kind] = max(kept[units.kind], units.size - len(zero))
    removed: Dict[Tuple[str, int], List[Tensor]] = {}
    counts: Counts = {}
    for units, zero in zeros.items():
        chosen = torch.zeros(units.size, dtype=torch.bool)
        chosen[zero[: units.size - kept[units.kind]]] = True
        if chosen.any():
            counts[units.name] = kept[units.kind], units.size
        for name, dimension, lost in indices(units, chosen):
            removed.setdefault((name, dimension), []).append(lost)
    return {name: _without(tensor, first[name], removed) for name, tensor in tensors.items()}, counts


def _without(tensor: Tensor, name: str, removed: Dict[Tuple[str, int], List[Tensor]]) -> Tensor:
    """The parameter `name` without some indices of its dimensions."""
    for dimension in range(tensor.dim()):
        if (name, dimension) in removed:
            keep = torch.ones(tensor.shape[dimension], dtype=torch.bool)
            keep[torch.cat(removed[name, dimension])] = False
            tensor = tensor[keep] if dimension == 0 else tensor[:, keep]
    return tensor
