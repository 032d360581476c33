"""One step of many hypotheses of a Transformer, which share the keys of their gold prefixes and of their source."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import Any, Dict, Iterator, NamedTuple, Optional, Tuple

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
        depth = torch.arange(t + 2 - own.parts.size(4), t + 2, device=source.device)
        column = torch.arange(t + 1, device=source.device)
        unseen = torch.cat([column > own.seen.unsqueeze(1), depth <= own.seen.unsqueeze(1)], 1)  # (R, t + 1 + D)
        x = self._embedded(words, t + 1, rows)  # (R, C)
        for index, layer in enumerate(self.decoder.layers):
            x = self._layer(index, layer, x, own.parts[index], unseen, rows)
        if self.decoder.layer_norm is not None:
            x = self.decoder.layer_norm(x)
        return x if self.decoder.project_out_dim is None else self.decoder.project_out_dim(x), own

    def _selected(self, t: int, own: Optional[OwnWords], source: Tensor) -> OwnWords:
        """The own words of the parents, with space for one more. Depths that no hypothesis attends to are dropped."""
        if own is None:
            attention = self.decoder.layers[0].self_attn
            shape = (len(self.gold), 2, source.numel(), attention.num_heads, 1, attention.head_dim)
            return OwnWords(self.gold[0].keys.new_zeros(shape), torch.full_like(source, t))
        parent = (source - self.sentences).clamp(min=0)  # a new branch has no own words: it copies any, and masks them
        seen = torch.where(source < self.sentences, torch.full_like(source, t), own.seen[parent])
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
        x = decoder.embed_scale * decoder.embed_tokens(words)
        x = x if getattr(decoder, "quant_noise", None) is None else decoder.quant_noise(x)
        x = x if decoder.project_in_dim is None else decoder.project_in_dim(x)
        if decoder.embed_positions is not None:
            if self.positions is None:
                self.positions = decoder.embed_positions(words.new_full((1, self.time), decoder.dictionary.eos()))[0]
            x = x + self.positions[depth]
        x = x if decoder.layernorm_embedding is None else decoder.layernorm_embedding(x)
        return self.dropout.at(decoder.dropout_module, 0, x, rows.sentences, depth)

    def _layer(self, index: int, layer: Any, x: Tensor, own: Tensor, unseen: Tensor, rows: Rows) -> Tensor:
        """One layer: (R, C) -> (R, C). Writes the new words' keys and values into ``own``, (2, R, heads, D, d)."""
        before, sentences, depth = layer.normalize_before, rows.sentences, unseen.size(1) - own.size(3)

        def drop(module: Any, call: int, x: Tensor) -> Tensor:
            return self.dropout.at(module, call, x, sentences, depth)

        residual, x = x, layer.self_attn_layer_norm(x) if before else x
        x = drop(layer.dropout_module, 0, self._self_attention(layer, self.gold[index], x, own, unseen, rows))
        x = layer.residual_connection(x, residual)
        x = x if before else layer.self_attn_layer_norm(x)
        residual, x = x, layer.encoder_attn_layer_norm(x) if before else x
        x = drop(layer.dropout_module, 1, self._source_attention(index, layer.encoder_attn, x, rows))
        x = layer.residual_connection(x, residual)
        x = x if before else layer.encoder_attn_layer_norm(x)
        residual, x = x, layer.final_layer_norm(x) if before else x
        x = drop(layer.activation_dropout_module, 0, layer.activation_fn(layer.fc1(x)))
        x = layer.fc2(x if getattr(layer, "ffn_layernorm", None) is None else layer.ffn_layernorm(x))
        x = drop(layer.dropout_module, 2, x)
        scale = getattr(layer, "w_resid", None)
        x = layer.residual_connection(x, residual if scale is None else scale * residual)
        return x if before else layer.final_layer_norm(x)

    def _self_attention(
        self, layer: Any, gold: KeysAndValues, x: Tensor, own: Tensor, unseen: Tensor, rows: Rows
    ) -> Tensor:
        """Attention of each hypothesis to the gold inputs before its branch and to its own words."""
        attention = layer.self_attn
        query, key, value = F.linear(x, *self.joined[layer]).view(x.size(0), 3, attention.num_heads, -1).unbind(1)
        query = query * attention.scaling  # (R, heads, d)
        keys, values = own  # (R, heads, D, d)
        keys[:, :, -1], values[:, :, -1] = key, value
        inputs = unseen.size(1) - keys.size(2)  # of gold
        to_gold = self._by_sentence(query, rows).matmul(gold.keys[..., :inputs])  # (B, heads, W, t + 1)
        to_own = (keys * query.unsqueeze(2)).sum(3)  # (R, heads, D); D is small, so that a product would be slower
        scores = torch.cat([_by_row(to_gold, rows), to_own], 2).masked_fill(unseen.unsqueeze(1), -torch.inf)
        weights = scores.float().softmax(2).to(values.dtype)
        of_gold, of_own = weights.split([inputs, keys.size(2)], 2)
        context = _by_row(self._by_sentence(of_gold, rows).matmul(gold.values[:, :, :inputs]), rows)
        context = context + (values * of_own.unsqueeze(3)).sum(2)  # (R, heads, d)
        if getattr(layer, "c_attn", None) is not None:
            # fairseq scales the heads after the output projection.
            context = attention.out_proj(context.flatten(1)).view(context.shape) * layer.c_attn.unsqueeze(1)
            x = context.flatten(1)
        else:
            x = attention.out_proj(context.flatten(1))
        return x if getattr(layer, "attn_ln", None) is None else layer.attn_ln(x)

    def _source_attention(self, index: int, attention: Any, x: Tensor, rows: Rows) -> Tensor:
        """Attention to the source; its keys are never copied for a hypothesis."""
        query = (attention.q_proj(x) * attention.scaling).view(x.size(0), attention.num_heads, -1)
        scores = self._by_sentence(query, rows).matmul(self.source[index].keys)  # (B, heads, W, S)
        if self.padding is not None:
            scores = scores.masked_fill(self.padding.unsqueeze(1).unsqueeze(1), -torch.inf)
        weights = scores.float().softmax(3).to(scores.dtype)
        return attention.out_proj(_by_row(weights.matmul(self.source[index].values), rows).flatten(1))

    def _by_sentence(self, of_rows: Tensor, rows: Rows) -> Tensor:
        """(R, heads, N) -> (B, heads, W, N); slots without a row are zero."""
        return rows.by_sentence(of_rows, self.sentences).transpose(1, 2)


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
