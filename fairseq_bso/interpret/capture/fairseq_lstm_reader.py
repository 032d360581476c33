"""Reads the states of fairseq's `lstm` and `lstm_lm`."""

from typing import Any, Callable, Dict, List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .state_reader import TORCH_ORDER, DecoderStates, LayerStates, StateReader, named, open_gates, read_layer

Step = Tuple[Tensor, ...]
"""(hidden, cell) after a step; with gates also (input, hidden before)"""


class FairseqLSTMReader(StateReader):
    """Reads the encoder from the weights of its nn.LSTM, and the decoder by hooks on its LSTM cells."""

    def directions(self, side: str) -> int:
        """The number of directions in which this side reads."""
        return 2 if side == "encoder" and self.model.encoder.bidirectional else 1

    def encode(self, words: Tensor, lengths: Tensor) -> Tuple[Tensor, ...]:
        """The attention memory and the initial states of the decoder."""
        return self.model.encoder(words, lengths, enforce_sorted=False)

    def encoder_states(self, words: Tensor, lengths: Tensor) -> Dict[str, Tensor]:
        """Hidden and cell states of every layer, and gates."""
        encoder = self.model.encoder
        inputs = encoder.embed_tokens(words)  # (B, S, E)
        found: Dict[str, Tensor] = {}
        for index in range(encoder.num_layers):
            states = read_layer(encoder.lstm, index, inputs, lengths, self.gates)
            found.update(named(index + 1, states))
            inputs = states.hidden
        return found

    def decoder_states(self, words: Tensor, memory: Any) -> DecoderStates:
        """Hidden and cell states of every layer, and gates."""
        decoder = self.model.decoder
        noted: List[List[Step]] = [[] for _ in decoder.layers]
        hooks = [cell.register_forward_hook(self._note_in(steps)) for cell, steps in zip(decoder.layers, noted)]
        try:
            outputs, attention = decoder.extract_features(words, memory)
        finally:
            for hook in hooks:
                hook.remove()
        found: Dict[str, Tensor] = {}
        for layer, (cell, steps) in enumerate(zip(decoder.layers, noted), start=1):
            hidden, state, *before = (torch.stack(part, dim=1) for part in zip(*steps))  # (B, T, H) each
            gates = open_gates(_before_gates(cell, *before), TORCH_ORDER) if before else {}
            found.update(named(layer, LayerStates(hidden, state, gates)))
        return DecoderStates(found, attention, outputs)

    def _note_in(self, steps: List[Step]) -> Callable[..., None]:
        """A hook of an nn.LSTMCell that records its inputs and outputs."""

        def note(cell: nn.Module, arguments: Any, outputs: Any) -> None:
            inputs, (hidden_before, _) = arguments
            steps.append((*outputs, inputs, hidden_before) if self.gates else tuple(outputs))

        return note

    def scores(self, outputs: Tensor) -> Tensor:
        """Log-probabilities, also of an adaptive softmax."""
        net_output = (self.model.decoder.output_layer(outputs.unsqueeze(0)), None)  # fairseq expects a batch
        return self.model.get_normalized_probs(net_output, log_probs=True).squeeze(0).float()


class FairseqLSTMLanguageModelReader(FairseqLSTMReader):
    """Reads `lstm_lm`, which is a decoder only."""

    sides = ("decoder",)


def _before_gates(cell: nn.LSTMCell, inputs: Tensor, hidden: Tensor) -> Tensor:
    """inputs (B, T, I), hidden states before each step (B, T, H) -> (B, T, 4H), before the nonlinearities."""
    return F.linear(inputs, cell.weight_ih, cell.bias_ih) + F.linear(hidden, cell.weight_hh, cell.bias_hh)
