"""Reads the states of `bso_lstm`.

Hidden and cell states are those of the LSTMs themselves. With --residual, the sum of a layer's input and output is only
the input of the next layer. `attentional` is the vector h~ (Luong et al. 2015, equation 5), an input of the next step.
"""

from typing import Dict, List

import torch
from torch import Tensor

from ...models.decoder import DecoderPass
from ...models.encoder import EncoderOut
from .state_reader import DecoderStates, LayerStates, StateReader, named, open_gates, read_layer

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

    def encode(self, words: Tensor, lengths: Tensor) -> EncoderOut:
        """The attention memory and the last states."""
        return self.model.encoder(words, lengths)

    def encoder_states(self, words: Tensor, lengths: Tensor) -> Dict[str, Tensor]:
        """Hidden and cell states of every layer, and gates."""
        encoder = self.model.encoder
        inputs = encoder.embedding(words)  # (B, S, E)
        found: Dict[str, Tensor] = {}
        for index, layer in enumerate(encoder.layers):
            states = read_layer(layer, 0, inputs, lengths, self.gates)
            found.update(named(index + 1, states))
            inputs = states.hidden + inputs if encoder.residual and index > 0 else states.hidden
        return found

    def decoder_states(self, words: Tensor, memory: EncoderOut) -> DecoderStates:
        """Hidden and cell states of every layer, h~, and gates."""
        decoder = self.model.decoder
        run = DecoderPass(decoder, memory, words.size(1))
        outputs, stacked, attention = run.along(words)
        states = [part.transpose(0, 1) for part in stacked]  # (B, T, H) each
        hiddens, cells = states[: decoder.layers], states[decoder.layers : -1]
        gates = self._gates(words, memory, hiddens, states[-1]) if self.gates else [{}] * decoder.layers
        found: Dict[str, Tensor] = {}
        for layer, parts in enumerate(zip(hiddens, cells, gates), start=1):
            found.update(named(layer, LayerStates(*parts)))
        found["attentional"] = states[-1]
        return DecoderStates(found, torch.stack(attention, dim=1), outputs.transpose(0, 1))

    def _gates(self, words: Tensor, memory: EncoderOut, hiddens: List[Tensor], fed: Tensor) -> List[Dict[str, Tensor]]:
        """The gates of each layer, for all steps at once, because the states before each step are known."""
        decoder = self.model.decoder
        start = decoder.initial_states(memory)
        before = [_shifted(first, part) for first, part in zip(start, hiddens)]  # (B, T, H)
        recurrent = before[0]
        if decoder.input_feeding:
            recurrent = torch.cat([_shifted(start[-1], fed), recurrent], dim=2)
        gates = [decoder.input_projection(decoder.embedding(words)) + recurrent.matmul(decoder.first_layer.t())]
        below = hiddens[0]
        for index, layer in enumerate(decoder.upper_layers, start=1):
            gates.append(layer(torch.cat([below, before[index]], dim=2)))  # (B, T, 4H)
            below = hiddens[index] + below if decoder.residual else hiddens[index]
        return [open_gates(part, DECODER_ORDER) for part in gates]

    def scores(self, outputs: Tensor) -> Tensor:
        """Log-probabilities, or raw scores f."""
        scores = self.model.decoder.output_layer(outputs).float()
        return scores if self.unnormalized else torch.log_softmax(scores, dim=-1)


def _shifted(start: Tensor, states: Tensor) -> Tensor:
    """start (B, H) and the states after each step (B, T, H) -> the states before each step."""
    return torch.cat([start.unsqueeze(1), states[:, :-1]], dim=1)
