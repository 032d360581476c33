"""The loss of word-level distillation (Kim & Rush 2016, section 3.1), in tensors alone.

At every target word the student learns from the gold word and from the teacher's distribution, with weight `a`:

    (1 - a) * NLL + a * tau**2 * CE(teacher, student)

Both distributions of the cross entropy CE have temperature `tau`. The factor `tau**2` keeps the size of the gradient
(Hinton et al. 2015). `teacher_distribution` defines the sizes.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from .teacher_distribution import TeacherDistribution, check_options, row_slices

__all__ = ["WordLossOptions", "WordLoss", "compare", "word_loss"]


class WordLoss(NamedTuple):
    """Sums over the words of a batch without padding. All but `loss` are for the log and have no gradient."""

    loss: Tensor
    """() the loss to minimise, in nats"""
    nll: Tensor
    """() negative log-likelihood of gold, without label smoothing"""
    distillation: Tensor
    """() tau**2 * CE(teacher, student)"""
    entropy: Tensor
    """() of the teacher's distribution, after temperature and top k"""
    agreement: Tensor
    """() int64, at how many words teacher and student agree on the most probable word"""


def word_loss(
    log_probs: Tensor,
    target: Tensor,
    padding: int,
    teacher: Optional[TeacherDistribution] = None,
    weight: float = 0.0,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
) -> WordLoss:
    """Sums `(1 - a) * NLL + a * tau**2 * CE(teacher, student)` over the words of a batch.

    This serves any student; `blockwise_loss` needs less memory where the student gives its outputs. With weight 0, or
    without a teacher, the loss equals fairseq's `cross_entropy` to the bit, or `label_smoothed_cross_entropy`.

    Args:
        log_probs: (N, V) of the student, at temperature 1.
        target: (N,) int64 gold words.
        padding: the padding symbol; its targets are ignored.
        teacher: of `teacher_distribution`, at the same temperature; None: the loss without distillation.
        weight: a, from 0 to 1.
        temperature: tau.
        label_smoothing: as fairseq defines it.

    Raises:
        ValueError: for options out of range.
    """
    check_options(temperature, 0)
    if not 0 <= weight <= 1 or not 0 <= label_smoothing < 1:
        raise ValueError(
            f"the weight is {weight} and label smoothing is {label_smoothing}, but they must be from 0 to 1 and from 0 "
            "to below 1"
        )
    if teacher is None:
        gold, nll = _gold_loss(log_probs, target, padding, label_smoothing)
        zero = nll.new_zeros(())
        return WordLoss(gold, nll, zero, zero, target.new_zeros(()))
    options = WordLossOptions(weight, temperature, label_smoothing)
    real = target.ne(padding)  # (N,)
    loss, nll, distillation, agreement = _MixedLoss.apply(log_probs, target, real, teacher, options)
    if weight == 0:
        loss, nll = _gold_loss(log_probs, target, padding, label_smoothing)
    return WordLoss(loss, nll, distillation, teacher.entropy.masked_fill(~real, 0.0).sum(), agreement)


class WordLossOptions(NamedTuple):
    """The options of the loss."""

    weight: float
    temperature: float
    smoothing: float


class _MixedLoss(torch.autograd.Function):
    """Computes the loss of each block of words together with its gradient.

    Autograd would allocate five tensors (N, V), this allocates one. On a CPU, these tensors dominate the cost of
    distillation.
    """

    @staticmethod
    def forward(
        ctx: Any,
        log_probs: Tensor,
        target: Tensor,
        real: Tensor,
        teacher: TeacherDistribution,
        options: WordLossOptions,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        gradient = _gradient_buffer(log_probs, teacher) if ctx.needs_input_grad[0] else None  # (N, V)
        sums = log_probs.new_zeros(3)
        agreement = target.new_zeros(())
        for rows in row_slices(log_probs):
            counts = real[rows].to(log_probs.dtype)  # (n,)
            out = None if gradient is None else gradient[rows]  # (n, V)
            *terms, agrees = compare(log_probs[rows], target[rows], teacher.at(rows), options, out)
            sums += torch.stack(terms).mv(counts)
            agreement += (agrees & real[rows]).sum()
            if out is not None:
                out.mul_(counts.unsqueeze(1))
        ctx.gradient = gradient
        loss = (1 - options.weight) * sums[0] + options.weight * sums[2]
        nll, distillation = sums[1].clone(), sums[2].clone()
        ctx.mark_non_differentiable(nll, distillation, agreement)
        return loss, nll, distillation, agreement

    @staticmethod
    def backward(ctx: Any, loss: Tensor, *_: Tensor) -> Any:
        if ctx.gradient is None:
            raise RuntimeError("the word-level loss can go backward only once: its gradient is not kept")
        gradient, ctx.gradient = ctx.gradient, None
        return gradient.mul_(loss), None, None, None, None


def compare(
    block: Tensor, target: Tensor, teacher: TeacherDistribution, options: WordLossOptions, out: Optional[Tensor] = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The terms of the loss at n words.

    Args:
        block: (n, V) log-probabilities of the student.
        target: (n,) gold words.
        teacher: its distribution at these words.
        options: of the loss.
        out: (n, V) receives the gradient with respect to `block`. It may share memory with the teacher's probabilities.

    Returns:
        (n,) each: the gold part, the negative log-likelihood, `tau**2 * CE`, and whether teacher and student agree on
        the most probable word.
    """
    words = target.unsqueeze(1)  # (n, 1)
    gold, nll, share = _gold_part(block, words, options.smoothing)  # (n,), (n,), number
    probabilities = teacher.probabilities.to(block.dtype)  # (n, C)
    crossed, soft = _teacher_part(block, probabilities, teacher.words, options.temperature)  # (n,), (n, V) or None
    agrees = block.gather(1, teacher.best.unsqueeze(1)).squeeze(1).eq(block.amax(1))  # (n,)
    if out is not None:
        _fill_gradient(out, probabilities, teacher.words, soft, words, share, options)
    return gold, nll, crossed, agrees


def _gradient_buffer(log_probs: Tensor, teacher: TeacherDistribution) -> Tensor:
    """(N, V) memory for the gradient: that of the teacher's probabilities, where it may be overwritten and fits."""
    buffer = teacher.probabilities
    usable = teacher.may_overwrite and teacher.words is None and buffer.dtype == log_probs.dtype
    return buffer if usable else torch.empty_like(log_probs)


def _gold_part(block: Tensor, words: Tensor, epsilon: float) -> tuple[Tensor, Tensor, float]:
    """(n,) smoothed loss, (n,) negative log-likelihood of gold, and the weight of each wrong word."""
    nll = -block.gather(1, words).squeeze(1)  # (n,)
    if epsilon == 0:
        return nll, nll, 0.0
    share = epsilon / (block.size(1) - 1)
    return (1.0 - epsilon - share) * nll - share * block.sum(1), nll, share


def _teacher_part(
    block: Tensor, probabilities: Tensor, chosen: Optional[Tensor], temperature: float
) -> tuple[Tensor, Optional[Tensor]]:
    """`tau**2 * CE` at each word, (n,); and the student's probabilities (n, V), or None at temperature 1."""
    tempered = block if temperature == 1.0 else torch.log_softmax(block / temperature, dim=-1)  # (n, V)
    student = tempered if chosen is None else tempered.gather(1, chosen)  # (n, C)
    crossed = -(temperature**2) * (probabilities * student).sum(1)  # (n,)
    return crossed, None if temperature == 1.0 else tempered.exp_()


def _fill_gradient(
    out: Tensor,
    probabilities: Tensor,
    chosen: Optional[Tensor],
    soft: Optional[Tensor],
    words: Tensor,
    share: float,
    options: WordLossOptions,
) -> None:
    """Writes the gradient of each word's loss with respect to the student's log-probabilities into `out` (n, V).

    The gradient of `tau**2 * CE` is `tau * (student - teacher)`, both at temperature `tau`. At temperature 1 the
    student's log-probabilities are used as they are, and it is `- teacher`. `out` and `probabilities` may share memory.
    """
    weight, temperature, epsilon = options
    scale = weight * temperature
    if chosen is None:
        torch.mul(probabilities, -scale, out=out)
    else:
        out.zero_().scatter_add_(1, chosen, probabilities * -scale)
    if soft is not None:
        out.add_(soft, alpha=scale)
    if share > 0:
        out.sub_((1 - weight) * share)
    # Like every word, the gold word has received `share` already.
    gold = torch.full(words.shape, -(1 - weight) * (1.0 - epsilon - share), dtype=out.dtype, device=out.device)
    out.scatter_add_(1, words, gold)


def _gold_loss(log_probs: Tensor, target: Tensor, padding: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """The sum of the gold part, and the negative log-likelihood without smoothing and without gradient."""
    if epsilon == 0:
        nll = torch.nn.functional.nll_loss(log_probs, target, ignore_index=padding, reduction="sum")
        return nll, nll.detach()
    no_word = target.eq(padding).unsqueeze(1)  # (N, 1)
    nll = -log_probs.gather(1, target.unsqueeze(1)).masked_fill(no_word, 0.0).sum()
    uniform = -log_probs.sum(1, keepdim=True).masked_fill(no_word, 0.0).sum()
    # fairseq divides epsilon among the V - 1 wrong words, and adds the gold word's own part to 1 - epsilon.
    share = epsilon / (log_probs.size(1) - 1)
    return (1.0 - epsilon - share) * nll + share * uniform, nll.detach()
