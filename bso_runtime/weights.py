"""The parameters of a `bso_lstm`. Their names in a checkpoint stand here and nowhere else in the runtime or the export.

Sizes: E embedding, H units of the decoder, D outputs of the encoder (both directions), V source or target words,
A attention keys (H, or fewer where `mlp` attention has pruned units), F attentional vector. F is H unless units are
pruned.
The decoder's layers hold 4H rows: input, forget and output gates, then candidate. The encoder's hold torch's order.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

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
