"""Slow reference of `fairseq_bso/bso/costs.py`: plain Python, one pair of word lists at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

MAX_ORDER = 4


def ngram_counts(words: Sequence[int], order: int) -> Counter:
    """The count of each n-gram of that order in `words`."""
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))


def sentence_bleu_cost(hypothesis: Sequence[int], gold: Sequence[int]) -> float:
    """1 - smoothed sentence BLEU (Lin & Och 2004) of two word lists of one length, at least 1."""
    assert len(hypothesis) == len(gold) >= 1
    product = 1.0
    for order in range(1, MAX_ORDER + 1):
        hypothesis_counts, gold_counts = ngram_counts(hypothesis, order), ngram_counts(gold, order)
        matches = sum(min(count, gold_counts[ngram]) for ngram, count in hypothesis_counts.items())
        possible = sum(hypothesis_counts.values())
        added = 0 if order == 1 else 1
        product *= (matches + added) / (possible + added)
    return 1.0 - product ** (1.0 / MAX_ORDER)


def hamming_cost(hypothesis: Sequence[int], gold: Sequence[int]) -> float:
    """The number of places in which two word lists of one length differ."""
    return float(sum(mine != theirs for mine, theirs in zip(hypothesis, gold)))
