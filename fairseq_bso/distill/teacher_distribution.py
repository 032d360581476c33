"""The teacher's distribution over the next word at each target word (Kim & Rush 2016, section 3.1), in tensors alone.

`word_loss` compares it with the student's. Sizes: `N` target words of a batch (padding included), `V` vocabulary, `C`
words of the teacher's distribution: `V`, or the top k.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, Optional, Sequence, Union

import torch
from torch import Tensor

__all__ = ["TeacherDistribution", "check_options", "mixture", "row_slices", "teacher_distribution"]


class TeacherDistribution(NamedTuple):
    """The teacher's distribution over the next word, at each target word."""

    probabilities: Tensor
    """(N, C), each row sums to one; without gradient"""
    words: Optional[Tensor]
    """(N, C) int64, the words of `probabilities`; None if they are the whole vocabulary"""
    entropy: Tensor
    """(N,) in nats"""
    best: Tensor
    """(N,) int64, the most probable word"""
    may_overwrite: bool
    """whether the loss may write its gradient over `probabilities`"""

    def at(self, rows: Union[slice, Tensor]) -> TeacherDistribution:
        """The distribution at some of the N words."""
        words = None if self.words is None else self.words[rows]
        return self._replace(
            probabilities=self.probabilities[rows], words=words, entropy=self.entropy[rows], best=self.best[rows]
        )


def mixture(log_probs: Sequence[Tensor]) -> Tensor:
    """The log of the mean probability: an ensemble's distribution.

    Args:
        log_probs: one tensor (..., V) for each member.

    Returns:
        (..., V). With a single member, its own tensor.
    """
    if len(log_probs) == 1:
        return log_probs[0]
    return torch.logsumexp(torch.stack(list(log_probs)), dim=0) - math.log(len(log_probs))


@torch.no_grad()
def teacher_distribution(
    log_probs: Tensor,
    temperature: float = 1.0,
    top_k: int = 0,
    in_place: bool = False,
    words: Optional[Tensor] = None,
) -> TeacherDistribution:
    """The teacher's distribution at a temperature, over the whole vocabulary or over its top k words.

    The probabilities of the top k words are renormalised. `torch.topk` breaks ties.

    Args:
        log_probs: (N, V) of the teacher, at temperature 1; with `words`, (N, C) of these words.
        temperature: tau, above 0. Probabilities are raised to the power 1 / tau and renormalised.
        top_k: how many words to keep; 0, or at least V: all. Ignored with `words`.
        in_place: overwrite `log_probs`, and let `word_loss` overwrite the result. Allocating memory of this size
            costs a CPU more time than the computation.
        words: (N, C) int64, the top C words, most probable first; None: `log_probs` covers the vocabulary.

    Raises:
        ValueError: for a temperature or top_k out of range.
    """
    check_options(temperature, top_k)
    if words is None and 0 < top_k < log_probs.size(-1):
        log_probs, words = log_probs.topk(top_k, dim=-1)  # (N, C), most probable first
    parts = []
    probabilities = log_probs if in_place else torch.empty_like(log_probs)  # (N, C)
    for rows in row_slices(log_probs):
        block = log_probs[rows]  # (n, C)
        if words is not None or temperature != 1.0:
            block = torch.log_softmax(block / temperature, dim=-1)
        soft = torch.softmax(block, dim=-1)  # on a CPU, twice as fast as exp
        # A word of probability 0 has log-probability -inf and adds nothing to the entropy.
        entropy = -(soft * block.clamp(min=torch.finfo(block.dtype).min)).sum(1)  # (n,)
        probabilities[rows] = soft
        parts.append((entropy, soft.max(1).indices if words is None else words[rows, 0]))
    entropies, best = zip(*parts)
    return TeacherDistribution(probabilities, words, torch.cat(entropies), torch.cat(best), in_place)


_BLOCK = 2**17
"""floats in a block; a few blocks of this size fit into a core's cache"""


def row_slices(tensor: Tensor) -> Iterator[slice]:
    """Slices of rows to process together: blocks that fit into the cache on a CPU, all rows at once elsewhere."""
    count, width = tensor.shape
    step = max(1, _BLOCK // max(1, width)) if tensor.device.type == "cpu" else max(1, count)
    return (slice(start, start + step) for start in range(0, max(1, count), step))


def check_options(temperature: float, top_k: int) -> None:
    """Raises ValueError for a temperature or top_k out of range."""
    if not temperature > 0 or math.isinf(temperature):
        raise ValueError(f"the temperature is {temperature}, but must be above 0 and finite")
    if top_k < 0:
        raise ValueError(f"the teacher's top k is {top_k}, but must be at least 0 (0: all words)")
