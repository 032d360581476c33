"""The attentional LSTM (Luong et al. 2015) in numpy: B sentences at once, all hypotheses of all beams in one product.

Reading the weights takes most of the time, the output layer's above all. Each step therefore reads them once for all
rows. The sentences of a batch lie in a padded block. The encoder reads it longest sentence first, and computes at each
position only the sentences that reach it.
"""

from typing import Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .config import ModelConfig
from .matmul import InputTable, Product
from .weights import Direction, Weights

Array = np.ndarray
LARGEST_TABLE = 2**28  # bytes; the products of a larger vocabulary are computed each time


class Memory(NamedTuple):
    """The keys and values of the attention for B sentences of at most S words."""

    keys: Array
    """(B, S, A)"""
    values: Array
    """(B, S, F), projected"""
    mask: Array
    """(B, 1, S) 0 where the sentence has a word, -inf beyond"""

    def select(self, sentences: Array) -> "Memory":
        """The sentences at `sentences` (b,), cut to the longest of them."""
        mask = self.mask[sentences]  # (b, 1, S)
        longest = int(np.isfinite(mask).sum(2).max())
        return Memory(self.keys[sentences, :longest], self.values[sentences, :longest], mask[:, :, :longest])


class State(NamedTuple):
    """The decoder's state for R hypotheses, between two words."""

    hidden: Array
    """(L, R, H)"""
    cell: Array
    """(L, R, H)"""
    fed: Array
    """(R, F) the last attentional vector"""

    def select(self, rows: Array) -> "State":
        """The hypotheses at `rows`."""
        return State(self.hidden[:, rows], self.cell[:, rows], self.fed[rows])


class EncoderLayer(NamedTuple):
    """The D directions of an encoder layer, their blocks in the order of `_cell`."""

    input_weight: Array
    """(D, 4H, I)"""
    hidden_weight: Product
    """(D, 4H, H)"""
    bias: Array
    """(D, 1, 4H)"""

    @staticmethod
    def of(directions: Sequence[Direction]) -> "EncoderLayer":
        """The layer of these parameters."""
        input_weight, hidden_weight, input_bias, hidden_bias = (
            np.stack([_with_halved_gates(_candidate_last(tensor)) for tensor in kind]) for kind in zip(*directions)
        )
        return EncoderLayer(input_weight, Product(hidden_weight), (input_bias + hidden_bias)[:, None])


class Network:
    """A trained `bso_lstm`.

    Args:
        config: its kind.
        tensors: its parameters by their names in the checkpoint, float32.

    Raises:
        KeyError: a parameter is missing.
    """

    def __init__(self, config: ModelConfig, tensors: Mapping[str, Array]) -> None:
        weights = Weights.of(config, tensors)
        self.config = config
        self.encoder_layers = [EncoderLayer.of(directions) for directions in weights.encoder_layers]
        first, *upper = self.encoder_layers
        self.source_inputs = InputTable(weights.source_embedding, first.input_weight, first.bias, LARGEST_TABLE)
        self.upper_inputs = [Product(layer.input_weight) for layer in upper]
        self.keys, self.query = _product(weights.attention_keys), _product(weights.attention_query)
        self.values, self.energy = Product(weights.attention_values), weights.attention_energy
        self.bridges = [
            None if bridge is None else (Product(bridge.weight), bridge.bias)
            for bridge in (weights.initial_hidden, weights.initial_cell)
        ]
        into, bias = (_with_halved_gates(tensor)[None] for tensor in weights.input_projection)
        self.target_inputs = InputTable(weights.embedding, into, bias[:, None], LARGEST_TABLE)
        self.first_layer = Product(_with_halved_gates(weights.first_layer))
        self.upper_layers = [
            (Product(_with_halved_gates(layer.weight)), _with_halved_gates(layer.bias))
            for layer in weights.upper_layers
        ]
        self.attentional, self.fed_size = Product(weights.attentional), len(weights.attentional)
        self.output, self.output_bias = Product(weights.output.weight), weights.output.bias
        self.source_words, self.vocabulary_size = len(weights.source_embedding), len(self.output_bias)

    def encode(self, sentences: Sequence[Sequence[int]]) -> Tuple[Memory, State]:
        """Word ids of B sentences -> their memory, and the state of one empty hypothesis for each."""
        lengths = np.array([len(sentence) for sentence in sentences])
        order = np.argsort(-lengths, kind="stable")  # (B,) longest first
        position = np.arange(lengths.max())[:, None]  # (S, 1)
        words = np.zeros((len(position), len(sentences)), int)  # (S, B)
        for column, sentence in enumerate(order):
            words[: lengths[sentence], column] = sentences[sentence]
        inside = position < lengths[order]  # (S, B)
        backwards = np.where(inside, lengths[order] - 1 - position, position)  # (S, B) each sentence reversed in itself
        outputs, *states = self._run_encoder(words, backwards, inside.sum(1))
        back = np.argsort(order)
        top = np.ascontiguousarray(outputs.transpose(1, 0, 2)[back])  # (B, S, D)
        mask = np.where(inside.T[back], 0, -np.inf).astype(np.float32)[:, None]  # (B, 1, S)
        keys, values = (top if product is None else _in_rows(product, top) for product in (self.keys, self.values))
        hidden, cell = (
            state[:, back] if bridge is None else _in_rows(bridge[0], state[:, back]) + bridge[1]
            for state, bridge in zip(states, self.bridges)
        )  # (L, B, H)
        return Memory(keys, values, mask), State(hidden, cell, np.zeros((len(sentences), self.fed_size), np.float32))

    def _run_encoder(self, words: Array, backwards: Array, reaching: Array) -> Tuple[Array, Array, Array]:
        """All layers of the encoder.

        Args:
            words: (S, B), longest sentence first.
            backwards, reaching: see `_run_layer`.

        Returns:
            outputs (S, B, D) of the last layer, and the last hidden and cell states (L, B, D) of all layers.
        """
        columns = np.arange(words.shape[1])
        inputs, states = np.empty(0), []
        for index, layer in enumerate(self.encoder_layers):
            read = words if index == 0 else inputs  # (S, B), later (S, B, D)
            read = np.stack([read, read[backwards, columns]][: len(layer.bias)])
            gates = self.source_inputs(read) if index == 0 else self._upper_gates(index, read)
            outputs, *last = _run_layer(layer, gates, backwards, reaching)
            inputs = outputs + inputs if self.config.residual and index > 0 else outputs
            states.append(last)
        hidden, cell = (np.stack(kind) for kind in zip(*states))
        return inputs, hidden, cell

    def _upper_gates(self, index: int, inputs: Array) -> Array:
        """The part of inputs in the gates of encoder layer `index`: (D, S, B, I) -> (D, S, B, 4H)."""
        gates = self.upper_inputs[index - 1](inputs.reshape(len(inputs), -1, inputs.shape[3]))
        gates += self.encoder_layers[index].bias
        return gates.reshape(*inputs.shape[:3], -1)

    def step(self, words: Array, state: State, memory: Memory) -> Tuple[Array, State]:
        """One step of the decoder.

        Args:
            words: (R,) the last word of each hypothesis; every sentence has as many hypotheses, one after another.
            state: of the R hypotheses.
            memory: of the B sentences.

        Returns:
            scores f (R, V) of the next words, and the next state.
        """
        state = self.advance(words, state, memory)
        scores = self.output(state.fed)  # (R, V)
        scores += self.output_bias
        return scores, state

    def advance(self, words: Array, state: State, memory: Memory) -> State:
        """The state after one more word, as for `step`. Its attentional vectors score the next words."""
        hidden, cell = np.empty_like(state.hidden), np.empty_like(state.cell)
        fed = [state.fed] if self.config.input_feeding else []
        gates = self.first_layer(np.concatenate([*fed, state.hidden[0]], 1))  # (R, 4H)
        gates += self.target_inputs(words[None])[0]
        hidden[0], cell[0] = _cell(gates, state.cell[0])
        top = hidden[0]
        for index, (weight, bias) in enumerate(self.upper_layers, 1):
            gates = weight(np.concatenate([top, state.hidden[index]], 1))
            gates += bias
            hidden[index], cell[index] = _cell(gates, state.cell[index])
            top = hidden[index] + top if self.config.residual else hidden[index]
        output = self.attentional(top)  # (R, F)
        output += self._context(top, memory)
        return State(hidden, cell, np.tanh(output, out=output))

    def output_rows(self, words: Array) -> Tuple[Array, Array]:
        """The output layer of some words (C,): weight (C, F) and bias (C,)."""
        return self.output.weight[words], self.output_bias[words]

    def _context(self, query: Array, memory: Memory) -> Array:
        """The attention's weighted sum of values: (R, H) -> (R, F)."""
        sentences, _, size = memory.keys.shape
        if self.query is not None:
            query = self.query(query).reshape(sentences, -1, 1, size)
            scores = np.tanh(query + memory.keys[:, None]) @ self.energy  # (B, W, S)
        else:
            scores = query.reshape(sentences, -1, size) @ memory.keys.transpose(0, 2, 1)  # (B, W, S)
        scores += memory.mask
        scores -= scores.max(2, keepdims=True)
        weights = np.exp(scores, out=scores)
        weights /= weights.sum(2, keepdims=True)
        return (weights @ memory.values).reshape(-1, memory.values.shape[2])


def _product(weight: Optional[Array]) -> Optional[Product]:
    return None if weight is None else Product(weight)


def _in_rows(product: Product, values: Array) -> Array:
    """(..., I) -> (..., O)."""
    return product(values.reshape(-1, values.shape[-1])).reshape(*values.shape[:-1], -1)


def _with_halved_gates(tensor: Array) -> Array:
    """Halves the rows of the three gates in (4H, ...), which is exact in binary.

    Since sigmoid(x) = (tanh(x / 2) + 1) / 2, `_cell` then needs one tanh for gates and candidate.
    """
    size = len(tensor) // 4
    return np.concatenate([tensor[: 3 * size] * np.float32(0.5), tensor[3 * size :]])


def _candidate_last(tensor: Array) -> Array:
    """torch's input, forget, candidate, output (4H, ...) -> input, forget, output, candidate, as in the decoder."""
    into, forget, candidate, out = np.split(tensor, 4)
    return np.concatenate([into, forget, out, candidate])


def _cell(gates: Array, cell: Array) -> Tuple[Array, Array]:
    """One step of an LSTM.

    Args:
        gates: (..., 4H) input, forget and output gates (halved), then the candidate; overwritten.
        cell: (..., H).

    Returns:
        hidden and cell (..., H).
    """
    size = cell.shape[-1]
    gates = np.tanh(gates, out=gates)
    sigmoids = gates[..., : 3 * size]
    sigmoids += 1
    sigmoids *= 0.5
    into, forget, out, candidate = (gates[..., block * size : (block + 1) * size] for block in range(4))
    cell = forget * cell
    cell += into * candidate
    return out * np.tanh(cell), cell


def _run_layer(layer: EncoderLayer, gates: Array, backwards: Array, reaching: Array) -> Tuple[Array, Array, Array]:
    """Runs an encoder layer over its inputs, all D directions at once.

    Args:
        layer: its weights.
        gates: (D, S, B, 4H) what its inputs and biases add to the gates, longest sentence first.
        backwards: (S, B) the position that the other direction reads.
        reaching: (S,) how many sentences reach each position.

    Returns:
        outputs (S, B, D * H), last hidden and cell (B, D * H).
    """
    directions, time, sentences, size = *gates.shape[:3], gates.shape[3] // 4
    hidden = np.zeros((directions, sentences, size), np.float32)
    cell = np.zeros_like(hidden)
    outputs = np.zeros((directions, time, sentences, size), np.float32)
    for position, count in enumerate(reaching):
        now = layer.hidden_weight(hidden[:, :count])
        now += gates[:, position, :count]
        hidden[:, :count], cell[:, :count] = _cell(now, cell[:, :count])
        outputs[:, position, :count] = hidden[:, :count]
    joined = [outputs[0], *(outputs[1:, backwards, np.arange(sentences)])]
    return np.concatenate(joined, 2), np.concatenate(list(hidden), 1), np.concatenate(list(cell), 1)
