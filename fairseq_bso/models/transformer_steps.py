"""One step of many hypotheses of a Transformer, which share the keys of their gold prefixes and of their source."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from fairseq.modules import MultiheadAttention
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase
from torch import Tensor, nn

from ..search.decoder import Rows
from .shared_dropout import SharedDropout


class KeysAndValues(NamedTuple):
    """The keys and values of one attention for B sentences."""

    keys: Tensor
    """(B, heads, d, N)"""
    values: Tensor
    """(B, heads, N, d)"""


class OwnWords(NamedTuple):
    """The keys and values of the hypotheses' own words since they left gold, in n layers."""

    parts: Tensor
    """(n, 2, R, heads, D, d): keys and values of the last D depths; masked where a hypothesis was still gold"""
    seen: Tensor
    """(R,) int64, the last gold input that a hypothesis sees"""


def steps_suit(layer: nn.Module) -> bool:
    """Whether ``TransformerSteps`` supports a layer."""
    return (
        isinstance(layer, TransformerDecoderLayerBase)
        and "forward" not in vars(layer)  # fairseq's --checkpoint-activations runs layers again in backward
        and type(layer).forward is TransformerDecoderLayerBase.forward
        and layer.encoder_attn is not None
        and all(_plain(attention) for attention in (layer.self_attn, layer.encoder_attn))
    )


def _plain(attention: nn.Module) -> bool:
    return (
        isinstance(attention, MultiheadAttention)
        and attention.bias_k is None
        and not attention.add_zero_attn
        and not getattr(attention, "use_xformers", False)
    )


class TransformerSteps:
    """Steps of a decoder on one batch, without gradient.

    Args:
        decoder: of fairseq, with layers that ``steps_suit``.
        memory: the encoder's output for B sentences.
        time: T, the number of gold inputs.
        dropout: the masks of the pass along gold.
    """

    def __init__(self, decoder: Any, memory: Any, time: int, dropout: SharedDropout) -> None:
        self.dropout = dropout
        self.decoder, self.time, self.sentences = decoder, time, memory["encoder_out"][0].size(1)
        source, padding = memory["encoder_out"][0], memory["encoder_padding_mask"]  # (S, B, C), [] or [(B, S)]
        self.padding = padding[0].bool() if len(padding) and bool(padding[0].any()) else None
        self.source = [_keys_and_values(layer.encoder_attn, source) for layer in decoder.layers]
        self.gold: Dict[int, KeysAndValues] = {}
        self.positions: Optional[Tensor] = None  # (T, C)
        self.joined = {layer: _joined(layer.self_attn) for layer in decoder.layers}

    @contextmanager
    def recording_gold(self) -> Iterator[None]:
        """Records the keys and values of the decoder's pass along gold."""
        with ExitStack() as hooks:
            for index, layer in enumerate(self.decoder.layers):
                handle = layer.register_forward_pre_hook(self._recorder(index))
                hooks.callback(handle.remove)
            yield

    def _recorder(self, index: int):
        """A hook that records the keys and values of layer ``index``."""

        def hook(layer: Any, given: Tuple[Tensor, ...]) -> None:
            inputs = given[0]  # (T, B, C)
            inputs = layer.self_attn_layer_norm(inputs) if layer.normalize_before else inputs
            self.gold[index] = _keys_and_values(layer.self_attn, inputs)

        return hook

    def extend(
        self, t: int, own: Optional[OwnWords], source: Tensor, words: Tensor, rows: Rows
    ) -> Tuple[Tensor, OwnWords]:
        """As in ``search.decoder.Decoder``: feeds word ``t`` of R hypotheses and returns outputs (R, H)."""
        own = self._selected(t, own, source)
        depth = torch.arange(t + 2 - own.parts.size(4), t + 2, device=source.device)  # (D,)
        column = torch.arange(t + 1, device=source.device)  # (t + 1,)
        unseen = torch.cat([column > own.seen.unsqueeze(1), depth <= own.seen.unsqueeze(1)], 1)  # (R, t + 1 + D)
        hidden = self._embedded(words, t + 1, rows)  # (R, C)
        for index, layer in enumerate(self.decoder.layers):
            hidden = self._layer(index, layer, hidden, own.parts[index], unseen, rows)
        if self.decoder.layer_norm is not None:
            hidden = self.decoder.layer_norm(hidden)
        return hidden if self.decoder.project_out_dim is None else self.decoder.project_out_dim(hidden), own

    def _selected(self, t: int, own: Optional[OwnWords], source: Tensor) -> OwnWords:
        """The own words of the parents, with space for one more. Depths that no hypothesis attends to are dropped."""
        if own is None:
            attention = self.decoder.layers[0].self_attn
            shape = (len(self.gold), 2, source.numel(), attention.num_heads, 1, attention.head_dim)
            return OwnWords(self.gold[0].keys.new_zeros(shape), torch.full_like(source, t))
        parent = (source - self.sentences).clamp(min=0)  # a new branch has no own words: it copies any, and masks them
        seen = torch.where(source < self.sentences, torch.full_like(source, t), own.seen[parent])  # (R,)
        kept = own.parts
        if kept.device.type == "cpu":
            kept = kept[..., max(0, kept.size(4) - (t - int(seen.min()))) :, :]
        layers, both, _, heads, depths, size = kept.shape
        parts = kept.new_empty(layers, both, source.numel(), heads, depths + 1, size)
        parts[..., :-1, :] = kept.index_select(2, parent)
        return OwnWords(parts, seen)

    def _embedded(self, words: Tensor, depth: int, rows: Rows) -> Tensor:
        """(R,) -> (R, C), the words as inputs at one depth."""
        decoder = self.decoder
        inputs = decoder.embed_scale * decoder.embed_tokens(words)
        inputs = inputs if getattr(decoder, "quant_noise", None) is None else decoder.quant_noise(inputs)
        inputs = inputs if decoder.project_in_dim is None else decoder.project_in_dim(inputs)
        if decoder.embed_positions is not None:
            if self.positions is None:
                self.positions = decoder.embed_positions(words.new_full((1, self.time), decoder.dictionary.eos()))[0]
            inputs = inputs + self.positions[depth]
        inputs = inputs if decoder.layernorm_embedding is None else decoder.layernorm_embedding(inputs)
        return self.dropout.at(decoder.dropout_module, 0, inputs, rows.sentences, depth)

    def _layer(self, index: int, layer: Any, hidden: Tensor, own: Tensor, unseen: Tensor, rows: Rows) -> Tensor:
        """One layer: (R, C) -> (R, C). Writes the new words' keys and values into ``own``, (2, R, heads, D, d)."""
        sentences, depth = rows.sentences, unseen.size(1) - own.size(3)

        def drop(module: Any, call: int, values: Tensor) -> Tensor:
            return self.dropout.at(module, call, values, sentences, depth)

        def attend_to_words(inputs: Tensor) -> Tensor:
            context = self._self_attention(layer, self.gold[index], inputs, own, unseen, rows)
            return drop(layer.dropout_module, 0, context)

        def attend_to_source(inputs: Tensor) -> Tensor:
            return drop(layer.dropout_module, 1, self._source_attention(index, layer.encoder_attn, inputs, rows))

        def feed_forward(inputs: Tensor) -> Tensor:
            inner = drop(layer.activation_dropout_module, 0, layer.activation_fn(layer.fc1(inputs)))
            inner = inner if getattr(layer, "ffn_layernorm", None) is None else layer.ffn_layernorm(inner)
            return drop(layer.dropout_module, 2, layer.fc2(inner))

        hidden = _with_residual(layer, layer.self_attn_layer_norm, hidden, attend_to_words)
        hidden = _with_residual(layer, layer.encoder_attn_layer_norm, hidden, attend_to_source)
        return _with_residual(layer, layer.final_layer_norm, hidden, feed_forward, getattr(layer, "w_resid", None))

    def _self_attention(
        self, layer: Any, gold: KeysAndValues, inputs: Tensor, own: Tensor, unseen: Tensor, rows: Rows
    ) -> Tensor:
        """(R, C) -> (R, C), attention of each hypothesis to the gold words before its branch and to its own words."""
        attention = layer.self_attn
        joined = F.linear(inputs, *self.joined[layer]).view(inputs.size(0), 3, attention.num_heads, -1)
        query, key, value = joined.unbind(1)  # (R, heads, d)
        query = query * attention.scaling
        keys, values = own  # (R, heads, D, d)
        keys[:, :, -1], values[:, :, -1] = key, value
        time = unseen.size(1) - keys.size(2)  # the gold words so far
        to_gold = self._by_sentence(query, rows).matmul(gold.keys[..., :time])  # (B, heads, W, t + 1)
        to_own = (keys * query.unsqueeze(2)).sum(3)  # (R, heads, D); D is small, so that a product would be slower
        scores = torch.cat([_by_row(to_gold, rows), to_own], 2).masked_fill(unseen.unsqueeze(1), -torch.inf)
        weights = scores.float().softmax(2).to(values.dtype)
        of_gold, of_own = weights.split([time, keys.size(2)], 2)
        context = _by_row(self._by_sentence(of_gold, rows).matmul(gold.values[:, :, :time]), rows)
        context = context + (values * of_own.unsqueeze(3)).sum(2)  # (R, heads, d)
        output = attention.out_proj(context.flatten(1))  # (R, C)
        if getattr(layer, "c_attn", None) is not None:  # fairseq scales the heads after the output projection
            output = (output.view(context.shape) * layer.c_attn.unsqueeze(1)).flatten(1)
        return output if getattr(layer, "attn_ln", None) is None else layer.attn_ln(output)

    def _source_attention(self, index: int, attention: Any, inputs: Tensor, rows: Rows) -> Tensor:
        """(R, C) -> (R, C), attention to the source; its keys are never copied for a hypothesis."""
        query = (attention.q_proj(inputs) * attention.scaling).view(inputs.size(0), attention.num_heads, -1)
        scores = self._by_sentence(query, rows).matmul(self.source[index].keys)  # (B, heads, W, S)
        if self.padding is not None:
            scores = scores.masked_fill(self.padding.unsqueeze(1).unsqueeze(1), -torch.inf)
        weights = scores.float().softmax(3).to(scores.dtype)
        return attention.out_proj(_by_row(weights.matmul(self.source[index].values), rows).flatten(1))

    def _by_sentence(self, of_rows: Tensor, rows: Rows) -> Tensor:
        """(R, heads, N) -> (B, heads, W, N); slots without a row are zero."""
        return rows.by_sentence(of_rows, self.sentences).transpose(1, 2)


def _with_residual(
    layer: Any, norm: nn.Module, hidden: Tensor, part: Callable[[Tensor], Tensor], scale: Optional[Tensor] = None
) -> Tensor:
    """A part of a layer with its residual connection, (R, C) -> (R, C).

    The norm stands before the part, or after the sum if the layer does not normalize before. ``scale`` is a factor of
    the residual.
    """
    output = part(norm(hidden) if layer.normalize_before else hidden)
    output = layer.residual_connection(output, hidden if scale is None else scale * hidden)
    return output if layer.normalize_before else norm(output)


def _joined(attention: Any) -> Tuple[Tensor, Optional[Tensor]]:
    """The weight and bias of the three projections of self-attention, for one product."""
    parts = (attention.q_proj, attention.k_proj, attention.v_proj)
    biases = [part.bias for part in parts]
    return torch.cat([part.weight for part in parts]), None if biases[0] is None else torch.cat(biases)


def _keys_and_values(attention: Any, inputs: Tensor) -> KeysAndValues:
    """inputs (N, B, C) -> their keys and values."""
    shape = (*inputs.shape[:2], attention.num_heads, -1)
    keys, values = attention.k_proj(inputs).view(shape), attention.v_proj(inputs).view(shape)  # (N, B, heads, d)
    return KeysAndValues(keys.permute(1, 2, 3, 0).contiguous(), values.permute(1, 2, 0, 3).contiguous())


def _by_row(of_sentence: Tensor, rows: Rows) -> Tensor:
    """(B, heads, W, N) -> (R, heads, N)."""
    return rows.by_row(of_sentence.transpose(1, 2))
