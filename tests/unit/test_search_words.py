"""Search words, how a search over them compares with the exact one, and the exact scores of what either found."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import search as slow
from reference.decoder import local_scores, table_of, tensor_scores
from search_cases import END, gold_run, padded_cases

from fairseq_bso.bso.losses import OnBeam, margin
from fairseq_bso.search.scorer import SCORERS
from fairseq_bso.search.search_words import agreement, kept_hypotheses, search_words
from fairseq_bso.search.segments import SearchOptions, make_search, search_and_score
from fairseq_bso.search.violation_reset import violation_reset_search
from fairseq_bso.search.violations import Rules
from fairseq_bso.search.vocabulary_search import VocabularyProduct, best_after_gold

every_scorer = st.sampled_from(list(SCORERS.values()))
lenpens = st.sampled_from([None, None, 0.0, 1.0, 0.6])


def options_of(table, beam, scorer, lenpen=None, **others):
    """Options, with the length penalty where the scorer has a use for one; and the word of padding."""
    if lenpen is not None:
        lenpen = None if not scorer.cumulative else lenpen if scorer.normalized else 0.0
    return SearchOptions(beam, 1.0, finished_lenpen=lenpen, **others), table.size(1) - 1


def searched(table, golds, beam, scorer, lenpen=None, n=0):
    """What a search found, the gold run, and its search words."""
    options, padding = options_of(table, beam, scorer, lenpen, search_words=n)
    decoder, gold = gold_run(table, golds, scorer, padding)
    search, words = make_search(decoder, gold, options)
    rules = Rules(beam, END, padding, 1.0, scorer.cumulative, options.finished_lenpen)
    return violation_reset_search(gold, search, decoder, rules), gold, words


def margin_loss(gaps, costs):
    """The margin loss of violators, each in a row of its own."""
    alive = torch.ones(gaps.numel(), 1, dtype=torch.bool)
    return margin(OnBeam(gaps.unsqueeze(1), costs.unsqueeze(1), alive, 1.0))


@settings(max_examples=100)
@given(padded_cases(), st.integers(1, 4))
def test_the_words_are_the_best_after_some_gold_prefix_and_golds_own(case, n):
    table, golds, _ = case
    padding = table.size(1) - 1
    decoder, gold = gold_run(table, golds)
    product = VocabularyProduct(decoder.scorer, [padding])
    found = search_words(best_after_gold(product, gold, n, False), gold, padding)
    for sentence, words in enumerate(golds):
        score = local_scores(table, sentence, SCORERS["summed"], [padding])
        expected = set(words)
        for time in range(len(words)):
            row = score(tuple(words[:time]))
            expected |= set(sorted(range(padding), key=lambda word: -row[word])[:n])
        row = found[sentence].tolist()
        assert row == sorted(expected) + [padding] * (len(row) - len(expected))
    assert found.size(1) == max((row != padding).sum() for row in found)


@settings(max_examples=60)
@given(padded_cases(), every_scorer, lenpens)
def test_kept_hypotheses_are_those_of_the_slow_twin(case, scorer, lenpen):
    table, golds, beam = case
    options, padding = options_of(table, beam, scorer, lenpen)
    found, gold, _ = searched(table, golds, beam, scorer, lenpen)
    expected = set()
    for sentence, words in enumerate(golds):
        score = local_scores(table, sentence, scorer, [padding])
        lenpen = options.finished_lenpen
        _, beams = slow.search(words, score, beam, END, 1.0, scorer.cumulative, lenpen)
        for time, kept in enumerate(beams[:-1]):
            for prefix in kept:
                if prefix != tuple(words[: time + 1]) and (lenpen is not None or prefix[-1] != END):
                    expected.add((sentence, time, *prefix, *[padding] * (time + 1 - len(prefix))))
    assert kept_hypotheses(found.trace, gold) == expected


@settings(max_examples=100)
@given(padded_cases(), every_scorer, lenpens)
def test_an_exact_search_and_one_over_all_words_agree_entirely(case, scorer, lenpen):
    table, golds, beam = case
    padding = table.size(1) - 1
    table[:, padding] = -40  # what no search looks at: its share of Z is not that of gold's prefix
    exact, gold, _ = searched(table, golds, beam, scorer, lenpen)
    every, _, words = searched(table, golds, beam, scorer, lenpen, n=max(padding, beam))
    for other in (exact, every):
        found = agreement(other, exact, gold, words, padding)
        assert (found.kept, found.violators) == (1, 1)
        assert (found.words, found.sentences) == (padding, len(golds))


@pytest.mark.parametrize(
    "after_gold, after_b, kept, violators",
    [
        ([0, 9, 1, 0, 0], [0, 0, 0, 3, 0], 2 / 3, 1),  # exact: B, B C, A A B; over search words: B, A B, A A B
        ([0, 9, 8.5, 0, 0], [0, 0, 0, 8.8, 0], 1, 0),  # at t = 1 violators B C and A B; before and after B and A A B
    ],
)
def test_agreement_is_the_share_that_the_exact_search_finds_too(after_gold, after_b, kept, violators):
    """Words A = 1 .. C = 3, padding 4, K = 2, gold A A A </s>, last scores. After no gold prefix C is one of the two
    best, so that the search over search words does not know it; the exact search sees C after B at t = 1."""
    scores = {(): [0, 9, 5, 0, 0], (1,): after_gold, (2,): after_b, (1, 1): [0, 9, 1, 0, 0], (1, 1, 1): [9, 0, 1, 0, 0]}
    table = table_of({prefix: dict(enumerate(row)) for prefix, row in scores.items()}, words=5, states=101)
    golds, last = [[1, 1, 1, END]], SCORERS["unnormalized"]
    (found, gold, words), (exact, _, _) = (searched(table, golds, 2, last, n=n) for n in (2, 0))
    assert words.tolist() == [[END, 1, 2]]
    assert agreement(found, exact, gold, words, 4) == (3, 1, pytest.approx(kept), violators)


@settings(max_examples=150)
@given(padded_cases(), every_scorer, lenpens, st.sampled_from([0, 0, 2, 3]))
def test_exact_gaps_and_their_gradients_equal_the_slow_twin(case, scorer, lenpen, n):
    """Of an exact search the gap that it saw is the gap of the loss. Of any other the loss is of exact gaps all the
    same, and what these do not confirm costs nothing."""
    table, golds, beam = case
    table = table.clone().requires_grad_()
    options, padding = options_of(table, beam, scorer, lenpen, search_words=n)
    decoder, gold = gold_run(table, golds, scorer, padding)
    found = search_and_score(decoder, gold, options)
    violations, total, gaps = found.violations, table.sum() * 0, []
    for row, (sentence, time) in enumerate(zip(violations.sentences.tolist(), violations.times.tolist())):
        violator = tuple(violations.paths[row, : int(violations.ends[row]) + 1].tolist())
        local = tensor_scores(table, sentence, scorer)
        seen = slow.Violation(time, 0, violator, float(violations.gaps[row]))
        gaps.append(slow.gap(seen, golds[sentence], local, scorer.cumulative, options.finished_lenpen))
        if gaps[-1] < 1:
            total = total + 1 - gaps[-1]
    torch.testing.assert_close(found.gaps, torch.stack(gaps) if gaps else table.new_zeros(0))
    if n == 0:
        torch.testing.assert_close(found.gaps.detach(), violations.gaps)
    loss = margin_loss(found.gaps, torch.ones_like(found.gaps))
    torch.testing.assert_close(loss, total)
    ours, theirs = (torch.autograd.grad(value + table.sum() * 0, table)[0] for value in (loss, total))
    torch.testing.assert_close(ours, theirs)


def test_a_violator_that_exact_scores_do_not_confirm_costs_nothing():
    gaps = torch.tensor([1.5, 0.25, -2.0, 1.0], requires_grad=True)
    loss = margin_loss(gaps, torch.tensor([1.0, 0.5, 1.0, 1.0]))
    assert loss.item() == pytest.approx(0.5 * 0.75 + 3)
    loss.backward()
    assert gaps.grad.tolist()[:3] == [0, -0.5, -1]


def test_the_comparison_is_made_where_it_is_asked_for_and_the_search_is_not_exact():
    table = torch.randn(50, 9, dtype=torch.float64)
    for scorer in SCORERS.values():
        decoder, gold = gold_run(table, [[1, 2, 3, END], [4, END]], scorer, 8)
        for n, compare, made in ((0, True, False), (2, False, False), (2, True, True)):
            options = SearchOptions(3, 1.0, search_words=n, compare=compare)
            prepared = []
            decoder.prepare = prepared.append
            found = search_and_score(decoder, gold, options)
            assert (found.agreement is not None) == made
            assert len(prepared) == 1 + made and (n > 0 and not made or prepared[-1] is None)


@settings(max_examples=60)
@given(padded_cases(), every_scorer)
def test_an_exact_search_sees_the_exact_gaps_of_all_rivals(case, scorer):
    table, golds, beam = case
    decoder, gold = gold_run(table, golds, scorer, table.size(1) - 1)
    found = search_and_score(decoder, gold, SearchOptions(beam, 1.0, rivals=True))
    torch.testing.assert_close(found.gaps, found.rivals.gaps)


def test_log_z_of_a_low_precision_product_has_its_own_type():
    decoder, gold = gold_run(torch.randn(50, 9, dtype=torch.float64), [[1, 2, 3, END], [4, END]], SCORERS["softmax"], 8)
    exact, screened = (
        make_search(decoder, gold, SearchOptions(3, 1.0, dtype=dtype))[0] for dtype in (None, torch.bfloat16)
    )
    inside = torch.arange(4) < gold.lengths.unsqueeze(1)
    torch.testing.assert_close(screened.gold_scores[inside], exact.gold_scores[inside], rtol=0, atol=0.05)
