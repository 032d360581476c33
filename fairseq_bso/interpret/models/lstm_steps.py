"""The layers of an nn.LSTM, step by step, with all their states.

An nn.LSTM returns only its last cell states, and no gates. `read_layer` therefore computes them from the weights.
Sentences are padded on the right. Padded places of the results are undefined and never affect real places.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .changes import Change, LayerEdits, edit_cell

TORCH_ORDER = ("input", "forget", "candidate", "output")
"""order of the blocks in the weights of an nn.LSTM or nn.LSTMCell"""
GATES = ("input", "forget", "output", "candidate")
"""order of the gates in the results"""
NO_EDITS = LayerEdits()
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class LayerStates(NamedTuple):
    """One layer on B sentences of up to T words; U units, those of both directions if there are two."""

    hidden: Tensor
    """(B, T, U)"""
    cell: Tensor
    """(B, T, U)"""
    gates: Dict[str, Tensor]
    """input, forget, output (after sigmoid) and candidate (after tanh), (B, T, U) each; or empty"""


class EncoderRun(NamedTuple):
    """An encoder on B sentences of up to S words, of which D units enter the attention."""

    states: List[LayerStates]
    """of each layer"""
    outputs: Tensor
    """(B, S, D) of the last layer"""
    hidden: Tensor
    """(L, B, D) the last hidden states of each layer"""
    cell: Tensor
    """(L, B, D) the last cell states"""


def named(layer: int, states: LayerStates) -> Dict[str, Tensor]:
    """The states of a layer, counted from 1, by their names in files: hidden1, cell1, ..."""
    kinds = {"hidden": states.hidden, "cell": states.cell, **states.gates}
    return {f"{kind}{layer}": values for kind, values in kinds.items()}


def open_gates(before: Tensor, order: Tuple[str, ...]) -> Dict[str, Tensor]:
    """The values of the gates: (..., 4U) before the nonlinearities, in blocks of this order -> (..., U) each."""
    blocks = dict(zip(order, before.chunk(4, dim=-1)))
    return {name: torch.tanh(blocks[name]) if name == "candidate" else torch.sigmoid(blocks[name]) for name in GATES}


def run_encoder(
    layers: List[Tuple[nn.LSTM, int]], inputs: Tensor, lengths: Tensor, residual: bool, gates: bool, change: Change
) -> EncoderRun:
    """The layers of an encoder, step by step.

    Args:
        layers: the nn.LSTM that holds each layer, and the layer's number in it.
        inputs: (B, S, E) embedded words, padded on the right.
        lengths: (B,) int64.
        residual: add a layer's input to its output, from the second layer on.
        gates: whether to return the gates.
        change: of the run; its inputs are `inputs` already.
    """
    found: List[LayerStates] = []
    for place, (lstm, layer) in enumerate(layers):
        states = read_layer(lstm, layer, inputs, lengths, gates, change.of_layer(place + 1))
        found.append(states)
        inputs = states.hidden + inputs if residual and place > 0 else states.hidden
    bidirectional = layers[0][0].bidirectional
    hidden, cell = (
        torch.stack([_last(getattr(states, kind), lengths, bidirectional) for states in found])
        for kind in ("hidden", "cell")
    )
    return EncoderRun(found, inputs, hidden, cell)


def _last(states: Tensor, lengths: Tensor, bidirectional: bool) -> Tensor:
    """(B, S, D) -> (B, D): the states after the last step. The backward direction ends at the first word."""
    last = states[torch.arange(states.size(0), device=states.device), lengths.to(states.device) - 1]
    if not bidirectional:
        return last
    half = states.size(2) // 2
    return torch.cat([last[:, :half], states[:, 0, half:]], dim=1)


def read_layer(
    lstm: nn.LSTM,
    layer: int,
    inputs: Tensor,
    lengths: Tensor,
    gates: bool,
    edits: LayerEdits = NO_EDITS,
) -> LayerStates:
    """One layer of an nn.LSTM on its inputs.

    Args:
        lstm: has the weights.
        layer: its number, from 0.
        inputs: (B, T, I) the input of the layer, padded on the right.
        lengths: (B,) int64.
        gates: whether to return the gates.
        edits: of the layer.

    Returns:
        The states after every step. A bidirectional layer has the forward units first, then the backward units.
    """
    directions = []
    for suffix in ("", "_reverse")[: 2 if lstm.bidirectional else 1]:
        weights = [getattr(lstm, f"{name}_l{layer}{suffix}", None) for name in PARAMETERS]
        ordered = reverse_each(inputs, lengths) if suffix else inputs
        own_edits = edits.of_direction(lstm.hidden_size, backward=bool(suffix))
        states = _read_direction(ordered, weights, gates, own_edits, lengths if suffix else None)
        directions.append([reverse_each(part, lengths) if suffix else part for part in states])
    hidden, cell, *opened = (torch.cat(parts, dim=2) for parts in zip(*directions))
    return LayerStates(hidden, cell, dict(zip(GATES, opened)))


def _read_direction(
    inputs: Tensor,
    weights: List[Any],
    gates: bool,
    edits: LayerEdits,
    backward: Optional[Tensor],
) -> List[Tensor]:
    """(B, T, I) -> hidden and cell states (B, T, U), and the four gates if they are asked for.

    `backward` holds the lengths (B,) if each sentence is read from its end.
    """
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    bias = None if bias_ih is None else bias_ih + bias_hh
    projected = F.linear(inputs, weight_ih, bias)  # (B, T, 4U)
    hidden = cell = projected.new_zeros(projected.size(0), weight_hh.size(1))  # (B, U)
    history: List[List[Tensor]] = []
    for step, before in enumerate(projected.unbind(1)):
        opened = open_gates(torch.addmm(before, hidden, weight_hh.t()), TORCH_ORDER)
        cell = opened["forget"] * cell + opened["input"] * opened["candidate"]
        hidden = opened["output"] * torch.tanh(cell)
        if edits.changes:
            rows = torch.full_like(hidden[:, 0], step, dtype=torch.int64)  # (B,)
            rows = rows if backward is None else backward.to(rows) - 1 - rows
            hidden, cell = edit_cell(hidden, cell, opened["output"], edits, rows)
        history.append([hidden, cell, *(opened.values() if gates else ())])
    return [torch.stack(part, dim=1) for part in zip(*history)]


def reverse_each(values: Tensor, lengths: Tensor) -> Tensor:
    """Reverses each sentence of (B, T, U) and keeps its padding in place."""
    place = torch.arange(values.size(1), device=values.device)
    turned = lengths.unsqueeze(1) - 1 - place  # (B, T)
    turned = torch.where(turned < 0, place, turned)
    return values.gather(1, turned.unsqueeze(2).expand_as(values))
