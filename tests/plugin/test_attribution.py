"""Attribution to source and target words: compared with autograd through the reference, and complete."""

import pytest
import torch
from reference import states
from tiny_captures import SOURCES, TARGETS, write_checkpoint, write_data

from fairseq_bso.interpret.attribution.gradients import attribute
from fairseq_bso.interpret.models.loading import load

TWO_LAYERS = {"encoder_layers": 2, "decoder_layers": 2}
VARIANTS = [
    ("bso_lstm", {**TWO_LAYERS, "encoder_bidirectional": True, "attention": "mlp", "scorer": "summed"}),
    ("bso_lstm", {"encoder_layers": 3, "decoder_layers": 3, "residual": True, "share_all_embeddings": True}),
    ("bso_lstm", {"attention": "dot", "share_decoder_input_output_embed": True}),
    ("lstm", {**TWO_LAYERS, "encoder_bidirectional": True, "encoder_hidden_size": 4}),
    ("lstm", {"decoder_attention": "0", "share_decoder_input_output_embed": True}),
    ("lstm_lm", {**TWO_LAYERS, "residuals": True}),
]
SENTENCE = 0


def made(tmp_path, arch, options):
    """The model of a checkpoint, its reader, and source, read and predicted words of a sentence."""
    data = write_data(tmp_path / "data")
    more = {"task": "language_modeling"} if arch == "lstm_lm" else {}
    model = write_checkpoint(tmp_path / "model.pt", data, arch, **more, **options)
    words = SOURCES[SENTENCE] if arch == "lstm_lm" else TARGETS[SENTENCE]
    source = None if arch == "lstm_lm" else torch.tensor(SOURCES[SENTENCE])
    reader = load(str(tmp_path / "model.pt"), str(data), cpu=True).reader
    return model, reader, source, torch.tensor([2, *words[:-1]]), torch.tensor(words)


def twin(arch, model, source, inputs, words, scale):
    """Every row's score by the reference, and its derivative by a factor of each word at `scale`: rows of (S + T,)."""
    tables = []
    if source is not None:
        table = model.encoder.embedding if arch == "bso_lstm" else model.encoder.embed_tokens
        tables += [table.weight[word] for word in source]
    table = model.decoder.embedding if arch == "bso_lstm" else model.decoder.embed_tokens
    tables += [table.weight[word] for word in inputs]
    factors = torch.full((len(tables),), float(scale), requires_grad=True)
    vectors = [factor * vector for factor, vector in zip(factors, tables)]
    if source is None:
        _, steps = states.fairseq_language_model(model, vectors)
    else:
        run = states.bso_lstm if arch == "bso_lstm" else states.fairseq_lstm
        _, steps = run(model, vectors[: len(source)], vectors[len(source) :])
    scores = [scores[word] for scores, word in zip(steps["scores"], words)]
    gradients = [torch.autograd.grad(score, factors, retain_graph=True)[0] for score in scores]
    return torch.stack(scores).detach(), torch.stack(gradients)


def all_words(found):
    """(R, S + T)."""
    return found.target if found.source is None else torch.cat([found.source, found.target], 1)


@pytest.mark.parametrize("arch, options", VARIANTS)
def test_gradient_times_input_is_the_derivative_by_a_factor_of_each_word(tmp_path, arch, options):
    model, reader, source, inputs, words = made(tmp_path, arch, options)
    found = attribute(reader, source, inputs, words, "gradient_input")
    scores, gradients = twin(arch, model, source, inputs, words, 1.0)
    torch.testing.assert_close(all_words(found), gradients, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found.score, scores, rtol=1e-4, atol=1e-5)
    assert (found.target.triu(1) == 0).all() and (found.target.diagonal() != 0).all()


@pytest.mark.parametrize("arch, options", VARIANTS)
def test_integrated_gradients_are_the_mean_along_the_way_and_add_up_to_the_difference(tmp_path, arch, options):
    model, reader, source, inputs, words = made(tmp_path, arch, options)
    found = attribute(reader, source, inputs, words, "integrated", steps=32)
    nodes = 50
    mean = sum(twin(arch, model, source, inputs, words, (node + 0.5) / nodes)[1] for node in range(nodes)) / nodes
    torch.testing.assert_close(all_words(found), mean, rtol=2e-3, atol=2e-3)
    baseline, _ = twin(arch, model, source, inputs, words, 0.0)
    torch.testing.assert_close(found.baseline, baseline, rtol=1e-4, atol=1e-5)
    missing = [
        (all_words(one).sum(1) - (one.score - one.baseline)).abs().max()
        for one in (attribute(reader, source, inputs, words, "integrated", steps=steps) for steps in (1, 4, 32))
    ]
    assert missing[2] < 1e-4 and missing[2] < missing[1] < missing[0]


def test_some_rows_are_those_of_all_rows(tmp_path):
    _, reader, source, inputs, words = made(tmp_path, "bso_lstm", TWO_LAYERS)
    every = attribute(reader, source, inputs, words, "integrated", steps=4)
    some = attribute(reader, source, inputs, words, "integrated", steps=4, rows=[2, 0])
    for one, other in zip(every, some):
        torch.testing.assert_close(one[[2, 0]], other)


def test_other_methods_and_numbers_of_steps_are_refused(tmp_path):
    _, reader, source, inputs, words = made(tmp_path, "lstm_lm", {})
    with pytest.raises(ValueError, match="saliency, but must be one of gradient_input, integrated"):
        attribute(reader, source, inputs, words, "saliency")
    with pytest.raises(ValueError, match="steps is 0"):
        attribute(reader, source, inputs, words, "integrated", steps=0)
