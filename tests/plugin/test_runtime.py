"""The numpy model and search against the torch model and fairseq's generator."""

import base64
import json
from argparse import Namespace

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from fairseq.sequence_generator import SequenceGenerator
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import fakes

from bso_runtime import text
from bso_runtime.container import BadFile
from bso_runtime.network import Network
from bso_runtime.search import Options, beam_search
from fairseq_bso import onnx_graphs
from fairseq_bso.commands import export

VARIANTS = [
    {},
    {"encoder_layers": 3, "decoder_layers": 3, "residual": True, "share_all_embeddings": True},
    {"encoder_bidirectional": True, "no_input_feeding": True, "share_decoder_input_output_embed": True},
    {"encoder_layers": 2, "decoder_layers": 2, "attention": "dot"},
    {"attention": "mlp", "encoder_bidirectional": True, "encoder_layers": 2, "decoder_layers": 2, "residual": True},
    {"encoder_hidden_size": 3, "decoder_embed_dim": 2},
]


def network_of(model, options):
    tensors = model.float().state_dict()
    config = {"scorer": "unnormalized", "max_target_positions": 1024, **options}
    facts = export._facts({"cfg": {"model": config}}, tensors)
    return Network(facts, {name: one.numpy() for name, one in tensors.items()})


@pytest.mark.parametrize("options", VARIANTS)
def test_scores_equal_those_of_the_torch_model(options):
    model = fakes.model(**options)
    network = network_of(model, options)
    source, gold = [5, 6, 7, 4, 2], [6, 6, 9, 8, 2]
    net_input, _ = fakes.batch(model, [source], [gold])
    expected, _ = model(**net_input)
    memory, state = network.encode(source)
    for time, word in enumerate([2, *gold[:-1]]):
        scores, state = network.step(np.array([word]), state, memory)
        np.testing.assert_allclose(scores[0], expected[0, time].detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scorer", ["softmax", "unnormalized"])
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
    words = Options(beam, 0.5, longest, lenpen)
    found = beam_search(network_of(model, {"scorer": scorer}), [*source, 2], words)
    net_input, _ = fakes.batch(model, [[*source, 2]], [[2]])
    usual = scorer == "softmax"
    limits = {"max_len_a": 0.5, "max_len_b": longest, "len_penalty": lenpen, "normalize_scores": usual}
    generator = SequenceGenerator([model], model.decoder.dictionary, beam_size=beam, **limits)
    (expected,) = generator.generate([model], {"net_input": net_input})
    assert [found[1] for found in found] == [one["tokens"].tolist()[:-1] for one in expected]
    np.testing.assert_allclose([score for score, _ in found], [one["score"].item() for one in expected], atol=1e-4)


@pytest.mark.parametrize("options", VARIANTS)
def test_onnx_graphs_equal_the_numpy_model_step_by_step(options):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    model = fakes.model(**options)
    network = network_of(model, options)
    texts = {"source": "a\nä".encode(), "target": b"b", "sentencepiece": b"\x00\xff"}
    encoder, step = (
        runtime.InferenceSession(make(network.facts, network.tensors, texts).SerializeToString())
        for make in (onnx_graphs.encoder_graph, onnx_graphs.step_graph)
    )
    for session in (encoder, step):
        facts = session.get_modelmeta().custom_metadata_map
        assert json.loads(facts["facts"]) == network.facts and facts["source"] == "a\nä"
        assert base64.b64decode(facts["sentencepiece"]) == b"\x00\xff"
    source = [5, 6, 7, 4, 2]
    memory, state = network.encode(source)
    keys, values, hidden, cell = encoder.run(None, {"words": np.array(source)})
    rows = np.zeros(2, int)  # two hypotheses
    state, hidden, cell = state.select(rows), hidden[:, rows], cell[:, rows]
    fed = np.zeros_like(hidden[0])
    for words in ([2, 2], [6, 8], [9, 4]):
        expected, state = network.step(np.array(words), state, memory)
        given = {"words": np.array(words), "hidden": hidden, "cell": cell, "fed": fed, "keys": keys, "values": values}
        scores, hidden, cell, fed = step.run(None, given)
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def test_text_goes_through_dictionaries_as_in_fairseq():
    dictionary = Dictionary()
    for word in ("der", "Hund"):
        dictionary.add_symbol(word)
    side = "\n".join(dictionary.symbols).encode()
    both = text.Text({"source": side, "target": side})
    line = "  der\tKater  Hund\n"
    assert both.encode(line) == dictionary.encode_line(line, add_if_not_exist=False).tolist() == [4, 3, 5, 2]
    assert both.decode([4, 3, 5, 2]) == dictionary.string(torch.tensor([4, 3, 5, 2])) == "der <unk> Hund"
    with pytest.raises(BadFile, match="no target dictionary"):
        text.Text({"source": side})


def test_a_subword_model_splits_and_joins(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    (tmp_path / "text").write_text("the dog sees the cat\nthe cat sees a dog\n" * 20)
    arguments = {"input": str(tmp_path / "text"), "model_prefix": str(tmp_path / "sp"), "vocab_size": 30}
    sentencepiece.SentencePieceTrainer.train(**arguments, hard_vocab_limit=False, minloglevel=2)
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "sp.model"))
    pieces = sorted(set(model.encode("the dog sees a cat", out_type=str)))
    symbols = "\n".join(["<s>", "<pad>", "</s>", "<unk>", *pieces]).encode()
    proto = (tmp_path / "sp.model").read_bytes()
    both = text.Text({"source": symbols, "target": symbols, "sentencepiece": proto})
    words = both.encode("a cat sees the dog\n")
    assert words[-1] == 2 and text.UNKNOWN not in words
    assert both.decode(words) == "a cat sees the dog"


def test_another_architecture_is_refused(tmp_path):
    from fairseq_bso.errors import BadInput

    torch.save({"model": {"weight": torch.zeros(2, 2)}, "cfg": None, "args": Namespace()}, tmp_path / "other.pt")
    arguments = Namespace(checkpoint=str(tmp_path / "other.pt"), output=str(tmp_path / "out"), numbers="float32")
    with pytest.raises(BadInput, match="only bso_lstm can be exported"):
        export.run(arguments)
