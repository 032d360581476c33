"""The attentional LSTM (Luong et al. 2015) in numpy: B sentences at once, all hypotheses of all beams in one product.

What takes the time is reading the weights, the output layer's most of all, so every step reads them once for all rows.
Sentences of a batch lie in a padded block; the encoder goes through it longest first, and computes at each place only
the sentences that reach it.
"""

from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np

from .matmul import Product

Array = np.ndarray


class Memory(NamedTuple):
    """What the decoder looks at: B sentences of at most S words."""

    keys: Array
    """(B, S, A)"""
    values: Array
    """(B, S, H), projected"""
    mask: Array
    """(B, 1, S) 0 where the sentence has a word, -inf beyond"""

    def select(self, sentences: Array) -> "Memory":
        """The sentences at `sentences` (b,), without the places that none of them reaches."""
        mask = self.mask[sentences]  # (b, 1, S)
        longest = int(np.isfinite(mask).sum(2).max())
        return Memory(self.keys[sentences, :longest], self.values[sentences, :longest], mask[:, :, :longest])


class State(NamedTuple):
    """Of R hypotheses, between two words."""

    hidden: Array
    """(L, R, H)"""
    cell: Array
    """(L, R, H)"""
    fed: Array
    """(R, H) the last attentional vector"""

    def select(self, rows: Array) -> "State":
        """The hypotheses at `rows`."""
        return State(self.hidden[:, rows], self.cell[:, rows], self.fed[rows])


class Network:
    """A trained `bso_lstm`.

    Args:
        facts: its kind, as exported.
        tensors: its parameters by the names of the checkpoint, float32.

    Raises:
        KeyError: if a parameter is missing.
    """

    def __init__(self, facts: Dict[str, Any], tensors: Dict[str, Array]) -> None:
        self.facts, self.layers = facts, int(facts["layers"])
        sides = ["", "_reverse"] if facts["bidirectional"] else [""]
        self.source_embedding = tensors["encoder.embedding.weight"]
        self.encoder_layers = [_encoder_weights(tensors, index, sides) for index in range(self.layers)]
        self.keys = None if facts["attention"] == "dot" else Product(tensors["encoder.attention_keys.weight"])
        self.values = Product(tensors["encoder.attention_values.weight"])
        self.bridges = [
            (Product(tensors[name + ".weight"]), tensors[name + ".bias"]) if name + ".weight" in tensors else None
            for name in ("decoder.initial_hidden", "decoder.initial_cell")
        ]
        self.embedding = tensors["decoder.embedding.weight"]
        first = [tensors["decoder.input_projection.weight"], tensors["decoder.first_layer"]]
        names = [f"decoder.upper_layers.{index}" for index in range(self.layers - 1)]
        self.decoder_layers = [
            (Product(_halved(np.concatenate(first, 1))), _halved(tensors["decoder.input_projection.bias"])),
            *((Product(_halved(tensors[name + ".weight"])), _halved(tensors[name + ".bias"])) for name in names),
        ]
        if facts["attention"] == "mlp":
            self.query = Product(tensors["decoder.attention_query.weight"])
            self.energy = tensors["decoder.attention_energy"]
        self.attentional = Product(tensors["decoder.attentional.weight"])
        self.output = Product(tensors["decoder.output_weight"])
        self.output_bias = tensors["decoder.output_bias"]
        self.vocabulary = len(self.output_bias)

    def encode(self, sentences: List[List[int]]) -> Tuple[Memory, State]:
        """Word numbers of B sentences -> their memory and the state of one hypothesis without words for each."""
        lengths = np.array([len(one) for one in sentences])
        order = np.argsort(-lengths, kind="stable")  # (B,) longest first
        place = np.arange(lengths.max())[:, None]  # (S, 1)
        words = np.zeros((len(place), len(sentences)), int)  # (S, B)
        for column, sentence in enumerate(order):
            words[: lengths[sentence], column] = sentences[sentence]
        inside = place < lengths[order]  # (S, B)
        backwards = np.where(inside, lengths[order] - 1 - place, place)  # (S, B) each sentence turned round in itself
        inputs, states = self.source_embedding[words], []  # (S, B, E)
        for index, weights in enumerate(self.encoder_layers):
            outputs, *last = _along(weights, inputs, backwards, inside.sum(1))
            inputs = outputs + inputs if self.facts["residual"] and index > 0 else outputs
            states.append(last)
        back = np.argsort(order)
        top = np.ascontiguousarray(inputs.transpose(1, 0, 2)[back])  # (B, S, D)
        mask = np.where(inside.T[back], 0, -np.inf).astype(np.float32)[:, None]  # (B, 1, S)
        keys, values = (top if one is None else _in_rows(one, top) for one in (self.keys, self.values))
        hidden, cell = (np.stack(kind)[:, back] for kind in zip(*states))  # (L, B, D)
        hidden, cell = (
            one if bridge is None else _in_rows(bridge[0], one) + bridge[1]
            for one, bridge in zip((hidden, cell), self.bridges)
        )
        return Memory(keys, values, mask), State(hidden, cell, np.zeros_like(hidden[0]))

    def step(self, words: Array, state: State, memory: Memory) -> Tuple[Array, State]:
        """The last words (R,) of R hypotheses, as many of each sentence -> scores f (R, V) and the next state."""
        hidden, cell = np.empty_like(state.hidden), np.empty_like(state.cell)
        top = self.embedding[words]  # (R, E)
        for index, (weight, bias) in enumerate(self.decoder_layers):
            fed = [state.fed] if index == 0 and self.facts["input_feeding"] else []
            gates = weight(np.concatenate([top, *fed, state.hidden[index]], 1))
            gates += bias
            hidden[index], cell[index] = _cell(gates, state.cell[index])
            top = hidden[index] + top if self.facts["residual"] and index > 0 else hidden[index]
        output = self.attentional(top)
        output += self._context(top, memory)
        output = np.tanh(output, out=output)
        scores = self.output(output)
        scores += self.output_bias
        return scores, State(hidden, cell, output)

    def _context(self, query: Array, memory: Memory) -> Array:
        """(R, H) -> (R, H)."""
        sentences, _, size = memory.values.shape
        if self.facts["attention"] == "mlp":
            query = self.query(query).reshape(sentences, -1, 1, size)
            scores = np.tanh(query + memory.keys[:, None]) @ self.energy  # (B, W, S)
        else:
            scores = query.reshape(sentences, -1, size) @ memory.keys.transpose(0, 2, 1)  # (B, W, S)
        scores += memory.mask
        scores -= scores.max(2, keepdims=True)
        weights = np.exp(scores, out=scores)
        weights /= weights.sum(2, keepdims=True)
        return (weights @ memory.values).reshape(-1, size)


def _in_rows(product: Product, values: Array) -> Array:
    """(..., I) -> (..., O)."""
    return product(values.reshape(-1, values.shape[-1])).reshape(*values.shape[:-1], -1)


def _halved(tensor: Array) -> Array:
    """Of input, forget, output gates and candidate (4H, ...), for `_cell`: half of what the gates have, which is exact,
    so that one tanh does for gates and candidate."""
    size = len(tensor) // 4
    return np.concatenate([tensor[: 3 * size] * np.float32(0.5), tensor[3 * size :]])


def _cell(gates: Array, cell: Array) -> Tuple[Array, Array]:
    """(..., 4H) input, forget, output gates (halved) and candidate; cell (..., H) -> hidden and cell (..., H)."""
    size = cell.shape[-1]
    gates = np.tanh(gates, out=gates)
    open_ = gates[..., : 3 * size]  # sigmoid(x) = (tanh(x / 2) + 1) / 2
    open_ += 1
    open_ *= 0.5
    into, keep, out, candidate = (gates[..., place * size : (place + 1) * size] for place in range(4))
    cell = keep * cell
    cell += into * candidate
    return out * np.tanh(cell), cell


def _encoder_weights(tensors: Dict[str, Array], index: int, sides: List[str]) -> Tuple[Product, Product, Array]:
    """Of a layer's D directions, for `_cell`: what the inputs and what the hidden state is multiplied by, bias
    (D, 1, 4H)."""
    into, again, *biases = (
        np.stack([_halved(_reordered(tensors[f"encoder.layers.{index}.{name}_l0{side}"])) for side in sides])
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    return Product(into), Product(again), sum(biases)[:, None]


def _reordered(tensor: Array) -> Array:
    """torch's input, forget, candidate, output (4H, ...) -> input, forget, output, candidate, as in the decoder."""
    into, keep, candidate, out = np.split(tensor, 4)
    return np.concatenate([into, keep, out, candidate])


def _along(
    weights: Tuple[Product, Product, Array], inputs: Array, backwards: Array, reaching: Array
) -> Tuple[Array, Array, Array]:
    """A layer of the encoder, its D directions at once.

    Args:
        weights: of `_encoder_weights`.
        inputs: (S, B, I), longest sentence first.
        backwards: (S, B) the place that the other direction reads.
        reaching: (S,) how many sentences have that many places.

    Returns:
        outputs (S, B, D * H), last hidden and cell (B, D * H).
    """
    into, recurrent, bias = weights
    directions, size = len(bias), bias.shape[2] // 4
    time, sentences, _ = inputs.shape
    columns = np.arange(sentences)
    turned = [inputs, inputs[backwards, columns]][:directions]
    gates = into(np.stack([one.reshape(time * sentences, -1) for one in turned]))
    gates += bias
    gates = gates.reshape(directions, time, sentences, -1)
    hidden = np.zeros((directions, sentences, size), np.float32)
    cell = np.zeros_like(hidden)
    outputs = np.zeros((directions, time, sentences, size), np.float32)
    for place, count in enumerate(reaching):
        now = recurrent(hidden[:, :count])
        now += gates[:, place, :count]
        hidden[:, :count], cell[:, :count] = _cell(now, cell[:, :count])
        outputs[:, place, :count] = hidden[:, :count]
    joined = [outputs[0], *(outputs[1:, backwards, columns])]
    return np.concatenate(joined, 2), *(np.concatenate(list(one), 1) for one in (hidden, cell))
