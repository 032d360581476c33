"""The parameters of a `bso_lstm`. Nothing else in the runtime or the export knows their names in a checkpoint.

Sizes: E embedding, H units of the decoder, D outputs of the encoder (both directions), V source or target words,
A attention keys (H, or fewer where `mlp` attention has pruned units), F attentional vector. F is H unless units are
pruned.
The decoder's layers hold 4H rows: input, forget and output gates, then candidate. The encoder's hold torch's order.
"""

from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple

import numpy as np

from .config import ModelConfig

Array = np.ndarray

FIRST_LAYER, ATTENTIONAL = "decoder.first_layer", "decoder.attentional.weight"
UPPER_LAYERS, BACKWARD = "decoder.upper_layers.", "_reverse"


class Linear(NamedTuple):
    """A weight and its bias."""

    weight: Array
    """(O, I)"""
    bias: Array
    """(O,)"""


class Direction(NamedTuple):
    """One direction of an encoder layer, the gates in torch's order: input, forget, candidate, output."""

    input_weight: Array
    """(4H', I), H' units of this direction"""
    hidden_weight: Array
    """(4H', H')"""
    input_bias: Array
    """(4H',)"""
    hidden_bias: Array
    """(4H',)"""


class Weights(NamedTuple):
    """All parameters, float32."""

    source_embedding: Array
    """(V, E)"""
    encoder_layers: List[List[Direction]]
    """one or two directions for each layer"""
    attention_keys: Optional[Array]
    """(A, D); None for `dot` attention"""
    attention_values: Array
    """(F, D)"""
    initial_hidden: Optional[Linear]
    """(H, D); None where encoder and decoder have as many units"""
    initial_cell: Optional[Linear]
    """(H, D) likewise"""
    embedding: Array
    """(V, E) of target words"""
    input_projection: Linear
    """(4H, E) from the embedding into the decoder's first layer"""
    first_layer: Array
    """(4H, F + H) from the last attentional vector and the hidden state, or (4H, H) from the hidden state alone"""
    upper_layers: List[Linear]
    """(4H, 2H) from the layer below and the hidden state"""
    attention_query: Optional[Array]
    """(A, H); None unless attention is `mlp`"""
    attention_energy: Optional[Array]
    """(A,); None unless attention is `mlp`"""
    attentional: Array
    """(F, H)"""
    output: Linear
    """(V, F)"""

    @classmethod
    def of(cls, config: ModelConfig, tensors: Mapping[str, Array]) -> "Weights":
        """The parameters by their names in a checkpoint. Raises KeyError where one is missing."""

        def linear(name: str) -> Linear:
            return Linear(tensors[f"{name}.weight"], tensors[f"{name}.bias"])

        def bridge(name: str) -> Optional[Linear]:
            return linear(name) if f"{name}.weight" in tensors else None

        mlp = config.attention == "mlp"
        directions = ["", BACKWARD] if config.bidirectional else [""]
        return cls(
            source_embedding=tensors["encoder.embedding.weight"],
            encoder_layers=[
                [_direction(tensors, f"encoder.layers.{index}", suffix) for suffix in directions]
                for index in range(config.layers)
            ],
            attention_keys=None if config.attention == "dot" else tensors["encoder.attention_keys.weight"],
            attention_values=tensors["encoder.attention_values.weight"],
            initial_hidden=bridge("decoder.initial_hidden"),
            initial_cell=bridge("decoder.initial_cell"),
            embedding=tensors["decoder.embedding.weight"],
            input_projection=linear("decoder.input_projection"),
            first_layer=tensors[FIRST_LAYER],
            upper_layers=[linear(f"{UPPER_LAYERS}{index}") for index in range(config.layers - 1)],
            attention_query=tensors["decoder.attention_query.weight"] if mlp else None,
            attention_energy=tensors["decoder.attention_energy"] if mlp else None,
            attentional=tensors[ATTENTIONAL],
            output=Linear(tensors["decoder.output_weight"], tensors["decoder.output_bias"]),
        )


def _direction(tensors: Mapping[str, Array], layer: str, suffix: str) -> Direction:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return Direction(*(tensors[f"{layer}.{name}_l0{suffix}"] for name in names))


def is_bso_lstm(tensors: Mapping[str, Any]) -> bool:
    """Whether these are the parameters of a `bso_lstm`."""
    return FIRST_LAYER in tensors


def structure_of(tensors: Mapping[str, Any]) -> Dict[str, Any]:
    """The entries of a ModelConfig that follow from the parameters' names and shapes, of torch or of numpy."""
    rows, columns = tensors[FIRST_LAYER].shape
    upper_layers = {name[len(UPPER_LAYERS) :].split(".")[0] for name in tensors if name.startswith(UPPER_LAYERS)}
    return {
        "layers": 1 + len(upper_layers),
        "bidirectional": f"encoder.layers.0.weight_ih_l0{BACKWARD}" in tensors,
        "input_feeding": columns > rows // 4,
    }


def embedding_sizes(tensors: Mapping[str, Any]) -> Tuple[int, int]:
    """How many source and target words the model knows."""
    return len(tensors["encoder.embedding.weight"]), len(tensors["decoder.embedding.weight"])


def check_shapes(config: ModelConfig, shapes: Mapping[str, Tuple[int, ...]]) -> None:
    """Checks that parameters of these shapes are those of one model.

    Args:
        config: of the model.
        shapes: of the parameters, by their names.

    Raises:
        KeyError: a parameter is missing.
        ValueError: a parameter has another shape than the others ask for, or belongs to no such model.
    """
    known = _Names(shapes)
    weights: Any = Weights.of(config, known)  # type: ignore[arg-type]
    unknown = sorted(set(shapes) - known.asked)
    if unknown:
        raise ValueError(f"part {unknown[0]!r} belongs to no model of this kind")
    for name, shape in _expected(config, weights):
        if shapes[name] != shape:
            raise ValueError(f"part {name!r} has the shape {list(shapes[name])}, but must have {list(shape)}")


class _Names(Dict[str, Tuple[int, ...]]):
    """Shapes by name, which notes the names that it is asked for."""

    def __init__(self, shapes: Mapping[str, Tuple[int, ...]]) -> None:
        super().__init__(shapes)
        self.asked: Set[str] = set()

    def __getitem__(self, name: str) -> Tuple[int, ...]:
        self.asked.add(name)
        return super().__getitem__(name)


def _expected(config: ModelConfig, weights: Any) -> Iterator[Tuple[str, Tuple[int, ...]]]:
    """The name and the shape of each parameter, from the shapes of a few of them (of which `weights` consists)."""
    (source_words, embedded), (words, target_embedded) = weights.source_embedding, weights.embedding
    (rows, _), (fed, _) = weights.first_layer, weights.attentional  # 4H, F
    size, units = rows // 4, weights.encoder_layers[0][0].hidden_weight[1]
    directions = 1 + config.bidirectional
    inner = directions * units  # D
    yield "encoder.embedding.weight", (source_words, embedded)
    for layer in range(config.layers):
        inputs = inner if layer else embedded
        for suffix in ["", BACKWARD][:directions]:
            for name, shape in (("weight_ih", (4 * units, inputs)), ("weight_hh", (4 * units, units))):
                yield f"encoder.layers.{layer}.{name}_l0{suffix}", shape
            for name in ("bias_ih", "bias_hh"):
                yield f"encoder.layers.{layer}.{name}_l0{suffix}", (4 * units,)
    if config.attention == "dot" and inner != size:
        raise ValueError(f"dot attention needs as many units in the encoder ({inner}) as in the decoder ({size})")
    keys = weights.attention_keys[0] if config.attention == "mlp" else size  # A
    if config.attention != "dot":
        yield "encoder.attention_keys.weight", (keys, inner)
    yield "encoder.attention_values.weight", (fed, inner)
    for name, bridge in (("hidden", weights.initial_hidden), ("cell", weights.initial_cell)):
        if bridge is not None:
            yield from _linear(f"decoder.initial_{name}", size, inner)
        elif inner != size:
            raise ValueError(f"part 'decoder.initial_{name}.weight' is missing")
    yield "decoder.embedding.weight", (words, target_embedded)
    yield from _linear("decoder.input_projection", 4 * size, target_embedded)
    yield FIRST_LAYER, (4 * size, fed + size if config.input_feeding else size)
    for index in range(config.layers - 1):
        yield from _linear(f"{UPPER_LAYERS}{index}", 4 * size, 2 * size)
    if config.attention == "mlp":
        yield "decoder.attention_query.weight", (keys, size)
        yield "decoder.attention_energy", (keys,)
    yield ATTENTIONAL, (fed, size)
    yield "decoder.output_weight", (words, fed)
    yield "decoder.output_bias", (words,)


def _linear(name: str, outputs: int, inputs: int) -> Iterator[Tuple[str, Tuple[int, ...]]]:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)
