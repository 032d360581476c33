"""States of one sentence at a time, step by step from a model's parameters: the reference of `interpret.capture`.

Every function returns a dict of lists of vectors, one vector for each step, by their names in files. `attention` holds
the weights over the source. `scores` holds the scores of all next words.

Each takes a list of units that are overwritten at some steps: the reference of `interpret.models.changes`. A word may
be the vector that stands in place of its embedding: the reference of `interpret.attribution`.
"""

from typing import Dict, List, NamedTuple, Sequence

import torch
from torch import Tensor

Steps = Dict[str, List[Tensor]]

TORCH_ORDER = ("input", "forget", "candidate", "output")
OUR_ORDER = ("input", "forget", "output", "candidate")


class Overwrite(NamedTuple):
    """A unit that is set to a value at the rows from first to last of a sentence."""

    side: str
    state: str
    unit: int
    value: float
    first: int = 0
    last: int = 10**9


def overwritten(made: Dict[str, Tensor], overwrites: Sequence[Overwrite], side: str, layer: int, row: int, offset=0):
    """A step of one direction of a layer, counted from 1, with its units set; the direction's units begin at offset."""
    made = dict(made)
    for state in ("cell", "hidden"):
        for one in overwrites:
            unit = one.unit - offset
            here = one.side == side and one.state == f"{state}{layer}" and one.first <= row <= one.last
            if here and 0 <= unit < len(made[state]):
                made[state] = made[state].clone()
                made[state][unit] = one.value
        if state == "cell":
            made["hidden"] = made["output"] * torch.tanh(made["cell"])
    return made


def cell_step(before: Tensor, cell: Tensor, order: Sequence[str]) -> Dict[str, Tensor]:
    """Pre-activations (4H,) in blocks of this order, and cell (H,) -> the new states and gates."""
    size = cell.numel()
    block = {name: before[place * size : (place + 1) * size] for place, name in enumerate(order)}
    made = {name: torch.sigmoid(block[name]) for name in ("input", "forget", "output")}
    made["candidate"] = torch.tanh(block["candidate"])
    made["cell"] = made["forget"] * cell + made["input"] * made["candidate"]
    made["hidden"] = made["output"] * torch.tanh(made["cell"])
    return made


def one_direction(lstm, suffix: str, inputs: List[Tensor], set_units) -> List[Dict[str, Tensor]]:
    """One direction of an nn.LSTM on the inputs of one sentence; steps are in reading order."""
    weight_ih, weight_hh = getattr(lstm, "weight_ih" + suffix), getattr(lstm, "weight_hh" + suffix)
    bias = getattr(lstm, "bias_ih" + suffix) + getattr(lstm, "bias_hh" + suffix)
    hidden = cell = torch.zeros(lstm.hidden_size)
    steps = []
    for step, given in enumerate(inputs):
        steps.append(set_units(cell_step(weight_ih @ given + weight_hh @ hidden + bias, cell, TORCH_ORDER), step))
        hidden, cell = steps[-1]["hidden"], steps[-1]["cell"]
    return steps


def lstm_layer(lstm, layer: int, inputs: List[Tensor], number: int, overwrites) -> List[Dict[str, Tensor]]:
    """One layer of an nn.LSTM, which is layer `number` of the encoder; two directions are concatenated."""

    def forward_step(made, step):
        return overwritten(made, overwrites, "encoder", number, step)

    def backward_step(made, step):
        return overwritten(made, overwrites, "encoder", number, len(inputs) - 1 - step, lstm.hidden_size)

    steps = one_direction(lstm, f"_l{layer}", inputs, forward_step)
    if lstm.bidirectional:
        backward = one_direction(lstm, f"_l{layer}_reverse", inputs[::-1], backward_step)[::-1]
        steps = [{name: torch.cat([one[name], other[name]]) for name in one} for one, other in zip(steps, backward)]
    return steps


def embedded(table, word) -> Tensor:
    """The embedding of a word, or the vector that stands in its place."""
    return word if isinstance(word, Tensor) else table.weight[word]


def note(found: Steps, layer: int, made: Dict[str, Tensor]) -> None:
    """Adds a step of a layer, counted from 1."""
    for name, values in made.items():
        found.setdefault(f"{name}{layer}", []).append(values)


def last_states(encoder_steps: List[List[Dict[str, Tensor]]], bidirectional: bool, name: str) -> List[Tensor]:
    """The last states of each layer. The backward direction ends at the first word."""
    ends = []
    for steps in encoder_steps:
        end = steps[-1][name]
        if bidirectional:
            half = end.numel() // 2
            end = torch.cat([end[:half], steps[0][name][half:]])
        ends.append(end)
    return ends


def bso_lstm(model, source: Sequence[int], fed: Sequence[int], overwrites: Sequence[Overwrite] = ()):
    """The encoder steps and the decoder steps of a sentence."""
    encoder, decoder = model.encoder, model.decoder
    found: Steps = {}
    layers = []
    inputs = [embedded(encoder.embedding, word) for word in source]
    for index, lstm in enumerate(encoder.layers):
        steps = lstm_layer(lstm, 0, inputs, index + 1, overwrites)
        layers.append(steps)
        for made in steps:
            note(found, index + 1, made)
        added = encoder.residual and index > 0
        inputs = [made["hidden"] + given if added else made["hidden"] for made, given in zip(steps, inputs)]
    bidirectional = encoder.layers[0].bidirectional
    hiddens, cells = (last_states(layers, bidirectional, name) for name in ("hidden", "cell"))
    if decoder.initial_hidden is not None:
        hiddens = [decoder.initial_hidden(part) for part in hiddens]
        cells = [decoder.initial_cell(part) for part in cells]
    return found, _bso_decoder(model, inputs, hiddens, cells, fed, overwrites)


def _bso_decoder(
    model, memory: List[Tensor], hiddens: List[Tensor], cells: List[Tensor], fed: Sequence[int], overwrites
) -> Steps:
    decoder = model.decoder
    found: Steps = {"attentional": [], "attention": [], "scores": []}
    feedback = torch.zeros(decoder.hidden_size)
    for row, word in enumerate(fed):
        recurrent = torch.cat([feedback, hiddens[0]]) if decoder.input_feeding else hiddens[0]
        before = decoder.input_projection(embedded(decoder.embedding, word)) + decoder.first_layer @ recurrent
        top = None
        for index in range(decoder.layers):
            if index > 0:
                before = decoder.upper_layers[index - 1](torch.cat([top, hiddens[index]]))
            made = cell_step(before, cells[index], OUR_ORDER)
            made = overwritten(made, overwrites, "decoder", index + 1, row)
            note(found, index + 1, made)
            hiddens[index], cells[index] = made["hidden"], made["cell"]
            top = made["hidden"] + top if decoder.residual and index > 0 else made["hidden"]
        weights = torch.softmax(torch.stack([_bso_energy(model, state, top) for state in memory]), 0)
        context = sum(weight * state for weight, state in zip(weights, memory))
        feedback = torch.tanh(model.encoder.attention_values.weight @ context + decoder.attentional.weight @ top)
        for one in overwrites:
            if (one.side, one.state) == ("decoder", "attentional") and one.first <= row <= one.last:
                feedback[one.unit] = one.value
        found["attentional"].append(feedback)
        found["attention"].append(weights)
        found["scores"].append(decoder.output_weight @ feedback + decoder.output_bias)
    if model.prefix_score.normalized:
        found["scores"] = [torch.log_softmax(scores, 0) for scores in found["scores"]]
    return found


def _bso_energy(model, state: Tensor, query: Tensor) -> Tensor:
    encoder, decoder = model.encoder, model.decoder
    key = state if encoder.attention_keys is None else encoder.attention_keys.weight @ state
    if decoder.attention_query is None:
        return key @ query
    return torch.tanh(decoder.attention_query.weight @ query + key) @ decoder.attention_energy


def fairseq_lstm(model, source: Sequence[int], fed: Sequence[int], overwrites: Sequence[Overwrite] = ()):
    """The encoder steps and the decoder steps of fairseq's `lstm` (fairseq/models/lstm.py)."""
    encoder, decoder = model.encoder, model.decoder
    found: Steps = {}
    layers = []
    inputs = [embedded(encoder.embed_tokens, word) for word in source]
    for index in range(encoder.num_layers):
        steps = lstm_layer(encoder.lstm, index, inputs, index + 1, overwrites)
        layers.append(steps)
        for made in steps:
            note(found, index + 1, made)
        inputs = [made["hidden"] for made in steps]
    hiddens, cells = (last_states(layers, encoder.bidirectional, name) for name in ("hidden", "cell"))
    if decoder.encoder_hidden_proj is not None:
        hiddens = [decoder.encoder_hidden_proj(part) for part in hiddens]
        cells = [decoder.encoder_cell_proj(part) for part in cells]
    return found, _fairseq_decoder(decoder, inputs, hiddens, cells, fed, overwrites)


def fairseq_language_model(model, fed: Sequence[int], overwrites: Sequence[Overwrite] = ()):
    """No encoder steps, and the decoder steps of fairseq's `lstm_lm`."""
    size, layers = model.decoder.hidden_size, len(model.decoder.layers)
    nothing = [torch.zeros(size) for _ in range(layers)]
    return {}, _fairseq_decoder(model.decoder, None, list(nothing), list(nothing), fed, overwrites)


def _fairseq_decoder(
    decoder, memory, hiddens: List[Tensor], cells: List[Tensor], fed: Sequence[int], overwrites
) -> Steps:
    found: Steps = {"scores": []}
    feedback = torch.zeros(decoder.hidden_size)
    for row, word in enumerate(fed):
        given = embedded(decoder.embed_tokens, word)
        given = given if memory is None else torch.cat([given, feedback])
        for index, cell in enumerate(decoder.layers):
            before = cell.weight_ih @ given + cell.bias_ih + cell.weight_hh @ hiddens[index] + cell.bias_hh
            made = cell_step(before, cells[index], TORCH_ORDER)
            made = overwritten(made, overwrites, "decoder", index + 1, row)
            note(found, index + 1, made)
            # fairseq adds the layer's own state from the previous step.
            given = made["hidden"] + hiddens[index] if decoder.residuals else made["hidden"]
            hiddens[index], cells[index] = made["hidden"], made["cell"]
        feedback = made["hidden"]
        if decoder.attention is not None:
            query = decoder.attention.input_proj(feedback)
            weights = torch.softmax(torch.stack([state @ query for state in memory]), 0)
            context = sum(weight * state for weight, state in zip(weights, memory))
            feedback = torch.tanh(decoder.attention.output_proj(torch.cat([context, feedback])))
            found.setdefault("attention", []).append(weights)
        output = decoder.additional_fc(feedback) if hasattr(decoder, "additional_fc") else feedback
        weight = decoder.embed_tokens.weight if decoder.share_input_output_embed else decoder.fc_out.weight
        bias = 0 if decoder.share_input_output_embed else decoder.fc_out.bias
        found["scores"].append(torch.log_softmax(weight @ output + bias, 0))
    return found
