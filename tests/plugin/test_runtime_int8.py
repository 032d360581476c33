"""ONNX graphs with int8 weights: the product against a slow twin, and the whole model against float32."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from reference import fakes, integers
from runtime_models import VARIANTS, exported

from bso_runtime.beam_search import GenerationOptions, search
from bso_runtime.network import Network
from bso_runtime.onnx_network import OnnxNetwork
from fairseq_bso.export import onnx_graphs
from fairseq_bso.export.onnx_graph import LARGEST_FACTOR, Graph

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
SYMBOLS = "\n".join(["<s>", "<pad>", "</s>", "<unk>", *"abcdä "]).encode()
VOCABULARIES = {"source": SYMBOLS, "target": SYMBOLS}
VALUES = st.floats(-1e4, 1e4, width=32)


def runs(build, rank, **inputs):
    """The output of a small graph, of so many dimensions: `build` adds its nodes and gives the name of the output."""
    graph = Graph(int8=True)
    output = build(graph)
    given = {name: (str(values.dtype), values.shape) for name, values in inputs.items()}
    content = graph.finish("test", given, {"out": (output, [f"size_{axis}" for axis in range(rank)])}, {})
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["out"], inputs)[0]


@given(st.data())
@settings(max_examples=60)
def test_a_product_of_whole_numbers_equals_the_twin(data):
    rows, columns, outputs = (data.draw(st.integers(1, most)) for most in (4, 9, 5))
    values = data.draw(arrays.arrays(np.float32, (rows, columns), elements=VALUES))
    weight = data.draw(arrays.arrays(np.float32, (outputs, columns), elements=VALUES))
    found = runs(lambda graph: graph.linear("rows", "weight", weight), 2, rows=values)
    np.testing.assert_allclose(found, integers.product(values, weight, LARGEST_FACTOR), rtol=1e-5, atol=1e-30)


def test_the_largest_whole_numbers_do_not_overflow():
    """Sums of 16 bits would end at 32,767, and ONNX Runtime has such sums on processors without VNNI."""
    values, weight = np.full((3, 512), 7, np.float32), np.full((70, 512), 0.5, np.float32)
    found = runs(lambda graph: graph.linear("rows", "weight", weight), 2, rows=values)
    np.testing.assert_allclose(found, 512 * 3.5, rtol=1e-5)


def test_rows_of_a_table_and_stored_weights_are_near_their_float32():
    table = np.random.default_rng(1).normal(size=(6, 40)).astype(np.float32)
    table[3] = 0
    words = np.array([[5, 3], [0, 5]], np.int64)
    found = runs(lambda graph: graph.lookup("words", "table", table), 3, words=words)
    largest = np.abs(table).max(1, keepdims=True)
    assert (np.abs(found - table[words]) <= largest[words] / 254 + 1e-6).all() and not found[0, 1].any()
    found = runs(lambda graph: graph("Add", graph.stored("table", table), "zero"), 2, zero=np.zeros(1, np.float32))
    assert (np.abs(found - table) <= largest / 254 + 1e-6).all()


@pytest.mark.parametrize("options", VARIANTS)
def test_a_model_in_int8_is_near_the_same_in_float32(options, tmp_path):
    model = exported(fakes.model(**options), options, **VOCABULARIES)
    network, graphs = Network(model.config, model.tensors), write(model, tmp_path)
    sources = [[5, 6, 2], [5, 6, 7, 4, 2], [2]]
    (memory, state), (other, same) = network.encode(sources), graphs.encode(sources)
    for words in ([2, 2, 2], [6, 8, 4]):
        expected, state = network.step(np.array(words), state, memory)
        scores, same = graphs.step(np.array(words), same, other)
        assert np.abs(scores - expected).max() < 0.05 * np.abs(expected).max()
        assert np.abs(same.fed - state.fed).max() < 0.05
    assert all(len(hypotheses) <= 3 for hypotheses in search(graphs, sources, GenerationOptions(3, 1, 3)))


def test_a_hypothesis_does_not_depend_on_the_others_of_its_batch(tmp_path):
    graphs = write(exported(fakes.model(), {}, **VOCABULARIES), tmp_path)
    (memory, state), (both, states) = graphs.encode([[5, 6, 2]]), graphs.encode([[5, 6, 2], [9, 8, 2]])
    states.fed[1] = 50  # far larger numbers in the other row
    alone, after = graphs.step(np.array([4]), state, memory)
    beside, after_both = graphs.step(np.array([4, 7]), states, both)
    np.testing.assert_allclose(beside[0], alone[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after_both.hidden[:, 0], after.hidden[:, 0], rtol=1e-5, atol=1e-6)


def write(model, folder):
    """The model as ONNX files in int8, opened."""
    for name, content in onnx_graphs.graphs(model, "int8"):
        (folder / f"model.{name}.onnx").write_bytes(content)
    return OnnxNetwork(str(folder / "model"))
