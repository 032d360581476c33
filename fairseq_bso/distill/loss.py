"""Knowledge distillation of sequence models (Kim & Rush 2016, sections 3.1 to 3.3), in tensors alone.

Word level: the teacher's distribution, which `word_loss` compares with the student's. Sequence level: which hypotheses
of the teacher a student trains on.

Sizes: `N` target words of a batch (padding included), `V` vocabulary, `C` words of the teacher that count: `V` or its
top k; `B` sentences, `K` hypotheses of each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, Optional, Sequence, Union

import torch
from torch import Tensor

from ..sentence_bleu import sentence_bleu

__all__ = ["TeacherWords", "check_options", "mixture", "rank_by_closeness", "row_slices", "soften"]


class TeacherWords(NamedTuple):
    """The teacher's distribution over the next word, at each target word."""

    probabilities: Tensor
    """(N, C), rows add up to one; constants"""
    words: Optional[Tensor]
    """(N, C) int64, which words these are; None where C is the vocabulary"""
    entropy: Tensor
    """(N,) in nats"""
    best: Tensor
    """(N,) int64, the likeliest word"""
    spare: bool
    """whether the loss may write its gradient over the probabilities"""

    def at(self, rows: Union[slice, Tensor]) -> TeacherWords:
        """Of some of the N words."""
        words = None if self.words is None else self.words[rows]
        return TeacherWords(self.probabilities[rows], words, self.entropy[rows], self.best[rows], self.spare)


def mixture(log_probs: Sequence[Tensor]) -> Tensor:
    """The log of the mean of probabilities: an ensemble's distribution.

    Args:
        log_probs: of each member (..., V).

    Returns:
        (..., V); of a single member its own, untouched.
    """
    if len(log_probs) == 1:
        return log_probs[0]
    return torch.logsumexp(torch.stack(list(log_probs)), dim=0) - math.log(len(log_probs))


@torch.no_grad()
def soften(
    log_probs: Tensor,
    temperature: float = 1.0,
    top_k: int = 0,
    in_place: bool = False,
    words: Optional[Tensor] = None,
) -> TeacherWords:
    """The teacher's distribution at a temperature, of its `top_k` likeliest words only if that is above 0.

    What is left of the `top_k` is renormalised: its probabilities add up to one. Equal probabilities at the border go
    as `torch.topk` has them.

    Args:
        log_probs: (N, V) of the teacher, at temperature 1; with `words`, (N, C) of these words.
        temperature: tau, above 0: probabilities are raised to the power 1 / tau.
        top_k: how many words count; 0, or V and above: all. Not with `words`, which have been chosen.
        in_place: write over `log_probs`, and let `word_loss` write over what is made: getting memory of this size costs
            a CPU more than what is computed in it.
        words: (N, C) int64, the likeliest words, the first of all first; None: `log_probs` is over the vocabulary.

    Raises:
        ValueError: for a temperature or top_k that make no sense.
    """
    check_options(temperature, top_k)
    if words is None and 0 < top_k < log_probs.size(-1):
        log_probs, words = log_probs.topk(top_k, dim=-1)  # (N, C), likeliest first
    parts = []
    probabilities = log_probs if in_place else torch.empty_like(log_probs)  # (N, C)
    for rows in row_slices(log_probs):
        block = log_probs[rows]  # (n, C)
        if words is not None or temperature != 1.0:
            block = torch.log_softmax(block / temperature, dim=-1)
        made = torch.softmax(block, dim=-1)  # on a CPU in half the time of exp
        # A word of probability 0 has log-probability -inf and adds nothing.
        entropy = -(made * block.clamp(min=torch.finfo(block.dtype).min)).sum(1)  # (n,)
        probabilities[rows] = made
        parts.append((entropy, made.max(1).indices if words is None else words[rows, 0]))
    entropies, best = zip(*parts)
    return TeacherWords(probabilities, words, torch.cat(entropies), torch.cat(best), in_place)


# Floats in a block: a few blocks of this size stay in a core's cache.
_BLOCK = 2**17


def row_slices(tensor: Tensor) -> Iterator[slice]:
    """Rows to visit together: a cacheful on a CPU, all at once elsewhere."""
    count, width = tensor.shape
    step = max(1, _BLOCK // max(1, width)) if tensor.device.type == "cpu" else max(1, count)
    return (slice(start, start + step) for start in range(0, max(1, count), step))


def check_options(temperature: float, top_k: int) -> None:
    if not temperature > 0 or math.isinf(temperature):
        raise ValueError(f"the temperature must be above 0 and finite, but is {temperature}")
    if top_k < 0:
        raise ValueError(f"the teacher's top k must be at least 0 (0: all words), but is {top_k}")


def rank_by_closeness(hypotheses: Tensor, lengths: Tensor, gold: Tensor, gold_lengths: Tensor) -> Tensor:
    """The hypotheses of each sentence, those closest to gold first (Seq-Inter, section 3.3).

    Closeness is smoothed sentence BLEU . Among equals the one that comes first stays first.

    Args:
        hypotheses: (B, K, L) int64, of each sentence the best of the search first.
        lengths: (B, K) int64, their words; 0 where there is no hypothesis: it is as close as one without a common word.
        gold: (B, G) int64.
        gold_lengths: (B,) int64.

    Returns:
        (B, K) int64, places in the second axis of `hypotheses`.
    """
    sentences, beam, longest = hypotheses.shape
    flat_gold = gold.unsqueeze(1).expand(-1, beam, -1).reshape(sentences * beam, -1)  # (BK, G)
    flat_gold_lengths = gold_lengths.unsqueeze(1).expand(-1, beam).reshape(-1)  # (BK,)
    bleu = sentence_bleu(
        hypotheses.reshape(sentences * beam, longest), flat_gold, lengths.reshape(-1), flat_gold_lengths
    )  # (BK,)
    return torch.sort(bleu.view(sentences, beam), dim=1, descending=True, stable=True).indices
