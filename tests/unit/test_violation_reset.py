"""Violation-reset search: the fast one against the slow twin, hand-traced examples, and its properties."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import search as slow
from reference.decoder import local_scores, same_violations, table_of, table_score, without_ties
from reference.host_reads import ForbidHostReads
from search_cases import END, PADDING, cases, gold_run

from fairseq_bso.search.candidate_search import CandidateSearch
from fairseq_bso.search.constraints import BatchConstraint
from fairseq_bso.search.scorer import SCORERS
from fairseq_bso.search.search_words import EstimatedLogZ, search_words
from fairseq_bso.search.violation_reset import violation_reset_search
from fairseq_bso.search.violations import Rules
from fairseq_bso.search.vocabulary_search import VocabularyProduct, VocabularySearch, best_after_gold

LAST, SUMMED, SOFTMAX = SCORERS["unnormalized"], SCORERS["summed"], SCORERS["softmax"]


def run_fast(
    table, golds, beam, scorer=LAST, margin=1.0, live_rows_only=True, dtype=None, barred=(), lenpen=None, n=None
):
    """Violations of the fast search as tuples, sorted by (sentence, time), and the decoder that served it.

    With ``n`` the search looks at the ``n`` best words after each gold prefix.
    """
    decoder, gold = gold_run(table, golds)
    product = VocabularyProduct(decoder.scorer, barred, dtype)
    if n is None:
        search = VocabularySearch(product, gold, beam, scorer.normalized)
    else:
        best = best_after_gold(product, gold, n, scorer.normalized)
        words = BatchConstraint(search_words(best, gold, PADDING), PADDING)
        log_z = None
        if scorer.normalized:
            log_z = EstimatedLogZ(decoder.scorer, words.candidates, gold, best, PADDING)
        search = CandidateSearch(decoder.scorer, words, gold, log_z, best)
    rules = Rules(beam, END, PADDING, margin, scorer.cumulative, lenpen)
    found = violation_reset_search(gold, search, decoder, rules, live_rows_only).violations
    rows = zip(found.sentences.tolist(), found.times.tolist(), found.resets.tolist(), found.branches.tolist())
    listed = []
    for row, (sentence, time, reset, branch) in enumerate(rows):
        path, end, gap = found.paths[row].tolist(), int(found.ends[row]), float(found.gaps[row])
        assert path[:branch] == golds[sentence][:branch]
        assert branch == time or path[branch] != golds[sentence][branch]
        assert path[end + 1 : time + 1] == [PADDING] * (time - end)
        listed.append((sentence, time, reset, tuple(path[: end + 1]), gap))
    return sorted(listed), decoder


def run_slow(table, golds, beam, scorer=LAST, margin=1.0, barred=(), lenpen=None):
    listed = []
    for sentence, gold in enumerate(golds):
        score = local_scores(table, sentence, scorer, barred)
        violations, _ = slow.search(gold, score, beam, END, margin, scorer.cumulative, lenpen)
        listed += [(sentence, v.time, v.reset, v.violator, v.gap) for v in violations]
    return sorted(listed)


@settings(max_examples=250, deadline=None)
@given(cases(), st.sampled_from([LAST, SUMMED]), st.booleans())
def test_equals_the_slow_twin(case, scorer, live_rows_only):
    table, golds, beam = case
    fast, _ = run_fast(table, golds, beam, scorer, live_rows_only=live_rows_only)
    assert fast == run_slow(table, golds, beam, scorer)


@settings(max_examples=250, deadline=None)
@given(cases(), st.sampled_from([None, None, 0.0, 1.0, 0.6]), st.booleans(), st.booleans())
def test_log_probabilities_equal_the_slow_twin(case, lenpen, live_rows_only, barred):
    table, golds, beam = case
    table = without_ties(table, golds if len(golds) > 1 else ())
    barred = (1,) if barred and not any(1 in gold for gold in golds) else ()
    fast, _ = run_fast(table, golds, beam, SOFTMAX, live_rows_only=live_rows_only, barred=barred, lenpen=lenpen)
    same_violations(fast, run_slow(table, golds, beam, SOFTMAX, barred=barred, lenpen=lenpen))


@settings(max_examples=250, deadline=None)
@given(cases(), st.booleans())
def test_finished_rivals_of_summed_scores_equal_the_slow_twin(case, live_rows_only):
    table, golds, beam = case
    table = table.clone()
    table[:, END] += 1.5  # hypotheses end early and often
    fast, _ = run_fast(table, golds, beam, SUMMED, live_rows_only=live_rows_only, lenpen=0.0)
    assert fast == run_slow(table, golds, beam, SUMMED, lenpen=0.0)


@settings(max_examples=200, deadline=None)
@given(cases(), st.sampled_from([LAST, SUMMED, SOFTMAX]), st.sampled_from([None, 0.0]))
def test_search_words_that_are_the_whole_vocabulary_change_nothing(case, scorer, lenpen):
    table, golds, beam = case
    table, lenpen = without_ties(table, golds if len(golds) > 1 else ()), (lenpen if scorer.cumulative else None)
    exact, _ = run_fast(table, golds, beam, scorer, lenpen=lenpen)
    same_violations(run_fast(table, golds, beam, scorer, lenpen=lenpen, n=max(table.size(1), beam))[0], exact)


@settings(max_examples=200, deadline=None)
@given(cases(), st.sampled_from([LAST, SUMMED]), st.integers(0, 3))
def test_few_search_words_equal_the_twin_that_knows_only_those(case, scorer, more):
    table, golds, beam = case
    n = beam + more
    listed = []
    for sentence, gold in enumerate(golds):
        score = local_scores(table, sentence, scorer)
        known = set(gold)
        for time in range(len(gold)):
            row = score(tuple(gold[:time]))
            known |= set(sorted(range(len(row)), key=lambda word: (-row[word], word))[:n])

        def few(prefix, score=score, known=known):
            return [value if word in known else -math.inf for word, value in enumerate(score(prefix))]

        violations, _ = slow.search(gold, few, beam, END, 1.0, scorer.cumulative)
        listed += [(sentence, v.time, v.reset, v.violator, v.gap) for v in violations]
    assert run_fast(table, golds, beam, scorer, n=n)[0] == sorted(listed)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_a_batch_of_one_equals_a_batch_of_many(case):
    table, golds, beam = case
    together, _ = run_fast(table, golds, beam)
    # The state of sentence s starts at s, so a sentence alone keeps its place behind empty ones.
    for sentence, gold in enumerate(golds):
        alone, _ = run_fast(table, [[END]] * sentence + [gold], beam)
        assert [v for v in alone if v[0] == sentence] == [v for v in together if v[0] == sentence]


@settings(max_examples=100, deadline=None)
@given(cases())
def test_live_rows_are_as_many_as_the_slow_twins_hypotheses(case):
    table, golds, beam = case
    _, decoder = run_fast(table, golds, beam)
    longest = max(map(len, golds))
    expected = [0] * longest
    for sentence, gold in enumerate(golds):
        _, beams = slow.search(gold, lambda prefix, s=sentence: table_score(table, s, prefix), beam, END)
        for time, kept in enumerate(beams[:-1]):
            expected[time] += sum(prefix[-1] != END for prefix in kept if prefix != tuple(gold[: time + 1]))
    assert decoder.calls == [count for count in expected if count > 0]


@settings(max_examples=50, deadline=None)
@given(cases())
def test_a_bfloat16_screen_wide_enough_to_hold_everything_changes_nothing(case):
    table, golds, beam = case
    table = table.float()
    decoder, gold = gold_run(table, golds)
    rules = Rules(beam, END, PADDING, cumulative=False)
    found = [
        violation_reset_search(
            gold, VocabularySearch(VocabularyProduct(decoder.scorer, (), dtype, 50), gold, beam, False), decoder, rules
        ).violations
        for dtype in (None, torch.bfloat16)
    ]
    for exact, screened in zip(*found):
        torch.testing.assert_close(exact, screened)


table_from = partial(table_of, words=6, states=9973)  # one state for each prefix that occurs


def test_hand_traced_beam_violation_and_reset():
    """K = 3, words A = 1 .. E = 5, gold = A B C </s>.

    t = 0, beam {()}: A 9, B 5, C 4, rest 0. Top 3 = A B C; violator = C (4). 9 >= 1 + 4: no violation; keep A, B, C.
    t = 1, after A: B 7, D 6.5; after B: E 6.8, A 3; after C: C 1. Top 3 = AB 7, BE 6.8, AD 6.5; violator = AD.
        7 < 1 + 6.5: violation (path A D, branch 1, reset 0). The next beam is AB alone.
    t = 2, after AB: C 8, D 2, E 1. Top 3 = ABC, ABD, ABE; violator ABE (1). 8 >= 2: no violation; keep all.
    t = 3, the last word, after ABC: </s> 5, A 3; after ABD: </s> 4.5. The best that is not gold is ABD</s>.
        5 < 1 + 4.5: violation (path A B D </s>, branch 2, reset 2).
    """
    a, b, c, d, e = range(1, 6)
    low = dict.fromkeys(range(6), -9.0)
    table = table_from(
        {
            (): {**low, a: 9, b: 5, c: 4},
            (a,): {**low, b: 7, d: 6.5},
            (b,): {**low, e: 6.8, a: 3},
            (c,): {**low, c: 1},
            (a, b): {**low, c: 8, d: 2, e: 1},
            (a, b, c): {**low, END: 5, a: 3},
            (a, b, d): {**low, END: 4.5},
            (a, b, e): {**low, END: 0},
        }
    )
    found, decoder = run_fast(table, [[a, b, c, END]], beam=3)
    assert found == [(0, 1, 0, (a, d), 0.5), (0, 3, 2, (a, b, d, END), 0.5)]
    assert decoder.calls == [2, 2]  # after t = 0: B, C; after the violation none; after t = 2: ABD, ABE


def test_gold_in_the_last_place_is_measured_against_the_one_above_it():
    """K = 2, gold = A </s>: B 3, A 2.5, rest 0. Gold is second of two, so the violator is B, not gold itself."""
    table = table_from({(): {1: 2.5, 2: 3}, (1,): {END: 9}})
    assert run_fast(table, [[1, END]], beam=2)[0] == [(0, 0, 0, (2,), -0.5)]


def test_fewer_candidates_than_the_beam_are_no_violation():
    """Two words in all and K = 3: at t = 0 gold (A, worse by 5) cannot fall off; at the last step it must be first."""
    table = torch.tensor([[5.0, 0.0]] * 7, dtype=torch.float64)
    found, _ = run_fast(table, [[1, END]], beam=3)
    assert [violation[1] for violation in found] == []
    table = torch.tensor([[0.0, 5.0]] * 7, dtype=torch.float64)
    assert [violation[1] for violation in run_fast(table, [[1, END]], beam=3)[0]] == [1]


def test_an_ended_hypothesis_takes_a_place_and_has_no_successors():
    """K = 2, gold = A B </s>. At t = 0 the beam is A and </s>; at t = 1 only A has successors."""
    table = table_from({(): {1: 9, END: 5}, (1,): {2: 9, 3: 1}, (1, 2): {END: 9}, (1, 3): {END: 3}})
    found, decoder = run_fast(table, [[1, 2, END]], beam=2)
    assert found == []
    assert decoder.calls == [1]  # only A D is ever extended


def test_barred_words_are_no_candidates():
    table = table_from({(): {1: 9, 2: 8.5}, (1,): {END: 9, 2: 8.5}})
    assert len(run_fast(table, [[1, END]], beam=2)[0]) == 2
    assert run_fast(table, [[1, END]], beam=2, barred=[2])[0] == []


@pytest.mark.parametrize(
    "options, message",
    [({"beam": 1}, "train beam is 1, but must be at least 2"), ({"beam": 2, "margin": 0.0}, "margin is 0.0, but must")],
)
def test_refuses_a_search_without_rivals_or_margin(options, message):
    with pytest.raises(ValueError, match=message):
        run_fast(torch.zeros(3, 3, dtype=torch.float64), [[1, END]], **options)


@pytest.mark.parametrize("scorer, lenpen", [(LAST, None), (SUMMED, 0.0), (SOFTMAX, None), (SOFTMAX, 1.0)])
def test_the_time_loop_of_a_device_reads_nothing_back(monkeypatch, scorer, lenpen):
    from fairseq_bso.search import topk, violation_reset

    loop = violation_reset.Searcher.run

    def guarded(*args):
        with ForbidHostReads():
            return loop(*args)

    monkeypatch.setattr(violation_reset.Searcher, "run", guarded)
    monkeypatch.setattr(topk, "_reading_is_free", lambda scores: False)
    table = torch.randn(50, 9, dtype=torch.float64)
    golds = [[1, 2, 3, END], [4, END]]
    fast, _ = run_fast(table, golds, beam=3, scorer=scorer, live_rows_only=False, lenpen=lenpen)
    same_violations(fast, run_slow(table, golds, 3, scorer, lenpen=lenpen))
    with pytest.raises(AssertionError, match="asks the device"):
        run_fast(table * 0.01, golds, beam=3, margin=1e-9, live_rows_only=True)
