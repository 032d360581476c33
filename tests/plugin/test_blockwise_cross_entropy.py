"""The blockwise criterions, compared with fairseq's on ``bso_lstm``, and the models that they refuse."""

import math

import pytest
import torch
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.logging import metrics
from reference import blockwise as slow
from reference import fakes

from fairseq_bso import blockwise
from fairseq_bso.cross_entropy.criterion import (
    BlockwiseCrossEntropyCriterion,
    BlockwiseLabelSmoothedCrossEntropyCriterion,
    SelfNormalizedCrossEntropyCriterion,
)
from fairseq_bso.errors import UserError

MODELS = [
    {},
    {"share_decoder_input_output_embed": True},
    {"share_all_embeddings": True, "encoder_layers": 2, "decoder_layers": 2, "residual": True},
    {"attention": "mlp", "no_input_feeding": True},
    {"dropout": 0.4},
]
SMOOTHING = [
    {"label_smoothing": 0.0},
    {"label_smoothing": 0.1, "report_accuracy": True},
    {"label_smoothing": 0.2, "ignore_prefix_size": 1, "report_accuracy": True},
]


@pytest.fixture(autouse=True, params=[(1, 1), blockwise.CPU_SCORES], ids=["16 rows a block", "one block"])
def block(request, monkeypatch):
    """Uses several blocks, or one block, for the 23 words of the batch below."""
    monkeypatch.setattr(blockwise, "CPU_SCORES", request.param)


def made(**options):
    """A float32 model in training, and a batch with padding."""
    model = fakes.model(**{"scorer": "softmax", **options}).float().train()
    golds = [[7, 8, 4, 9, 2], [5, 2], [6, 6, 7, 8, 9, 4, 5, 2], [4, 5, 6, 7, 8, 9, 4, 2]]
    net_input, target = fakes.batch(model, [[5, 6, 2], [7, 2], [8, 9, 4, 2], [6, 2]], golds)
    return model, {"net_input": net_input, "target": target, "ntokens": 23}


def with_gradients(criterion, model, sample):
    """Loss, sample size, logging output and the gradient of every parameter, with the same dropout in every call."""
    torch.manual_seed(7)
    loss, size, logged = criterion(model, sample)
    model.zero_grad(set_to_none=True)
    (2 * loss).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return loss, size, logged, gradients


def assert_same(ours, theirs):
    loss, size, logged, gradients = ours
    assert size == theirs[1] and set(logged) == set(theirs[2])
    for key, value in theirs[2].items():
        torch.testing.assert_close(float(logged[key]), float(value), rtol=1e-6, atol=0, msg=key)
    torch.testing.assert_close(loss, theirs[0], rtol=1e-6, atol=0)
    for name, gradient in theirs[3].items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("options", MODELS)
@pytest.mark.parametrize("sentence_avg", [False, True])
def test_cross_entropy_equals_fairseqs(options, sentence_avg):
    model, sample = made(**options)
    ours, theirs = (
        kind(fakes.FakeTask(), sentence_avg) for kind in (BlockwiseCrossEntropyCriterion, CrossEntropyCriterion)
    )
    assert_same(with_gradients(ours, model, sample), with_gradients(theirs, model, sample))
    with torch.no_grad():
        torch.testing.assert_close(ours(model.eval(), sample)[0], theirs(model, sample)[0], rtol=1e-6, atol=0)


@pytest.mark.parametrize("options", MODELS)
@pytest.mark.parametrize("smoothing", SMOOTHING)
def test_label_smoothed_cross_entropy_equals_fairseqs(options, smoothing):
    model, sample = made(**options)
    kinds = BlockwiseLabelSmoothedCrossEntropyCriterion, LabelSmoothedCrossEntropyCriterion
    ours, theirs = (kind(fakes.FakeTask(), sentence_avg=True, **smoothing) for kind in kinds)
    assert_same(with_gradients(ours, model, sample), with_gradients(theirs, model, sample))


def reduced(criterion, logged):
    """The metrics that the criterion computes from logging outputs."""
    with metrics.aggregate(new_root=True) as found:
        criterion.reduce_metrics(logged)
    return found.get_smoothed_values()


def test_the_log_is_fairseqs():
    model, sample = made()
    options = {"sentence_avg": False, "label_smoothing": 0.1, "report_accuracy": True}
    kinds = BlockwiseLabelSmoothedCrossEntropyCriterion, LabelSmoothedCrossEntropyCriterion
    ours, theirs = (reduced(kind, [kind(fakes.FakeTask(), **options)(model, sample)[2]] * 2) for kind in kinds)
    assert ours == theirs and {"loss", "nll_loss", "ppl", "accuracy"} <= set(ours)


@pytest.mark.parametrize("scorer", ["softmax", "summed", "unnormalized"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_self_normalized_cross_entropy_trains_every_scorer(scorer, smoothing):
    model, sample = made(scorer=scorer)
    criterion = SelfNormalizedCrossEntropyCriterion(fakes.FakeTask(), False, smoothing, 0.3)
    loss, size, logged, gradients = with_gradients(criterion, model, sample)
    outputs, _ = model.decoder(
        sample["net_input"]["prev_output_tokens"],
        model.encoder(sample["net_input"]["src_tokens"], sample["net_input"]["src_lengths"]),
        features_only=True,
    )
    layer = model.decoder.scorer
    words = outputs.flatten(0, 1), layer.weight, layer.bias, sample["target"].flatten()
    expected, nll, squares, _ = slow.cross_entropy(*words, 1, smoothing, 0.3)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    assert size == 23
    shown = reduced(criterion, [logged] * 2)
    assert shown["log_z"] == pytest.approx(math.sqrt(squares.item() / 23), abs=1e-3)
    assert shown["nll_loss"] == pytest.approx(nll.item() / 23 / math.log(2), abs=1e-3)
    model.zero_grad()
    (2 * expected).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-5, atol=1e-5, msg=name)


def test_training_brings_log_z_to_0():
    model, sample = made(scorer="summed")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    criterion = SelfNormalizedCrossEntropyCriterion(fakes.FakeTask(), False, 0.0, 0.1)
    shown = []
    for _ in range(200):
        loss, size, logged = criterion(model, sample)
        optimizer.zero_grad()
        (loss / size).backward()
        optimizer.step()
        shown.append(reduced(criterion, [logged]))
    assert shown[0]["log_z"] > 1 > 0.5 > shown[-1]["log_z"]
    assert shown[-1]["nll_loss"] < 0.5 < shown[0]["nll_loss"]


class Another(torch.nn.Module):
    """A model of another package."""


def test_models_without_outputs_are_refused():
    _, sample = made()
    task = fakes.FakeTask()
    for criterion, instead in (
        (BlockwiseCrossEntropyCriterion(task, False), "--criterion cross_entropy"),
        (BlockwiseLabelSmoothedCrossEntropyCriterion(task, False, 0.1), "--criterion label_smoothed_cross_entropy"),
        (SelfNormalizedCrossEntropyCriterion(task, False, 0.1, 0.1), "got Another: use --arch bso_lstm"),
    ):
        with pytest.raises(UserError, match=instead):
            criterion(Another(), sample)
    with pytest.raises(UserError, match="--self-normalize is -0.1, but must be at least 0"):
        SelfNormalizedCrossEntropyCriterion(task, False, 0.0, -0.1)
