"""What the training search needs of any encoder-decoder of fairseq: the checks, the output layer, the features.

A model needs what fairseq's generator needs: an incremental decoder. It also needs a linear output layer with a
softmax.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import Any, Dict, Iterator, NamedTuple, Optional
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from fairseq.models import FairseqDecoder, FairseqEncoderDecoderModel, FairseqIncrementalDecoder
from torch import Tensor, nn

from ..compat import DYNAMIC_CONVOLUTIONS, SEARCHABLE, autocast_settings
from ..corrections import updates_before
from ..errors import UserError
from ..search.scorer import SCORERS, PrefixScore, Scorer
from .temporary import checking, replaced

PROBES = 3
"""number of random feature vectors by which the output layer is recognized"""


class OutputLayer(NamedTuple):
    """The output layer of a decoder, and the attribute that applies it."""

    attribute: str
    """name of a method or module of the decoder: features (..., H) -> scores (..., V)"""
    part: nn.Module
    """the linear layer, or the embedding whose weight it shares"""

    def scorer(self) -> Scorer:
        """The output layer as plain tensors (V, H) and (V,), in the state of this update."""
        for hook in self.part._forward_pre_hooks.values():  # weight normalization makes a new weight here
            hook(self.part, ())
        weight, bias = self.part.weight, getattr(self.part, "bias", None)
        return Scorer(weight, weight.new_zeros(weight.size(0)) if bias is None else bias)


_LAYERS: WeakKeyDictionary[nn.Module, OutputLayer] = WeakKeyDictionary()


def prefix_score(model: Any) -> PrefixScore:
    """The prefix score of a model: its own if it has one, else log-probabilities.

    Raises:
        UserError: if the model cannot search in training.
    """
    model = unwrapped(model)
    own: Optional[PrefixScore] = getattr(model, "prefix_score", None)
    if own is None:
        check_model(model)
    return own or SCORERS["softmax"]


def unwrapped(model: Any) -> Any:
    """The model inside fairseq's and torch's wrappers of data parallelism."""
    while not isinstance(model, FairseqEncoderDecoderModel) and isinstance(getattr(model, "module", None), nn.Module):
        model = model.module
    return model


def updates_made(model: Any, dependent: str) -> int:
    """The number of updates before this one.

    Args:
        model: wrapped or not.
        dependent: what depends on this number, for the message.

    Raises:
        UserError: the model does not note it.
    """
    updates = updates_before(model)
    if updates is None:
        raise UserError(
            f"{type(unwrapped(model)).__name__} does not note the number of updates, on which {dependent} depend: call "
            "super().set_num_updates(num_updates) in its set_num_updates"
        )
    return updates


def check_model(model: Any) -> None:
    """Checks that a model can search in training.

    Raises:
        UserError: naming what is missing.
    """
    decoder = getattr(model, "decoder", None)
    if not isinstance(model, FairseqEncoderDecoderModel):
        missing = "one encoder and one decoder (it is no FairseqEncoderDecoderModel)"
    elif hasattr(model, "initialize_output_tokens"):
        missing = "a left-to-right decoder (it is non-autoregressive)"
    elif not isinstance(decoder, FairseqIncrementalDecoder):
        missing = "incremental decoding (its decoder is no FairseqIncrementalDecoder)"
    elif getattr(decoder, "adaptive_softmax", None) is not None:
        missing = "a plain softmax (it has an adaptive softmax: leave out --adaptive-softmax-cutoff)"
    else:
        return
    raise unsearchable(model, missing)


def unsearchable(model: Any, missing: str) -> UserError:
    """The refusal of a model that lacks something."""
    return UserError(
        f"beam_search_optimization cannot train {type(model).__name__}, because it lacks {missing}: use --arch "
        f"{', '.join(SEARCHABLE)}, or another encoder-decoder with an incremental decoder and a softmax"
    )


def output_layer(model: FairseqEncoderDecoderModel, net_input: Dict[str, Tensor]) -> OutputLayer:
    """The output layer of a model, found once and checked by its values.

    Raises:
        UserError: if the model has no linear output layer, or its probabilities are not the softmax of its scores.
    """
    if model not in _LAYERS:
        check_model(model)
        with checking(model):
            layer = next(iter(_linear_layers(model.decoder)), None)
            if layer is None:
                raise unsearchable(model, "a linear output layer")
            _check_probabilities(model, layer, net_input)
        _LAYERS[model] = layer
    return _LAYERS[model]


def _linear_layers(decoder: FairseqDecoder) -> Iterator[OutputLayer]:
    """The output layers that the parts of a decoder may form, checked by their values."""
    words = len(decoder.dictionary)
    children = dict(decoder.named_children())
    linear = {
        name: part for name, part in children.items() if isinstance(part, nn.Linear) and part.out_features == words
    }
    if type(decoder).output_layer is FairseqDecoder.output_layer:
        yield from (OutputLayer(name, part) for name, part in linear.items())
        return
    tables = [part for part in children.values() if isinstance(part, nn.Embedding) and part.num_embeddings == words]
    for layer in (OutputLayer("output_layer", part) for part in (*linear.values(), *tables)):
        weight, bias = layer.scorer()
        probe = torch.randn(PROBES, weight.size(1), generator=torch.Generator().manual_seed(0)).to(weight)
        try:
            scores = decoder.output_layer(probe)
        except (RuntimeError, TypeError):  # this part has another size
            continue
        if scores.shape == (PROBES, words) and close(scores, F.linear(probe, weight, bias)):
            yield layer


def _check_probabilities(model: FairseqEncoderDecoderModel, layer: OutputLayer, net_input: Dict[str, Tensor]) -> None:
    """Compares the softmax of the output layer's scores with the model's own log-probabilities on one batch."""
    tokens = lengthened(model, net_input["prev_output_tokens"])
    found = model(**{**net_input, "prev_output_tokens": tokens})
    own = model.get_normalized_probs(found, log_probs=True, sample=None)
    if bool(own.isnan().any()):
        wrong = [name for name, weight in model.named_parameters() if not bool(weight.isfinite().all())]
        raise UserError(
            f"beam_search_optimization cannot train {type(model).__name__}, because its scores are NaN: start from "
            f"another checkpoint (weights with NaN or infinity: {', '.join(wrong[:3]) or 'none'})"
        )
    scores = F.linear(features(model, layer, tokens, encode(model, net_input)), *layer.scorer())
    if not close(own, scores.float().log_softmax(-1).to(scores.dtype)):
        raise unsearchable(
            model, "probabilities that are the softmax of a linear output layer over its decoder's features"
        )


def close(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors of scores are equal up to the rounding of their types."""
    limit = tolerance(first, second)
    return bool(torch.allclose(first.float(), second.float(), rtol=limit, atol=limit))


def tolerance(*tensors: Tensor) -> float:
    """The relative error that may be rounding."""
    short = any(tensor.element_size() < 4 for tensor in tensors)
    return 0.1 if short or autocast_settings(tensors[0].device.type)["enabled"] else 1e-3


@contextmanager
def without_beam(decoder: nn.Module) -> Iterator[None]:
    """While open, the attentions to the source have beam size 1, so that each row has a source of its own.

    With another beam size they take consecutive rows for hypotheses of one sentence. BART's generator of --eval-bleu
    sets it, and does not reset it.
    """
    kept = [(part, part.beam_size) for part in decoder.modules() if getattr(part, "beam_size", 1) != 1]
    for part, _ in kept:
        part.beam_size = 1
    try:
        yield
    finally:
        for part, beam in kept:
            part.beam_size = beam


def encode(model: FairseqEncoderDecoderModel, net_input: Dict[str, Tensor]) -> Any:
    """The encoder's output, as fairseq's generator asks for it."""
    return model.encoder.forward_torchscript(
        {name: part for name, part in net_input.items() if name != "prev_output_tokens"}
    )


def reordered(model: FairseqEncoderDecoderModel, memory: Any, order: Tensor) -> Any:
    """The encoder's output for other rows. fairseq's convolutional encoder changes the dict that it is given."""
    return model.encoder.reorder_encoder_out(copy.copy(memory), order)


def lengthened(model: FairseqEncoderDecoderModel, tokens: Tensor) -> Tensor:
    """Input words (N, T), with ``</s>`` after them up to the longest kernel of fairseq's dynamic convolutions.

    Those normalize by fewer weights in sequences shorter than their kernel. In decoding they do not.
    """
    kernels = [part.kernel_size for part in model.decoder.modules() if isinstance(part, DYNAMIC_CONVOLUTIONS)]
    if not kernels or max(kernels) <= tokens.size(1):
        return tokens
    missing = min(max(kernels), int(model.decoder.max_positions())) - tokens.size(1)
    return F.pad(tokens, (0, missing), value=model.decoder.dictionary.eos())


def features(
    model: FairseqEncoderDecoderModel,
    layer: OutputLayer,
    tokens: Tensor,
    memory: Any,
    cache: Optional[Dict[str, Dict[str, Optional[Tensor]]]] = None,
) -> Tensor:
    """The vectors that the output layer scores.

    Args:
        model, layer: the model and its output layer.
        tokens: (N, T) int64, the input words.
        memory: the encoder's output for N rows.
        cache: fairseq's incremental state; if given, only the last word is new.

    Returns:
        (N, T, H), or (N, 1, H) with a cache, in the type of the output layer.
    """
    fed = lengthened(model, tokens) if cache is None else tokens
    more = {} if cache is None else {"incremental_state": cache}
    with replaced(model.decoder, layer.attribute, lambda found, *_: found):
        found, *_ = model.decoder(fed, encoder_out=memory, **more)
    return found[:, : tokens.size(1)].to(layer.part.weight.dtype)
