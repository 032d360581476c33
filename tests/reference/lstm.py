"""``bso_lstm`` for one sentence and one prefix at a time, and the BSO loss of a batch from scratch.

The model follows the equations of Luong et al. 2015 (section 3). Every score is computed by running its whole prefix
again.
"""

import math
from functools import lru_cache
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from . import costs
from .search import gap, search


class Masks(NamedTuple):
    """Scaled dropout masks of one sentence, each a list over time of vectors, or None."""

    embedded: Optional[List[Tensor]]
    between: List[Optional[List[Tensor]]]
    output: Optional[List[Tensor]]


def masks_of(run_masks, sentence: int, sentences: int) -> Masks:
    """The masks of one sentence, from the model's masks (T * B, .)."""

    def pick(mask):
        return None if mask is None else list(mask.view(-1, sentences, mask.size(1))[:, sentence])

    return Masks(pick(run_masks.embedded), [pick(mask) for mask in run_masks.between], pick(run_masks.output))


def lstm_cell(gates: Tensor, cell: Tensor) -> Tuple[Tensor, Tensor]:
    """One LSTM step from gates (4H,), in the order input, forget, output gate and candidate, and cell (H,)."""
    input_gate, forget_gate, output_gate, candidate = gates.chunk(4)
    cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
    return torch.sigmoid(output_gate) * torch.tanh(cell), cell


def encode(model, words: Sequence[int]) -> Tuple[Tensor, List[Tensor], List[Tensor]]:
    """Source words of one sentence -> encoder states (S, D), last hidden and cell state of each layer. No dropout."""
    encoder = model.encoder
    inputs = [encoder.embedding.weight[word] for word in words]
    hiddens, cells = [], []
    for index, layer in enumerate(encoder.layers):
        directions = []
        for suffix in ["", "_reverse"][: 2 if layer.bidirectional else 1]:
            directions.append(_run_direction(layer, suffix, inputs))
        outputs = [torch.cat([direction[0][s] for direction in directions]) for s in range(len(inputs))]
        hiddens.append(torch.cat([direction[1] for direction in directions]))
        cells.append(torch.cat([direction[2] for direction in directions]))
        inputs = [o + i for o, i in zip(outputs, inputs)] if encoder.residual and index > 0 else outputs
    return torch.stack(inputs), hiddens, cells


def _run_direction(layer, suffix: str, inputs: List[Tensor]) -> Tuple[List[Tensor], Tensor, Tensor]:
    weights = [getattr(layer, name + "_l0" + suffix) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    hidden = cell = inputs[0].new_zeros(layer.hidden_size)
    outputs: Dict[int, Tensor] = {}
    places = range(len(inputs)) if suffix == "" else reversed(range(len(inputs)))
    for place in places:
        gates = weights[0] @ inputs[place] + weights[2] + weights[1] @ hidden + weights[3]
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4)  # torch's order
        hidden, cell = lstm_cell(torch.cat([input_gate, forget_gate, output_gate, candidate]), cell)
        outputs[place] = hidden
    return [outputs[place] for place in range(len(inputs))], hidden, cell


def scores_after(model, source: Sequence[int], prefix: Sequence[int], masks: Optional[Masks] = None) -> Tensor:
    """(V,) ``f(w | prefix)``: runs encoder and decoder from the start."""
    decoder = model.decoder
    memory, hiddens, cells = encode(model, source)
    if decoder.initial_hidden is not None:
        hiddens = [decoder.initial_hidden(part) for part in hiddens]
        cells = [decoder.initial_cell(part) for part in cells]
    fed = hiddens[0].new_zeros(decoder.hidden_size)
    for time, word in enumerate([decoder.dictionary.eos(), *prefix]):
        embedded = _masked(decoder.embedding.weight[word], masks and masks.embedded, time)
        recurrent = torch.cat([fed, hiddens[0]]) if decoder.input_feeding else hiddens[0]
        gates = decoder.input_projection(embedded) + decoder.first_layer @ recurrent
        hiddens[0], cells[0] = lstm_cell(gates, cells[0])
        top = hiddens[0]
        for index, layer in enumerate(decoder.upper_layers, start=1):
            below = _masked(top, masks and masks.between[index - 1], time)
            hiddens[index], cells[index] = lstm_cell(layer(torch.cat([below, hiddens[index]])), cells[index])
            top = hiddens[index] + below if decoder.residual else hiddens[index]
        fed = torch.tanh(_context(model, memory, top) + decoder.attentional.weight @ top)
        fed = _masked(fed, masks and masks.output, time)
    return decoder.output_weight @ fed + decoder.output_bias


def _masked(values: Tensor, mask: Optional[List[Tensor]], time: int) -> Tensor:
    return values if mask is None else values * mask[time]


def _context(model, memory: Tensor, query: Tensor) -> Tensor:
    encoder, decoder = model.encoder, model.decoder
    energies = []
    for state in memory:
        key = state if encoder.attention_keys is None else encoder.attention_keys.weight @ state
        if decoder.attention_query is None:
            energies.append(key @ query)
        else:
            energies.append(torch.tanh(decoder.attention_query.weight @ query + key) @ decoder.attention_energy)
    weights = torch.softmax(torch.stack(energies), 0)
    context = sum(weight * state for weight, state in zip(weights, memory))
    return encoder.attention_values.weight @ context


def beam_search_loss(
    model,
    sources,
    golds,
    beam: int,
    delta: str,
    masks: Optional[List[Masks]] = None,
    finished_lenpen: Optional[float] = None,
    allows: Optional[Callable] = None,
) -> Tuple[Tensor, List[float]]:
    """The summed BSO loss of a batch (sections 2.1 to 2.3 of the definitions), with gradient, and the search's gaps.

    ``allows(source, prefix)`` is the set of words that a constraint allows after the prefix.
    """
    end, padding = model.decoder.dictionary.eos(), model.decoder.dictionary.pad()
    kind, total, gaps = model.prefix_score, model.decoder.output_bias.new_zeros(()), []
    for sentence, (source, gold) in enumerate(zip(sources, golds)):
        mask = masks[sentence] if masks else None

        def local(prefix, source=source, mask=mask):
            values = scores_after(model, source, prefix, mask)
            return values - values.logsumexp(0) if kind.normalized else values

        @lru_cache(None)
        def score(prefix, source=source, local=local):
            with torch.no_grad():
                values = local(prefix).tolist()
            allowed = range(len(values)) if allows is None else allows(source, prefix)
            return [value if w in allowed and w != padding else -math.inf for w, value in enumerate(values)]

        for violation in search(gold, score, beam, end, 1.0, kind.cumulative, finished_lenpen)[0]:
            span = violation.time + 1 - violation.reset
            hypothesis = [*violation.violator[violation.reset :]]
            hypothesis += [padding] * (span - len(hypothesis))
            since = tuple(hypothesis), tuple(gold[violation.reset : violation.time + 1])
            cost = 1.0 if delta == "zero_one" else costs.sentence_bleu_cost(*since)
            difference = gap(violation, gold, local, kind.cumulative, finished_lenpen)
            assert abs(difference.item() - violation.gap) < 1e-6
            total = total + cost * (1 - difference)
            gaps.append(violation.gap)
    return total, gaps
