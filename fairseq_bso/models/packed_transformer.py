"""fairseq's Transformers in the training search: keys of a shared gold prefix are computed once, and never copied.

The search attends to the keys of the gold run, which all hypotheses of a sentence share, and to the hypothesis' own
words since its branch (``TransformerSteps``). The loss packs gold and all segments of a sentence into *one* sequence of
at most twice the length. A word of a segment sees the gold words before its branch, and its own segment. Its position
is its depth in the sentence, not its place in the sequence.
"""

from __future__ import annotations

import logging
from typing import Any, Dict, NamedTuple, Tuple
from weakref import WeakKeyDictionary

import torch
from fairseq.models import FairseqEncoderDecoderModel
from fairseq.models.transformer.transformer_decoder import TransformerDecoderBase
from torch import Tensor, nn

from ..search.decoder import GoldRun, Rows, Scored
from ..search.violations import Violations, ragged
from .any_decoder import AnyDecoder, agrees, probe
from .any_model import OutputLayer, checking, encode, evaluation, features, replaced
from .shared_dropout import SharedDropout
from .transformer_steps import OwnWords, TransformerSteps, steps_suit

logger = logging.getLogger(__name__)


class Pack(NamedTuple):
    """Gold and the violators' segments of each sentence in one sequence of L words: first the T of gold."""

    tokens: Tensor
    """(B, L) int64, the input words"""
    depths: Tensor
    """(B, L) int64, the number of words before each in its own prefix"""
    hidden: Tensor
    """(B, L, L) bool, True where a word (second axis) must not see another (third axis)"""
    columns: Tensor
    """(N,) int64, the place in the flat ``B * L`` sequences of each segment word's input"""
    owners: Tensor
    """(N,) int64, the violation of each segment word"""
    places: Tensor
    """(N,) int64, the position of the word that each column scores"""


def pack(inputs: Tensor, violations: Violations, end: int) -> Pack:
    """Packs gold inputs (B, T) and the segments of M violations. ``end`` pads the sequences."""
    sentences, time = inputs.shape
    lengths = violations.ends - violations.branches  # (M,) the first word of a segment follows gold's own prefix
    owners, places = ragged(violations.branches + 1, lengths)  # (N,)
    grouped, order = violations.sentences.sort(stable=True)
    before = lengths[order].cumsum(0) - lengths[order]  # words of earlier segments, also of earlier sentences
    totals = torch.zeros_like(inputs[:, 0]).index_add(0, violations.sentences, lengths)  # (B,)
    start = torch.empty_like(before)
    start[order] = time + before - (totals.cumsum(0) - totals)[grouped]  # (M,) first column of each segment
    length = time + (int(totals.max()) if lengths.numel() else 0)
    rows = violations.sentences[owners]
    columns = rows * length + start[owners] + places - violations.branches[owners] - 1  # (N,)

    def packed(gold: Tensor, segments: Tensor, filler: int) -> Tensor:
        """gold (T,) or (B, T), segments (N,) -> (B, L), padded with ``filler``."""
        sequences = inputs.new_full((sentences, length), filler)
        sequences[:, :time] = gold
        return sequences.view(-1).index_copy_(0, columns, segments).view(sentences, length)

    gold = torch.arange(time, device=inputs.device)
    tokens = packed(inputs, violations.paths[owners, places - 1], end)
    depths = packed(gold, places, 0)
    seen = packed(gold, violations.branches[owners], 0)  # the last gold input that a word sees
    owner = packed(torch.full_like(gold, -1), owners, -1)
    of_gold = torch.arange(length, device=inputs.device) < time
    own = (owner.unsqueeze(2) == owner.unsqueeze(1)) & (depths.unsqueeze(2) >= depths.unsqueeze(1))
    visible = torch.where(of_gold, depths.unsqueeze(1) <= seen.unsqueeze(2), own & (owner >= 0).unsqueeze(1))
    return Pack(tokens, depths, ~visible, columns, owners, places)


class PackedTransformer(AnyDecoder):
    """A batch of a Transformer; the arguments are those of ``AnyDecoder``."""

    def gold_run(self, target: Tensor) -> GoldRun:
        """As in ``AnyDecoder``; the keys of all layers along gold and the dropout masks are kept for the search."""
        decoder = self.model.decoder
        self.dropout = SharedDropout(decoder)
        with torch.autocast(**self.autocast):
            self.memory = encode(self.model, self.net_input)
            with torch.no_grad(), evaluation(decoder), self.dropout.along():
                self.steps = TransformerSteps(decoder, self.memory, self.inputs.size(1), self.dropout)
                with self.steps.recording_gold():
                    outputs = features(self.model, self.layer, self.inputs, self.memory)
        return GoldRun(target, target.ne(self.padding).sum(1), outputs.transpose(0, 1).contiguous())

    def extend(self, t: int, states: Any, source: Tensor, words: Tensor, rows: Rows) -> Tuple[Tensor, OwnWords]:
        """As in ``Decoder``; the states are the keys of the hypotheses' own words."""
        with torch.no_grad(), evaluation(self.model.decoder), torch.autocast(**self.autocast):
            outputs, own = self.steps.extend(t, states or None, source, words, rows)
        return outputs.to(self.scorer.weight.dtype), own

    def score(self, gold: GoldRun, violations: Violations) -> Tuple[GoldRun, Scored]:
        """As in ``Decoder``: one pass over the packed sequences."""
        packed = pack(self.inputs, violations, self.end)
        with torch.autocast(**self.autocast), self.dropout.along(packed.depths):
            found = self._run(packed)  # (B, L, H)
        outputs = found[:, : self.inputs.size(1)].transpose(0, 1)  # (T, B, H)
        index = torch.arange(violations.times.numel(), device=found.device)  # (M,)
        first = outputs[violations.branches, violations.sentences]
        rest = found.flatten(0, 1).index_select(0, packed.columns)
        owners, places = torch.cat([index, packed.owners]), torch.cat([violations.branches, packed.places])
        words = violations.paths[owners, places]
        return gold._replace(outputs=outputs), Scored(torch.cat([first, rest]), words, owners, places)

    def _run(self, packed: Pack) -> Tensor:
        """The decoder's own pass with other positions and another mask: (B, L, H)."""
        decoder = self.model.decoder
        hidden = packed.hidden.repeat_interleave(decoder.layers[0].self_attn.num_heads, 0)  # (B * heads, L, L)
        with replaced(decoder, "buffered_future_mask", lambda _: hidden):
            if decoder.embed_positions is None:
                return features(self.model, self.layer, packed.tokens, self.memory)
            positions = decoder.embed_positions(self.inputs[:1])[0][packed.depths]  # (B, L, C)
            with replaced(decoder, "embed_positions", lambda *_, **__: positions):
                return features(self.model, self.layer, packed.tokens, self.memory)


_CAN_PACK: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def can_pack(model: FairseqEncoderDecoderModel, layer: OutputLayer, net_input: Dict[str, Tensor]) -> bool:
    """Whether ``PackedTransformer`` fits a model. Its values are compared with the model's own, once, on one batch."""
    if model not in _CAN_PACK:
        with checking(model):
            fits = _suits(model.decoder) and agrees(PackedTransformer(model, layer, probe(model, net_input)))
            _CAN_PACK[model] = fits
        if isinstance(model.decoder, TransformerDecoderBase) and not _CAN_PACK[model]:
            logger.warning(
                f"{type(model).__name__} differs from fairseq's Transformer: the training search uses its incremental "
                "decoder, which is slower"
            )
    return _CAN_PACK[model]


def _suits(decoder: nn.Module) -> bool:
    """Whether a decoder has the parts of fairseq's Transformer that packing relies on."""
    return (
        isinstance(decoder, TransformerDecoderBase)
        and not decoder.cross_self_attention
        and all(steps_suit(layer) for layer in decoder.layers)
    )
