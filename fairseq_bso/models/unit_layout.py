"""The units of a ``bso_lstm``, and the rows and columns that belong to each.

Sets of units: the hidden units of every layer (every direction of the encoder has its own), the attention's units
(``--attention mlp``), the attentional vector, and the columns of the embeddings. Units that depend on each other are
tied, that is, pruned together as one unit:

- An encoder unit and the decoder unit that starts from its last state, where both sides have as many units. Otherwise
  ``initial_hidden`` and ``initial_cell`` map the encoder's states to the decoder's. These two matrices serve all
  layers, so units with the same number in all layers of a side are tied.
- Units with the same number in all layers of encoder or decoder, where ``--residual`` adds one to the other.
- Columns of one matrix: shared embeddings, and with a shared scorer those of the attentional vector.

A unit whose rows and biases are zero has the candidate tanh(0) = 0. Its cell then stays 0 if it starts from 0, and so
does its output.
"""

from typing import Dict, List, NamedTuple, Sequence, Tuple

from torch import Tensor

from ..unit_sets import Named, Slice, UnitSet

GATES = range(4)


class Owner(NamedTuple):
    """A set of units that fills a vector from the position `start` on."""

    key: str
    start: int = 0


class _Sets:
    """Collects the slices of every set, by a key for each set."""

    def __init__(self, parameters: Sequence[Named]) -> None:
        self.first = {name: names[0] for names, _ in parameters for name in names}
        self.tensors: Dict[str, Tensor] = {name: tensor for names, tensor in parameters for name in names}
        self.sizes: Dict[str, int] = {}
        self.kinds: Dict[str, str] = {}
        self.parts: Dict[str, List[str]] = {}
        self.slices: Dict[str, List[Slice]] = {}

    def declare(self, key: str, kind: str, part: str, size: int) -> Owner:
        """A vector of `size` units that the set `key` fills."""
        self.sizes.setdefault(key, size)
        self.kinds.setdefault(key, kind)
        self.slices.setdefault(key, [])
        parts = self.parts.setdefault(key, [])
        if part not in parts:
            parts.append(part)
        return Owner(key)

    def add(self, owners: Sequence[Owner], name: str, dimension: int, start: int = 0) -> None:
        """Adds the rows (dimension 0) or columns (1) of a parameter for the units of a vector, if the model has it.

        Args:
            owners: the sets that fill the vector.
            name: of the parameter.
            dimension: 0 where the parameter computes the vector, 1 where it reads the vector.
            start: the index of the vector's first unit.
        """
        if name not in self.first:
            return
        for key, offset in owners:
            slice = Slice(self.first[name], dimension, start + offset)
            if slice not in self.slices[key]:
                self.slices[key].append(slice)

    def add_gates(self, owners: Sequence[Owner], size: int, *names: str) -> None:
        """Adds the rows of the four gates of `size` units."""
        for name in names:
            for gate in GATES:
                self.add(owners, name, 0, gate * size)

    def rows(self, name: str) -> int:
        """The number of rows of a parameter."""
        return len(self.tensors[name])

    def columns(self, name: str) -> int:
        """The number of columns of a parameter."""
        return self.tensors[name].shape[1]

    def embedding(self, name: str, part: str) -> List[Owner]:
        """The columns of a matrix with a row for each word. Tied matrices have one set."""
        owners = [self.declare(f"columns of {self.first[name]}", part, part, self.columns(name))]
        self.add(owners, name, 1)
        return owners

    def finish(self) -> List[UnitSet]:
        """The sets in the order of their declaration."""
        found = []
        for key, slices in self.slices.items():
            parts = tuple(self.parts[key])
            name = "+".join(parts) + (".backward" if key.endswith("backward") else "")
            found.append(UnitSet(name, parts, self.kinds[key], self.sizes[key], tuple(slices)))
        return found


def unit_sets(parameters: Sequence[Named], residual: bool) -> List[UnitSet]:
    """The units of a ``bso_lstm`` with these parameters, frozen ones included.

    Args:
        parameters: all, each with all its names.
        residual: whether a layer from the second on adds its input to its output.
    """
    sets = _Sets(parameters)
    layers = 1 + sum(name.startswith("decoder.upper_layers.") and name.endswith("weight") for name in sets.first)
    encoder, decoder = _layers(sets, layers, residual)
    source = sets.embedding("encoder.embedding.weight", "source_embedding")
    target = sets.embedding("decoder.embedding.weight", "target_embedding")
    attentional = sets.embedding("decoder.output_weight", "attentional_vector")
    _add_encoder(sets, encoder, source)
    _add_decoder(sets, decoder, target, attentional)
    _add_attention(sets, encoder[-1], decoder[-1], attentional)
    return sets.finish()


def _layers(sets: _Sets, layers: int, residual: bool) -> Tuple[List[List[Owner]], List[List[Owner]]]:
    """The sets that fill the output of every encoder layer, and of every decoder layer."""
    bridged = "decoder.initial_hidden.weight" in sets.first
    tied_layers = residual or bridged
    units, decoder_units = sets.columns("encoder.layers.0.weight_hh_l0"), sets.rows("decoder.first_layer") // 4
    directions = [name for name in ("forward", "backward") if _encoder_name("weight_hh", 0, name) in sets.first]
    encoder: List[List[Owner]] = []
    decoder: List[List[Owner]] = []
    for index in range(layers):
        number_of_layer = "" if tied_layers else f" {index}"
        encoder.append([])
        for number, direction in enumerate(directions):
            key = f"encoder{number_of_layer} {direction}"
            owner = sets.declare(key, "encoder", f"encoder_layer_{index + 1}", units)
            encoder[-1].append(owner._replace(start=number * units))
    for index in range(layers):
        part = f"decoder_layer_{index + 1}"
        if bridged:
            decoder.append([sets.declare("decoder", "decoder", part, decoder_units)])
        else:
            for key, _ in encoder[index]:
                sets.declare(key, "encoder", part, units)
            decoder.append(encoder[index])
    return encoder, decoder


def _encoder_name(kind: str, layer: int, direction: str) -> str:
    """The name of an encoder's parameter, such as ``encoder.layers.0.weight_hh_l0_reverse``."""
    return f"encoder.layers.{layer}.{kind}_l0" + ("_reverse" if direction == "backward" else "")


def _add_encoder(sets: _Sets, layers: List[List[Owner]], embedding: List[Owner]) -> None:
    """Adds the encoder's LSTMs, and the columns that map their last states to the decoder's first."""
    inputs = embedding
    for index, owners in enumerate(layers):
        for direction, owner in zip(("forward", "backward"), owners):
            own = [Owner(owner.key)]
            kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            sets.add_gates(own, sets.sizes[owner.key], *(_encoder_name(kind, index, direction) for kind in kinds))
            sets.add(own, _encoder_name("weight_hh", index, direction), 1)
            sets.add(inputs, _encoder_name("weight_ih", index, direction), 1)
        for kind in ("hidden", "cell"):
            sets.add(owners, f"decoder.initial_{kind}.weight", 1)
        inputs = owners


def _add_decoder(sets: _Sets, layers: List[List[Owner]], embedding: List[Owner], attentional: List[Owner]) -> None:
    """Adds the decoder's LSTMs, and the rows that map the encoder's last states to the decoder's first."""
    size = sets.rows("decoder.first_layer") // 4
    recurrent = sets.columns("decoder.first_layer")
    names = ["decoder.input_projection.weight", "decoder.input_projection.bias", "decoder.first_layer"]
    sets.add_gates(layers[0], size, *names)
    sets.add(embedding, "decoder.input_projection.weight", 1)
    sets.add(layers[0], "decoder.first_layer", 1, recurrent - size)
    if recurrent > size:
        sets.add(attentional, "decoder.first_layer", 1)  # input feeding
    for index, (below, owners) in enumerate(zip(layers, layers[1:])):
        name = f"decoder.upper_layers.{index}"
        sets.add_gates(owners, size, f"{name}.weight", f"{name}.bias")
        sets.add(below, f"{name}.weight", 1)
        sets.add(owners, f"{name}.weight", 1, size)
    for name in ("decoder.initial_hidden", "decoder.initial_cell"):
        sets.add(layers[0], f"{name}.weight", 0)
        sets.add(layers[0], f"{name}.bias", 0)


def _add_attention(sets: _Sets, encoder: List[Owner], decoder: List[Owner], attentional: List[Owner]) -> None:
    """Adds the attention and the attentional vector, which read the last layer of encoder and decoder."""
    keys = decoder  # `general` multiplies each key with the decoder's unit of its number
    if "decoder.attention_energy" in sets.first:
        size = sets.rows("decoder.attention_energy")
        keys = [sets.declare("attention", "attention", "attention", size)]
        sets.add(keys, "decoder.attention_energy", 0)
        sets.add(keys, "decoder.attention_query.weight", 0)
        sets.add(decoder, "decoder.attention_query.weight", 1)
    sets.add(keys, "encoder.attention_keys.weight", 0)
    sets.add(encoder, "encoder.attention_keys.weight", 1)
    sets.add(encoder, "encoder.attention_values.weight", 1)
    sets.add(attentional, "encoder.attention_values.weight", 0)
    sets.add(attentional, "decoder.attentional.weight", 0)
    sets.add(decoder, "decoder.attentional.weight", 1)
