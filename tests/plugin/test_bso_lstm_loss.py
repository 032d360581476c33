"""The BSO loss of ``bso_lstm`` and its gradients, compared with the reference; 16-bit types, and refused targets."""

import pytest
import torch
from bso_runs import train_until_no_violation
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import fakes, lstm
from reference.fakes import VARIANTS

from fairseq_bso.bso.criterion import BeamSearchOptimizationCriterion
from fairseq_bso.errors import UserError
from fairseq_bso.models import decoder as decoder_module

CUDA_TYPES = [pytest.param("cuda", kind, marks=pytest.mark.gpu) for kind in (torch.float16, torch.bfloat16)]
words = st.lists(st.integers(4, 9), max_size=4).map(lambda sentence: [*sentence, 2])
batches = st.lists(st.tuples(words, words), min_size=1, max_size=3)


def criterion(train_beam, delta="zero_one", nll_weight=0.0, search_words=0, **options):
    return BeamSearchOptimizationCriterion(
        fakes.FakeTask(), train_beam, 2, 0, delta, 1.0, nll_weight, "model", 4, False, search_words, **options
    )


def fast_loss(model, sources, golds, beam, delta, **options):
    net_input, target = fakes.batch(model, sources, golds)
    sample = {"net_input": net_input, "target": target, "ntokens": sum(map(len, golds)), "id": torch.arange(len(golds))}
    return criterion(beam, delta, **options)(model, sample)


@pytest.mark.parametrize("scorer", ["softmax", "summed", "unnormalized"])
@pytest.mark.parametrize("options", VARIANTS)
@settings(max_examples=15, deadline=None)
@given(
    delta=st.sampled_from(["zero_one", "sentence_bleu"]),
    data=batches,
    beam=st.integers(2, 6),
    seed=st.integers(0, 1000),
    liked=st.booleans(),
    lenpen=st.sampled_from([None, 0.0, 1.0, 0.6]),
)
def test_loss_and_gradients_equal_the_twin(options, scorer, delta, data, beam, seed, liked, lenpen):
    model = fakes.model(seed, scorer=scorer, **options)
    lenpen = None if scorer == "unnormalized" else lenpen and (lenpen if scorer == "softmax" else 0.0)
    finished = {} if lenpen is None else {"finished": "rival"}
    if finished and scorer == "softmax":
        finished["finished_lenpen"] = lenpen
    sources, golds = [source for source, _ in data], [gold if len(gold) > 1 else [4, 2] for _, gold in data]
    if liked:  # high scores of some words keep hypotheses on the beam for several steps
        with torch.no_grad():
            model.decoder.output_bias[torch.tensor(golds[0])] += 2.0
            model.decoder.output_bias[2] += 1.0
    drawn = []
    if model.decoder.dropout > 0:
        model.train()
        draw = decoder_module.DecoderPass._draw_masks
        model.encoder.eval()  # the reference has no dropout in the encoder

        def noted(self, time):
            masks = draw(self, time)
            if masks.embedded is not None:  # without any input, hypotheses would tie but for the rounding
                masks.embedded[(masks.embedded == 0).all(1)] = 1
            drawn.append(masks)
            return masks

        decoder_module.DecoderPass._draw_masks = noted
    try:
        fast, _, logged = fast_loss(model, sources, golds, beam, delta, **finished)
    finally:
        if drawn:
            decoder_module.DecoderPass._draw_masks = draw
    masks = [lstm.masks_of(drawn[0], s, len(golds)) for s in range(len(golds))] if drawn else None
    slow, gaps = lstm.beam_search_loss(model, sources, golds, beam, delta, masks, lenpen)
    assert logged["violations"] == len(gaps)
    assert float(logged["gold_gap"]) == pytest.approx(sum(gaps), abs=1e-6)
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if delta == "sentence_bleu" else {}  # costs are float32
    torch.testing.assert_close(fast, slow, **tolerance)
    if not slow.requires_grad:
        assert fast == 0
        return
    parameters = list(model.parameters())
    fast_gradients = torch.autograd.grad(fast, parameters, allow_unused=True)
    slow_gradients = torch.autograd.grad(slow, parameters, allow_unused=True)
    for parameter, ours, theirs in zip(parameters, fast_gradients, slow_gradients):
        ours, theirs = (torch.zeros_like(parameter) if part is None else part for part in (ours, theirs))
        torch.testing.assert_close(ours, theirs, **tolerance)


def test_training_ends_with_no_violation_zero_loss_and_zero_gradient_for_every_parameter():
    model = fakes.model(encoder_bidirectional=True)
    batch = [[5, 6, 2], [7, 2]], [[4, 5, 6, 2], [9, 9, 2]]
    loss, logged = train_until_no_violation(model, lambda: fast_loss(model, *batch, 3, "zero_one"))
    assert logged["violations"] == 0 and loss.item() == 0
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("loss", ["margin", "log_beam"])
def test_a_delta_must_return_one_cost_for_each_violation(loss):
    model, bso = fakes.model(), criterion(3, loss=loss)
    bso.delta = lambda hypothesis, gold, lengths: torch.ones(len(lengths), 1)
    net_input, target = fakes.batch(model, [[5, 6, 2]], [[4, 5, 2]])
    with pytest.raises(UserError, match=r"--delta zero_one returned a tensor of shape \((\d+), 1\) for \1 violations"):
        bso(model, {"net_input": net_input, "target": target, "ntokens": 3, "id": torch.arange(1)})


def test_a_search_of_any_words_does_not_use_the_inputs_of_the_search_before():
    model = fakes.model()
    net_input, target = fakes.batch(model, [[5, 6, 2]], [[4, 2]])
    run = model(**net_input, target=target, search=lambda decoder, gold: decoder)
    words, zeros = torch.arange(10), torch.zeros(10, dtype=torch.long)
    with torch.no_grad():
        right = run.embed(words, zeros, zeros)
        run.prepare(torch.tensor([5, 6]))
        torch.testing.assert_close(run.embed(words, zeros, zeros)[5:7], right[5:7])
        run.prepare(None)
        torch.testing.assert_close(run.embed(words, zeros, zeros), right)


@pytest.mark.parametrize("device, dtype", [("cpu", torch.bfloat16), *CUDA_TYPES])
def test_sixteen_bit_losses_and_gradients_are_close_to_float32s(device, dtype):
    model = fakes.model(encoder_layers=2, decoder_layers=2, init_range=0.3).float().to(device)
    net_input, target = fakes.batch(model, [[5, 6, 2], [7, 2]], [[4, 5, 6, 2], [9, 9, 2]])
    move = {name: part.to(device) for name, part in net_input.items()}
    sample = {"net_input": move, "target": target.to(device), "ntokens": 7, "id": torch.arange(2)}
    exact, _, _ = criterion(4, nll_weight=0.5)(model, sample)
    half = model.to(dtype)
    loss, _, logged = criterion(4, nll_weight=0.5)(half, sample)
    loss.backward()
    assert logged["violations"] > 0
    torch.testing.assert_close(loss.float(), exact, rtol=0.05, atol=0.1)
    assert all(torch.isfinite(parameter.grad).all() for parameter in half.parameters())


@pytest.mark.parametrize("train", ["bso", "nll"])
def test_autocast_changes_nothing(train):
    """The model computes in its own type under fairseq's --amp."""
    model = fakes.model(scorer="softmax" if train == "nll" else "unnormalized").float()
    losses = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            if train == "bso":
                loss = fast_loss(model, [[5, 6, 2]], [[7, 8, 2]], 3, "zero_one")[0]
            else:
                loss = model(**fakes.batch(model, [[5, 6, 2]], [[7, 8, 2]])[0])[0].sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        losses.append([loss, *[gradient for gradient in gradients if gradient is not None]])
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize(
    "target, message",
    [
        ([[4, 5, 2], [2, 1, 1]], "sentence 8 .* is empty"),
        ([[4, 5, 2], [1, 5, 2]], "sentence 8 .* is padded on the left"),
        ([[4, 5, 2], [4, 1, 2]], "sentence 8 .* holds the padding symbol"),
    ],
)
def test_targets_that_cannot_be_gold_are_named(target, message):
    model = fakes.model()
    net_input, _ = fakes.batch(model, [[5, 2]] * 2, [[4, 5, 2]] * 2)
    sample = {"net_input": net_input, "target": torch.tensor(target), "ntokens": 6, "id": torch.tensor([7, 8])}
    with pytest.raises(UserError, match=message):
        criterion(2)(model, sample)
    with pytest.raises(UserError, match="needs target sentences"):
        criterion(2)(model, {**sample, "target": None})


def test_bidirectional_padding_does_not_change_a_sentence():
    model = fakes.model(encoder_bidirectional=True)
    alone = fast_loss(model, [[5, 6, 2]], [[7, 8, 2]], 3, "zero_one")[0]
    both = fast_loss(model, [[5, 6, 2], [4, 4, 4, 4, 4, 2]], [[7, 8, 2], [9, 4, 4, 4, 2]], 3, "zero_one")[0]
    other = fast_loss(model, [[4, 4, 4, 4, 4, 2]], [[9, 4, 4, 4, 2]], 3, "zero_one")[0]
    torch.testing.assert_close(both, alone + other)


def test_a_model_that_diverged_says_so():
    model = fakes.model()
    with torch.no_grad():
        model.decoder.output_bias[7] = float("nan")
    loss, _, _ = fast_loss(model, [[5, 6, 2]], [[7, 8, 2]], 3, "zero_one")
    assert loss.isnan()
