"""Reads the states of fairseq's `lstm` and `lstm_lm`."""

from contextlib import ExitStack
from typing import Any, Callable, Dict, List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .changes import UNCHANGED, Change, LayerEdits, edit_cell
from .lstm_steps import TORCH_ORDER, EncoderRun, LayerStates, named, open_gates, run_encoder
from .state_reader import DecoderStates, StateReader

Step = Tuple[Tensor, ...]
"""(hidden, cell) after a step; with gates also (input, hidden before)"""


class FairseqLSTMReader(StateReader):
    """Reads the encoder from the weights of its nn.LSTM, and the decoder by hooks on its LSTM cells."""

    def directions(self, side: str) -> int:
        """The number of directions in which this side reads."""
        return 2 if side == "encoder" and self.model.encoder.bidirectional else 1

    def embed(self, side: str, words: Tensor) -> Tensor:
        """The embeddings."""
        return (self.model.encoder if side == "encoder" else self.model.decoder).embed_tokens(words)

    def encode(self, words: Tensor, lengths: Tensor, change: Change = UNCHANGED) -> Tuple[Tensor, ...]:
        """The attention memory and the initial states of the decoder."""
        if not change.changes:
            return self.model.encoder(words, lengths, enforce_sorted=False)
        run = self.run_encoder(words, lengths, change)
        padding = torch.arange(words.size(1), device=words.device) >= lengths.to(words).unsqueeze(1)  # (B, S)
        return run.outputs.transpose(0, 1), run.hidden, run.cell, padding.t()

    def run_encoder(self, words: Tensor, lengths: Tensor, change: Change) -> EncoderRun:
        """The layers of the encoder, step by step."""
        encoder = self.model.encoder
        inputs = encoder.embed_tokens(words) if change.embedded is None else change.embedded  # (B, S, E)
        layers = [(encoder.lstm, layer) for layer in range(encoder.num_layers)]
        return run_encoder(layers, inputs, lengths, False, self.gates, change)

    def decoder_states(self, words: Tensor, memory: Any, change: Change = UNCHANGED) -> DecoderStates:
        """Hidden and cell states of every layer, and gates."""
        decoder = self.model.decoder
        noted: List[List[Step]] = [[] for _ in decoder.layers]
        with ExitStack() as hooks:
            for layer, (cell, steps) in enumerate(zip(decoder.layers, noted), start=1):
                hook = cell.register_forward_hook(self._note_in(steps, change.of_layer(layer)))
                hooks.callback(hook.remove)
            if change.embedded is not None:
                hook = decoder.embed_tokens.register_forward_hook(lambda *_: change.embedded)
                hooks.callback(hook.remove)
            outputs, attention = decoder.extract_features(words, memory)
        found: Dict[str, Tensor] = {}
        for layer, (cell, steps) in enumerate(zip(decoder.layers, noted), start=1):
            hidden, state, *before = (torch.stack(part, dim=1) for part in zip(*steps))  # (B, T, H) each
            gates = open_gates(_before_gates(cell, *before), TORCH_ORDER) if before else {}
            found.update(named(layer, LayerStates(hidden, state, gates)))
        return DecoderStates(found, attention, outputs)

    def _note_in(self, steps: List[Step], edits: LayerEdits) -> Callable[..., Any]:
        """A hook of an nn.LSTMCell that sets its units, and records its inputs and outputs."""

        def note(module: nn.LSTMCell, arguments: Any, outputs: Any) -> Any:
            inputs, (hidden_before, _) = arguments
            hidden, cell = outputs
            if edits.changes:
                opened = open_gates(_before_gates(module, inputs, hidden_before), TORCH_ORDER)
                rows = torch.full_like(hidden[:, 0], len(steps), dtype=torch.int64)  # (B,)
                hidden, cell = edit_cell(hidden, cell, opened["output"], edits, rows)
            steps.append((hidden, cell, inputs, hidden_before) if self.gates else (hidden, cell))
            return hidden, cell

        return note

    def scores(self, outputs: Tensor) -> Tensor:
        """Log-probabilities, also of an adaptive softmax."""
        net_output = (self.model.decoder.output_layer(outputs.unsqueeze(0)), None)  # fairseq expects a batch
        return self.model.get_normalized_probs(net_output, log_probs=True).squeeze(0).float()

    def output_columns(self) -> Dict[str, Tensor]:
        """The columns of the hidden and cell states of the last layer; none of an adaptive softmax."""
        decoder = self.model.decoder
        if decoder.adaptive_softmax is not None:
            return {}
        shared = decoder.share_input_output_embed
        columns = decoder.embed_tokens.weight if shared else decoder.fc_out.weight  # (V, out_embed_dim)
        if hasattr(decoder, "additional_fc"):
            columns = columns.matmul(decoder.additional_fc.weight)  # (V, H)
        if decoder.attention is not None:  # the attentional vector reads the context first, then the hidden state
            columns = columns.matmul(decoder.attention.output_proj.weight)[:, -decoder.hidden_size :]
        layer = len(decoder.layers)
        return {f"hidden{layer}": columns, f"cell{layer}": columns}


class FairseqLSTMLanguageModelReader(FairseqLSTMReader):
    """Reads `lstm_lm`, which is a decoder only."""

    sides = ("decoder",)


def _before_gates(cell: nn.LSTMCell, inputs: Tensor, hidden: Tensor) -> Tensor:
    """inputs (..., I), hidden states before each step (..., H) -> (..., 4H), before the nonlinearities."""
    return F.linear(inputs, cell.weight_ih, cell.bias_ih) + F.linear(hidden, cell.weight_hh, cell.bias_hh)
