"""The word-level distillation loss in blocks of rows: the scores (N, V) of student and teacher are never all in memory.

The loss equals ``word_loss.word_loss``. Each block of the student's attentional vectors is scored, compared with the
teacher's distribution of the same rows, and freed.
"""

from __future__ import annotations

from typing import Callable, Optional, Sequence

import torch
from torch import Tensor

from ..blockwise import sum_over_blocks
from ..blockwise_cross_entropy import cross_entropy
from ..linear import multiply
from ..search.scorer import Scorer
from .teacher_distribution import TeacherDistribution, mixture, teacher_distribution
from .word_loss import WordLoss, WordLossOptions, compare

__all__ = ["TeacherRows", "block_word_loss", "rows_of_scorers"]

TeacherRows = Callable[[Tensor], TeacherDistribution]
"""rows (r,) among the N words of a batch -> the teacher's distribution there; ``TeacherDistribution.at`` is one"""


def rows_of_scorers(members: Sequence[tuple[Tensor, Scorer]], temperature: float, top_k: int) -> TeacherRows:
    """The TeacherRows of a teacher, or an ensemble, that scores only the rows it is asked for.

    Args:
        members: attentional vectors (N, H) and scorer of each.
        temperature: tau.
        top_k: how many words of the teacher to keep; 0: all.
    """

    def at(rows: Tensor) -> TeacherDistribution:
        scores = (multiply(outputs.index_select(0, rows), scorer.weight, scorer.bias) for outputs, scorer in members)
        log_probs = mixture([torch.log_softmax(each, 1, dtype=torch.float32) for each in scores])  # (r, V)
        return teacher_distribution(log_probs, temperature, top_k, in_place=True)

    return at


def block_word_loss(
    outputs: Tensor,
    scorer: Scorer,
    target: Tensor,
    padding: int,
    teacher: Optional[TeacherRows] = None,
    weight: float = 0.0,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
) -> WordLoss:
    """Sums `(1 - a) * NLL + a * tau**2 * CE(teacher, student)` over the words of a batch.

    Args:
        outputs: (N, H) the student's attentional vectors.
        scorer: the student's output layer.
        target: (N,) int64 gold words.
        padding: the padding symbol; its targets are ignored.
        teacher: at the same temperature; None: the loss without distillation.
        weight: a, from 0 to 1.
        temperature: tau.
        label_smoothing: as fairseq defines it.
    """
    if teacher is None:
        plain = cross_entropy(outputs, scorer.weight, scorer.bias, target, padding, label_smoothing)
        zero = plain.nll.new_zeros(())
        return WordLoss(plain.loss, plain.nll, zero, zero, target.new_zeros(()))
    real = target.ne(padding).nonzero().squeeze(1)  # (N',)
    options = WordLossOptions(weight, temperature, label_smoothing)
    visit = _DistillationOfBlock(target.index_select(0, real), real, teacher, options)
    loss = sum_over_blocks(visit, outputs.index_select(0, real), scorer.weight, scorer.bias)
    return WordLoss(loss, visit.nll, visit.distillation, visit.entropy, visit.agreement)


class _DistillationOfBlock:
    """A ``Visit`` of `sum_over_blocks`, which also collects the sums for the log. N' words are not padding.

    Args:
        target: (N',) gold words.
        real: (N',) their indices among all N.
        teacher: called with indices among all N.
        options: of the loss.
    """

    def __init__(self, target: Tensor, real: Tensor, teacher: TeacherRows, options: WordLossOptions) -> None:
        self.target, self.real, self.teacher, self.options = target, real, teacher, options
        self.nll = self.distillation = self.entropy = target.new_zeros((), dtype=torch.float32)
        self.agreement = target.new_zeros(())

    def __call__(self, rows: slice, scores: Tensor, wants_gradient: bool) -> Tensor:
        teacher, weight = self.teacher(self.real[rows]), self.options.weight
        log_probs = torch.log_softmax(scores, 1)  # (r, V)
        gold, nll, crossed, agrees = compare(
            log_probs, self.target[rows], teacher, self.options, scores if wants_gradient else None
        )
        self.nll, self.distillation = self.nll + nll.sum(), self.distillation + crossed.sum()
        self.entropy = self.entropy + teacher.entropy.sum()
        self.agreement += agrees.sum()
        if wants_gradient:  # `scores` holds the gradient of the log-probabilities here
            scores.sub_(log_probs.exp_().mul_(scores.sum(1, keepdim=True)))
        return (1 - weight) * gold.sum() + weight * crossed.sum()
