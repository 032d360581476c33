"""Mistake costs ("Delta") of beam search optimization, and their registry.

Each violation is weighted by the cost of its mistake (Wiseman & Rush 2016, section 4). A `Delta` is a callable

    delta(hypothesis, gold, lengths) -> cost

    hypothesis  (M, L) int64    the violator's words since the last reset, yhat_{r+1..t}
    gold        (M, L) int64    the gold words of the same span, y_{r+1..t}
    lengths     (M,)   int64    t - r, from 1 to L; later positions are arbitrary and must not affect the cost
    cost        (M,)   float32  on the device of its inputs, constant: no gradient flows through it

with `M` violations of at most `L` words. `r` is the time of the last reset and `t` that of the violation. `M` may be 0,
and `L` is then 0 too. The callable runs inside training, so it should not read a value from the device. A new cost is a
function and one line:

    @register_delta("wrong_last_word")
    def wrong_last_word(hypothesis, gold, lengths):
        last = (lengths - 1).unsqueeze(1)  # (M, 1)
        return (hypothesis.gather(1, last) != gold.gather(1, last)).squeeze(1).float()  # (M,)
"""

from __future__ import annotations

from typing import Callable, Tuple, TypeVar

import torch
from torch import Tensor

from ..registry import Registry
from ..search.violations import Violations
from ..sentence_bleu import sentence_bleu

__all__ = [
    "Delta",
    "delta_names",
    "get_delta",
    "hamming",
    "register_delta",
    "sentence_bleu_cost",
    "words_since_reset",
    "zero_one",
]

Delta = Callable[[Tensor, Tensor, Tensor], Tensor]
_DeltaT = TypeVar("_DeltaT", bound=Delta)

_DELTAS: Registry[Delta] = Registry("delta", "register_delta")
get_delta, delta_names = _DELTAS.get, _DELTAS.names


def register_delta(name: str) -> Callable[[_DeltaT], _DeltaT]:
    """Decorator that registers a Delta under `name`.

    Raises:
        TypeError: `name` is not a string (the decorator was written without its name).
        ValueError: another Delta has this name.
    """
    return _DELTAS.decorator(name)


@register_delta("zero_one")
def zero_one(hypothesis: Tensor, gold: Tensor, lengths: Tensor) -> Tensor:
    """Every violation costs 1. The module's docstring describes arguments and result."""
    return torch.ones(lengths.shape, dtype=torch.float32, device=lengths.device)  # (M,)


@register_delta("hamming")
def hamming(hypothesis: Tensor, gold: Tensor, lengths: Tensor) -> Tensor:
    """The number of words since the last reset that differ from gold; at least 1.

    This is the Hamming loss of structured prediction (Taskar et al. 2003). A violator that left gold long ago weighs
    more than one that differs in its last word only. Comparisons of long hypotheses thus count, although they are rare.
    """
    inside = torch.arange(gold.size(1), device=gold.device) < lengths.unsqueeze(1)  # (M, L)
    return ((hypothesis != gold) & inside).sum(1).float()


@register_delta("sentence_bleu")
def sentence_bleu_cost(hypothesis: Tensor, gold: Tensor, lengths: Tensor) -> Tensor:
    """One minus smoothed sentence BLEU (Wiseman & Rush 2016, section 4). No common word costs 1.

    Both sides have the same length, so the brevity penalty is 1. A single right word costs 0.

    Raises:
        ValueError: the shapes do not match.
    """
    if hypothesis.dim() != 2 or gold.shape != hypothesis.shape or lengths.shape != hypothesis.shape[:1]:
        raise ValueError(
            "sentence_bleu needs hypothesis (M, L), gold (M, L) and lengths (M,); "
            f"got {tuple(hypothesis.shape)}, {tuple(gold.shape)} and {tuple(lengths.shape)}"
        )
    return 1.0 - sentence_bleu(hypothesis, gold, lengths, lengths)


def words_since_reset(violations: Violations, gold_words: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """The words that a Delta compares: the violator's and gold's words since the last reset.

    Args:
        violations: M violations.
        gold_words: (B, T) int64.

    Returns:
        hypothesis (M, L), gold (M, L) and lengths (M,); positions beyond a length hold other words. A violator that
        ended before gold is padded, and padding differs from every gold word.
    """
    lengths = violations.times - violations.resets + 1  # (M,)
    longest = int(lengths.max()) if lengths.numel() > 0 else 0
    offset = torch.arange(longest, device=lengths.device)  # (L,)
    places = (violations.resets.unsqueeze(1) + offset).clamp(max=gold_words.size(1) - 1)  # (M, L)
    gold = gold_words.index_select(0, violations.sentences)
    return violations.paths.gather(1, places), gold.gather(1, places), lengths
