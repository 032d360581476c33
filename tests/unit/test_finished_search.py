"""Beam search to the end in training, against plain loops over one sentence."""

import math
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import finished_search as slow
from reference.decoder import local_scores, tensor_scores
from search_cases import END, gold_run, padded_cases, search_finished

from fairseq_bso.search import finished_scores as scores_module
from fairseq_bso.search.finished_search import finished_search
from fairseq_bso.search.scorer import SCORERS
from fairseq_bso.search.segments import SearchOptions

CUMULATIVE = [score for score in SCORERS.values() if score.cumulative]


@settings(max_examples=80)
@given(padded_cases(), st.sampled_from(CUMULATIVE), st.booleans())
def test_finished_hypotheses_are_those_of_the_reference(case, scorer, end_at_limit):
    table, golds, beam = case
    padding = table.size(1) - 1
    decoder, gold = gold_run(table, golds, scorer, padding)
    found = finished_search(decoder, gold, SearchOptions(beam, 1.0, end_at_limit=end_at_limit))
    longest = gold.words.size(1)
    for sentence in range(len(golds)):
        score = local_scores(table, sentence, scorer, [padding])
        right = slow.finished_search(score, beam, END, longest, end_at_limit)
        lengths = found.lengths[sentence].tolist()
        ours = [tuple(found.paths[sentence, k, :n].tolist()) for k, n in enumerate(lengths) if n]
        assert ours == [prefix for prefix, _ in right]
        assert lengths == [len(prefix) for prefix, _ in right] + [0] * (beam - len(right))
        values = found.scores[sentence, : len(right)].tolist()
        assert values == pytest.approx([value for _, value in right], abs=1e-9)
        assert all((row[n:] == padding).all() for row, n in zip(found.paths[sentence], lengths))


@settings(max_examples=60)
@given(padded_cases(), st.sampled_from(CUMULATIVE), st.sampled_from([0, 2]))
def test_scores_and_their_gradients_are_those_of_the_reference(case, scorer, n):
    table, golds, beam = case
    table = table.clone().requires_grad_()
    decoder, gold = gold_run(table, golds, scorer, table.size(1) - 1)
    found = search_finished(decoder, gold, SearchOptions(beam, 1.0, search_words=n))
    ours, right = found.gold.sum() * 0, table.sum() * 0
    for sentence, words in enumerate(golds):
        score = tensor_scores(table, sentence, scorer)

        def total(path, score=score):
            return sum((score(tuple(path[:t]))[word] for t, word in enumerate(path)), table.sum() * 0)

        torch.testing.assert_close(found.gold[sentence], total(words))
        ours, right = ours + found.gold[sentence] * (sentence + 1), right + total(words) * (sentence + 1)
        for k, length in enumerate(found.finished.lengths[sentence].tolist()):
            value = found.scores[sentence, k]
            expected = total(found.finished.paths[sentence, k, :length].tolist())
            torch.testing.assert_close(value, expected)
            if length and n == 0:
                torch.testing.assert_close(value.detach(), found.finished.scores[sentence, k])
            ours, right = ours + value * (k + 0.5), right + expected * (k + 0.5)
    gradients = [torch.autograd.grad(value, table)[0] for value in (ours, right)]
    torch.testing.assert_close(*gradients)


@settings(max_examples=60)
@given(padded_cases(), st.sampled_from(CUMULATIVE))
def test_what_follows_a_shared_prefix_is_normalised_once(case, scorer):
    """Without the whole of gold, only those of its prefixes count that are prefixes of a hypothesis too."""
    table, golds, beam = case
    table, seen = table.clone().requires_grad_(), []
    decoder, gold = gold_run(table, golds, scorer, table.size(1) - 1)
    log_partition = scores_module.log_partition
    with mock.patch.object(scores_module, "log_partition", lambda *given: seen.append(given) or log_partition(*given)):
        some, whole = (
            search_finished(decoder, gold, SearchOptions(beam, 1.0, whole_gold=one)) for one in (False, True)
        )
    torch.testing.assert_close(some.scores, whole.scores)
    weights = torch.arange(1.0, some.scores.numel() + 1, dtype=torch.float64).view_as(some.scores)
    torch.testing.assert_close(
        *(torch.autograd.grad((one.scores * weights).sum() + table.sum() * 0, table) for one in (some, whole))
    )
    of_hypotheses = {
        (sentence, tuple(row[:place].tolist()))
        for sentence, rows in enumerate(some.finished.paths)
        for row, length in zip(rows, some.finished.lengths[sentence].tolist())
        for place in range(length)
    }
    of_gold = {(sentence, tuple(words[:place])) for sentence, words in enumerate(golds) for place in range(len(words))}
    if scorer.normalized:
        assert [given[0].size(0) for given in seen] == [len(of_hypotheses), len(of_hypotheses | of_gold)]


@pytest.mark.parametrize("scorer", CUMULATIVE)
def test_a_beam_as_wide_as_all_outputs_finds_them_all(scorer):
    generator = torch.Generator().manual_seed(1)
    table = torch.randn(211, 4, generator=generator, dtype=torch.float64)
    longest, words = 3, [END, 1, 2]
    decoder, gold = gold_run(table, [[1, 2, END]], scorer, 3)
    every = slow.all_outputs(words, END, longest)
    found = finished_search(decoder, gold, SearchOptions(2 * len(every), 1.0))
    ours = {tuple(row[:n].tolist()) for row, n in zip(found.paths[0], found.lengths[0].tolist()) if n}
    assert ours == set(every) and not math.isinf(float(found.scores[0, : len(every)].min()))
