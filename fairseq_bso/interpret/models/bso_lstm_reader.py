"""Reads the states of `bso_lstm`.

Hidden and cell states are those of the LSTMs themselves. With --residual, the sum of a layer's input and output is only
the input of the next layer. `attentional` is the vector h~ (Luong et al. 2015, equation 5), an input of the next step.
"""

from typing import Dict, List, Tuple

import torch
from torch import Tensor

from ...linear import linear
from ...models.decoder import DecoderPass, LSTMDecoder
from ...models.encoder import EncoderOut
from ...search.decoder import Rows
from ...search.states import State
from .changes import UNCHANGED, Change, edit_cell
from .lstm_steps import EncoderRun, LayerStates, named, open_gates, run_encoder
from .state_reader import DecoderStates, StateReader

DECODER_ORDER = ("input", "forget", "output", "candidate")
"""order of the blocks in the weights of the decoder"""


class BsoLSTMReader(StateReader):
    """Reads the encoder from the weights of its nn.LSTMs, and the decoder from its own teacher-forced pass."""

    @property
    def unnormalized(self) -> bool:
        """Whether scores are raw output-layer scores f."""
        return self.model.unnormalized

    def directions(self, side: str) -> int:
        """The number of directions in which this side reads."""
        return 2 if side == "encoder" and self.model.encoder.layers[0].bidirectional else 1

    def embed(self, side: str, words: Tensor) -> Tensor:
        """The embeddings."""
        return (self.model.encoder if side == "encoder" else self.model.decoder).embedding(words)

    def encode(self, words: Tensor, lengths: Tensor, change: Change = UNCHANGED) -> EncoderOut:
        """The attention memory and the last states."""
        encoder = self.model.encoder
        if not change.changes:
            return encoder(words, lengths)
        run = self.run_encoder(words, lengths, change)
        keys = run.outputs if encoder.attention_keys is None else linear(run.outputs, encoder.attention_keys.weight)
        values = linear(run.outputs, encoder.attention_values.weight)
        padding = torch.arange(words.size(1), device=words.device) >= lengths.to(words).unsqueeze(1)  # (B, S)
        return EncoderOut(keys, values, padding, torch.zeros_like(words[:, 0]), run.hidden, run.cell, 1)

    def run_encoder(self, words: Tensor, lengths: Tensor, change: Change) -> EncoderRun:
        """The layers of the encoder, step by step."""
        encoder = self.model.encoder
        inputs = encoder.embedding(words) if change.embedded is None else change.embedded  # (B, S, E)
        layers = [(layer, 0) for layer in encoder.layers]
        return run_encoder(layers, inputs, lengths, encoder.residual, self.gates, change)

    def decoder_states(self, words: Tensor, memory: EncoderOut, change: Change = UNCHANGED) -> DecoderStates:
        """Hidden and cell states of every layer, h~, and gates."""
        decoder = self.model.decoder
        run = ChangedPass(decoder, memory, change) if change.changes else DecoderPass(decoder, memory, words.size(1))
        outputs, stacked, attention = run.along(words)
        states = [part.transpose(0, 1) for part in stacked]  # (B, T, H) each
        hiddens, cells = states[: decoder.layers], states[decoder.layers : -1]
        inputs = self.embed("decoder", words) if change.embedded is None else change.embedded  # (B, T, E)
        gates = self._gates(inputs, memory, hiddens, states[-1]) if self.gates else [{}] * decoder.layers
        found: Dict[str, Tensor] = {}
        for layer, parts in enumerate(zip(hiddens, cells, gates), start=1):
            found.update(named(layer, LayerStates(*parts)))
        found["attentional"] = states[-1]
        return DecoderStates(found, torch.stack(attention, dim=1), outputs.transpose(0, 1))

    def _gates(self, inputs: Tensor, memory: EncoderOut, hiddens: List[Tensor], fed: Tensor) -> List[Dict[str, Tensor]]:
        """The gates of each layer, for all steps at once, because the states before each step are known."""
        decoder = self.model.decoder
        start = decoder.initial_states(memory)
        before = [_shifted(first, part) for first, part in zip(start, hiddens)]  # (B, T, H)
        recurrent = before[0]
        if decoder.input_feeding:
            recurrent = torch.cat([_shifted(start[-1], fed), recurrent], dim=2)
        gates = [decoder.input_projection(inputs) + recurrent.matmul(decoder.first_layer.t())]
        below = hiddens[0]
        for index, layer in enumerate(decoder.upper_layers, start=1):
            gates.append(layer(torch.cat([below, before[index]], dim=2)))  # (B, T, 4H)
            below = hiddens[index] + below if decoder.residual else hiddens[index]
        return [open_gates(part, DECODER_ORDER) for part in gates]

    def scores(self, outputs: Tensor) -> Tensor:
        """Log-probabilities, or raw scores f."""
        scores = self.model.decoder.output_layer(outputs).float()
        return scores if self.unnormalized else torch.log_softmax(scores, dim=-1)

    def output_columns(self) -> Dict[str, Tensor]:
        """The columns of h~, and through it those of the hidden and cell states of the last layer."""
        decoder = self.model.decoder
        hidden = decoder.output_weight.matmul(decoder.attentional.weight)  # (V, H)
        return {
            f"hidden{decoder.layers}": hidden,
            f"cell{decoder.layers}": hidden,
            "attentional": decoder.output_weight,
        }


class ChangedPass(DecoderPass):
    """The decoder's steps under a change, without dropout.

    Args:
        decoder: the parameters.
        encoder_out: B sentences.
        change: of the run.
    """

    def __init__(self, decoder: LSTMDecoder, encoder_out: EncoderOut, change: Change) -> None:
        super().__init__(decoder, encoder_out, 0)
        self.change = change
        self.row = torch.zeros(0, dtype=torch.int64)  # (B,) the row of this step

    def embed(self, words: Tensor, sentences: Tensor, times: Tensor) -> Tensor:
        """(T * B,) -> (T * B, 4H), by time."""
        if self.change.embedded is None:
            return super().embed(words, sentences, times)
        return self._project(self.change.embedded.transpose(0, 1).flatten(0, 1))

    def advance(self, inputs: Tensor, states: State, rows: Rows, times: Tensor) -> Tuple[Tensor, State]:
        """(B, 4H), states each (B, H) -> h~ (B, H) and the next states."""
        self.row = times
        output, states = super().advance(inputs, states, rows, times)
        edit = self.change.edits.get("attentional")
        if edit is not None:
            output = edit.apply(output, times)
            states = (*states[:-1], output)
        return output, states

    def cell(self, layer: int, gates: Tensor, cell: Tensor) -> Tuple[Tensor, Tensor]:
        """The states of a layer, counted from 0, from gates (B, 4H) and cell (B, H)."""
        hidden, cell = super().cell(layer, gates, cell)
        edits = self.change.of_layer(layer + 1)
        if not edits.changes:
            return hidden, cell
        output_gate = open_gates(gates, DECODER_ORDER)["output"]
        return edit_cell(hidden, cell, output_gate, edits, self.row)


def _shifted(start: Tensor, states: Tensor) -> Tensor:
    """start (B, H) and the states after each step (B, T, H) -> the states before each step."""
    return torch.cat([start.unsqueeze(1), states[:, :-1]], dim=1)
