"""Captured states of every architecture, layer and side, compared with a reference for one sentence at a time."""

import numpy
import pytest
import torch
from fairseq.criterions.adaptive_loss import AdaptiveLoss
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.sequence_generator import SequenceGenerator
from reference import fakes, states
from tiny_captures import SOURCES, TARGETS, attention_of, of_sentence, run

from fairseq_bso.interpret.capture import writer
from fairseq_bso.models.decoder import DecoderPass

TWO_LAYERS = {"encoder_layers": 2, "decoder_layers": 2}
VARIANTS = [
    ("bso_lstm", {}),
    ("bso_lstm", {**TWO_LAYERS, "scorer": "unnormalized", "encoder_bidirectional": True, "attention": "mlp"}),
    ("bso_lstm", {**TWO_LAYERS, "scorer": "summed", "share_all_embeddings": True}),
    ("bso_lstm", {"encoder_layers": 3, "decoder_layers": 3, "residual": True, "share_all_embeddings": True}),
    ("bso_lstm", {**TWO_LAYERS, "residual": True, "no_input_feeding": True, "attention": "dot"}),
    ("bso_lstm", {"encoder_hidden_size": 3, "decoder_embed_dim": 2, "encoder_bidirectional": True, **TWO_LAYERS}),
    ("lstm", {}),
    ("lstm", {**TWO_LAYERS, "encoder_bidirectional": True, "encoder_hidden_size": 4}),
    ("lstm", {**TWO_LAYERS, "decoder_attention": "0", "share_decoder_input_output_embed": True}),
    ("lstm", {"encoder_layers": 3, "decoder_layers": 3, "decoder_out_embed_dim": 4, "encoder_hidden_size": 3}),
]
LANGUAGE_MODELS = [
    {},
    {"decoder_layers": 2, "residuals": True},
    {"decoder_layers": 2, "share_decoder_input_output_embed": True},
]
GATES = ("input", "forget", "output", "candidate")


def compare(side, sentence, expected, skip=("attention", "scores")):
    """Compares all states of one sentence."""
    for name, steps in expected.items():
        if name not in skip:
            rows = of_sentence(side, name, sentence)
            numpy.testing.assert_allclose(rows, torch.stack(steps).numpy(), rtol=1e-5, atol=1e-5, err_msg=name)


def compare_predictions(side, sentence, scores, words, raw):
    """Compares the losses or raw scores and the top-k words of one sentence; scores are (T, V)."""
    of_next = scores.gather(1, torch.tensor(words).unsqueeze(1)).squeeze(1).numpy()
    measure = of_sentence(side, "score" if raw else "loss", sentence)
    numpy.testing.assert_allclose(measure, of_next if raw else -of_next, rtol=1e-5, atol=1e-5)
    assert ("loss" in side) != ("score" in side)
    predictions, best = of_sentence(side, "predictions", sentence), of_sentence(side, "prediction_scores", sentence)
    scores[:, 1] = -torch.inf  # padding is never predicted
    expected, which = scores.topk(5, dim=1)
    numpy.testing.assert_allclose(best, expected.numpy(), rtol=1e-5, atol=1e-5)
    assert (predictions == which.numpy()).all()


@pytest.mark.parametrize("arch, options", VARIANTS)
def test_states_attention_and_losses_equal_the_twin(tmp_path, arch, options):
    """Batches have up to four sentences; all but the longest are padded."""
    model, found = run(tmp_path, arch, {"gates": True, "batch_size": 4}, **options)
    for sentence, (source, target) in enumerate(zip(SOURCES, TARGETS)):
        twin = states.bso_lstm if arch == "bso_lstm" else states.fairseq_lstm
        fed = [2, *target[:-1]]
        encoder, decoder = twin(model, source, fed)
        assert of_sentence(found["encoder"], "word_ids", sentence).tolist() == source
        assert of_sentence(found["decoder"], "word_ids", sentence).tolist() == fed
        compare(found["encoder"], sentence, encoder)
        compare(found["decoder"], sentence, decoder)
        raw = options.get("scorer", "softmax") != "softmax"
        compare_predictions(found["decoder"], sentence, torch.stack(decoder["scores"]), target, raw)
        if "attention" in decoder:
            weights = torch.stack(decoder["attention"]).numpy()
            numpy.testing.assert_allclose(attention_of(found, sentence), weights, rtol=1e-5, atol=1e-5)
    layers = range(1, options.get("encoder_layers", 1) + 1)
    names = {f"{kind}{layer}" for kind in ("hidden", "cell", *GATES) for layer in layers}
    assert {name for name, values in found["encoder"].items() if values.ndim == 2} == names
    extra = {"attentional"} if arch == "bso_lstm" else set()
    wide = {name for name, values in found["decoder"].items() if values.ndim == 2}
    wide = {name for name in wide if not name.startswith("output_words/")}  # of units, not of words
    assert wide == names | extra | {"predictions", "prediction_scores"}
    assert ("attention_weights" in found["decoder"]) == (options.get("decoder_attention") != "0")


@pytest.mark.parametrize("options", LANGUAGE_MODELS)
def test_states_of_language_models_equal_the_twin(tmp_path, options):
    settings = {"gates": True, "batch_size": 4, "break_mode": "eos"}
    model, found = run(tmp_path, "lstm_lm", settings, task="language_modeling", **options)
    assert list(found) == ["decoder"]
    for sentence, target in enumerate(SOURCES):
        fed = [2, *target[:-1]]
        _, decoder = states.fairseq_language_model(model, fed)
        assert of_sentence(found["decoder"], "word_ids", sentence).tolist() == fed
        compare(found["decoder"], sentence, decoder)
        compare_predictions(found["decoder"], sentence, torch.stack(decoder["scores"]), target, False)


def test_samples_that_run_on_over_sentences_are_as_in_training(tmp_path):
    options = {"task": "language_modeling", "tokens_per_sample": 8}  # sample_break_mode: none
    model, found = run(tmp_path, "lstm_lm", {"gates": True}, **options)
    words = [word for sentence in SOURCES for word in sentence]
    read = [2, *words[:-1]]  # the input of a row is the word before the one that it predicts
    assert found["decoder"]["word_ids"].tolist() == read
    assert found["decoder"]["sentence_offsets"].tolist() == [0, 8, 16, 21]
    for sample, start in enumerate((0, 8, 16)):
        _, decoder = states.fairseq_language_model(model, read[start : start + 8])
        compare(found["decoder"], sample, decoder)


@pytest.mark.parametrize(
    "arch, options",
    [
        ("bso_lstm", {}),
        ("lstm", {"encoder_bidirectional": True}),
        # There is only one rare word: a second one would have the number of padding, which fairseq's criterion ignores.
        ("lstm", {"criterion": "adaptive_loss", "adaptive_softmax_cutoff": "9"}),
    ],
)
def test_losses_are_those_of_fairseqs_criterion(tmp_path, arch, options):
    model, found = run(tmp_path, arch, **options)
    task = fakes.FakeTask()
    if options.get("criterion") == "adaptive_loss":
        criterion = AdaptiveLoss(task, sentence_avg=False)
    else:
        criterion = CrossEntropyCriterion(task, sentence_avg=False)
    for sentence, (source, target) in enumerate(zip(SOURCES, TARGETS)):
        net_input = {
            "src_tokens": torch.tensor([source]),
            "src_lengths": torch.tensor([len(source)]),
            "prev_output_tokens": torch.tensor([[2, *target[:-1]]]),
        }
        sample = {"net_input": net_input, "target": torch.tensor([target]), "ntokens": len(target)}
        loss, _, _ = criterion(model, sample)
        assert of_sentence(found["decoder"], "loss", sentence).sum() == pytest.approx(loss.item(), rel=1e-5)


def generated(model, source):
    """The greedy output of fairseq's generator, and the states of every layer at every step."""
    noted = [[] for _ in range(len(getattr(model.decoder, "layers", [])) if arch_is_fairseqs(model) else 0)]
    net_input = {"src_tokens": torch.tensor([source]), "src_lengths": torch.tensor([len(source)])}
    options = {"normalize_scores": not getattr(model, "unnormalized", False)}
    generator = SequenceGenerator([model], model.decoder.dictionary, beam_size=1, **options)
    steps = []
    if arch_is_fairseqs(model):
        hooks = [
            cell.register_forward_hook(lambda _, __, made, kept=kept: kept.append(made))
            for cell, kept in zip(model.decoder.layers, noted)
        ]
        ((best, *_),) = generator.generate([model], {"net_input": net_input})
        for hook in hooks:
            hook.remove()
        for layers in zip(*noted):
            steps.append({f"hidden{i}": made[0] for i, made in enumerate(layers, 1)})
            steps[-1].update({f"cell{i}": made[1] for i, made in enumerate(layers, 1)})
        return best["tokens"].tolist(), steps
    advance = DecoderPass.advance

    def noting(self, *arguments):
        output, made = advance(self, *arguments)
        layers = self.decoder.layers
        steps.append({f"hidden{i + 1}": made[i] for i in range(layers)})
        steps[-1].update({f"cell{i + 1}": made[layers + i] for i in range(layers)}, attentional=made[-1])
        return output, made

    DecoderPass.advance = noting
    try:
        ((best, *_),) = generator.generate([model], {"net_input": net_input})
    finally:
        DecoderPass.advance = advance
    return best["tokens"].tolist(), steps


def arch_is_fairseqs(model):
    """Whether the model is fairseq's `lstm`."""
    return hasattr(model.decoder, "embed_tokens")


@pytest.mark.parametrize(
    "arch, options",
    [
        ("bso_lstm", {**TWO_LAYERS, "encoder_bidirectional": True}),
        ("bso_lstm", {"scorer": "unnormalized", "residual": True, **TWO_LAYERS}),
        ("bso_lstm", {"scorer": "summed", "encoder_bidirectional": True, **TWO_LAYERS}),
        ("lstm", TWO_LAYERS),
    ],
)
def test_states_on_its_own_output_equal_those_during_generation(tmp_path, arch, options):
    settings = {"decode_on": "output", "beam": 1, "batch_size": 4}
    model, found = run(tmp_path, arch, settings, max_target_positions=12, **options)
    for sentence, source in enumerate(SOURCES):
        words, steps = generated(model, source)
        fed = of_sentence(found["decoder"], "word_ids", sentence).tolist()
        assert fed == [2, *words[:-1]]
        for name in steps[0]:
            during = torch.cat([step[name] for step in steps[: len(fed)]]).numpy()
            rows = of_sentence(found["decoder"], name, sentence)
            numpy.testing.assert_allclose(rows, during, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("scorer", ["softmax", "summed", "unnormalized"])
def test_output_under_a_constraint_is_allowed_by_it(tmp_path, scorer):
    options = {"task": "bso_translation", "successors": "word_order", "scorer": scorer}
    _, found = run(tmp_path, "bso_lstm", {"decode_on": "output", "beam": 3}, **options)
    for sentence, source in enumerate(SOURCES):
        fed = of_sentence(found["decoder"], "word_ids", sentence).tolist()
        assert sorted(fed) == sorted(source)


@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"max_tokens": 9}, {"max_tokens": 1}, {"window": 1}])
def test_nothing_depends_on_batches_and_windows(tmp_path, monkeypatch, settings):
    options = {**TWO_LAYERS, "encoder_bidirectional": True}
    _, whole = run(tmp_path, "bso_lstm", {"gates": True}, **options)
    settings = dict(settings)
    monkeypatch.setattr(writer, "WINDOW_BYTES", settings.pop("window", writer.WINDOW_BYTES))
    _, cut = run(tmp_path, "bso_lstm", {"gates": True, **settings}, **options)
    for side, datasets in whole.items():
        for name, values in datasets.items():
            numpy.testing.assert_allclose(cut[side][name], values, rtol=1e-5, atol=1e-6, err_msg=name)
