"""``bso_lstm``, compared with its reference: scores, the BSO loss and its gradients, decoding, and refused options."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import fakes, lstm

from fairseq_bso.bso.criterion import BeamSearchOptimizationCriterion
from fairseq_bso.errors import UserError
from fairseq_bso.models import decoder as decoder_module

VARIANTS = [
    {},
    {"encoder_layers": 2, "decoder_layers": 2},
    {"encoder_layers": 3, "decoder_layers": 3, "residual": True, "share_all_embeddings": True},
    {"encoder_bidirectional": True, "no_input_feeding": True, "share_decoder_input_output_embed": True},
    {"attention": "dot", "encoder_layers": 2, "decoder_layers": 2},
    {"attention": "mlp", "encoder_bidirectional": True, "decoder_hidden_size": 4},
    {"encoder_hidden_size": 3, "decoder_embed_dim": 2, "dropout": 0.4, "embedding_dropout": 0.3},
    {"encoder_layers": 2, "decoder_layers": 2, "residual": True, "dropout": 0.4, "attention": "mlp"},
]
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


@pytest.mark.parametrize("options", VARIANTS)
def test_teacher_forced_scores_equal_the_twin(options):
    model = fakes.model(**{**options, "dropout": 0.0, "embedding_dropout": 0.0})
    sources, golds = [[5, 6, 7, 2], [8, 2]], [[6, 6, 9, 2], [4, 2]]
    net_input, _ = fakes.batch(model, sources, golds)
    scores, _ = model(**net_input)
    for row, (source, gold) in enumerate(zip(sources, golds)):
        for time in range(len(gold)):
            torch.testing.assert_close(scores[row, time], lstm.scores_after(model, source, gold[:time]))


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
            drawn.append(draw(self, time))
            return drawn[-1]

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
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(200):
        loss, _, logged = fast_loss(model, [[5, 6, 2], [7, 2]], [[4, 5, 6, 2], [9, 9, 2]], 3, "zero_one")
        optimizer.zero_grad()
        loss.backward()
        if logged["violations"] == 0:
            break
        optimizer.step()
    assert logged["violations"] == 0 and loss.item() == 0
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


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


@pytest.mark.parametrize("options", VARIANTS)
def test_incremental_steps_telescope_to_the_last_score(options):
    """The sum of emitted scores is ``f`` of the last word, while beams are reordered and sentences finish."""
    model = fakes.model(**{**options, "dropout": 0.0, "embedding_dropout": 0.0})
    sources = [[5, 6, 7, 2], [8, 9, 2], [4, 2]]
    net_input, _ = fakes.batch(model, sources, [[4, 2]] * 3)
    encoder_out = model.encoder(net_input["src_tokens"], net_input["src_lengths"])
    owner = [0, 0, 1, 1, 2, 2]
    encoder_out = model.encoder.reorder_encoder_out(encoder_out, torch.tensor(owner))
    tokens, total, state = torch.full((6, 1), 2), torch.zeros(6, dtype=torch.float64), {}
    generator = torch.Generator().manual_seed(1)
    orders = [[1, 0, 3, 3, 4, 5], [0, 0, 2, 3], [1, 0, 3, 2]]  # the last sentence ends after the second step
    for order in orders:
        decoder_out = model.decoder(tokens, encoder_out=encoder_out, incremental_state=state)
        emitted = model.get_normalized_probs(decoder_out, log_probs=True)[:, -1]
        chosen = torch.randint(4, 10, (tokens.size(0), 1), generator=generator)
        total = total + emitted.gather(1, chosen).squeeze(1)
        tokens = torch.cat([tokens, chosen], 1)
        for row, prefix in enumerate(tokens[:, 1:].tolist()):
            expected = lstm.scores_after(model, sources[owner[row]], prefix[:-1])[prefix[-1]]
            torch.testing.assert_close(total[row], expected.detach(), rtol=1e-5, atol=1e-5)
        order = torch.tensor(order)
        tokens, total, owner = tokens[order], total[order], [owner[index] for index in order.tolist()]
        model.decoder.reorder_incremental_state(state, order)
        encoder_out = model.encoder.reorder_encoder_out(encoder_out, order)


def test_sixteen_bit_scores_telescope_too():
    model = fakes.model(init_range=0.3).bfloat16()
    encoder_out = model.encoder(torch.tensor([[5, 6, 7, 2]]), torch.tensor([4]))
    tokens, total, state = torch.full((1, 1), 2), 0.0, {}
    for step in range(30):
        decoder_out = model.decoder(tokens, encoder_out=encoder_out, incremental_state=state)
        last = decoder_out[0][0, -1].float()
        word = 4 + step % 6
        total += model.get_normalized_probs(decoder_out, log_probs=True)[0, -1, word].item()
        tokens = torch.cat([tokens, torch.full((1, 1), word)], 1)
    assert total == pytest.approx(last[word].item(), abs=0.01)


def test_attention_is_in_the_order_of_a_batch_padded_on_the_left():
    """fairseq reads alignments in the order of the batch, which is padded on the left."""
    model = fakes.model(scorer="softmax")
    alone = model(**fakes.batch(model, [[8, 2]], [[4, 5, 2]])[0])[1]["attn"][0]
    both = model(**fakes.batch(model, [[5, 6, 7, 2], [8, 2]], [[4, 5, 2]] * 2)[0])[1]["attn"][0]
    torch.testing.assert_close(both[1], torch.nn.functional.pad(alone[0], (2, 0)))


def test_sources_padded_on_either_side_are_the_same():
    model = fakes.model(encoder_bidirectional=True)
    net_input, _ = fakes.batch(model, [[5, 6, 7, 2], [8, 2]], [[4, 2]] * 2)
    right = {**net_input, "src_tokens": torch.tensor([[5, 6, 7, 2], [8, 2, 1, 1]])}
    torch.testing.assert_close(model(**net_input)[0], model(**right)[0])


def test_decoding_with_dropout_on_draws_no_masks():
    model = fakes.model(dropout=0.5).train()
    encoder_out = model.encoder(torch.tensor([[5, 2]]), torch.tensor([2]))
    assert model.decoder(torch.tensor([[2]]), encoder_out, incremental_state={})[0].shape == (1, 1, 10)


def test_a_model_that_diverged_says_so():
    model = fakes.model()
    with torch.no_grad():
        model.decoder.output_bias[7] = float("nan")
    loss, _, _ = fast_loss(model, [[5, 6, 2]], [[7, 8, 2]], 3, "zero_one")
    assert loss.isnan()


def test_reordering_across_sentences_falls_back_to_one_memory_per_hypothesis():
    model = fakes.model()
    net_input, _ = fakes.batch(model, [[5, 6, 2], [8, 2]], [[4, 2]] * 2)
    encoder_out = model.encoder(net_input["src_tokens"], net_input["src_lengths"])
    chosen = model.encoder.reorder_encoder_out(encoder_out, torch.tensor([1, 0, 0]))
    assert chosen.width == 1
    torch.testing.assert_close(chosen.keys, encoder_out.keys[[1, 0, 0]])


def test_forced_scores_of_an_unnormalized_model_telescope_too():
    """``fairseq-generate --score-reference`` sums these scores."""
    model = fakes.model()
    source, gold = [5, 6, 2], [7, 8, 9, 2]
    net_input, target = fakes.batch(model, [source], [gold])
    emitted = model.get_normalized_probs(model(**net_input), log_probs=True, sample={"target": target})
    total = emitted[0].gather(1, target.t()).sum().double()
    torch.testing.assert_close(total, lstm.scores_after(model, source, gold[:-1])[2].detach(), rtol=1e-5, atol=1e-5)


def test_an_unnormalized_model_refuses_to_be_a_probability():
    model = fakes.model()
    net_input, _ = fakes.batch(model, [[5, 2]], [[4, 2]])
    with pytest.raises(UserError, match="beam_search_optimization, or give --scorer softmax"):
        model.get_normalized_probs(model(**net_input), log_probs=True)


def test_softmax_scores_are_probabilities():
    model = fakes.model(scorer="softmax")
    net_input, _ = fakes.batch(model, [[5, 6, 2]], [[4, 7, 2]])
    output = model(**net_input)
    torch.testing.assert_close(model.get_normalized_probs(output, log_probs=False).sum(2), torch.ones(1, 3))
    torch.testing.assert_close(
        model.get_normalized_probs(output, log_probs=True).exp(), model.get_normalized_probs(output, log_probs=False)
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"encoder_layers": 2}, "--encoder-layers 2 and --decoder-layers 1 differ"),
        ({"attention": "dot", "encoder_bidirectional": True}, "--attention dot compares encoder states of 10 with"),
        ({"share_all_embeddings": True, "encoder_embed_dim": 4}, "needs --encoder-embed-dim 4 equal to"),
        ({"share_decoder_input_output_embed": True, "decoder_hidden_size": 4}, "a shared scorer needs"),
        ({"share_all_embeddings": True, "decoder_freeze_embed": True}, "would freeze the shared scorer too"),
        ({"dropout": 1.0, "encoder_layers": 2}, "--dropout is 1.0, but must be at least 0 and below 1"),
        ({"encoder_embed_path": "no/such/file"}, "embedding file no/such/file does not exist"),
    ],
)
def test_options_that_do_not_fit_are_named(options, message):
    with pytest.raises(UserError, match=message):
        fakes.model(**options)


def test_pretrained_embeddings_are_loaded_and_frozen(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("1 5\nword2 1 2 3 4 5\n")
    model = fakes.model(encoder_embed_path=str(path), encoder_freeze_embed=True)
    index = model.encoder.dictionary.index("word2")
    assert model.encoder.embedding.weight[index].tolist() == [1, 2, 3, 4, 5]
    assert not model.encoder.embedding.weight.requires_grad and model.decoder.embedding.weight.requires_grad
    path.write_text("1 3\nword2 1 2 3\n")
    with pytest.raises(UserError, match="holds vectors of 3 numbers, but the model has embeddings of 5"):
        fakes.model(encoder_embed_path=str(path))


def test_a_checkpoint_of_another_dictionary_is_refused_by_name():
    other = fakes.model(task=fakes.FakeTask(words=9))
    with pytest.raises(UserError, match="encoder dictionary has 13 symbols, but this data's has 10"):
        fakes.model().load_state_dict(other.state_dict())
