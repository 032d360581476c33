"""`bso_lstm` as two ONNX graphs: the encoder of B sentences, and one step of the decoder for all their hypotheses.

    encoder  words (B, S) int64, lengths (B,) int32; words beyond a sentence's length do not matter
             -> keys (B, S, A), values (B, S, F), mask (B, 1, S), hidden (L, B, H), cell (L, B, H)
    step     words (R,) int64, hidden (L, R, H), cell (L, R, H), fed (R, F), keys, values, mask
             -> scores (R, V) f of all next words, and the next hidden, cell and fed
             with a shortlist also: words chosen (N,) int64, scored_rows (1,) int64, the rows in scores
             -> output_weight (F, N) and output_bias (N,) of the chosen words

R is a multiple of B: all sentences have the same number of hypotheses, and those of a sentence stand together. `fed`
starts as zeros (R, F) and `words` as `</s>`. The encoder's hidden and cell are repeated for the hypotheses of each
sentence. A and F are H unless units are pruned. bso_runtime/onnx_network.py runs the graphs.

The metadata of both files hold the same as a compact file: `facts` (the ModelConfig in JSON), `source` and `target`
(dictionaries, a symbol a line), and the subword model and the shortlist in base64. `weights` shows that two files are
of one model. The last entry, `checksum`, is the SHA-256 of the file with zeros in its place.
"""

import base64
import hashlib
import json
from typing import Dict, Iterator, List, Sequence, Tuple

import numpy

from bso_runtime.config import ModelConfig
from bso_runtime.model_file import Model
from bso_runtime.onnx_network import BINARY, CHOSEN, FORMAT, SCORED
from bso_runtime.weights import Direction, Weights

from .onnx_graph import Graph


def graphs(model: Model, dtype: str = "float32") -> Iterator[Tuple[str, bytes]]:
    """The names `encoder` and `step`, each with the content of its ONNX file. `dtype` is float32 or int8."""
    weights, metadata, int8 = Weights.of(model.config, model.tensors), _metadata(model, dtype), dtype == "int8"
    yield "encoder", _encoder_graph(Graph(int8), model.config, weights, metadata)
    yield "step", _step_graph(Graph(int8), model.config, weights, metadata)


def _metadata(model: Model, dtype: str) -> Dict[str, str]:
    """The metadata of both graphs, as text."""
    digest = hashlib.sha256(b"" if dtype == "float32" else dtype.encode())
    for name in sorted(model.tensors):
        digest.update(model.tensors[name].tobytes())
    facts = json.dumps(model.config.to_json(), sort_keys=True)
    entries = {"format": FORMAT, "facts": facts, "weights": digest.hexdigest()}
    for name, content in model.vocabularies.items():
        binary = name in BINARY
        entries[name] = base64.b64encode(content).decode("ascii") if binary else content.decode("utf-8")
    return entries


def _sizes(weights: Weights) -> Dict[str, int]:
    """H of the decoder's hidden states, A of the attention's keys and F of its values."""
    hidden, directions = len(weights.first_layer) // 4, weights.encoder_layers[-1]
    encoder = sum(direction.hidden_weight.shape[1] for direction in directions)
    keys = encoder if weights.attention_keys is None else len(weights.attention_keys)
    return {"hidden": hidden, "keys": keys, "values": len(weights.attentional)}


def _encoder_graph(graph: Graph, config: ModelConfig, weights: Weights, metadata: Dict[str, str]) -> bytes:
    """The encoder as an ONNX file."""
    sizes = _sizes(weights)
    top, states = _encoder_layers(graph, config, weights)
    top = graph("Transpose", top, perm=[1, 0, 2])  # (B, S, D)
    keys = top
    if weights.attention_keys is not None:
        keys = graph.linear(top, "encoder.attention_keys", weights.attention_keys)
    values = graph.linear(top, "encoder.attention_values", weights.attention_values)
    results: Dict[str, Tuple] = {
        "keys": (keys, ("B", "S", sizes["keys"])),
        "values": (values, ("B", "S", sizes["values"])),
        "mask": (_mask(graph), ("B", 1, "S")),
    }
    for name, layers in states.items():
        results[name] = (graph("Concat", *layers, axis=0), (config.layers, "B", sizes["hidden"]))
    inputs = {"words": ("int64", ("B", "S")), "lengths": ("int32", ("B",))}
    return graph.finish("encoder", inputs, results, metadata)


def _encoder_layers(graph: Graph, config: ModelConfig, weights: Weights) -> Tuple[str, Dict[str, List[str]]]:
    """The stacked LSTM of the encoder.

    Returns:
        the outputs of the last layer (S, B, D), and the decoder's initial `hidden` and `cell`: L of (1, B, H) each.
    """
    words = graph("Transpose", "words", perm=[1, 0])
    inputs = graph.lookup(words, "encoder.embedding.weight", weights.source_embedding)  # (S, B, E)
    bridges = {"hidden": weights.initial_hidden, "cell": weights.initial_cell}
    initial: Dict[str, List[str]] = {name: [] for name in bridges}
    for index, directions in enumerate(weights.encoder_layers):
        units = directions[0].hidden_weight.shape[1]
        outputs, *states = graph.many(
            "LSTM",
            [inputs, *_lstm_weights(graph, index, directions), "lengths"],
            3,
            hidden_size=units,
            direction="bidirectional" if config.bidirectional else "forward",
        )
        wide = graph.integers(0, 0, len(directions) * units)
        outputs = graph("Reshape", graph("Transpose", outputs, perm=[0, 2, 1, 3]), wide)  # (S, B, D)
        inputs = graph("Add", outputs, inputs) if config.residual and index > 0 else outputs
        for (name, bridge), state in zip(bridges.items(), states):
            state = graph("Reshape", graph("Transpose", state, perm=[1, 0, 2]), graph.integers(0, -1))  # (B, D)
            if bridge is not None:
                state = graph.linear(state, f"decoder.initial_{name}", *bridge)
            initial[name].append(graph("Unsqueeze", state, graph.integers(0)))
    return inputs, initial


def _mask(graph: Graph) -> str:
    """(B, 1, S) 0 where the sentence has a word, -inf beyond."""
    first, step, axis = (graph.weight(f"number_{number}", numpy.array(number)) for number in (0, 1, 1))
    time = graph("Gather", graph("Shape", "words"), axis)  # S
    positions = graph("Range", first, time, step)  # (S,)
    lengths = graph("Unsqueeze", graph("Cast", "lengths", to=graph.type("int64")), graph.integers(1, 2))  # (B, 1, 1)
    inside, beyond = graph.number("open", 0), graph.number("shut", -numpy.inf)
    return graph("Where", graph("Less", positions, lengths), inside, beyond)


def _lstm_weights(graph: Graph, index: int, directions: Sequence[Direction]) -> List[str]:
    """Weights (D, 4H, I), recurrent weights (D, 4H, H) and both biases (D, 8H), with the gates in ONNX's order."""

    def ordered(tensor: numpy.ndarray) -> numpy.ndarray:
        into, forget, candidate, out = numpy.split(tensor, 4)
        return numpy.concatenate([into, out, forget, candidate])

    stacked = {
        "input": numpy.stack([ordered(direction.input_weight) for direction in directions]),
        "recurrent": numpy.stack([ordered(direction.hidden_weight) for direction in directions]),
        "bias": numpy.stack(
            [
                numpy.concatenate([ordered(direction.input_bias), ordered(direction.hidden_bias)])
                for direction in directions
            ]
        ),
    }
    names = {name: f"encoder.layers.{index}.{name}" for name in stacked}
    into, recurrent = (graph.stored(names[name], stacked[name]) for name in ("input", "recurrent"))
    return [into, recurrent, graph.weight(names["bias"], stacked["bias"])]


def _step_graph(graph: Graph, config: ModelConfig, weights: Weights, metadata: Dict[str, str]) -> bytes:
    """One step of the decoder as an ONNX file. With a shortlist it also gives rows of the output layer."""
    sizes, short = _sizes(weights), "shortlist" in metadata
    top, hiddens, cells = _decoder_layers(graph, config, weights)
    own = graph.linear(top, "decoder.attentional", weights.attentional)
    fed = graph("Tanh", graph("Add", _context(graph, weights, top), own))  # (R, F)
    ranked = graph("Slice", fed, graph.integers(0), SCORED, graph.integers(0)) if short else fed
    scores = graph.linear(ranked, "decoder.output", *weights.output)
    layers = (config.layers, "R", sizes["hidden"])
    states: Dict[str, Tuple] = {
        "hidden": (_stacked(graph, hiddens), layers),
        "cell": (_stacked(graph, cells), layers),
        "fed": (fed, ("R", sizes["values"])),
    }
    inputs: Dict[str, Tuple] = {"words": ("int64", ("R",))}
    inputs.update({name: ("float32", shape) for name, (_, shape) in states.items()})
    inputs.update({name: ("float32", ("B", "S", sizes[name])) for name in ("keys", "values")})
    inputs["mask"] = ("float32", ("B", 1, "S"))
    results: Dict[str, Tuple] = {"scores": (scores, ("scored" if short else "R", len(weights.output.bias)))}
    results.update({f"new_{name}": state for name, state in states.items()})
    if short:
        inputs.update({CHOSEN: ("int64", ("N",)), SCORED: ("int64", (1,))})
        weight, bias = graph.columns("decoder.output", CHOSEN)
        results["output_weight"], results["output_bias"] = (weight, (sizes["values"], "N")), (bias, ("N",))
    return graph.finish("step", inputs, results, metadata)


def _decoder_layers(graph: Graph, config: ModelConfig, weights: Weights) -> Tuple[str, List[str], List[str]]:
    """One step of the stacked LSTM of the decoder.

    Returns:
        the output of the last layer (R, H), and the new hidden and cell states: L of (R, H) each.
    """
    embedding = graph.lookup("words", "decoder.embedding.weight", weights.embedding)  # (R, E)
    gates = graph.linear(embedding, "decoder.input_projection", *weights.input_projection)  # (R, 4H)
    hiddens, cells = (
        [
            graph("Gather", name, graph.weight(f"layer_{index}", numpy.array(index)), axis=0)
            for index in range(config.layers)
        ]
        for name in ("hidden", "cell")
    )
    before = graph("Concat", "fed", hiddens[0], axis=1) if config.input_feeding else hiddens[0]
    gates = graph("Add", gates, graph.linear(before, "decoder.first_layer", weights.first_layer))
    hiddens[0], cells[0] = _cell(graph, gates, cells[0])
    top = hiddens[0]
    for index, layer in enumerate(weights.upper_layers, 1):
        both = graph("Concat", top, hiddens[index], axis=1)
        gates = graph.linear(both, f"decoder.upper_layers.{index - 1}", *layer)
        hiddens[index], cells[index] = _cell(graph, gates, cells[index])
        top = graph("Add", hiddens[index], top) if config.residual else hiddens[index]
    return top, hiddens, cells


def _stacked(graph: Graph, layers: Sequence[str]) -> str:
    """L of (R, H) -> (L, R, H)."""
    return graph("Concat", *[graph("Unsqueeze", layer, graph.integers(0)) for layer in layers], axis=0)


def _cell(graph: Graph, gates: str, cell: str) -> Tuple[str, str]:
    """One step of an LSTM.

    Args:
        graph: the nodes are added to it.
        gates: (R, 4H) input, forget and output gates, then the candidate.
        cell: (R, H).

    Returns:
        hidden and cell (R, H).
    """
    into, forget, out, candidate = graph.many("Split", [gates], 4, axis=1)
    kept = graph("Mul", graph("Sigmoid", forget), cell)
    cell = graph("Add", kept, graph("Mul", graph("Sigmoid", into), graph("Tanh", candidate)))
    return graph("Mul", graph("Sigmoid", out), graph("Tanh", cell)), cell


def _context(graph: Graph, weights: Weights, query: str) -> str:
    """The attention's weighted sum of values: (R, H) -> (R, F)."""
    sizes = _sizes(weights)
    if weights.attention_query is not None:
        query = graph.linear(query, "decoder.attention_query", weights.attention_query)
    sentences = graph("Gather", graph("Shape", "keys"), graph.integers(0))  # (1,)
    query = graph("Reshape", query, graph("Concat", sentences, graph.integers(-1, sizes["keys"]), axis=0))  # (B, W, A)
    if weights.attention_energy is not None:
        rows, columns = graph("Unsqueeze", query, graph.integers(2)), graph("Unsqueeze", "keys", graph.integers(1))
        energy = graph.weight("decoder.attention_energy", weights.attention_energy)
        scores = graph("MatMul", graph("Tanh", graph("Add", rows, columns)), energy)  # (B, W, S)
    else:
        scores = graph("MatMul", query, graph("Transpose", "keys", perm=[0, 2, 1]))  # (B, W, S)
    shares = graph("Softmax", graph("Add", scores, "mask"), axis=2)
    return graph("Reshape", graph("MatMul", shares, "values"), graph.integers(-1, sizes["values"]))
