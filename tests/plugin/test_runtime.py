"""The numpy model and search, compared with the torch model and fairseq's generators."""

from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from fairseq.sequence_generator import SequenceGenerator
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import fakes
from runtime_models import VARIANTS, exported, network_of

from bso_runtime import beam_search as runtime_search
from bso_runtime import cli, model_file, vocabulary
from bso_runtime.beam_search import GenerationOptions, search
from bso_runtime.config import ModelConfig
from bso_runtime.constraints import Constraint
from bso_runtime.model_file import ModelFileError
from bso_runtime.weights import check_shapes
from fairseq_bso.decoding.constrained import ConstrainedGenerator
from fairseq_bso.decoding.constraint import Constraint as TorchConstraint
from fairseq_bso.export import command as export
from fairseq_bso.search import scorer

SCORERS = ["softmax", "summed", "unnormalized"]
LABELS = ["@L_a", "@R_a", "@R_b"]


def test_the_scorers_are_those_of_training():
    ours = {name: (one.normalized, one.cumulative) for name, one in scorer.SCORERS.items()}
    assert {name: tuple(one) for name, one in runtime_search.SCORERS.items()} == ours and list(ours) == SCORERS


@pytest.mark.parametrize("options", VARIANTS)
def test_scores_equal_those_of_the_torch_model(options):
    model = fakes.model(**options)
    network = network_of(model, options)
    sources, golds = [[5, 6, 2], [5, 6, 7, 4, 2], [8, 2]], [[6, 6, 9, 8, 2], [7, 4, 5, 9, 2], [4, 9, 9, 4, 2]]
    net_input, _ = fakes.batch(model, sources, golds)
    expected = model(**net_input)[0].detach().numpy()  # (B, T, V)
    for first, last in ((0, 3), (1, 2)):  # a batch, and a single sentence
        memory, state = network.encode(sources[first:last])
        for time, words in enumerate(net_input["prev_output_tokens"][first:last].t().numpy()):
            scores, state = network.step(words, state, memory)
            np.testing.assert_allclose(scores, expected[first:last, time], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scorer", SCORERS)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    beam=st.integers(1, 6),
    source=st.lists(st.integers(4, 9), max_size=4),
    longest=st.integers(1, 9),
    lenpen=st.sampled_from([0.0, 1.0, 2.0]),
)
def test_the_search_equals_fairseqs(scorer, seed, beam, source, longest, lenpen):
    model = fakes.model(seed, scorer=scorer).float()
    words = GenerationOptions(beam, 0.5, longest, lenpen)
    (found,) = search(network_of(model, {"scorer": scorer}), [[*source, 2]], words)
    net_input, _ = fakes.batch(model, [[*source, 2]], [[2]])
    usual = scorer == "softmax"
    limits = {"max_len_a": 0.5, "max_len_b": longest, "len_penalty": lenpen, "normalize_scores": usual}
    generator = SequenceGenerator([model], model.decoder.dictionary, beam_size=beam, **limits)
    (expected,) = generator.generate([model], {"net_input": net_input})
    assert [found[1] for found in found] == [one["tokens"].tolist()[:-1] for one in expected]
    np.testing.assert_allclose([score for score, _ in found], [one["score"].item() for one in expected], atol=1e-4)


@pytest.mark.parametrize("scorer", SCORERS)
@settings(max_examples=25)
@given(
    options=st.sampled_from(VARIANTS),
    beam=st.sampled_from([1, 2, 5, 12]),
    sources=st.lists(st.lists(st.integers(4, 9), max_size=6), min_size=1, max_size=5),
    limits=st.tuples(st.sampled_from([0.0, 1.0]), st.integers(0, 6)),
)
def test_a_batch_equals_one_at_a_time(scorer, options, beam, sources, limits):
    network = network_of(fakes.model(3, scorer=scorer, **options), {**options, "scorer": scorer})
    sources, how = [[*source, 2] for source in sources], GenerationOptions(beam, *limits)
    together, alone = search(network, sources, how), [search(network, [source], how)[0] for source in sources]
    for one, other in zip(together, alone):
        assert [words for _, words in one] == [words for _, words in other]
        np.testing.assert_allclose([score for score, _ in one], [score for score, _ in other], atol=1e-4)


@pytest.mark.parametrize("factor, words", [(0, 10**19), (0, 10**400), (1e19, 0), (1e308, 200)])
def test_a_huge_length_limit_is_that_of_the_model(factor, words):
    network, sources = network_of(fakes.model(3), {}), [[6, 2], [4, 4, 4, 2]]
    expected = search(network, sources, GenerationOptions(2, 0, network.config.max_target_positions))
    assert all(expected) and search(network, sources, GenerationOptions(2, factor, words)) == expected


@settings(max_examples=60)
@given(
    name=st.sampled_from(["word_order", "arc_standard"]),
    scorer=st.sampled_from(SCORERS),
    sources=st.lists(st.lists(st.sampled_from([3, 4, 5, 6, 7, 7, 9]), max_size=4), min_size=1, max_size=4),
    beam=st.sampled_from([1, 2, 5]),
    seed=st.integers(0, 99),
    positions=st.sampled_from([4, 1024]),  # of 4, some outputs are too long
)
def test_constrained_search_equals_fairseqs_under_the_same_constraint(name, scorer, sources, beam, seed, positions):
    task = fakes.FakeTask(words=4)
    for label in LABELS:
        task.target_dictionary.add_symbol(label)
    model = fakes.model(seed, task, scorer=scorer, max_target_positions=positions).float()
    side = "\n".join(task.target_dictionary.symbols).encode()
    constraint = Constraint(name, vocabulary.Tokenizer({"source": side, "target": side}))
    network = network_of(model, {"scorer": scorer, "max_target_positions": positions})
    found = search(network, [[*source, 2] for source in sources], GenerationOptions(beam), constraint)
    slow = TorchConstraint(name, task.source_dictionary, task.target_dictionary)
    usual = {"normalize_scores": scorer == "softmax", "beam_size": beam}
    generator = ConstrainedGenerator([model], task.target_dictionary, slow, **usual)
    net_input, _ = fakes.batch(model, [[*source, 2] for source in sources], [[2]] * len(sources))
    assert len(found) == len(sources)
    for ours, theirs in zip(found, generator.generate([model], {"net_input": net_input})):
        theirs = [one for one in theirs if one["score"] > -np.inf]  # fairseq adds an empty one if there is none
        assert [words for _, words in ours] == [one["tokens"].tolist()[:-1] for one in theirs]
        np.testing.assert_allclose([score for score, _ in ours], [one["score"].item() for one in theirs], atol=1e-4)


def test_a_line_whose_output_is_too_long_is_named_and_left_empty(tmp_path, capsys):
    side = "\n".join(["<s>", "<pad>", "</s>", "<unk>", *"abcdef"]).encode()
    model = exported(fakes.model(), {"max_target_positions": 4}, source=side, target=side)
    model_file.write(tmp_path / "model", model, "float32")
    # The mark at the start, as some programs write it, is no part of the first word.
    (tmp_path / "text").write_text("a b c\na b c d\nb c\n", encoding="utf-8-sig")
    common = ["translate", str(tmp_path / "model"), "--input", str(tmp_path / "text"), "--successors", "word_order"]
    for batch in ("1", "2"):
        assert cli.main([*common, "--batch-size", batch]) == 0
        done = capsys.readouterr()
        assert [sorted(line.split()) for line in done.out.split("\n")] == [["a", "b", "c"], [], ["b", "c"], []]
        assert done.err.startswith("line 2: --successors needs an output of more words than the model's")
        assert done.err.count("\n") == 1


def written(path, scorer):
    """Writes a model file; returns its path."""
    side = "\n".join(["<s>", "<pad>", "</s>", "<unk>", *"abcdef"]).encode()
    model = exported(fakes.model(), {}, source=side, target=side)
    model_file.write(path, model._replace(config=replace(model.config, scorer=scorer)), "float32")
    return str(path)


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_length_penalty_is_used_or_refused(scorer, tmp_path, capsys):
    (tmp_path / "text").write_text("a b\nc\n")
    line = ["translate", written(tmp_path / "model", scorer), "--input", str(tmp_path / "text"), "--max-len-b", "9"]
    assert cli.main([*line, "--lenpen", "1"]) == 0 and capsys.readouterr().out.count("\n") == 2
    status, said = cli.main([*line, "--lenpen", "0.5"]), capsys.readouterr()
    if scorer == "softmax":
        assert status == 0 and said.out.count("\n") == 2
    else:
        assert status == 1 and said.out == "" and said.err.count("\n") == 1
        assert said.err.startswith(f"--lenpen is 0.5, but the raw scores of --scorer {scorer} are never divided by")


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("beam", ["1", "3"])
@pytest.mark.parametrize("name, value", [("decoder.attentional.weight", np.nan), ("decoder.output_weight", np.inf)])
def test_a_model_whose_scores_are_no_numbers_is_one_line(name, value, beam, scorer, tmp_path, capsys):
    path = written(tmp_path / "model", scorer)
    model = model_file.read(tmp_path / "model", lambda config, shapes: None)
    weight = model.tensors[name].copy()
    weight[-1] = value  # of one unit, or of the last word
    model_file.write(tmp_path / "model", model._replace(tensors={**model.tensors, name: weight}), "float32")
    (tmp_path / "text").write_text("a b\nc\n")
    line = ["translate", path, "--input", str(tmp_path / "text"), "--beam", beam, "--output", str(tmp_path / "out")]
    assert cli.main(line) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and not (tmp_path / "out").exists()
    assert said.err.startswith(f"{path}: a score is infinite or NaN, so the model cannot translate: export a")


@pytest.mark.parametrize("value", ["cubic", None, ["softmax"]])
def test_a_scorer_that_is_not_known_is_one_line(value, tmp_path, capsys):
    path = written(tmp_path / "model", value)
    assert cli.main(["translate", path]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    known = f"model holds a model with --scorer {value}, but this release knows softmax, summed, unnormalized: trans"
    assert known in said.err


def test_text_goes_through_dictionaries_as_in_fairseq():
    dictionary = Dictionary()
    for word in ("der", "Hund"):
        dictionary.add_symbol(word)
    side = "\n".join(dictionary.symbols).encode()
    both = vocabulary.Tokenizer({"source": side, "target": side})
    line = "  der\tKater  Hund\n"
    assert both.encode(line) == dictionary.encode_line(line, add_if_not_exist=False).tolist() == [4, 3, 5, 2]
    assert both.decode([4, 3, 5, 2]) == dictionary.string(torch.tensor([4, 3, 5, 2])) == "der <unk> Hund"
    with pytest.raises(ModelFileError, match="no target dictionary"):
        vocabulary.Tokenizer({"source": side})


def test_a_subword_model_splits_and_joins(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    (tmp_path / "text").write_text("the dog sees the cat\nthe cat sees a dog\n" * 20)
    arguments = {"input": str(tmp_path / "text"), "model_prefix": str(tmp_path / "sp"), "vocab_size": 30}
    sentencepiece.SentencePieceTrainer.train(**arguments, hard_vocab_limit=False, minloglevel=2)
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "sp.model"))
    pieces = sorted(set(model.encode("the dog sees a cat", out_type=str)))
    symbols = "\n".join(["<s>", "<pad>", "</s>", "<unk>", *pieces]).encode()
    proto = (tmp_path / "sp.model").read_bytes()
    both = vocabulary.Tokenizer({"source": symbols, "target": symbols, "sentencepiece": proto})
    words = both.encode("a cat sees the dog\n")
    assert words[-1] == 2 and vocabulary.UNKNOWN not in words
    assert both.decode(words) == "a cat sees the dog"


def test_a_file_whose_config_lacks_something_is_one_line(tmp_path, capsys, monkeypatch):
    whole = ModelConfig.to_json
    monkeypatch.setattr(ModelConfig, "to_json", lambda config: {**whole(config), "extra": 1})
    path = written(tmp_path / "model", "softmax")
    assert model_file.read(path).config.scorer == "softmax"  # additions of a later release are ignored
    monkeypatch.setattr(ModelConfig, "to_json", lambda config: {"layers": 1, "residual": False})
    path = written(tmp_path / "model", "softmax")
    assert cli.main(["translate", path]) == 1
    lacks = "does not hold what its header says: its config lacks bidirectional, input_feeding, attention"
    assert lacks in capsys.readouterr().err


def test_a_file_that_lacks_a_parameter_is_one_line(tmp_path, capsys):
    path = written(tmp_path / "model", "softmax")
    model = model_file.read(path)
    del model.tensors["decoder.first_layer"]
    model_file.write(tmp_path / "model", model, "float32")
    assert cli.main(["translate", path]) == 1
    assert "does not hold a whole model: 'decoder.first_layer'" in capsys.readouterr().err


FACTS = sorted(ModelConfig(1, False, True, "general", False).to_json())


@pytest.mark.parametrize("fact", FACTS)
@pytest.mark.parametrize("value", [..., None, "x", -1, [], {}, 2**40, True])
def test_a_fact_that_is_missing_or_of_another_type_is_one_line(fact, value, tmp_path, capsys, monkeypatch):
    """`...` stands for a missing one. A value that is possible after all gives a translation."""
    whole = ModelConfig.to_json

    def changed(config):
        facts = {**whole(config), fact: value}
        return facts if value is not ... else {name: one for name, one in facts.items() if name != fact}

    monkeypatch.setattr(ModelConfig, "to_json", changed)
    path = written(tmp_path / "model", "softmax")
    (tmp_path / "text").write_text("a b\n")
    status = cli.main(["translate", path, "--input", str(tmp_path / "text"), "--max-len-b", "3"])
    said = capsys.readouterr()
    assert (said.out.count("\n"), said.err.count("\n"), status) in ((1, 0, 0), (0, 1, 1))


def test_parts_that_no_model_has_are_refused_before_they_are_unpacked(tmp_path, capsys, monkeypatch):
    path = written(tmp_path / "model", "softmax")
    model = model_file.read(path)
    for change, message in (
        ({"more": np.zeros((2, 2), np.float32)}, "part 'more' belongs to no model of this kind"),
        ({"decoder.output_bias": np.zeros(11, np.float32)}, "the shape [11], but must have [10]"),
        ({"decoder.attentional.weight": np.zeros((5, 6), np.float32)}, "has the shape [5, 6], but must have [5, 5]"),
        ({"encoder.embedding.weight": np.zeros(50, np.float32)}, "not enough values to unpack"),
    ):
        model_file.write(tmp_path / "model", model._replace(tensors={**model.tensors, **change}), "float32")
        with monkeypatch.context() as patch:
            patch.setattr(model_file, "_decoded", lambda *_: pytest.fail("unpacked"))
            assert cli.main(["translate", path]) == 1
        said = capsys.readouterr().err
        assert "does not hold a whole model" in said and message in said and said.count("\n") == 1
    short = {**model.vocabularies, "target": b"<s>\n<pad>"}
    model_file.write(tmp_path / "model", model._replace(vocabularies=short), "float32")
    assert cli.main(["translate", path]) == 1
    assert "holds a target dictionary of 2 words, but its model has 10" in capsys.readouterr().err


@pytest.mark.parametrize("options", VARIANTS)
def test_every_kind_of_model_has_the_shapes_that_are_asked_for(options):
    model = exported(fakes.model(**options), options)
    shapes = {name: tensor.shape for name, tensor in model.tensors.items()}
    check_shapes(model.config, shapes)
    for name, shape in shapes.items():
        with pytest.raises((KeyError, ValueError)):
            check_shapes(model.config, {**shapes, name: (*shape[:-1], shape[-1] + 1)})
        with pytest.raises((KeyError, ValueError)):
            check_shapes(model.config, {other: one for other, one in shapes.items() if other != name})


def test_another_architecture_is_refused(tmp_path):
    from fairseq_bso.errors import UserError

    torch.save({"model": {"weight": torch.zeros(2, 2)}, "cfg": None, "args": Namespace()}, tmp_path / "other.pt")
    arguments = Namespace(checkpoint=str(tmp_path / "other.pt"), output=str(tmp_path / "out"), dtype="float32")
    with pytest.raises(UserError, match="only bso_lstm can be exported"):
        export.run(arguments)
