"""The encoder of ``bso_lstm``: stacked LSTMs, and the keys and values of the attention."""

from typing import NamedTuple, Optional

import torch
import torch.nn.functional as F
from fairseq import utils
from fairseq.models import FairseqEncoder
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ..linear import linear


class EncoderOut(NamedTuple):
    """The encoder's output for B sentences, each with ``width`` hypotheses."""

    keys: Tensor
    """(B, S, A) attention keys"""
    values: Tensor
    """(B, S, H) attention values, projected by the context part of the attentional layer ``W_c [context; h]``"""
    padding: Tensor
    """(B, S) bool, True at padding, which is on the right"""
    left_padding: Tensor
    """(B,) int64, symbols of padding that the batch had on the left"""
    hidden: Tensor
    """(L, B, D) last hidden states"""
    cell: Tensor
    """(L, B, D) last cell states"""
    width: int
    """hypotheses per sentence; the decoder has ``B * width`` rows, grouped by sentence"""


def in_batch_order(attention: Tensor, encoder_out: EncoderOut) -> Tensor:
    """(N, T, S) over right-padded sources -> (N, T, S) over the sources of the batch, which fairseq aligns with."""
    source = torch.arange(attention.size(2), device=attention.device)  # (S,)
    column = (source - encoder_out.left_padding.unsqueeze(1)).remainder(attention.size(2))  # (B, S)
    column = column.repeat_interleave(encoder_out.width, 0).unsqueeze(1)  # (N, 1, S)
    return attention.gather(2, column.expand_as(attention))


class LSTMEncoder(FairseqEncoder):
    """Uni- or bidirectional stacked LSTM over right-padded source words.

    Args:
        dictionary: source dictionary.
        embedding: source embedding (V, E).
        hidden_size: units per direction.
        layers: stacked layers.
        bidirectional: read in both directions, whose outputs and states are concatenated.
        attention: ``general``, ``dot`` or ``mlp`` (Luong et al. 2015, section 3.1; Bahdanau et al. 2015).
        decoder_hidden_size: H of the decoder.
        dropout: between layers.
        embedding_dropout: on the embedded words.
        residual: add a layer's input to its output, from the second layer on.
        max_source_positions: longest source.
    """

    def __init__(
        self,
        dictionary,
        embedding: nn.Embedding,
        hidden_size: int,
        layers: int,
        bidirectional: bool,
        attention: str,
        decoder_hidden_size: int,
        dropout: float,
        embedding_dropout: float,
        residual: bool,
        max_source_positions: int,
    ) -> None:
        super().__init__(dictionary)
        self.embedding = embedding
        self.output_size = hidden_size * (2 if bidirectional else 1)
        sizes = [embedding.embedding_dim] + [self.output_size] * (layers - 1)
        self.layers = nn.ModuleList(
            nn.LSTM(size, hidden_size, bidirectional=bidirectional, batch_first=True) for size in sizes
        )
        self.attention_keys = (
            None if attention == "dot" else nn.Linear(self.output_size, decoder_hidden_size, bias=False)
        )
        self.attention_values = nn.Linear(self.output_size, decoder_hidden_size, bias=False)
        self.dropout, self.embedding_dropout, self.residual = dropout, embedding_dropout, residual
        self.padding_idx = dictionary.pad()
        self.max_source_positions = max_source_positions

    def forward(self, src_tokens: Tensor, src_lengths: Tensor, **unused) -> EncoderOut:
        """src_tokens (B, S) int64, src_lengths (B,) -> EncoderOut."""
        left = src_tokens.eq(self.padding_idx).long().cumprod(1).sum(1)  # (B,)
        padding = torch.full_like(src_tokens, self.padding_idx)
        src_tokens = utils.convert_padding_direction(src_tokens, padding, left_to_right=True)
        embedded = F.dropout(self.embedding(src_tokens), self.embedding_dropout, self.training)  # (B, S, E)
        packed = pack_padded_sequence(embedded, src_lengths.cpu(), batch_first=True, enforce_sorted=False)
        hiddens, cells = [], []
        for index, layer in enumerate(self.layers):
            if index > 0 and self.training and self.dropout > 0:
                packed = packed._replace(data=F.dropout(packed.data, self.dropout))
            outputs, (hidden, cell) = layer(packed)
            packed = self._add_input(outputs, packed) if self.residual and index > 0 else outputs
            hiddens.append(_side_by_side(hidden))
            cells.append(_side_by_side(cell))
        outputs, _ = pad_packed_sequence(packed, batch_first=True, total_length=src_tokens.size(1))  # (B, S, D)
        return EncoderOut(
            keys=outputs if self.attention_keys is None else linear(outputs, self.attention_keys.weight),
            values=linear(outputs, self.attention_values.weight),
            padding=src_tokens.eq(self.padding_idx),
            left_padding=left,
            hidden=torch.stack(hiddens),
            cell=torch.stack(cells),
            width=1,
        )

    @staticmethod
    def _add_input(outputs: PackedSequence, inputs: PackedSequence) -> PackedSequence:
        return outputs._replace(data=outputs.data + inputs.data)

    def reorder_encoder_out(self, encoder_out: EncoderOut, new_order: Tensor) -> EncoderOut:
        """Selects hypotheses ``new_order`` (N,). Those of one sentence share its keys and values where possible."""
        sentences = new_order.div(encoder_out.width, rounding_mode="floor")  # (N,)
        kept, counts = torch.unique_consecutive(sentences, return_counts=True)
        width = int(counts[0]) if counts.numel() > 0 else 1
        if bool((counts != width).any()):
            kept, width = sentences, 1
        if kept.numel() == encoder_out.keys.size(0) and torch.equal(
            kept, torch.arange(kept.numel(), device=kept.device)
        ):
            return encoder_out._replace(width=width)
        return EncoderOut(
            keys=encoder_out.keys.index_select(0, kept),
            values=encoder_out.values.index_select(0, kept),
            padding=encoder_out.padding.index_select(0, kept),
            left_padding=encoder_out.left_padding.index_select(0, kept),
            hidden=encoder_out.hidden.index_select(1, kept),
            cell=encoder_out.cell.index_select(1, kept),
            width=width,
        )

    def max_positions(self) -> Optional[int]:
        """Longest source."""
        return self.max_source_positions


def _side_by_side(states: Tensor) -> Tensor:
    """(directions, B, H) -> (B, directions * H)."""
    return torch.cat(states.unbind(0), dim=1)
