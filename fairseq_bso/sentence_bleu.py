"""Smoothed sentence BLEU for many rows at once, in pure torch."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["sentence_bleu"]

_MAX_ORDER = 4
# The memory that the (rows, L, L) tensors may take at once, and their peak for each element of (rows, L, L): two
# matrices of word equality and two of n-gram equality (bool, 1 byte each), and the int32 copy of a sum (4 bytes).
_BYTES_AT_ONCE = 2**26
_BYTES_PER_ELEMENT = 8


def sentence_bleu(hypothesis: Tensor, gold: Tensor, hypothesis_lengths: Tensor, gold_lengths: Tensor) -> Tensor:
    """Smoothed BLEU of each row against its gold row (Lin & Och 2004).

    It is the geometric mean of four precisions, times the brevity penalty `exp(1 - gold length / hypothesis length)`
    where the hypothesis is shorter. The precision is `matches / possible` for words, `(matches + 1) / (possible + 1)`
    for n-grams of order 2 to 4. Gold's counts clip the matches. An order above a row's length has precision 1. BLEU is
    0 for an empty row, and for a row without a word in common with gold.

    Args:
        hypothesis: (M, L) int64; values beyond a row's length do not matter.
        gold: (M, G) int64.
        hypothesis_lengths: (M,) int64, 0 to L.
        gold_lengths: (M,) int64, 0 to G.

    Returns:
        (M,) float32, from 0 to 1. Rows are computed in chunks, whose size depends on shapes only.
    """
    rows = _rows_at_once(max(hypothesis.size(1), gold.size(1)))
    parts = (hypothesis, gold, hypothesis_lengths, gold_lengths)
    chunks = zip(*(part.split(rows) for part in parts))
    precision = torch.cat([_smoothed_bleu(*chunk) for chunk in chunks])  # (M,)
    excess = gold_lengths.float() / hypothesis_lengths.clamp(min=1).float()  # (M,)
    return precision * torch.exp((1.0 - excess).clamp(max=0.0))


def _rows_at_once(length: int) -> int:
    """How many rows of (padded) `length` fit into the memory above; at least one."""
    return max(1, _BYTES_AT_ONCE // max(1, _BYTES_PER_ELEMENT * length * length))


def _smoothed_bleu(hypothesis: Tensor, gold: Tensor, lengths: Tensor, gold_lengths: Tensor) -> Tensor:
    """Smoothed sentence BLEU of each row, without a brevity penalty: (M, L), (M, G), (M,), (M,) -> (M,) float32."""
    product = torch.ones(lengths.shape, dtype=torch.float32, device=lengths.device)  # (M,)
    for order, matches in enumerate(_clipped_matches(hypothesis, gold, lengths, gold_lengths), start=1):
        added = 0 if order == 1 else 1
        # Thanks to the added one, an order without n-grams has 1 possible match, however short the row is.
        possible = (lengths - (order - 1) + added).clamp(min=1)  # (M,)
        product = product * ((matches + added).float() / possible.float())
    return product.pow(1.0 / _MAX_ORDER)


def _clipped_matches(hypothesis: Tensor, gold: Tensor, lengths: Tensor, gold_lengths: Tensor) -> list[Tensor]:
    """Clipped n-gram matches of order 1 to 4: (M, L), (M, G), (M,), (M,) -> four (M,) int64.

    A gold n-gram matches as many hypothesis n-grams as gold has copies of it. So the hypothesis n-gram at position i
    matches if it is the k-th of its kind, counted from the left, and gold has at least k of that kind.
    """
    inside = torch.arange(hypothesis.size(1), device=hypothesis.device) < lengths.unsqueeze(1)  # (M, L)
    inside_gold = torch.arange(gold.size(1), device=gold.device) < gold_lengths.unsqueeze(1)  # (M, G)
    same_in_gold = hypothesis.unsqueeze(2) == gold.unsqueeze(1)  # (M, L, G), hypothesis i, gold j
    same_in_gold = same_in_gold & inside.unsqueeze(2) & inside_gold.unsqueeze(1)
    # Only j <= i counts. A shift by the n-gram's length moves i and j together, so the triangle holds for every order.
    # `inside` is not needed: n-grams beyond it match nothing in gold, and those within it are compared to earlier ones.
    same_so_far = (hypothesis.unsqueeze(2) == hypothesis.unsqueeze(1)).tril()  # (M, L, L), hypothesis i, hypothesis j
    ngram_in_gold, ngram_so_far = same_in_gold, same_so_far

    matches = []
    for order in range(1, _MAX_ORDER + 1):
        if order > 1:
            # n-grams at i and j are equal if their first n - 1 words are equal, and their last words n - 1 further on.
            # With P = max(0, L - order + 1) start positions, and Q in gold: (M, P, Q), (M, P, P). An n-gram is inside
            # if its last word is.
            last = order - 1
            ngram_in_gold = ngram_in_gold[:, :-1, :-1] & same_in_gold[:, last:, last:]
            ngram_so_far = ngram_so_far[:, :-1, :-1] & same_so_far[:, last:, last:]
        occurrence = ngram_so_far.sum(2, dtype=torch.int32)  # (M, P), at least 1: itself
        available = ngram_in_gold.sum(2, dtype=torch.int32)  # (M, P)
        matches.append((occurrence <= available).sum(1))  # (M,)
    return matches
