"""The training search of any model, in one call of the model: wrappers of data parallelism see one forward pass."""

from typing import Any, Callable, Dict, TypeVar

import torch
from fairseq.models import FairseqEncoderDecoderModel
from fairseq.modules.checkpoint_activations import _checkpointed_forward
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ..errors import UserError
from ..search.decoder import Decoder, GoldRun
from .any_decoder import AnyDecoder, check_steps
from .any_model import OutputLayer, check_model, output_layer, unwrapped, without_beam
from .packed_transformer import PackedTransformer, can_pack
from .temporary import evaluation, replaced

__all__ = ["make_decoder", "search_in_training", "search_then_score"]


Found = TypeVar("Found")
Scores = TypeVar("Scores")


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
    if inner is not model:
        _check_wrapper(model, inner)
    check_model(inner)
    with without_beam(inner.decoder):
        layer = output_layer(inner, net_input)

        def forward(**inputs: Tensor) -> Found:
            decoder = make_decoder(inner, layer, inputs)
            gold = decoder.gold_run(target)
            with torch.autocast(target.device.type, enabled=False):  # the decoder turns it on for the model's layers
                return search(decoder, gold)

        with replaced(inner, "forward", forward):
            return model(**net_input)


def search_then_score(
    model: Any,
    net_input: Dict[str, Tensor],
    target: Tensor,
    search: Callable[[Decoder, GoldRun], Found],
    score: Callable[[Decoder, GoldRun, Found], Scores],
    dropout: bool,
) -> Scores:
    """Searches without gradient, and scores with gradient what was found.

    Args:
        model, net_input, target: as in ``search_in_training``.
        search: what to do with the model's decoder and its gold run, without gradient.
        score: what to do then; it gets the result of ``search`` too.
        dropout: whether the search has the dropout of the scores, as far as the model can. Otherwise it has none, as
            decoding has none, and the model is called twice in training.

    Raises:
        UserError: if the model cannot search in training.
    """
    if dropout or not model.training:

        def both(decoder: Decoder, gold: GoldRun) -> Scores:
            with torch.no_grad():
                found = search(decoder, gold.detach())
            return score(decoder, gold, found)

        return search_in_training(model, net_input, target, both)
    with torch.no_grad(), evaluation(model):
        found = search_in_training(model, net_input, target, search)
    return search_in_training(model, net_input, target, lambda decoder, gold: score(decoder, gold, found))


def _check_wrapper(model: Any, inner: FairseqEncoderDecoderModel) -> None:
    """Checks that a wrapper of data parallelism allows several passes over the decoder, and leaves it its weights.

    Raises:
        UserError: if torch's wrapper would see gradients of a layer several times, or fairscale's shards the weights.
    """
    if any(type(part).__name__ == "FullyShardedDataParallel" for part in model.modules()):
        raise UserError(
            f"beam_search_optimization reads the output layer of {type(inner).__name__} outside of its forward pass, "
            "where --ddp-backend fully_sharded leaves a worker a part of it alone: take --ddp-backend pytorch_ddp or "
            "legacy_ddp"
        )
    checkpointed = any(getattr(part.forward, "func", None) is _checkpointed_forward for part in inner.decoder.modules())
    if checkpointed and any(isinstance(part, DistributedDataParallel) for part in model.modules()):
        raise UserError(
            "beam_search_optimization runs a decoder with --checkpoint-activations several times in an update, which "
            "--ddp-backend pytorch_ddp does not allow: take --ddp-backend legacy_ddp, or leave out "
            "--checkpoint-activations"
        )


def make_decoder(model: FairseqEncoderDecoderModel, layer: OutputLayer, net_input: Dict[str, Tensor]) -> AnyDecoder:
    """The fastest decoder that fits the model.

    Raises:
        UserError: if none fits.
    """
    if can_pack(model, layer, net_input):
        return PackedTransformer(model, layer, net_input)
    check_steps(model, layer, net_input)
    return AnyDecoder(model, layer, net_input)
