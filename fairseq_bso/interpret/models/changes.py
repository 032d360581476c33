"""A change of a run (an intervention): units that are set to values, and inputs in place of the embedded words.

A hidden unit is set after each step of its layer. The next step of the layer sees the set value. So do the layer
above and the attention, and for an encoder the initial state of the decoder. A unit of a cell state is set before the
hidden state of that step is computed from it. A unit of the attentional vector h~ is set before the output layer and
the next step read it. Later steps run as the model computes them from what was set.

B is the number of sentences, U of units of a state, n of units that are set, T of steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

__all__ = ["UNCHANGED", "Change", "LayerEdits", "UnitEdit", "edit_cell"]


@dataclass(frozen=True)
class UnitEdit:
    """Units of one state that are set to values."""

    columns: Tensor
    """(n,) int64"""
    values: Tensor
    """(n,)"""
    first: int = 0
    """the first row of a sentence that is changed"""
    last: Optional[int] = None
    """the last row that is changed; None for all rows from `first` on"""

    def apply(self, state: Tensor, rows: Tensor) -> Tensor:
        """The state with the units set.

        Args:
            state: (B, U) after a step.
            rows: (B,) int64, the row of each sentence at this step.
        """
        values = self.values.to(state).expand(state.size(0), -1)
        changed = state.index_copy(1, self.columns.to(state.device), values)
        if self.first == 0 and self.last is None:
            return changed
        inside = rows >= self.first  # (B,)
        if self.last is not None:
            inside = inside & (rows <= self.last)
        return torch.where(inside.unsqueeze(1), changed, state)


class LayerEdits(NamedTuple):
    """The edits of one layer; None for a state that is not edited."""

    hidden: Optional[UnitEdit] = None
    cell: Optional[UnitEdit] = None

    @property
    def changes(self) -> bool:
        """Whether there is any edit."""
        return self.hidden is not None or self.cell is not None

    def of_direction(self, units: int, backward: bool) -> LayerEdits:
        """The part that falls into one direction of a layer, with `units` units in each direction."""
        return LayerEdits(*(edit and _of_direction(edit, units, backward) for edit in self))


@dataclass(frozen=True)
class Change:
    """A change of one side of a run. The default changes nothing."""

    edits: Dict[str, UnitEdit] = field(default_factory=dict)
    """by the state's name in files: hidden1, cell1, attentional"""
    embedded: Optional[Tensor] = None
    """(B, T, E) in place of the embedded words"""

    @property
    def changes(self) -> bool:
        """Whether there is any change."""
        return bool(self.edits) or self.embedded is not None

    def of_layer(self, layer: int) -> LayerEdits:
        """The edits of a layer, counted from 1."""
        return LayerEdits(self.edits.get(f"hidden{layer}"), self.edits.get(f"cell{layer}"))


UNCHANGED = Change()


def edit_cell(
    hidden: Tensor, cell: Tensor, output_gate: Tensor, edits: LayerEdits, rows: Tensor
) -> Tuple[Tensor, Tensor]:
    """One step of an LSTM layer with its units set.

    Args:
        hidden: (B, U), the step's own.
        cell: (B, U), the step's own.
        output_gate: (B, U) after the sigmoid.
        edits: of the layer.
        rows: (B,) int64.

    Returns:
        Hidden and cell state (B, U).
    """
    if edits.cell is not None:
        cell = edits.cell.apply(cell, rows)
        hidden = output_gate * torch.tanh(cell)
    if edits.hidden is not None:
        hidden = edits.hidden.apply(hidden, rows)
    return hidden, cell


def _of_direction(edit: UnitEdit, units: int, backward: bool) -> Optional[UnitEdit]:
    """The part of an edit that falls into one direction of a layer; None for an empty part."""
    mine = (edit.columns >= units) if backward else (edit.columns < units)  # (n,)
    if not bool(mine.any()):
        return None
    columns = edit.columns[mine] - (units if backward else 0)
    return UnitEdit(columns, edit.values[mine], edit.first, edit.last)
