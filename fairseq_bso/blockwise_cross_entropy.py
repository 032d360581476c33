"""The cross entropy of gold words in blocks of rows (``blockwise``), with label smoothing and self-normalization."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .blockwise import exponentials, sum_over_blocks

__all__ = ["CrossEntropy", "cross_entropy"]


class CrossEntropy(NamedTuple):
    """The sums of ``cross_entropy`` over the words of a batch, without padding."""

    loss: Tensor
    """() the loss to minimise, in nats; the other fields are constants for the log"""
    nll: Tensor
    """() negative log-likelihood of gold, without label smoothing"""
    squared_log_z: Tensor
    """() sum of ``(log Z)^2``"""
    correct: Tensor
    """() int64, the number of words at which gold scores best; 0 if ``count_correct`` is False"""


def cross_entropy(
    outputs: Tensor,
    weight: Tensor,
    bias: Tensor,
    target: Tensor,
    padding: int,
    smoothing: float = 0.0,
    self_normalize: float = 0.0,
    count_correct: bool = False,
) -> CrossEntropy:
    """The negative log-likelihood of gold words, fairseq's label smoothing, and ``self_normalize * (log Z)^2``.

    Args:
        outputs: (N, H) attentional vectors.
        weight: (V, H).
        bias: (V,).
        target: (N,) int64 gold words.
        padding: the padding symbol; its rows are never scored and add nothing.
        smoothing: epsilon, the share of the loss that is spread evenly over all words.
        self_normalize: weight of ``(log Z)^2`` at each word. The term draws the scores ``f`` towards log-probabilities
            (Devlin et al. 2014, section 2.3).
        count_correct: whether ``correct`` is wanted.
    """
    real = target.ne(padding).nonzero().squeeze(1)  # (N',)
    visit = _CrossEntropyOfBlock(target.index_select(0, real), smoothing, self_normalize, count_correct)
    loss = sum_over_blocks(visit, outputs.index_select(0, real), weight, bias)
    return CrossEntropy(loss, visit.nll, visit.squared_log_z, visit.correct)


class _CrossEntropyOfBlock:
    """A ``Visit`` that keeps the sums for the log."""

    def __init__(self, target: Tensor, smoothing: float, self_normalize: float, count_correct: bool) -> None:
        self.target, self.smoothing, self.self_normalize = target, smoothing, self_normalize
        self.count_correct = count_correct
        self.correct = target.new_zeros(())
        self.nll = self.squared_log_z = target.new_zeros((), dtype=torch.float32)

    def __call__(self, rows: slice, scores: Tensor, wants_gradient: bool) -> Tensor:
        """scores (r, V) -> () the loss of these rows; the gradient overwrites ``scores`` if it is wanted."""
        words = self.target[rows].unsqueeze(1)  # (r, 1)
        if self.count_correct:
            self.correct += scores.argmax(1, keepdim=True).eq(words).sum()
        size = scores.size(1)
        # fairseq spreads epsilon over the V - 1 wrong words. The gold word's own share comes on top of 1 - epsilon.
        share = self.smoothing / max(1, size - 1)
        certain = 1.0 - self.smoothing - share
        gold = scores.gather(1, words).squeeze(1)  # (r,)
        total = scores.sum(1) if share > 0 else gold  # (r,)
        log_z, sums = exponentials(scores)  # (r,), (r, 1)
        nll = log_z - gold
        squares = log_z.square()
        self.nll = self.nll + nll.sum()
        self.squared_log_z = self.squared_log_z + squares.sum()
        if wants_gradient:
            scores.mul_((1 + 2 * self.self_normalize * log_z).unsqueeze(1).div_(sums))
            if share > 0:
                scores.sub_(share)
            scores.scatter_add_(1, words, scores.new_full(words.shape, -certain))
        loss = certain * nll + self.self_normalize * squares
        return (loss + share * (size * log_z - total) if share > 0 else loss).sum()
