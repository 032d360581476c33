"""Parts of the numpy search, each compared with a plain computation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bso_runtime.constraints import Constraint
from bso_runtime.matmul import Product
from bso_runtime.ranking import best_of
from bso_runtime.vocabulary import Tokenizer


@pytest.mark.parametrize("outputs", [1, 63, 64, 200])
@pytest.mark.parametrize("several", [(), (2,)])
def test_products_in_blocks_equal_those_with_the_whole_matrix(outputs, several):
    generator = np.random.default_rng(outputs)
    weight = generator.normal(size=(*several, outputs, 7)).astype(np.float32)
    product = Product(weight)
    for rows in (1, 5, 50):
        given_rows = generator.normal(size=(*several, rows, 7)).astype(np.float32)
        expected = given_rows @ weight.swapaxes(-1, -2)
        np.testing.assert_allclose(product(given_rows), expected, rtol=1e-5, atol=1e-5)


@given(
    seed=st.integers(0, 1000),
    sentences=st.integers(1, 3),
    width=st.integers(1, 4),
    vocabulary=st.sampled_from([3, 40, 513, 1100]),
    count=st.integers(1, 10),
    levels=st.sampled_from([3, 10**6]),
    allowed=st.sampled_from([1.0, 0.01]),
)
@settings(max_examples=100)
def test_the_best_are_those_of_a_whole_sort(seed, sentences, width, vocabulary, count, levels, allowed):
    """Many scores are equal, few words are allowed, and some hypotheses are dead."""
    generator = np.random.default_rng(seed)
    values = generator.integers(-levels, levels, (sentences, width, vocabulary)).astype(np.float32) / 7
    values[generator.random(values.shape) > allowed] = -np.inf
    offsets = generator.integers(-9, 9, (sentences, width)).astype(np.float32) / 3
    offsets[generator.random(offsets.shape) > 0.8] = -np.inf
    count = min(count, width * vocabulary)
    found = best_of(values, offsets, count)
    for sentence, block in enumerate((values + offsets[:, :, None]).reshape(sentences, -1)):
        places = np.argsort(-block, kind="stable")[:count]
        possible = places[block[places] > -np.inf]
        scores, rows, words = (one[sentence] for one in found)
        assert (scores[: len(possible)] == block[possible]).all() and (scores[len(possible) :] == -np.inf).all()
        rows = rows[: len(possible)] - sentence * width
        assert (rows * vocabulary + words[: len(possible)] == possible).all()


def test_a_constraint_that_the_dictionaries_do_not_fit_is_refused():
    symbols = b"<s>\n<pad>\n</s>\n<unk>\na"
    text = Tokenizer({"source": symbols, "target": symbols})
    with pytest.raises(ValueError, match="choose from none, word_order, arc_standard"):
        Constraint("tree", text)
    with pytest.raises(ValueError, match="no reduce label"):
        Constraint("arc_standard", text)


def test_a_source_word_that_the_target_dictionary_lacks_is_unknown_there():
    special = "<s>\n<pad>\n</s>\n<unk>\n"
    constraint = Constraint(
        "word_order", Tokenizer({"source": (special + "a\nb").encode(), "target": (special + "b").encode()})
    )
    successors = constraint([4, 5, 5, 2])
    assert successors.candidates.tolist() == [3, 4, 2] and successors.counts.tolist() == [1, 2]
