"""The training search of any model, in one call of the model: wrappers of data parallelism see one forward pass."""

from typing import Any, Callable, Dict, TypeVar

import torch
from fairseq.models import FairseqEncoderDecoderModel
from torch import Tensor

from ..search.decoder import Decoder, GoldRun
from .any_decoder import AnyDecoder, check_steps
from .any_model import OutputLayer, output_layer, replaced, unwrapped
from .packed_transformer import PackedTransformer, packs

__all__ = ["make_decoder", "search_in_training"]


Found = TypeVar("Found")


def search_in_training(
    model: Any, net_input: Dict[str, Tensor], target: Tensor, search: Callable[[Decoder, GoldRun], Found]
) -> Found:
    """Runs a training search in one call of ``model``.

    Args:
        model: a model with a search of its own (``bso_lstm``), or any that ``check_model`` accepts; may be wrapped.
        net_input: of fairseq's batch.
        target: (B, T) int64.
        search: what to do with the model's decoder and its gold run, such as ``search_and_score``.

    Raises:
        UserError: if the model cannot search in training.
    """
    inner = unwrapped(model)
    if hasattr(inner, "prefix_score"):
        return model(**net_input, target=target, search=search)
    layer = output_layer(inner, net_input)

    def forward(**inputs: Tensor) -> Found:
        decoder = make_decoder(inner, layer, inputs)
        gold = decoder.gold_run(target)
        with torch.autocast(target.device.type, enabled=False):  # the decoder turns it on for the model's layers
            return search(decoder, gold)

    with replaced(inner, "forward", forward):
        return model(**net_input)


def make_decoder(model: FairseqEncoderDecoderModel, layer: OutputLayer, net_input: Dict[str, Tensor]) -> AnyDecoder:
    """The fastest decoder that fits the model.

    Raises:
        UserError: if none fits.
    """
    if packs(model, layer, net_input):
        return PackedTransformer(model, layer, net_input)
    check_steps(model, layer, net_input)
    return AnyDecoder(model, layer, net_input)
