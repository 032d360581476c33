"""The exported ONNX graphs in ONNX Runtime, compared with the numpy network."""

import itertools
import sys
from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest
from reference import fakes
from runtime_models import VARIANTS, exported

from bso_runtime import cli, onnx_network
from bso_runtime.beam_search import GenerationOptions, search
from bso_runtime.model_file import ModelFileError
from bso_runtime.network import Network
from bso_runtime.onnx_network import OnnxNetwork, prefix_of
from bso_runtime.shortlist import SentenceWords, Shortlist
from fairseq_bso.errors import UserError
from fairseq_bso.export import command, onnx_graphs

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
SYMBOLS = "\n".join(["<s>", "<pad>", "</s>", "<unk>", *"abcdä "]).encode()
VOCABULARIES = {"source": SYMBOLS, "target": SYMBOLS, "sentencepiece": b"\x00\xff"}


def write_pair(prefix, model):
    for name, content in onnx_graphs.graphs(model):
        prefix.with_name(f"{prefix.name}.{name}.onnx").write_bytes(content)


@pytest.mark.parametrize("options", VARIANTS)
def test_graphs_equal_the_numpy_network(options, tmp_path):
    model = exported(fakes.model(**options), options, **VOCABULARIES)
    network = Network(model.config, model.tensors)
    write_pair(tmp_path / "model", model)
    graphs = OnnxNetwork(str(tmp_path / "model"))
    assert graphs.config == model.config and graphs.vocabularies == VOCABULARIES
    assert graphs.vocabulary_size == network.vocabulary_size == 10
    sources = [[5, 6, 2], [5, 6, 7, 4, 2], [2]]
    (memory, state), (other, same) = network.encode(sources), graphs.encode(sources)
    assert (memory.mask == other.mask).all()
    rows = np.repeat(np.arange(3), 2)  # two hypotheses of each sentence
    state, same = state.select(rows), same.select(rows)
    for words in ([2] * 6, [6, 8, 4, 4, 9, 5], [9, 4, 4, 7, 8, 8]):
        expected, state = network.step(np.array(words), state, memory)
        scores, same = graphs.step(np.array(words), same, other)
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    for scorer, beam in itertools.product(("softmax", "summed", "unnormalized"), (1, 4)):
        network.config = graphs.config = replace(model.config, scorer=scorer)
        expected, found = (search(one, sources, GenerationOptions(beam, 1, 3)) for one in (network, graphs))
        assert [[words for _, words in one] for one in found] == [[words for _, words in one] for one in expected]


@pytest.mark.parametrize("options", VARIANTS)
def test_a_shortlist_gives_what_it_gives_in_numpy(options, tmp_path):
    model = exported(fakes.model(3, **options), options, **VOCABULARIES)
    shortlist = Shortlist(np.array([5]), np.full(10, 2), np.arange(20) * 7 % 6 + 4)
    content = shortlist.to_bytes(SYMBOLS, SYMBOLS)
    write_pair(tmp_path / "model", model._replace(vocabularies={**VOCABULARIES, "shortlist": content}))
    network, graphs = Network(model.config, model.tensors), OnnxNetwork(str(tmp_path / "model"))
    assert graphs.vocabularies["shortlist"] == content
    words, sources = SentenceWords(shortlist, 10), [[5, 6, 2], [5, 6, 7, 4, 2], [2]]
    for chosen in (words(source) for source in sources):
        for found, expected in zip(graphs.output_rows(chosen), network.output_rows(chosen)):
            np.testing.assert_array_equal(found, expected)
    memory, state = graphs.encode(sources)
    scores, _ = graphs._step(np.array([2, 2, 2]), state, memory, 0)
    assert scores.shape == (0, 10)  # the search over a shortlist scores no row over all words
    for scorer, beam, short in itertools.product(("softmax", "unnormalized"), (1, 4), (words, None)):
        network.config = graphs.config = replace(model.config, scorer=scorer)
        expected, found = (
            search(one, sources, GenerationOptions(beam, 1, 3), shortlist=short) for one in (network, graphs)
        )
        assert [[output for _, output in one] for one in found] == [[output for _, output in one] for one in expected]
        for (score, _), (right, _) in zip(sum(found, []), sum(expected, [])):
            assert score == pytest.approx(right, rel=1e-4, abs=1e-4)


def test_what_is_no_pair_is_refused(tmp_path):
    content = exported(fakes.model(), {}, **VOCABULARIES)
    tensors = content.tensors
    write_pair(tmp_path / "model", content)
    write_pair(tmp_path / "other", content._replace(tensors={name: one + 1 for name, one in tensors.items()}))
    model, encoder = tmp_path / "model", tmp_path / "model.encoder.onnx"
    step = tmp_path / "model.step.onnx"
    assert {prefix_of(str(one)) for one in (model, encoder, step)} == {str(model)}
    assert prefix_of(str(tmp_path / "none")) is None
    whole = encoder.read_bytes()
    place = whole.index(tensors["encoder.embedding.weight"][5].tobytes())
    changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]  # flips the last bit of one weight
    for content, message in (
        ((tmp_path / "other.encoder.onnx").read_bytes(), "are not of one model"),
        (changed, "is damaged"),
        (whole.replace(b"checksum", b"checksam"), "is no whole file of this release's"),
        (whole[: len(whole) // 2], "is no whole file of this release's"),
        (b"something else", "is no whole file of this release's"),
        (sealed_again(whole.replace(b"format", b"farmot")), "export again"),
        (sealed_again(whole.replace(b"facts", b"fects")), "does not describe its model: 'facts'"),
        (sealed_again(whole.replace(b'"layers"', b'"loyers"')), "does not describe its model: its config lacks layers"),
        (sealed_again(whole + b"\x0a\x08location\x12\x04/etc"), "refers to weights in another file"),
        (sealed_again(b"\x00" + whole), "is no ONNX file that ONNX Runtime can load"),
    ):
        for path in (encoder, step) if b"fects" in content or b"loyers" in content else (encoder,):
            path.write_bytes(content)
        with pytest.raises(ModelFileError, match=message):
            OnnxNetwork(str(model))


def sealed_again(content):
    """An altered file with a checksum that fits."""
    start = onnx_network._checksum_start(content)
    return onnx_network.seal(content[:start] + onnx_network.UNSEALED.encode() + content[start + 64 :])


def test_an_altered_file_is_refused_before_its_graph_is_loaded(tmp_path, monkeypatch):
    import onnxruntime

    write_pair(tmp_path / "model", exported(fakes.model(), {}, **VOCABULARIES))
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: pytest.fail("loaded"))
    encoder = tmp_path / "model.encoder.onnx"
    whole = encoder.read_bytes()
    encoder.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    with pytest.raises(
        ModelFileError,
        match="is damaged, or changed by another program, such as a quantizer: its",
    ):
        OnnxNetwork(str(tmp_path / "model"))


def test_metadata_that_are_no_text_are_refused(tmp_path):
    write_pair(tmp_path / "model", exported(fakes.model(), {}, **VOCABULARIES))
    encoder = tmp_path / "model.encoder.onnx"
    encoder.write_bytes(sealed_again(encoder.read_bytes().replace("abcdä".encode()[-2:], b"\xff\xff")))
    with pytest.raises(ModelFileError, match="is not of this release's"):
        OnnxNetwork(str(tmp_path / "model"))


@pytest.mark.parametrize(("value", "threads"), [("3", 3), ("1", 1), ("", 0), ("0", 0), ("many", 0)])
def test_threads_are_those_of_the_environment(value, threads, monkeypatch):
    """0: as many as ONNX Runtime likes."""
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert onnx_network._threads(pytest.importorskip("onnxruntime")).intra_op_num_threads == threads


def test_a_missing_file_of_a_pair_is_named(tmp_path):
    write_pair(tmp_path / "model", exported(fakes.model(), {}, **VOCABULARIES))
    model, encoder = tmp_path / "model", tmp_path / "model.encoder.onnx"
    encoder.unlink()
    with pytest.raises(ModelFileError, match="model.encoder.onnx cannot be read"):
        OnnxNetwork(str(model))


def test_where_one_file_cannot_be_written_the_other_is_not_left(tmp_path):
    (tmp_path / "model.step.onnx").mkdir()
    with pytest.raises(UserError, match="model.step.onnx cannot be written"):
        command._write_onnx(
            Namespace(dtype="float32", output=tmp_path / "model"), exported(fakes.model(), {}, **VOCABULARIES)
        )
    assert [path.name for path in tmp_path.iterdir()] == ["model.step.onnx"]


def test_the_scorer_goes_with_the_graphs(tmp_path, capsys):
    """A sum of raw scores is not divided by length. The message names a scorer of another release."""
    model = fakes.model(scorer="summed")
    sides = dict.fromkeys(("source", "target"), SYMBOLS)
    (tmp_path / "text").write_text("a b\n")
    line = ["translate", str(tmp_path / "model"), "--input", str(tmp_path / "text"), "--max-len-b", "9"]
    for scorer, options, status, message in (
        ("summed", [], 0, ""),
        ("summed", ["--lenpen", "2"], 1, "--lenpen is 2.0, but the raw scores of --scorer summed"),
        ("cubic", [], 1, "holds a model with --scorer cubic, but this release knows softmax, summed, unnormalized"),
    ):
        write_pair(tmp_path / "model", exported(model, {"scorer": scorer}, **sides))
        assert cli.main([*line, *options]) == status
        said = capsys.readouterr()
        assert message in said.err and said.err.count("\n") == status and said.out.count("\n") == 1 - status


def test_a_missing_runtime_is_one_message(tmp_path, monkeypatch, capsys):
    write_pair(tmp_path / "model", exported(fakes.model(), {}, **VOCABULARIES))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert cli.main(["translate", str(tmp_path / "model")]) == 1
    assert capsys.readouterr().err == "a model in ONNX files needs ONNX Runtime: pip install onnxruntime\n"


@pytest.mark.parametrize("options", VARIANTS)
def test_attention_is_a_softmax_over_the_last_axis(options):
    """onnx changes any other Softmax when a graph is converted to an opset before 13 (findings)."""
    import onnx

    contents = dict(onnx_graphs.graphs(exported(fakes.model(**options), options, **VOCABULARIES)))
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(contents["step"])).graph
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.value_info}
    softmaxes = [node for node in graph.node if node.op_type in ("Softmax", "LogSoftmax")]
    found = [(node.attribute[0].i, ranks[node.output[0]] - 1) for node in softmaxes]
    assert found and all(axis == last for axis, last in found), found
