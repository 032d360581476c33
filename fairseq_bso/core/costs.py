"""Mistake costs ("Delta") of beam search optimization, and their registry.

A violation is weighted by what its mistake costs (Wiseman & Rush 2016, section 4). A `Delta` is a callable

    delta(hypothesis, gold, lengths) -> cost

    hypothesis  (M, L) int64    the violator's words since the last reset, yhat_{r+1..t}
    gold        (M, L) int64    the gold words of the same span, y_{r+1..t}
    lengths     (M,)   int64    t - r, from 1 to L; what stands at later positions is arbitrary and must not matter
    cost        (M,)   float32  on the device of its inputs, constant: no gradient flows through it

with `M` violations of at most `L` words; `M` (and `L` with it) may be 0. It runs inside training, so it should not
ask the device for a value. A new one is a function and one line:

    @register_delta("wrong_last_word")
    def wrong_last_word(hypothesis, gold, lengths):
        last = (lengths - 1).unsqueeze(1)  # (M, 1)
        return (hypothesis.gather(1, last) != gold.gather(1, last)).squeeze(1).float()  # (M,)
"""

from __future__ import annotations

from typing import Callable, TypeVar

import torch
from torch import Tensor

__all__ = ["Delta", "closeness", "delta_names", "get_delta", "hamming", "register_delta", "sentence_bleu", "zero_one"]

Delta = Callable[[Tensor, Tensor, Tensor], Tensor]
_DeltaT = TypeVar("_DeltaT", bound=Delta)

_DELTAS: dict[str, Delta] = {}

_MAX_ORDER = 4
# What the (rows, L, L) tensors may take at once, and what they take for each element of (rows, L, L) at their peak: two
# matrices of word equality and two of n-gram equality (bool, 1 byte), and the int32 copy that a sum makes (4 bytes).
_BYTES_AT_ONCE = 2**26
_BYTES_PER_ELEMENT = 8


def register_delta(name: str) -> Callable[[_DeltaT], _DeltaT]:
    """Decorator that makes a Delta available under `name`.

    Raises:
        TypeError: `name` is not a string (the decorator was written without its name).
        ValueError: another Delta has this name.
    """
    if not isinstance(name, str):
        raise TypeError(f'register_delta needs a name, as in @register_delta("my_cost"); got {name!r}')
    if name in _DELTAS:
        raise ValueError(f"a delta named {name!r} is already registered; registered: {', '.join(delta_names())}")

    def register(delta: _DeltaT) -> _DeltaT:
        _DELTAS[name] = delta
        return delta

    return register


def get_delta(name: str) -> Delta:
    """The Delta registered under `name`.

    Raises:
        ValueError: there is none.
    """
    if name not in _DELTAS:
        raise ValueError(f"unknown delta {name!r}; choose from: {', '.join(delta_names())}")
    return _DELTAS[name]


def delta_names() -> list[str]:
    """Names of all registered Deltas, sorted."""
    return sorted(_DELTAS)


@register_delta("zero_one")
def zero_one(hypothesis: Tensor, gold: Tensor, lengths: Tensor) -> Tensor:
    """Every violation costs 1. Arguments and result as in the module's docstring."""
    return torch.ones(lengths.shape, dtype=torch.float32, device=lengths.device)  # (M,)


@register_delta("hamming")
def hamming(hypothesis: Tensor, gold: Tensor, lengths: Tensor) -> Tensor:
    """How many of the words since the last reset are not gold's, from 1 up.

    A violator that left gold long ago weighs more than one that differs in its last word, so that comparisons of long
    hypotheses, which are rare, count (the Hamming loss of structured prediction; Taskar et al. 2003).
    """
    inside = torch.arange(gold.size(1), device=gold.device) < lengths.unsqueeze(1)  # (M, L)
    return ((hypothesis != gold) & inside).sum(1).float()


@register_delta("sentence_bleu")
def sentence_bleu(hypothesis: Tensor, gold: Tensor, lengths: Tensor) -> Tensor:
    """One minus smoothed sentence BLEU (Lin & Och 2004; as Delta: Wiseman & Rush 2016, section 4).

    BLEU is the geometric mean of four precisions: `matches / possible` for words, `(matches + 1) / (possible + 1)`
    for n-grams of order 2 to 4, where matches are clipped by the gold's counts. No common word: BLEU 0, cost 1.
    Both sides have the same length, so the brevity penalty is 1. An order above the length has no n-grams, and its
    precision is (0 + 1) / (0 + 1) = 1: a single right word costs 0. (A row of length 0, which no violation has,
    would cost 1.)

    Args:
        hypothesis: (M, L) int64.
        gold: (M, L) int64.
        lengths: (M,) int64.

    Returns:
        (M,) float32, from 0 to 1. All rows are computed together, in chunks whose size depends on shapes only.

    Raises:
        ValueError: the shapes do not fit together.
    """
    if hypothesis.dim() != 2 or gold.shape != hypothesis.shape or lengths.shape != hypothesis.shape[:1]:
        raise ValueError(
            "sentence_bleu needs hypothesis (M, L), gold (M, L) and lengths (M,); "
            f"got {tuple(hypothesis.shape)}, {tuple(gold.shape)} and {tuple(lengths.shape)}"
        )
    rows = _rows_at_once(hypothesis.size(1))
    chunks = zip(hypothesis.split(rows), gold.split(rows), lengths.split(rows), lengths.split(rows))
    return 1.0 - torch.cat([_smoothed_bleu(*chunk) for chunk in chunks])  # (M,)


def closeness(hypothesis: Tensor, gold: Tensor, hypothesis_lengths: Tensor, gold_lengths: Tensor) -> Tensor:
    """Smoothed sentence BLEU of whole sentences, whose lengths may differ (Lin & Och 2004).

    The precisions of `sentence_bleu`, times the brevity penalty `exp(1 - gold length / hypothesis length)` where the
    hypothesis is shorter. An empty hypothesis, or an empty gold, has no common word: 0.

    Args:
        hypothesis: (M, L) int64; what stands beyond a row's length must not matter.
        gold: (M, G) int64.
        hypothesis_lengths: (M,) int64, 0 to L.
        gold_lengths: (M,) int64, 0 to G.

    Returns:
        (M,) float32, from 0 to 1.
    """
    rows = _rows_at_once(max(hypothesis.size(1), gold.size(1)))
    parts = (hypothesis, gold, hypothesis_lengths, gold_lengths)
    chunks = zip(*(part.split(rows) for part in parts))
    precision = torch.cat([_smoothed_bleu(*chunk) for chunk in chunks])  # (M,)
    excess = gold_lengths.float() / hypothesis_lengths.clamp(min=1).float()  # (M,)
    return precision * torch.exp((1.0 - excess).clamp(max=0.0))


def _rows_at_once(length: int) -> int:
    """How many violations of (padded) `length` fit into memory together; at least one."""
    return max(1, _BYTES_AT_ONCE // max(1, _BYTES_PER_ELEMENT * length * length))


def _smoothed_bleu(hypothesis: Tensor, gold: Tensor, lengths: Tensor, gold_lengths: Tensor) -> Tensor:
    """Smoothed sentence BLEU of each row, without a brevity penalty: (M, L), (M, G), (M,), (M,) -> (M,) float32."""
    product = torch.ones(lengths.shape, dtype=torch.float32, device=lengths.device)  # (M,)
    for order, matches in enumerate(_clipped_matches(hypothesis, gold, lengths, gold_lengths), start=1):
        added = 0 if order == 1 else 1
        # With the added one an order without n-grams has 1 possible match, however much shorter the row is.
        possible = (lengths - (order - 1) + added).clamp(min=1)  # (M,)
        product = product * ((matches + added).float() / possible.float())
    return product.pow(1.0 / _MAX_ORDER)


def _clipped_matches(hypothesis: Tensor, gold: Tensor, lengths: Tensor, gold_lengths: Tensor) -> list[Tensor]:
    """Clipped n-gram matches of order 1 to 4: (M, L), (M, G), (M,), (M,) -> four (M,) int64.

    A gold n-gram pays for as many hypothesis n-grams as it has copies. So the hypothesis n-gram at position i matches
    if it is the k-th of its kind, counted from the left, and gold has at least k of that kind.
    """
    inside = torch.arange(hypothesis.size(1), device=hypothesis.device) < lengths.unsqueeze(1)  # (M, L)
    inside_gold = torch.arange(gold.size(1), device=gold.device) < gold_lengths.unsqueeze(1)  # (M, G)
    same_in_gold = hypothesis.unsqueeze(2) == gold.unsqueeze(1)  # (M, L, G), hypothesis i, gold j
    same_in_gold = same_in_gold & inside.unsqueeze(2) & inside_gold.unsqueeze(1)
    # j <= i only. A shift by the n-gram's length moves i and j together, so the triangle holds for every order.
    # It needs no look at `inside`: what ends outside finds nothing in gold, and nothing inside looks further right.
    same_so_far = (hypothesis.unsqueeze(2) == hypothesis.unsqueeze(1)).tril()  # (M, L, L), hypothesis i, hypothesis j
    ngram_in_gold, ngram_so_far = same_in_gold, same_so_far

    matches = []
    for order in range(1, _MAX_ORDER + 1):
        if order > 1:
            # n-grams at i and j are equal if their first n - 1 words are and their last words, n - 1 further on, are.
            # With P = max(0, L - order + 1) start positions, and Q of gold: (M, P, Q), (M, P, P). An n-gram is inside
            # if its last word is.
            last = order - 1
            ngram_in_gold = ngram_in_gold[:, :-1, :-1] & same_in_gold[:, last:, last:]
            ngram_so_far = ngram_so_far[:, :-1, :-1] & same_so_far[:, last:, last:]
        occurrence = ngram_so_far.sum(2, dtype=torch.int32)  # (M, P), at least 1: itself
        available = ngram_in_gold.sum(2, dtype=torch.int32)  # (M, P)
        matches.append((occurrence <= available).sum(1))  # (M,)
    return matches
