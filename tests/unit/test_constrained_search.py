"""Constraints and the search under them, compared with their references."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import constraints as slow
from reference import search as slow_search
from reference.decoder import TableDecoder, local_scores, same_violations, without_ties
from reference.host_reads import ForbidHostReads

from fairseq_bso.search import topk, violation_reset
from fairseq_bso.search.candidate_search import CandidateSearch, ExactLogZ
from fairseq_bso.search.constraints import (
    ArcStandard,
    BatchConstraint,
    Vocabulary,
    WordOrder,
    constraint_factory,
    first_disallowed,
    register_successors,
    sorted_candidates,
)
from fairseq_bso.search.scorer import SCORERS
from fairseq_bso.search.violation_reset import violation_reset_search
from fairseq_bso.search.violations import Rules
from fairseq_bso.search.vocabulary_search import VocabularyProduct

PADDING, END, UNKNOWN = 1, 2, 3
SYMBOLS = ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "c", "@L_det", "@R_obj"]
VOCABULARY = Vocabulary(SYMBOLS, PADDING, END, UNKNOWN)
WORDS, LABELS = [3, 4, 5, 6], {7, 8}
KINDS = {"word_order": WordOrder, "arc_standard": ArcStandard}


def padded(sentences, fill=PADDING):
    """Words (B, S) and lengths (B,)."""
    lengths = torch.tensor([len(sentence) for sentence in sentences])
    words = torch.full((len(sentences), max(int(lengths.max()), 1)), fill)
    for row, sentence in enumerate(sentences):
        words[row, : len(sentence)] = torch.tensor(sentence, dtype=torch.long)
    return words, lengths


def fast(kind, sources):
    return KINDS[kind](*padded(sources), VOCABULARY)


def slow_allowed(kind, source, prefix):
    if kind == "word_order":
        return slow.word_order(source, prefix, END)
    return slow.arc_standard(source, prefix, END, LABELS)


def allowed_sets(successors, state, sentences):
    """The set of allowed words of each hypothesis, read from the mask."""
    mask = successors.allowed(state, sentences)
    of = successors.of(successors.candidates, sentences)
    return [set(words[kept].tolist()) for words, kept in zip(of, mask)]


sources = st.lists(st.lists(st.sampled_from(WORDS), max_size=5), min_size=1, max_size=4)
kinds = st.sampled_from(sorted(KINDS))


@settings(max_examples=200, deadline=None)
@given(kinds, sources, st.randoms(use_true_random=False))
def test_the_allowed_set_equals_the_brute_force_set_along_random_derivations(kind, sentences, random):
    successors = fast(kind, sentences)
    hypotheses = [row for row in range(len(sentences)) for _ in range(2)]  # two of each sentence, in one flat beam
    prefixes = [[] for _ in hypotheses]
    rows = torch.tensor(hypotheses)
    state = tuple(part[rows] for part in successors.start())
    for _ in range(int(successors.longest.max())):
        expected = [slow_allowed(kind, sentences[row], prefix) for row, prefix in zip(hypotheses, prefixes)]
        assert allowed_sets(successors, state, rows) == expected
        going_on = [place for place, words in enumerate(expected) if words and END not in prefixes[place]]
        if not going_on:
            break
        words = [random.choice(sorted(expected[place])) for place in going_on]
        ended = [place for place, word in zip(going_on, words) if word == END]
        for place, word in zip(going_on, words):
            prefixes[place].append(word)
        state = successors.advance(
            tuple(part[going_on] for part in state), torch.tensor(words), rows[torch.tensor(going_on)]
        )
        kept = [index for index, place in enumerate(going_on) if place not in ended]
        state, rows = tuple(part[kept] for part in state), rows[torch.tensor(going_on)][kept]
        hypotheses = [hypotheses[going_on[index]] for index in kept]
        prefixes = [prefixes[going_on[index]] for index in kept]
        if not kept:
            break
    assert not prefixes, "an output is longer than `longest`"


@pytest.mark.parametrize(
    "kind, source, count",
    [
        ("word_order", [4], 1),
        ("word_order", [4, 5, 4], 3),  # 3! / 2!
        ("word_order", [4, 5, 6, 3], 24),
        ("arc_standard", [4], 1),
        ("arc_standard", [4, 5], 2),  # two labels
        ("arc_standard", [4, 5, 4], 2 * 2**2),  # Catalan(2) orders of shifts and reduces, 2^2 labels
        ("arc_standard", [4, 5, 6, 3], 5 * 2**3),
    ],
)
def test_the_outputs_are_as_many_as_counted_by_hand(kind, source, count):
    outputs = slow.outputs(lambda prefix: slow_allowed(kind, source, prefix), 2 * len(source), END)
    assert len(outputs) == count
    golds, lengths = padded([list(output) for output in outputs])
    assert first_disallowed(fast(kind, [source] * count), golds, lengths).tolist() == [-1] * count


def test_what_is_not_allowed_is_found_at_its_first_word():
    golds, lengths = padded([[4, 5, END], [5, 5, END], [5, 4, 4, END], [5, END], [6, END]])
    found = first_disallowed(fast("word_order", [[5, 4]] * 5), golds, lengths)
    assert found.tolist() == [-1, 1, 2, 1, 0]
    golds, lengths = padded([[5, 4, 7, END], [4, 5, 7, END], [5, 7, 4, END], [5, 4, END], [5, 4, 8, 8, END]])
    found = first_disallowed(fast("arc_standard", [[5, 4]] * 5), golds, lengths)
    assert found.tolist() == [-1, 0, 1, 2, 3]


def test_candidates_hold_every_word_once_in_order():
    words, lengths = padded([[5, 4, 5], [6], []], fill=8)
    assert sorted_candidates(words, lengths, VOCABULARY).tolist() == [
        [END, 4, 5, PADDING],
        [END, 6, PADDING, PADDING],
        [END, PADDING, PADDING, PADDING],
    ]


class FixedLength(BatchConstraint):
    """Allows any two words, and then only ``</s>``."""

    def __init__(self, words, lengths, vocabulary):
        candidates = torch.tensor([[vocabulary.end, *WORDS]])
        super().__init__(candidates, vocabulary.padding, torch.full_like(lengths, 3))
        self.sentences = lengths.numel()

    def start(self):
        return (torch.zeros(self.sentences, dtype=torch.long),)

    def allowed(self, state, sentences):
        return (self.candidates == END) == (state[0] == 2).unsqueeze(1)

    def advance(self, state, words, sentences):
        return (state[0] + 1,)


@st.composite
def searches(draw):
    """A kind, sources, allowed gold sequences, a table with many ties, and a beam."""
    kind = draw(st.sampled_from(["word_order", "arc_standard", "fixed_length"]))
    sentences = draw(st.lists(st.lists(st.sampled_from(WORDS), max_size=4), min_size=1, max_size=3))
    random = draw(st.randoms(use_true_random=False))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    spread = draw(st.sampled_from([1, 3, 12]))
    table = torch.randint(-spread, spread + 1, (23, len(SYMBOLS)), generator=generator).double() / 2
    golds = []
    for row, source in enumerate(sentences):
        gold = []
        while END not in gold:
            gold.append(random.choice(sorted(allowed_words(kind, source, gold))))
        golds.append(gold)
        if draw(st.booleans()):  # a model that prefers gold
            state = row
            for word in gold:
                table[state % 23, word] += 4
                state = (state * 31 + word + 1) % 23
    return kind, sentences, golds, table, draw(st.integers(2, 6))


def allowed_words(kind, source, prefix):
    if kind == "fixed_length":
        return set() if END in prefix else {END} if len(prefix) == 2 else set(WORDS)
    return slow_allowed(kind, source, prefix)


def search_of(scorer, successors, gold, table_scorer):
    """The search under a constraint, exact for every scorer."""
    log_z = ExactLogZ(VocabularyProduct(table_scorer), gold) if scorer.normalized else None
    return CandidateSearch(table_scorer, successors, gold, log_z)


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
@settings(max_examples=150, deadline=None)
@given(case=searches(), live_rows_only=st.booleans(), rival=st.booleans())
def test_the_constrained_search_equals_the_slow_twin(scorer, case, live_rows_only, rival):
    kind, sentences, golds, table, beam = case
    table = without_ties(table) if scorer.normalized else table
    lenpen = 0.0 if rival and scorer.cumulative else None
    successors = FixedLength(*padded(sentences), VOCABULARY) if kind == "fixed_length" else fast(kind, sentences)
    decoder = TableDecoder(table)
    gold = decoder.gold_run(*padded(golds))
    rules = Rules(beam, END, PADDING, 1.0, scorer.cumulative, lenpen)
    search = search_of(scorer, successors, gold, decoder.scorer)
    found = violation_reset_search(gold, search, decoder, rules, live_rows_only).violations
    rows = zip(found.sentences.tolist(), found.times.tolist(), found.resets.tolist(), found.paths.tolist())
    listed = [
        (sentence, time, reset, tuple(path[: int(found.ends[row]) + 1]), float(found.gaps[row]))
        for row, (sentence, time, reset, path) in enumerate(rows)
    ]
    expected = []
    for row, (source, target) in enumerate(zip(sentences, golds)):
        local = local_scores(table, row, scorer)

        def score(prefix, local=local, source=source):
            allowed = allowed_words(kind, source, list(prefix))
            return [value if word in allowed else -math.inf for word, value in enumerate(local(prefix))]

        violations, _ = slow_search.search(target, score, beam, END, 1.0, scorer.cumulative, lenpen)
        expected += [(row, v.time, v.reset, v.violator, v.gap) for v in violations]
    same_violations(sorted(listed), sorted(expected))


def test_a_reset_restores_what_gold_has_left():
    """Word ordering of A B C, K = 2, gold = A B C </s>. After the violation at the first word, B must be allowed again.

    t = 0: B 9, C 8, A 5. Top 2 = B, C; the violator is C: violation. The beam is then A alone, with B and C left.
    t = 1, after A: C 7, B 6. Gold is second of two, and the violator is C (path A C): violation with reset 1.
    t = 2, after AB: only C is left. Fewer than 2 candidates: no violation. t = 3: only </s>, which is gold.
    """
    a, b, c = 4, 5, 6
    table = torch.zeros(9973, len(SYMBOLS), dtype=torch.float64)
    table[0, [a, b, c]] = torch.tensor([5.0, 9.0, 8.0], dtype=torch.float64)
    table[a + 1, [b, c]] = torch.tensor([6.0, 7.0], dtype=torch.float64)
    decoder = TableDecoder(table)
    gold = decoder.gold_run(*padded([[a, b, c, END]]))
    search = CandidateSearch(decoder.scorer, fast("word_order", [[c, a, b]]), gold)
    found = violation_reset_search(gold, search, decoder, Rules(2, END, PADDING, cumulative=False)).violations
    assert found.times.tolist() == [0, 1]
    assert found.resets.tolist() == [0, 1]
    assert [path[: time + 1] for path, time in zip(found.paths.tolist(), found.times.tolist())] == [[c], [a, c]]


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
@pytest.mark.parametrize("kind, source", [("word_order", [4, 5, 6]), ("arc_standard", [4, 5])])
def test_the_time_loop_of_a_device_reads_nothing_back(monkeypatch, kind, source, scorer):
    loop, prepare = violation_reset.Searcher.run, violation_reset.Searcher._prepare_decoder

    def guarded(self):
        prepare(self)  # reads the number of words once, before the loop
        with ForbidHostReads():
            return loop(self)

    monkeypatch.setattr(violation_reset.Searcher, "_prepare_decoder", lambda self: None)
    monkeypatch.setattr(violation_reset.Searcher, "run", guarded)
    monkeypatch.setattr(topk, "_reading_is_free", lambda scores: False)
    decoder = TableDecoder(torch.randn(50, len(SYMBOLS), dtype=torch.float64))
    gold = decoder.gold_run(*padded([[6, 5, 4, END] if kind == "word_order" else [4, 5, 7, END]]))
    successors = fast(kind, [source])
    rules = Rules(3, END, PADDING, cumulative=scorer.cumulative)
    search = search_of(scorer, successors, gold, decoder.scorer)
    violation_reset_search(gold, search, decoder, rules, live_rows_only=False)


def test_names():
    assert constraint_factory("word_order") is WordOrder
    with pytest.raises(ValueError, match="unknown constraint 'tree'; choose from: none, arc_standard"):
        constraint_factory("tree")
    for taken in ("word_order", "none"):
        with pytest.raises(ValueError, match=f"'{taken}' is already registered"):
            register_successors(taken, WordOrder)


def test_a_dictionary_without_labels_is_refused():
    with pytest.raises(ValueError, match="has no reduce label, a symbol that starts with @L_ or @R_"):
        ArcStandard(*padded([[4]]), Vocabulary(SYMBOLS[:7], PADDING, END, UNKNOWN))
