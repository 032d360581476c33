"""The numpy search over a shortlist, compared with fairseq's generator under the same; greedy search; the interface."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import fakes
from runtime_models import VARIANTS, exported, network_of

from bso_runtime import ModelFileError, Translator, cli, model_file
from bso_runtime.beam_search import GenerationOptions, search
from bso_runtime.matmul import InputTable
from bso_runtime.shortlist import SentenceWords
from bso_runtime.shortlist import Shortlist as Content
from fairseq_bso.decoding.constrained import ConstrainedGenerator
from fairseq_bso.decoding.constraint import Constraint
from fairseq_bso.search.shortlist import ShortlistTable

SCORERS = ["softmax", "summed", "unnormalized"]
LIKELY = [[], [], [], [3], [4, 5], [7], [6, 4], [], [8, 9], [9]]
"""of each of the 10 source words"""
COMMON = [5]


def tables(common=COMMON, likely=LIKELY):
    """The same shortlist in numpy and in torch."""
    counts, flat = np.array([len(words) for words in likely]), np.array(sum(likely, []), int)
    words = torch.tensor([[*row, 1, 1][:2] for row in likely])
    content = Content(np.array(common, int), counts, flat)
    return content, ShortlistTable(torch.tensor(common, dtype=torch.long), words)


@pytest.mark.parametrize("scorer", SCORERS)
@settings(max_examples=12)
@given(
    options=st.sampled_from(VARIANTS),
    beam=st.sampled_from([1, 2, 5]),
    sources=st.lists(st.lists(st.integers(3, 9), max_size=4), min_size=1, max_size=4),
    longest=st.integers(1, 6),
    lenpen=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 99),
)
def test_the_search_equals_fairseqs_over_the_same_words(scorer, options, beam, sources, longest, lenpen, seed):
    model = fakes.model(seed, scorer=scorer, **options).float()
    content, table = tables()
    sources = [[*source, 2] for source in sources]
    how, words = GenerationOptions(beam, 0.5, longest, lenpen), SentenceWords(content, 10)
    network = network_of(model, {**options, "scorer": scorer})
    found = search(network, sources, how, shortlist=words)
    dictionary = model.decoder.dictionary
    slow = Constraint("shortlist", dictionary, dictionary, table)
    limits = {"max_len_a": 0.5, "max_len_b": longest, "len_penalty": lenpen, "beam_size": beam}
    generator = ConstrainedGenerator([model], dictionary, slow, normalize_scores=scorer == "softmax", **limits)
    assert len(found) == len(sources)
    for source, ours in zip(sources, found):  # fairseq's length limit is that of the longest sentence of a batch
        net_input, _ = fakes.batch(model, [source], [[2]])
        (theirs,) = generator.generate([model], {"net_input": net_input})
        theirs = [one for one in theirs if one["score"] > -np.inf]
        assert [output for _, output in ours] == [one["tokens"].tolist()[:-1] for one in theirs]
        np.testing.assert_allclose([score for score, _ in ours], [one["score"].item() for one in theirs], atol=1e-4)
        assert all(set(output) <= set(words(source).tolist()) for _, output in ours)
        (alone,) = search(network, [source], how, shortlist=words)
        assert [output for _, output in alone] == [output for _, output in ours]


@pytest.mark.parametrize("scorer", SCORERS)
def test_greedy_search_without_scores_gives_the_same_words(scorer):
    network = network_of(fakes.model(5, scorer=scorer), {"scorer": scorer})
    sources, shortlist = [[4, 6, 2], [8, 2], [2], [5, 9, 3, 4, 2]], SentenceWords(tables()[0], 10)
    for words in (None, shortlist):
        with_scores = search(network, sources, GenerationOptions(1, 0, 7), shortlist=words)
        without = search(network, sources, GenerationOptions(1, 0, 7), shortlist=words, scored=False)
        assert [[output for _, output in one] for one in with_scores] == [
            [output for _, output in one] for one in without
        ]
        assert all(np.isfinite(score) for one in with_scores for score, _ in one)
        assert all(np.isnan(score) for one in without for score, _ in one)


@pytest.mark.parametrize("beam", [1, 3])
def test_a_sentence_without_any_word_in_the_shortlist_has_no_output(beam):
    network, shortlist = network_of(fakes.model(5), {}), SentenceWords(tables(common=[])[0], 10)
    for sources in ([[7, 2]], [[7, 2], [2]], [[7, 2], [4, 2]]):
        first, *others = search(network, sources, GenerationOptions(beam, 0, 7), shortlist=shortlist)
        assert first == [] and all(bool(found) == (source != [2]) for found, source in zip(others, sources[1:]))


@pytest.mark.parametrize("largest", [0, 2**28])
def test_a_table_of_inputs_gives_the_products(largest):
    generator = np.random.default_rng(0)
    embedding, weight, bias = (generator.normal(size=shape).astype("f4") for shape in ((9, 3), (2, 8, 3), (2, 1, 8)))
    table = InputTable(embedding, weight, bias, largest)
    for _ in range(3):
        words = generator.integers(0, 9, (2, 4, 5))
        expected = np.einsum("dste,doe->dsto", embedding[words], weight) + bias[:, None]
        np.testing.assert_allclose(table(words), expected, rtol=1e-5, atol=1e-5)


def written(path, **more):
    """Writes a model file with a shortlist; returns its path."""
    side = "\n".join(["<s>", "<pad>", "</s>", "<unk>", *"abcdef"]).encode()
    short = tables()[0].to_bytes(side, side)
    model = exported(fakes.model(12, scorer="softmax"), {"scorer": "softmax"})
    model = model._replace(vocabularies={"source": side, "target": side, "shortlist": short, **more})
    model_file.write(path, model, "float32")
    return str(path)


def test_the_interface_gives_what_the_command_gives(tmp_path, capsys):
    path, lines = written(tmp_path / "model"), ["a b c", "", "f e d c b a", "zebra b"]
    (tmp_path / "text").write_text("".join(line + "\n" for line in lines))
    for options, arguments in (
        (["--beam", "1"], {"beam": 1}),
        (["--max-len-b", "5"], {"max_len_b": 5}),
        (["--beam", "2", "--shortlist", "--max-len-b", "9"], {"beam": 2, "shortlist": True, "max_len_b": 9}),
        (["--beam", "2", "--successors", "word_order"], {"beam": 2, "successors": "word_order", "batch_size": 2}),
    ):
        assert cli.main(["translate", path, "--input", str(tmp_path / "text"), *options]) == 0
        assert Translator(path).translate(lines, **arguments) == capsys.readouterr().out.splitlines()
    assert Translator(tmp_path / "model").translate([]) == []


def test_many_threads_share_one_model(tmp_path):
    """Tables and matrices that are made at first use are made in all threads at once."""
    path = written(tmp_path / "model")
    lines = ["a b c", "f", "e d c b a", "b b", "c a f", "d e"] * 3
    alone = [Translator(path).translate([line], 2, max_len_b=12) for line in lines]
    for shortlist in (False, True):
        expected = Translator(path).translate(lines, 2, max_len_b=12, shortlist=shortlist)
        for _ in range(5):
            shared = Translator(path)
            with ThreadPoolExecutor(6) as pool:
                work = lambda line: shared.translate([line], 2, max_len_b=12, shortlist=shortlist)  # noqa: B023, E731
                found = list(pool.map(work, lines))
            assert [one for (one,) in found] == expected
    assert len({one for (one,) in alone}) > 2


def test_arguments_out_of_range_are_refused(tmp_path):
    translator = Translator(written(tmp_path / "model"))
    for arguments, message in (
        ({"beam": 0}, "beam is 0, but must be a finite number of at least 1"),
        ({"max_len_a": float("nan")}, "max_len_a is nan"),
        ({"max_len_b": -1}, "max_len_b is -1"),
        ({"lenpen": 400.0}, "lenpen is 400.0, but must be a number from -10 to 10"),
        ({"lenpen": float("nan")}, "lenpen is nan, but must be a number from -10 to 10"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"shortlist": True, "successors": "word_order"}, "leave out one"),
    ):
        with pytest.raises(ValueError, match=message):
            translator.translate(["a"], **arguments)
    with pytest.raises(TypeError, match="lines is one text"):
        translator.translate("a b")
    with pytest.raises(ModelFileError, match="--successors tree: unknown constraint"):
        translator.translate(["a"], successors="tree")


def test_a_shortlist_that_cannot_be_used_is_one_line(tmp_path, capsys):
    other = tables()[0].to_bytes(b"<s>", b"<s>")
    whole = written(tmp_path / "model")
    model = model_file.read(whole)
    del model.vocabularies["shortlist"]
    model_file.write(tmp_path / "without", model, "float32")
    trained = model._replace(config=replace(model.config, successors="shortlist"))
    model_file.write(tmp_path / "trained", trained, "float32")
    for path, options, message in (
        (written(tmp_path / "foreign", shortlist=b"something else"), [], "foreign is no shortlist"),
        (written(tmp_path / "another", shortlist=other), [], "another was made with another source dictionary"),
        (str(tmp_path / "without"), ["--shortlist"], "without holds no shortlist: export the model with --shortlist"),
        (str(tmp_path / "trained"), [], "trained holds no shortlist, but was trained with --successors shortlist"),
        (whole, ["--shortlist", "--successors", "none"], "--shortlist cannot be used with --successors none"),
    ):
        assert cli.main(["translate", path, *options]) == 1
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1 and message in said.err, said.err
    (tmp_path / "text").write_text("a b\n")
    run = ["--input", str(tmp_path / "text"), "--max-len-b", "5"]
    assert cli.main(["translate", str(tmp_path / "trained"), *run, "--successors", "none"]) == 0
    free = capsys.readouterr().out
    assert cli.main(["translate", whole, *run]) == 0 and capsys.readouterr().out == free
