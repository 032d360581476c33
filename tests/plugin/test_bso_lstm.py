"""``bso_lstm``, compared with its reference: scores and decoding; refused options."""

import pytest
import torch
from reference import fakes, lstm
from reference.fakes import VARIANTS

from fairseq_bso.errors import UserError


@pytest.mark.parametrize("options", VARIANTS)
def test_teacher_forced_scores_equal_the_twin(options):
    model = fakes.model(**{**options, "dropout": 0.0, "embedding_dropout": 0.0})
    sources, golds = [[5, 6, 7, 2], [8, 2]], [[6, 6, 9, 2], [4, 2]]
    net_input, _ = fakes.batch(model, sources, golds)
    scores, _ = model(**net_input)
    for row, (source, gold) in enumerate(zip(sources, golds)):
        for time in range(len(gold)):
            torch.testing.assert_close(scores[row, time], lstm.scores_after(model, source, gold[:time]))


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


def test_forced_scores_in_sixteen_bits_telescope_exactly():
    model = fakes.model(init_range=0.3).bfloat16()
    source, gold = [5, 6, 2], [7, 8, 9, 4, 5, 6, 7, 2]
    net_input, target = fakes.batch(model, [source], [gold])
    scores, extra = model(**net_input)
    emitted = model.get_normalized_probs((scores, extra), log_probs=True, sample={"target": target})
    assert emitted[0].gather(1, target.t()).sum() == scores[0, -1, 2].float()


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
        ({"encoder_layers": 0}, "--encoder-layers is 0, but must be at least 1"),
        ({"decoder_hidden_size": 0}, "--decoder-hidden-size is 0, but must be at least 1"),
        ({"decoder_embed_dim": -5}, "--decoder-embed-dim is -5, but must be at least 1"),
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
