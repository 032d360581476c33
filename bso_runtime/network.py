"""The attentional LSTM (Luong et al. 2015) in numpy, one sentence at a time, all hypotheses of its beam at once."""

from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np

Array = np.ndarray


class Memory(NamedTuple):
    """What the decoder looks at: a sentence of S words."""

    keys: Array
    """(S, A)"""
    values: Array
    """(S, H), projected"""


class State(NamedTuple):
    """Of R hypotheses, between two words."""

    hiddens: List[Array]
    """L of (R, H)"""
    cells: List[Array]
    """L of (R, H)"""
    fed: Array
    """(R, H) the last attentional vector"""

    def select(self, rows: Array) -> "State":
        """The hypotheses at `rows`."""
        return State([one[rows] for one in self.hiddens], [one[rows] for one in self.cells], self.fed[rows])


class Network:
    """A trained `bso_lstm`.

    Args:
        facts: its kind, as exported.
        tensors: its parameters by the names of the checkpoint, float32.

    Raises:
        KeyError: if a parameter is missing.
    """

    def __init__(self, facts: Dict[str, Any], tensors: Dict[str, Array]) -> None:
        self.facts, self.tensors = facts, tensors
        self.layers = int(facts["layers"])
        self.upper = [
            (tensors[f"decoder.upper_layers.{index}.weight"].T.copy(), tensors[f"decoder.upper_layers.{index}.bias"])
            for index in range(self.layers - 1)
        ]
        self.embedding = tensors["decoder.embedding.weight"]
        # The words' part of the first layer's gates does not depend on the sentence, but has 4 H numbers for each word.
        self.input = tensors["decoder.input_projection.weight"].T.copy()
        self.input_bias = tensors["decoder.input_projection.bias"]
        self.first = tensors["decoder.first_layer"].T.copy()
        self.attentional = tensors["decoder.attentional.weight"].T.copy()
        self.output = tensors["decoder.output_weight"].T.copy()  # (H, V)
        self.output_bias = tensors["decoder.output_bias"]

    def encode(self, words: List[int]) -> Tuple[Memory, State]:
        """Word numbers of a sentence -> its memory and the state of one hypothesis without words."""
        inputs = self.tensors["encoder.embedding.weight"][words]  # (S, E)
        hiddens, cells = [], []
        for index in range(self.layers):
            sides = [self._along(index, inputs, "")]
            if self.facts["bidirectional"]:
                sides.append(self._along(index, inputs[::-1], "_reverse"))
                sides[1] = (sides[1][0][::-1], *sides[1][1:])
            outputs = np.concatenate([side[0] for side in sides], 1)
            hiddens.append(np.concatenate([side[1] for side in sides])[None])
            cells.append(np.concatenate([side[2] for side in sides])[None])
            inputs = outputs + inputs if self.facts["residual"] and index > 0 else outputs
        keys = inputs if self.facts["attention"] == "dot" else inputs @ self.tensors["encoder.attention_keys.weight"].T
        if "decoder.initial_hidden.weight" in self.tensors:
            hiddens = [self._linear("decoder.initial_hidden", one) for one in hiddens]
            cells = [self._linear("decoder.initial_cell", one) for one in cells]
        memory = Memory(keys, inputs @ self.tensors["encoder.attention_values.weight"].T)
        return memory, State(hiddens, cells, np.zeros_like(hiddens[0]))

    def _linear(self, name: str, given: Array) -> Array:
        return given @ self.tensors[name + ".weight"].T + self.tensors[name + ".bias"]

    def _along(self, index: int, inputs: Array, side: str) -> Tuple[Array, Array, Array]:
        """One direction of an encoder layer: inputs (S, I) -> outputs (S, H), last hidden and cell (H,)."""
        prefix = f"encoder.layers.{index}."
        given, again = (self.tensors[prefix + name + "_l0" + side] for name in ("weight_ih", "weight_hh"))
        bias = self.tensors[prefix + "bias_ih_l0" + side] + self.tensors[prefix + "bias_hh_l0" + side]
        size, recurrent = again.shape[1], again.T.copy()
        hidden = cell = np.zeros(size, np.float32)
        outputs = np.empty((len(inputs), size), np.float32)
        for place, gates in enumerate(inputs @ given.T + bias):
            gates = gates + hidden @ recurrent
            into, keep, candidate, out = np.split(gates, 4)  # torch's order
            cell = _sigmoid(keep) * cell + _sigmoid(into) * np.tanh(candidate)
            hidden = outputs[place] = _sigmoid(out) * np.tanh(cell)
        return outputs, hidden, cell

    def step(self, words: Array, state: State, memory: Memory) -> Tuple[Array, State]:
        """The last words (R,) of R hypotheses -> scores f (R, V) of all next words, and the next state."""
        hiddens, cells = list(state.hiddens), list(state.cells)
        inputs = self.embedding[words] @ self.input + self.input_bias
        before = np.concatenate([state.fed, hiddens[0]], 1) if self.facts["input_feeding"] else hiddens[0]
        hiddens[0], cells[0] = _cell(inputs + before @ self.first, cells[0])
        top = hiddens[0]
        for index, (weight, bias) in enumerate(self.upper, start=1):
            gates = np.concatenate([top, hiddens[index]], 1) @ weight + bias
            hiddens[index], cells[index] = _cell(gates, cells[index])
            top = hiddens[index] + top if self.facts["residual"] else hiddens[index]
        fed = np.tanh(self._context(top, memory) + top @ self.attentional)
        return fed @ self.output + self.output_bias, State(hiddens, cells, fed)

    def _context(self, query: Array, memory: Memory) -> Array:
        """(R, H) -> (R, H)."""
        if self.facts["attention"] == "mlp":
            query = query @ self.tensors["decoder.attention_query.weight"].T
            scores = np.tanh(query[:, None] + memory.keys[None]) @ self.tensors["decoder.attention_energy"]  # (R, S)
        else:
            scores = query @ memory.keys.T
        weights = np.exp(scores - scores.max(1, keepdims=True))
        return (weights / weights.sum(1, keepdims=True)) @ memory.values


def _cell(gates: Array, cell: Array) -> Tuple[Array, Array]:
    """(R, 4H) input, forget, output gates and candidate, as in the checkpoint; cell (R, H)."""
    into, keep, out, candidate = np.split(gates, 4, 1)
    cell = _sigmoid(keep) * cell + _sigmoid(into) * np.tanh(candidate)
    return _sigmoid(out) * np.tanh(cell), cell


def _sigmoid(values: Array) -> Array:
    return 0.5 * (np.tanh(0.5 * values) + 1)
