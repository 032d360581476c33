"""fairseq's Transformers in the training search: keys of a shared gold prefix are computed once, and never copied.

The search attends to the keys of the gold run, which all hypotheses of a sentence share, and to the hypothesis' own
words since its branch (``TransformerSteps``). The loss packs gold and all segments of a sentence into *one* sequence
(packing.py). The segments of violators make it at most twice as long. The position of a word is its depth in the
sentence, not its place in the sequence.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Any, Dict, Tuple
from weakref import WeakKeyDictionary

import torch
from fairseq.models import FairseqEncoderDecoderModel
from fairseq.models.transformer.transformer_decoder import TransformerDecoderBase
from torch import Tensor, nn

from ..search.decoder import GoldRun, Rows, Scored
from ..search.violations import Violations
from .any_decoder import AnyDecoder, agrees, probe
from .any_model import OutputLayer, encode, features, reordered
from .packing import Pack, packs, segments_of
from .shared_dropout import SharedDropout
from .temporary import checking, evaluation, replaced
from .transformer_steps import OwnWords, TransformerSteps, steps_suit

logger = logging.getLogger(__name__)


class PackedTransformer(AnyDecoder):
    """A batch of a Transformer; the arguments are those of ``AnyDecoder``."""

    def gold_run(self, target: Tensor) -> GoldRun:
        """As in ``AnyDecoder``; the keys of all layers along gold and the dropout masks are kept for the search."""
        decoder = self.model.decoder
        self.dropout = SharedDropout(decoder, *self.inputs.shape)
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
        """As in ``Decoder``: a pass over packed sequences; on a CPU, one for each group of sentences."""
        sentences, time = self.inputs.shape
        noisy = getattr(self.model.decoder, "quant_noise", None) is not None  # each pass changes the weights
        segments = segments_of(violations, sentences, grouped=self.inputs.device.type == "cpu" and not noisy)
        parts = packs(self.inputs, violations, segments, self.end)
        with torch.autocast(**self.autocast):
            runs = [self._run(part) for part in parts]  # each (b, L, H)
        outputs = torch.cat([run[:, :time] for run in runs])[segments.sentences.argsort()].transpose(0, 1)  # (T, B, H)
        own = torch.cat([run.flatten(0, 1).index_select(0, part.columns) for run, part in zip(runs, parts)])  # (U, H)
        # The first word of a segment follows a gold prefix, the others follow prefixes of the segments.
        first = outputs[violations.branches, violations.sentences]  # (M, H)
        index = torch.arange(violations.times.numel(), device=own.device)  # (M,)
        owners, places = torch.cat([index, segments.owners]), torch.cat([violations.branches, segments.places])
        words = Scored(
            outputs=torch.cat([first, own.index_select(0, segments.numbers)]),
            words=violations.paths[owners, places],
            owners=owners,
            places=places,
        )
        return gold._replace(outputs=outputs), words

    def _run(self, part: Pack) -> Tensor:
        """The decoder's own pass with other positions and another mask: (b, L, H)."""
        decoder = self.model.decoder
        whole = part.sentences.numel() == self.inputs.size(0)
        memory = self.memory if whole else reordered(self.model, self.memory, part.sentences)
        mask = part.mask.repeat_interleave(decoder.layers[0].self_attn.num_heads, 0)  # (b * heads, L, L)
        positions: Any = None
        if decoder.embed_positions is not None:
            positions = decoder.embed_positions(self.inputs[:1])[0][part.depths]  # (b, L, C)
        with ExitStack() as replacements:
            replacements.enter_context(self.dropout.along(part.depths, part.sentences))
            replacements.enter_context(replaced(decoder, "buffered_future_mask", lambda _: mask))
            if positions is not None:
                replacements.enter_context(replaced(decoder, "embed_positions", lambda *_, **__: positions))
            return features(self.model, self.layer, part.tokens, memory)


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
        and decoder.num_layers > 0
        and not decoder.cross_self_attention
        and all(steps_suit(layer) for layer in decoder.layers)
    )
