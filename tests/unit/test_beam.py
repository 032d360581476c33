"""One beam step against plain Python: ranks, ties, vocabularies of several blocks, and the low-precision screen."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_bso.search import topk
from fairseq_bso.search.decoder import GoldRun, Rows
from fairseq_bso.search.scorer import Scorer
from fairseq_bso.search.topk import BLOCK, best_of, block_maxima, recover_paths, screen_in_blocks
from fairseq_bso.search.violation_reset import BeamState
from fairseq_bso.search.vocabulary_search import VocabularyProduct, VocabularySearch

INFINITY = float("inf")


def ranked(values, k):
    """The k best (value, index), ties to the smaller index; (-inf, None) where there are no more."""
    order = sorted(range(len(values)), key=lambda index: (-values[index], index))
    found = [(values[index], index) for index in order if values[index] > -INFINITY][:k]
    return found + [(-INFINITY, None)] * (k - len(found))


def same(scores, index, expected):
    """Compares one row of results; where nothing exists the index may be anything."""
    for score, place, (value, wanted) in zip(scores.tolist(), index.tolist(), expected):
        assert score == value and (wanted is None or place == wanted)


few_values = st.sampled_from([-INFINITY, -1.0, 0.0, 0.5, 2.0])


@settings(max_examples=200)
@given(st.integers(1, 9).flatmap(lambda size: st.lists(st.lists(few_values, min_size=size, max_size=size), min_size=1)))
def test_best_of_ranks_like_a_stable_sort(rows):
    given_scores = torch.tensor(rows, dtype=torch.float64)
    for k in (1, 2, 5, 12):
        for free in (True, False):  # on a CPU, on a device
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(topk, "_reading_is_free", lambda _, free=free: free)
                scores, index = best_of(given_scores, k)
            assert scores.shape == index.shape == (len(rows), k)
            for row, values in enumerate(rows):
                same(scores[row], index[row], ranked(values, k))


@settings(max_examples=100)
@given(seed=st.integers(0, 10**6), sentences=st.integers(1, 3), width=st.integers(1, 3), k=st.integers(1, 9))
def test_a_screen_keeps_the_best_scores_each_from_a_place_of_its_own(seed, sentences, width, k):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-2, 3, (sentences * width, 2 * BLOCK), generator=generator).float()
    scores[torch.rand(scores.shape, generator=generator) < 0.9] = -INFINITY
    values, flat = screen_in_blocks(scores, block_maxima(scores).view(sentences, -1), k)
    for sentence, row in enumerate(scores.view(sentences, -1)):
        kept, places = values[sentence], flat[sentence]
        assert sorted(kept.tolist(), reverse=True) == [value for value, _ in ranked(row.tolist(), k)]
        there = kept > -INFINITY
        assert row[places[there]].equal(kept[there]) and len(set(places[there].tolist())) == int(there.sum())


def vocabulary(seed, hidden=3):
    """A scorer over three and a half blocks with many equal integer scores; exact also in bfloat16."""
    generator = torch.Generator().manual_seed(seed)
    words = 3 * BLOCK + BLOCK // 2
    weight = torch.randint(-2, 3, (words, hidden), generator=generator).float()
    bias = torch.randint(-1, 2, (words,), generator=generator).float()
    return Scorer(weight, bias), generator


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 7), dtype=st.sampled_from([None, torch.bfloat16]))
def test_best_per_row_and_sentence_over_several_blocks(seed, k, dtype):
    scorer, generator = vocabulary(seed)
    sentences, width = 3, 4
    alive = torch.rand(sentences, width, generator=generator) < 0.6
    outputs = torch.randint(-2, 3, (sentences * width, 3), generator=generator).float()
    barred = [0, BLOCK, 200]
    # Many ties: a screen must be wide to keep the same ones, which small integers in bfloat16 allow to compare.
    product = VocabularyProduct(scorer, barred, dtype, screen=200)
    full = outputs @ scorer.weight.t() + scorer.bias
    full[:, barred] = -INFINITY
    scores, words, log_z = product.best_words(outputs, k, with_log_z=True)
    complete = outputs @ scorer.weight.t() + scorer.bias  # the denominator counts barred words too
    torch.testing.assert_close(log_z, complete.logsumexp(1), rtol=0.01 if dtype else 1e-5, atol=1e-5)
    for row in range(len(outputs)):
        same(scores[row], words[row], ranked(full[row].tolist(), k))
    before = torch.randint(-3, 4, alive.shape, generator=generator).float()  # (B, W)
    full = (full + before.view(-1, 1)).masked_fill(~alive.view(-1, 1), -INFINITY)
    words = torch.zeros(sentences, 1, dtype=torch.long)
    gold = GoldRun(words, torch.ones(sentences, dtype=torch.long), torch.zeros(1, sentences, 3))
    search = VocabularySearch(product, gold, k, normalized=False)
    slots, everywhere = alive.view(-1).nonzero().squeeze(1), torch.arange(sentences * width)
    for rows in (Rows(slots, width, False), Rows(everywhere, width, True)):
        if rows.slots.numel() == 0:
            continue
        ended = torch.zeros_like(alive, dtype=torch.long)
        found = search.best_of_others(BeamState(rows, outputs[rows.slots], (), (), before, alive, ended), 1, k)
        for sentence in range(sentences):
            values = full.view(sentences, -1)[sentence].tolist()
            flat = found.slots[sentence] * scorer.bias.numel() + found.words[sentence]
            same(found.scores[sentence], flat, ranked(values, k))


def test_the_screen_ranks_by_exact_scores():
    """1 + 2**-9 and 1 are equal in bfloat16; the exact scores still put the larger first, although it comes later."""
    weight = torch.tensor([[1.0], [1.0 + 2**-9], [0.0]])
    product = VocabularyProduct(Scorer(weight, torch.zeros(3)), dtype=torch.bfloat16)
    scores, words, _ = product.best_words(torch.ones(1, 1), 2)
    assert words.tolist() == [[1, 0]]
    assert scores.tolist() == [[1.0 + 2**-9, 1.0]]


@pytest.mark.parametrize("shape", [(4,), (2, 3), (0,)])
def test_score_words_gathers_and_dots_with_a_gradient_in_those_rows_alone(shape):
    scorer, generator = vocabulary(1)
    weight = scorer.weight.double().requires_grad_()
    scorer = Scorer(weight, scorer.bias.double())
    words = torch.randint(0, 5, shape, generator=generator)
    outputs = torch.randn(*shape, 3, generator=generator).double()
    scores = scorer.score_words(outputs, words)
    full = outputs @ weight.t() + scorer.bias
    torch.testing.assert_close(scores, full.gather(-1, words.unsqueeze(-1)).squeeze(-1))
    scores.sum().backward()
    assert not weight.grad[5:].any()


def test_recover_paths_follows_back_pointers_to_gold():
    """T = 3, one sentence, gold 5 6 7. Beam after t = 0: gold, 8 (from gold). After t = 1: gold, 8 9 (out of slot 1).

    The hypothesis in slot 1 before t = 2 is 8 9 and left gold at once; slot 0 is gold itself and never left.
    """
    parents = torch.tensor([[[0, 0]], [[0, 1]], [[0, 0]]])
    words = torch.tensor([[[5, 8]], [[6, 9]], [[7, 0]]])
    gold = torch.tensor([[5, 6, 7]])
    where = torch.tensor([0, 0, 0])
    paths, branches = recover_paths(parents, words, gold, where, torch.tensor([2, 2, 1]), torch.tensor([1, 0, 1]))
    assert paths.tolist() == [[8, 9, 7], [5, 6, 7], [8, 6, 7]]
    assert branches.tolist() == [0, 2, 0]
