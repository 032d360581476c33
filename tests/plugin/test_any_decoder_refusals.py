"""Models that cannot search in training are refused in one line, which says what is missing and what is allowed."""

import pytest
from fairseq.models import FairseqMultiModel
from reference import fakes, stock

from fairseq_bso.bso.criterion import BeamSearchOptimizationCriterion
from fairseq_bso.errors import UserError

ATTENTION = stock.SMALL["transformer"]
NON_AUTOREGRESSIVE = [
    "nonautoregressive_transformer",
    "cmlm_transformer",
    "levenshtein_transformer",
    "insertion_transformer",
]


def refusal(model) -> str:
    """The message of the criterion for this model."""
    task = fakes.FakeTask()
    criterion = BeamSearchOptimizationCriterion(task, 3, 2, 0, "zero_one", 1.0, 0.0, "model", 2, False)
    sample = stock.batch(task, [[5, 6, 2], [7, 2]], [[8, 2], [9, 9, 2]])
    with pytest.raises(UserError) as refused:
        criterion(model, sample)
    return str(refused.value)


def multilingual():
    """Two encoder-decoders in one model, which has no encoder of its own."""
    models = {pair: stock.build("transformer", **ATTENTION) for pair in ("de-en", "fr-en")}
    return FairseqMultiModel(
        {pair: model.encoder for pair, model in models.items()}, {pair: model.decoder for pair, model in models.items()}
    )


MODELS = {
    "transformer with an adaptive softmax": (
        lambda: stock.build("transformer", **ATTENTION, adaptive_softmax_cutoff="4,7"),
        "adaptive softmax",
    ),
    "lstm with an adaptive softmax": (
        lambda: stock.build(
            "lstm", **{**stock.SMALL["lstm"], "criterion": "adaptive_loss", "adaptive_softmax_cutoff": "4,7"}
        ),
        "adaptive softmax",
    ),
    "language model": (
        lambda: stock.build(
            "fconv_lm", decoder_embed_dim=5, decoder_layers="[(6, 3)]", tokens_per_sample=20, criterion="cross_entropy"
        ),
        "encoder",
    ),
    "several models in one": (multilingual, "encoder"),
    "fconv_self_att": (
        lambda: stock.build(
            "fconv_self_att",
            **stock.SMALL["fconv"],
            encoder_attention="False",
            decoder_attention="True",
            pretrained="False",
        ),
        "incremental",
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_the_message_says_what_is_missing(kind):
    build, missing = MODELS[kind]
    message = refusal(build())
    assert missing in message.lower()
    assert_is_one_helpful_line(message)


@pytest.mark.parametrize("arch", NON_AUTOREGRESSIVE)
def test_non_autoregressive_models_are_refused(arch):
    """They are subclasses of fairseq's Transformer, but their decoders have no next word."""
    message = refusal(stock.build(arch, **ATTENTION))
    assert "autoregressive" in message.lower()
    assert_is_one_helpful_line(message)


def assert_is_one_helpful_line(message: str) -> None:
    """One line, which names an option or an architecture to take."""
    assert "\n" not in message
    assert "--" in message or "transformer" in message or "bso_lstm" in message


def test_a_search_in_training_of_bso_lstm_is_not_refused():
    task = fakes.FakeTask()
    criterion = BeamSearchOptimizationCriterion(task, 3, 2, 0, "zero_one", 1.0, 0.0, "model", 2, False)
    sample = stock.batch(task, [[5, 6, 2], [7, 2]], [[8, 2], [9, 9, 2]])
    assert criterion(fakes.model(scorer="softmax"), sample)[0].requires_grad
