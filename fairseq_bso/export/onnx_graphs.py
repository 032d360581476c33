"""`bso_lstm` as two ONNX graphs: the encoder of B sentences, and one step of the decoder for all their hypotheses.

    encoder  words (B, S) int64, lengths (B,) int32; what stands beyond a sentence's length does not matter
             -> keys (B, S, A), values (B, S, H), mask (B, 1, S), hidden (L, B, H), cell (L, B, H)
    step     words (R,) int64, hidden (L, R, H), cell (L, R, H), fed (R, H), keys, values, mask
             -> scores (R, V) f of all next words, and the next hidden, cell and fed

R is a multiple of B: every sentence has as many hypotheses, which stand together. `fed` starts as zeros (R, H), `words`
as `</s>`; hidden and cell of the encoder are repeated for the hypotheses of each sentence. The metadata of both hold
what a compact file holds: `facts` (JSON), `source` and `target` (dictionaries, a symbol a line), and the subword model
in base64; `weights`, by which the two files of one model are known; and last `checksum`, the SHA-256 of the file with
zeros in its place. bso_runtime/onnx_network.py runs them.
"""

import base64
import hashlib
import json
from typing import Any, Dict, List, Sequence, Tuple

import numpy

from bso_runtime.onnx_network import FORMAT, UNSEALED, seal

OPSET, IR_VERSION = 17, 8  # of 2022: any runtime since knows them


class _Graph:
    """Collects nodes and weights; every method returns the name of what it makes."""

    def __init__(self) -> None:
        self.nodes: List[Any] = []
        self.weights: Dict[str, Any] = {}
        self.count = 0

    def weight(self, name: str, values: numpy.ndarray) -> str:
        """A constant, once under its name."""
        from onnx import numpy_helper

        if name not in self.weights:
            self.weights[name] = numpy_helper.from_array(numpy.array(values, order="C"), name)
        return name

    def integers(self, *values: int) -> str:
        """A constant list of whole numbers."""
        return self.weight("integers_" + "_".join(map(str, values)), numpy.array(values, numpy.int64))

    def many(self, kind: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> List[str]:
        """A node with several outputs."""
        from onnx import helper

        names = [f"{kind.lower()}_{self.count + index}" for index in range(outputs)]
        self.count += outputs
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def __call__(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output."""
        return self.many(kind, inputs, 1, **attributes)[0]

    def linear(self, given: str, name: str, weight: numpy.ndarray, bias: Any = None) -> str:
        """given (R, I), weight (O, I), bias (O,) or None -> (R, O)."""
        product = self("MatMul", given, self.weight(name, weight.T))
        return product if bias is None else self("Add", product, self.weight(name + ".bias", bias))

    def finish(self, title: str, inputs: Dict[str, Tuple], outputs: Dict[str, Tuple], texts: Dict[str, str]) -> bytes:
        """The file. inputs: name -> (kind of numbers, shape); outputs: name -> (its name in the graph, shape)."""
        import onnx
        from onnx import TensorProto, helper

        kinds = {"int32": TensorProto.INT32, "int64": TensorProto.INT64, "float32": TensorProto.FLOAT}
        for name, (inner, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [inner], [name]))
        graph = helper.make_graph(
            self.nodes,
            title,
            [helper.make_tensor_value_info(name, kinds[kind], shape) for name, (kind, shape) in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, (_, shape) in outputs.items()],
            list(self.weights.values()),
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="fairseq_bso", opset_imports=opsets, ir_version=IR_VERSION)
        helper.set_model_props(model, {**texts, "checksum": UNSEALED})
        onnx.checker.check_model(model, full_check=True)
        return seal(model.SerializeToString())


def metadata(facts: Dict[str, Any], tensors: Dict[str, numpy.ndarray], texts: Dict[str, bytes]) -> Dict[str, str]:
    """What goes with both graphs, as text."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].tobytes())
    found = {"format": FORMAT, "facts": json.dumps(facts, sort_keys=True), "weights": digest.hexdigest()}
    for name, text in texts.items():
        readable = name != "sentencepiece"
        found[name] = text.decode("utf-8") if readable else base64.b64encode(text).decode("ascii")
    return found


def encoder_graph(facts: Dict[str, Any], tensors: Dict[str, numpy.ndarray], texts: Dict[str, bytes]) -> bytes:
    """The encoder as an ONNX file."""
    graph, sides = _Graph(), 2 if facts["bidirectional"] else 1
    embedding = graph.weight("encoder.embedding.weight", tensors["encoder.embedding.weight"])
    inputs = graph("Gather", embedding, graph("Transpose", "words", perm=[1, 0]))  # (S, B, E)
    last: List[List[str]] = [[], []]
    for index in range(facts["layers"]):
        again = tensors[f"encoder.layers.{index}.weight_hh_l0"]
        outputs, *states = graph.many(
            "LSTM",
            [inputs, *_lstm_weights(graph, tensors, index, sides), "lengths"],
            3,
            hidden_size=again.shape[1],
            direction="bidirectional" if sides == 2 else "forward",
        )
        wide = graph.integers(0, 0, sides * again.shape[1])
        outputs = graph("Reshape", graph("Transpose", outputs, perm=[0, 2, 1, 3]), wide)  # (S, B, D)
        inputs = graph("Add", outputs, inputs) if facts["residual"] and index > 0 else outputs
        for kind, state, title in zip(last, states, ("hidden", "cell")):
            state = graph("Reshape", graph("Transpose", state, perm=[1, 0, 2]), graph.integers(0, -1))  # (B, D)
            fitted = f"decoder.initial_{title}"
            if fitted + ".weight" in tensors:
                state = graph.linear(state, fitted, tensors[fitted + ".weight"], tensors[fitted + ".bias"])
            kind.append(graph("Unsqueeze", state, graph.integers(0)))
    top = graph("Transpose", inputs, perm=[1, 0, 2])  # (B, S, D)
    keys = top
    if facts["attention"] != "dot":
        keys = graph.linear(top, "encoder.attention_keys", tensors["encoder.attention_keys.weight"])
    values = graph.linear(top, "encoder.attention_values", tensors["encoder.attention_values.weight"])
    hidden, cell = (graph("Concat", *kind, axis=0) for kind in last)
    size = tensors["decoder.attentional.weight"].shape[0]
    shape = (facts["layers"], "B", size)
    results = {"keys": (keys, ("B", "S", size)), "values": (values, ("B", "S", size))}
    results.update({"mask": (_mask(graph), ("B", 1, "S")), "hidden": (hidden, shape), "cell": (cell, shape)})
    given = {"words": ("int64", ("B", "S")), "lengths": ("int32", ("B",))}
    return graph.finish("encoder", given, results, metadata(facts, tensors, texts))


def _mask(graph: _Graph) -> str:
    """(B, 1, S) 0 where the sentence has a word, -inf beyond."""
    from onnx import TensorProto

    first, step, axis = (graph.weight(f"number_{one}", numpy.array(one)) for one in (0, 1, 1))
    time = graph("Gather", graph("Shape", "words"), axis)  # S
    places = graph("Range", first, time, step)  # (S,)
    lengths = graph("Unsqueeze", graph("Cast", "lengths", to=TensorProto.INT64), graph.integers(1, 2))  # (B, 1, 1)
    numbers = (graph.weight(name, numpy.array(one, numpy.float32)) for name, one in (("open", 0), ("shut", -numpy.inf)))
    return graph("Where", graph("Less", places, lengths), *numbers)


def _lstm_weights(graph: _Graph, tensors: Dict[str, numpy.ndarray], index: int, sides: int) -> List[str]:
    """Weights (D, 4H, I), recurrent weights (D, 4H, H) and both biases (D, 8H), in ONNX's order of gates."""

    def ordered(name: str, side: str) -> numpy.ndarray:
        into, keep, candidate, out = numpy.split(tensors[f"encoder.layers.{index}.{name}_l0{side}"], 4)
        return numpy.concatenate([into, out, keep, candidate])

    names = ["", "_reverse"][:sides]
    stacked = [numpy.stack([ordered(name, side) for side in names]) for name in ("weight_ih", "weight_hh")]
    biases = [numpy.concatenate([ordered("bias_ih", side), ordered("bias_hh", side)]) for side in names]
    titles = [f"encoder.layers.{index}.{name}" for name in ("input", "recurrent", "bias")]
    return [graph.weight(*pair) for pair in zip(titles, [*stacked, numpy.stack(biases)])]


def step_graph(facts: Dict[str, Any], tensors: Dict[str, numpy.ndarray], texts: Dict[str, bytes]) -> bytes:
    """One step of the decoder as an ONNX file."""
    graph, layers = _Graph(), facts["layers"]
    embedding = graph("Gather", graph.weight("decoder.embedding.weight", tensors["decoder.embedding.weight"]), "words")
    projection = "decoder.input_projection"
    gates = graph.linear(embedding, projection, tensors[projection + ".weight"], tensors[projection + ".bias"])
    hiddens, cells = (
        [graph("Gather", name, graph.weight(f"layer_{index}", numpy.array(index)), axis=0) for index in range(layers)]
        for name in ("hidden", "cell")
    )  # L of (R, H)
    before = graph("Concat", "fed", hiddens[0], axis=1) if facts["input_feeding"] else hiddens[0]
    gates = graph("Add", gates, graph.linear(before, "decoder.first_layer", tensors["decoder.first_layer"]))
    hiddens[0], cells[0] = _cell(graph, gates, cells[0])
    top = hiddens[0]
    for index in range(1, layers):
        name = f"decoder.upper_layers.{index - 1}"
        both = graph("Concat", top, hiddens[index], axis=1)
        gates = graph.linear(both, name, tensors[name + ".weight"], tensors[name + ".bias"])
        hiddens[index], cells[index] = _cell(graph, gates, cells[index])
        top = graph("Add", hiddens[index], top) if facts["residual"] else hiddens[index]
    context = _context(graph, facts, tensors, top)
    own = graph.linear(top, "decoder.attentional", tensors["decoder.attentional.weight"])
    fed = graph("Tanh", graph("Add", context, own))
    scores = graph.linear(fed, "decoder.output", tensors["decoder.output_weight"], tensors["decoder.output_bias"])
    size, words = tensors["decoder.attentional.weight"].shape[0], len(tensors["decoder.output_bias"])
    states = {"hidden": (layers, "R", size), "cell": (layers, "R", size), "fed": ("R", size)}
    new = [
        graph("Concat", *[graph("Unsqueeze", one, graph.integers(0)) for one in kind], axis=0)
        for kind in (hiddens, cells)
    ]
    given = {"words": ("int64", ("R",)), **{name: ("float32", shape) for name, shape in states.items()}}
    seen = ("float32", ("B", "S", size))
    given.update({"keys": seen, "values": seen, "mask": ("float32", ("B", 1, "S"))})
    results = {"scores": (scores, ("R", words))}
    results.update({f"new_{name}": (one, states[name]) for name, one in zip(states, [*new, fed])})
    return graph.finish("step", given, results, metadata(facts, tensors, texts))


def _cell(graph: _Graph, gates: str, cell: str) -> Tuple[str, str]:
    """(R, 4H) input, forget, output gates and candidate, and cell (R, H) -> hidden and cell (R, H)."""
    into, keep, out, candidate = graph.many("Split", [gates], 4, axis=1)
    kept = graph("Mul", graph("Sigmoid", keep), cell)
    cell = graph("Add", kept, graph("Mul", graph("Sigmoid", into), graph("Tanh", candidate)))
    return graph("Mul", graph("Sigmoid", out), graph("Tanh", cell)), cell


def _context(graph: _Graph, facts: Dict[str, Any], tensors: Dict[str, numpy.ndarray], query: str) -> str:
    """(R, H) -> (R, H)."""
    size = tensors["decoder.attentional.weight"].shape[0]
    if facts["attention"] == "mlp":
        query = graph.linear(query, "decoder.attention_query", tensors["decoder.attention_query.weight"])
    sentences = graph("Gather", graph("Shape", "keys"), graph.integers(0))  # (1,)
    query = graph("Reshape", query, graph("Concat", sentences, graph.integers(-1, size), axis=0))  # (B, W, H)
    if facts["attention"] == "mlp":
        rows, columns = graph("Unsqueeze", query, graph.integers(2)), graph("Unsqueeze", "keys", graph.integers(1))
        energy = graph.weight("decoder.attention_energy", tensors["decoder.attention_energy"])
        scores = graph("MatMul", graph("Tanh", graph("Add", rows, columns)), energy)  # (B, W, S)
    else:
        scores = graph("MatMul", query, graph("Transpose", "keys", perm=[0, 2, 1]))  # (B, W, S)
    weights = graph("Softmax", graph("Add", scores, "mask"), axis=2)
    return graph("Reshape", graph("MatMul", weights, "values"), graph.integers(-1, size))
