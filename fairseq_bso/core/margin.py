"""The BSO loss (Wiseman & Rush 2016, equation 5 of section 4.1), and what a mistake cost compares."""

from __future__ import annotations

from typing import Tuple

import torch
from torch import Tensor

from .violations import Violations


def margin_loss(gaps: Tensor, costs: Tensor, margin: float = 1.0) -> Tensor:
    """``sum over violations of Delta * max(0, margin - gap)``.

    A search that looked at fewer words, or in low precision, may call a violation what exact scores do not confirm; it
    then costs nothing.

    Args:
        gaps: (M,) gold score minus violator score.
        costs: (M,) Delta of each violation; a constant, no gradient goes through it.
        margin: the margin of the search.

    Returns:
        () the summed loss; zero, and still attached to the graph, where there is no violation.
    """
    return (costs.detach() * (margin - gaps).clamp(min=0)).sum()


def words_since_reset(violations: Violations, gold_words: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """What a Delta compares: the violator's and gold's words since the last reset.

    Args:
        violations: M violations.
        gold_words: (B, T) int64.

    Returns:
        hypothesis (M, L), gold (M, L) and lengths (M,); places beyond a length hold other words. A violator that ended
        before gold is filled up with padding, which is no word of gold's.
    """
    lengths = violations.times - violations.resets + 1  # (M,)
    longest = int(lengths.max()) if lengths.numel() > 0 else 0
    offset = torch.arange(longest, device=lengths.device)
    places = (violations.resets.unsqueeze(1) + offset).clamp(max=gold_words.size(1) - 1)  # (M, L)
    gold = gold_words.index_select(0, violations.sentences)
    return violations.paths.gather(1, places), gold.gather(1, places), lengths
