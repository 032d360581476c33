"""Mistake costs, compared with their reference, with sacrebleu and with values computed by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.costs import hamming_cost, sentence_bleu_cost

from fairseq_bso import sentence_bleu
from fairseq_bso.bso import costs


@pytest.fixture
def empty_registry(monkeypatch):
    """Drops a test's registrations after the test."""
    monkeypatch.setattr(costs._DELTAS, "members", dict(costs._DELTAS.members))


@st.composite
def ragged_pairs(draw):
    """Lists of (hypothesis, gold). Both of a pair have the same length, and words are few so that n-grams repeat."""
    words = st.integers(0, draw(st.integers(1, 3)))
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    sentence = [st.lists(words, min_size=length, max_size=length) for length in lengths]
    return [(draw(each), draw(each)) for each in sentence]


def padded(pairs, fill=0, extra=0):
    """Lists of pairs -> hypothesis (M, L), gold (M, L), lengths (M,); positions without a word hold `fill`."""
    longest = max((len(gold) for _, gold in pairs), default=0) + extra
    hypothesis = torch.full((len(pairs), longest), fill, dtype=torch.int64)
    gold = torch.full((len(pairs), longest), fill, dtype=torch.int64)
    for row, (hypothesis_words, gold_words) in enumerate(pairs):
        hypothesis[row, : len(hypothesis_words)] = torch.tensor(hypothesis_words)
        gold[row, : len(gold_words)] = torch.tensor(gold_words)
    return hypothesis, gold, torch.tensor([len(gold) for _, gold in pairs], dtype=torch.int64)


def expected(pairs):
    return torch.tensor([sentence_bleu_cost(*pair) for pair in pairs], dtype=torch.float32)


@settings(max_examples=200, deadline=None)
@given(pairs=ragged_pairs(), fill=st.integers(-1, 3), extra=st.integers(0, 3))
def test_sentence_bleu_equals_its_slow_twin(pairs, fill, extra):
    torch.testing.assert_close(costs.sentence_bleu_cost(*padded(pairs, fill, extra)), expected(pairs))


@settings(max_examples=100, deadline=None)
@given(pairs=ragged_pairs(), fill=st.integers(-1, 3), extra=st.integers(0, 3))
def test_hamming_equals_its_slow_twin(pairs, fill, extra):
    wanted = torch.tensor([hamming_cost(*pair) for pair in pairs])
    torch.testing.assert_close(costs.hamming(*padded(pairs, fill, extra)), wanted)


@settings(max_examples=50, deadline=None)
@given(pairs=ragged_pairs(), seed=st.integers(0, 2**16))
def test_padding_does_not_matter(pairs, seed):
    hypothesis, gold, lengths = padded(pairs, extra=2)
    outside = torch.arange(gold.size(1)) >= lengths.unsqueeze(1)
    generator = torch.Generator().manual_seed(seed)
    garbage = torch.randint(0, 4, (2, *gold.shape), generator=generator)
    other = costs.sentence_bleu_cost(
        torch.where(outside, garbage[0], hypothesis), torch.where(outside, garbage[1], gold), lengths
    )
    torch.testing.assert_close(other, costs.sentence_bleu_cost(hypothesis, gold, lengths), rtol=0, atol=0)


def test_traced_by_hand():
    """The hypothesis is a a b a, gold is a b a c.

    order 1: a three times, in gold twice; b once, in gold once     3 of 4            3/4
    order 2: aa ab ba, gold ab ba ac                                2 of 3, smoothed  3/4
    order 3: aab aba, gold aba bac                                  1 of 2, smoothed  2/3
    order 4: aaba, gold abac                                        0 of 1, smoothed  1/2
    product 3/4 * 3/4 * 2/3 * 1/2 = 3/16, BLEU = (3/16) ** (1/4) = 0.658037
    """
    a, b, c = 7, 5, 9
    cost = costs.sentence_bleu_cost(torch.tensor([[a, a, b, a]]), torch.tensor([[a, b, a, c]]), torch.tensor([4]))
    torch.testing.assert_close(cost, torch.tensor([1 - 0.658037]), rtol=0, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(pairs=ragged_pairs())
def test_identical_costs_0_and_disjoint_costs_1(pairs):
    hypothesis, _, lengths = padded(pairs, extra=1)
    assert costs.sentence_bleu_cost(hypothesis, hypothesis, lengths).tolist() == [0.0] * len(pairs)
    assert costs.sentence_bleu_cost(hypothesis, hypothesis + 10, lengths).tolist() == [1.0] * len(pairs)


def test_one_word():
    hypothesis, gold = torch.tensor([[3], [3]]), torch.tensor([[3], [4]])
    assert costs.sentence_bleu_cost(hypothesis, gold, torch.tensor([1, 1])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("name", ["zero_one", "sentence_bleu"])
@pytest.mark.parametrize("length", [0, 5])
def test_no_violation_gives_an_empty_cost(name, length):
    words = torch.zeros((0, length), dtype=torch.int64)
    cost = costs.get_delta(name)(words, words, torch.zeros(0, dtype=torch.int64))
    assert cost.shape == (0,) and cost.dtype == torch.float32


@settings(max_examples=50, deadline=None)
@given(pairs=ragged_pairs(), rows=st.integers(1, 4))
def test_chunks_do_not_change_the_cost(pairs, rows):
    inputs = padded(pairs)
    whole = costs.sentence_bleu_cost(*inputs)
    with pytest.MonkeyPatch.context() as patch:
        length = inputs[0].size(1)
        patch.setattr(sentence_bleu, "_BYTES_AT_ONCE", rows * sentence_bleu._BYTES_PER_ELEMENT * length * length)
        assert sentence_bleu._rows_at_once(length) == rows
        torch.testing.assert_close(costs.sentence_bleu_cost(*inputs), whole)


@pytest.mark.parametrize("length, rows", [(0, 2**26), (50, 3355), (200, 209), (10_000, 1)])
def test_chunk_size_bounds_the_memory(length, rows):
    assert sentence_bleu._rows_at_once(length) == rows


@pytest.mark.parametrize("name", ["zero_one", "sentence_bleu"])
def test_never_asks_the_device_for_a_value(name):
    """Meta tensors have no values: reading a value, or a shape that depends on a value, is an error."""
    words = torch.empty((3, 6), dtype=torch.int64, device="meta")
    cost = costs.get_delta(name)(words, words, torch.empty(3, dtype=torch.int64, device="meta"))
    assert cost.shape == (3,) and cost.dtype == torch.float32 and cost.device.type == "meta"


@pytest.mark.parametrize("name", ["zero_one", "sentence_bleu"])
def test_float32_whatever_the_default(name):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        cost = costs.get_delta(name)(torch.tensor([[1, 2]]), torch.tensor([[1, 3]]), torch.tensor([2]))
    finally:
        torch.set_default_dtype(before)
    assert cost.dtype == torch.float32 and not cost.requires_grad


def test_zero_one():
    assert costs.zero_one(*padded([([1, 2], [1, 2]), ([3], [4])])).tolist() == [1.0, 1.0]


@settings(max_examples=50, deadline=None)
@given(pairs=ragged_pairs())
def test_equals_sacrebleu(pairs):
    """sacrebleu's add-k smoothing with k = 1 is the same: order 1 is not smoothed, an empty order counts 1."""
    sacrebleu = pytest.importorskip("sacrebleu")
    metric = sacrebleu.BLEU(
        tokenize="none", smooth_method="add-k", smooth_value=1, max_ngram_order=4, effective_order=True
    )
    scores = [
        metric.sentence_score(" ".join(map(str, hypothesis)), [" ".join(map(str, gold))]).score / 100
        for hypothesis, gold in pairs
    ]
    torch.testing.assert_close(costs.sentence_bleu_cost(*padded(pairs)), 1 - torch.tensor(scores), rtol=1e-5, atol=1e-6)


def test_shapes_that_do_not_fit():
    words, lengths = torch.ones((2, 3), dtype=torch.int64), torch.tensor([3, 3])
    with pytest.raises(ValueError, match=r"got \(2, 3\), \(1, 3\) and \(2,\)"):
        costs.sentence_bleu_cost(words, words[:1], lengths)
    with pytest.raises(ValueError, match=r"got \(2, 3\), \(2, 3\) and \(1,\)"):
        costs.sentence_bleu_cost(words, words, lengths[:1])
    with pytest.raises(ValueError, match=r"got \(3,\), \(3,\) and \(3,\)"):
        costs.sentence_bleu_cost(words[0], words[0], words[0])


def test_registered_delta_is_found(empty_registry):
    """This delta is the example in the module's docstring."""

    @costs.register_delta("wrong_last_word")
    def wrong_last_word(hypothesis, gold, lengths):
        last = (lengths - 1).unsqueeze(1)  # (M, 1)
        return (hypothesis.gather(1, last) != gold.gather(1, last)).squeeze(1).float()  # (M,)

    assert costs.get_delta("wrong_last_word") is wrong_last_word
    assert costs.delta_names() == ["hamming", "sentence_bleu", "wrong_last_word", "zero_one"]
    assert wrong_last_word(*padded([([1, 2], [3, 2]), ([1], [2])])).tolist() == [0.0, 1.0]


def test_registry_knows_the_built_in_deltas():
    assert {"hamming", "sentence_bleu", "zero_one"} <= set(costs.delta_names())
    assert costs.get_delta("zero_one") is costs.zero_one
    assert costs.get_delta("sentence_bleu") is costs.sentence_bleu_cost


def test_duplicate_name(empty_registry):
    with pytest.raises(
        ValueError, match="a delta named 'zero_one' is already registered: choose a name other .*zero_one"
    ):
        costs.register_delta("zero_one")
    assert costs.get_delta("zero_one") is costs.zero_one


def test_unknown_name():
    with pytest.raises(ValueError, match="unknown delta 'blue'; choose from: .*sentence_bleu.*zero_one"):
        costs.get_delta("blue")


def test_decorator_without_its_name(empty_registry):
    with pytest.raises(TypeError, match="register_delta needs a name"):

        @costs.register_delta
        def nameless(hypothesis, gold, lengths):
            return lengths.float()
