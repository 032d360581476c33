"""An nn.LSTM step by step: its cell states and gates, of which it gives only the last cells.

Sentences are padded on the right. What a padded place holds in the results is not to be used; that no real place ever
sees it is what this file takes care of.
"""

from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TORCH_ORDER = ("input", "forget", "candidate", "output")  # of the rows of an nn.LSTM's or nn.LSTMCell's weights


class LayerStates(NamedTuple):
    """One layer of B sentences of up to T words; U units, of both directions if there are two."""

    hidden: Tensor
    """(B, T, U)"""
    cell: Tensor
    """(B, T, U)"""
    gates: Dict[str, Tensor]
    """input, forget, output (after their sigmoid) and candidate (after its tanh), (B, T, U) each; empty if unwanted"""


def named(layer: int, states: LayerStates) -> Dict[str, Tensor]:
    """The states of a layer, counted from 1, under the names that they have in files: hidden1, cell1, ..."""
    found = {"hidden": states.hidden, "cell": states.cell, **states.gates}
    return {f"{kind}{layer}": values for kind, values in found.items()}


def open_gates(before: Tensor, order: Tuple[str, ...]) -> Dict[str, Tensor]:
    """What the gates let through: (..., 4U) before their nonlinearities, in blocks of this order -> (..., U) each."""
    blocks = dict(zip(order, before.chunk(4, dim=-1)))
    return {
        name: torch.tanh(blocks[name]) if name == "candidate" else torch.sigmoid(blocks[name])
        for name in ("input", "forget", "output", "candidate")
    }


def read_layer(lstm: nn.LSTM, layer: int, inputs: Tensor, lengths: Tensor, gates: bool) -> LayerStates:
    """One layer of an nn.LSTM along inputs.

    Args:
        lstm: holds the weights.
        layer: which of its layers, from 0.
        inputs: (B, T, I) what the layer reads, padded on the right.
        lengths: (B,) int64.
        gates: whether gates are wanted.

    Returns:
        The states after every step; of a bidirectional layer forward units first, then backward units.
    """
    directions = []
    for suffix in ("", "_reverse")[: 2 if lstm.bidirectional else 1]:
        weights = [getattr(lstm, f"{name}_l{layer}{suffix}", None) for name in PARAMETERS]
        given = reverse_each(inputs, lengths) if suffix else inputs
        states = _read_direction(given, weights, gates)
        directions.append([reverse_each(part, lengths) if suffix else part for part in states])
    hidden, cell, *opened = (torch.cat(parts, dim=2) for parts in zip(*directions))
    return LayerStates(hidden, cell, dict(zip(("input", "forget", "output", "candidate"), opened)))


PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _read_direction(inputs: Tensor, weights: List[Optional[Tensor]], gates: bool) -> List[Tensor]:
    """(B, T, I) -> hidden and cell (B, T, U), and if wanted the four gates."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    bias = None if bias_ih is None else bias_ih + bias_hh
    projected = F.linear(inputs, weight_ih, bias)  # (B, T, 4U)
    hidden = cell = projected.new_zeros(projected.size(0), weight_hh.size(1))  # (B, U)
    history: List[List[Tensor]] = []
    for before in projected.unbind(1):
        opened = open_gates(torch.addmm(before, hidden, weight_hh.t()), TORCH_ORDER)
        cell = opened["forget"] * cell + opened["input"] * opened["candidate"]
        hidden = opened["output"] * torch.tanh(cell)
        history.append([hidden, cell, *(opened.values() if gates else ())])
    return [torch.stack(part, dim=1) for part in zip(*history)]


def reverse_each(values: Tensor, lengths: Tensor) -> Tensor:
    """Each sentence of (B, T, U) the other way round, its padding where it was."""
    place = torch.arange(values.size(1), device=values.device)
    turned = lengths.unsqueeze(1) - 1 - place  # (B, T)
    turned = torch.where(turned < 0, place, turned)
    return values.gather(1, turned.unsqueeze(2).expand_as(values))
