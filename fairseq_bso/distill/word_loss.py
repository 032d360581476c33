"""The loss of word-level distillation (Kim & Rush 2016, section 3.1), in tensors alone.

At every target word the student learns the teacher's whole distribution beside the gold word,

    (1 - a) * NLL + a * tau**2 * CE(teacher, student)

where both distributions of the cross entropy are those of temperature `tau` (Hinton et al. 2015; its square keeps the
gradient's size). Sizes are those of `distillation`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from .loss import TeacherWords, check_options, row_slices

__all__ = ["Options", "WordLoss", "compare", "word_loss"]


class WordLoss(NamedTuple):
    """What `word_loss` adds up over the words of a batch, padding left out."""

    loss: Tensor
    """() what to minimise, in nats; all else is for the log and constant"""
    nll: Tensor
    """() negative log-likelihood of gold, without label smoothing"""
    distillation: Tensor
    """() tau**2 * CE(teacher, student)"""
    entropy: Tensor
    """() the teacher's, of the distribution that was used"""
    agreement: Tensor
    """() int64, at how many words the likeliest of teacher and student are the same"""


def word_loss(
    log_probs: Tensor,
    target: Tensor,
    padding: int,
    teacher: Optional[TeacherWords] = None,
    weight: float = 0.0,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
) -> WordLoss:
    """Sums `(1 - a) * NLL + a * tau**2 * CE(teacher, student)` over the words of a batch.

    For a student that gives log-probabilities alone: `blockwise_distillation` never holds them all. With weight 0, or
    no teacher, the loss is the plain one, to the bit: what fairseq's `cross_entropy` computes, or with label smoothing
    its `label_smoothed_cross_entropy`.

    Args:
        log_probs: (N, V) of the student, at temperature 1.
        target: (N,) int64 gold words.
        padding: the target that counts nothing.
        teacher: what `soften` made, at the same temperature; None: the plain loss.
        weight: a, from 0 to 1.
        temperature: tau.
        label_smoothing: share of the gold part that goes to all words alike, as fairseq has it.

    Raises:
        ValueError: for options out of their range.
    """
    check_options(temperature, 0)
    if not 0 <= weight <= 1 or not 0 <= label_smoothing < 1:
        raise ValueError(
            f"the weight must be from 0 to 1, label smoothing from 0 to below 1; got {weight} and {label_smoothing}"
        )
    if teacher is None:
        gold, nll = _gold_loss(log_probs, target, padding, label_smoothing)
        nothing = nll.new_zeros(())
        return WordLoss(gold, nll, nothing, nothing, target.new_zeros(()))
    options = Options(weight, temperature, label_smoothing)
    real = target.ne(padding)  # (N,)
    loss, nll, distillation, agreement = _MixedLoss.apply(log_probs, target, real, teacher, options)
    if weight == 0:
        loss, nll = _gold_loss(log_probs, target, padding, label_smoothing)
    return WordLoss(loss, nll, distillation, teacher.entropy.masked_fill(~real, 0.0).sum(), agreement)


class Options(NamedTuple):
    """Of the loss."""

    weight: float
    temperature: float
    smoothing: float


class _MixedLoss(torch.autograd.Function):
    """The loss and, in the same visit to each block of words, its gradient.

    Autograd's own way makes five tensors of (N, V) where this makes one, and on a CPU these tensors are what
    distillation costs.
    """

    @staticmethod
    def forward(
        ctx: Any, log_probs: Tensor, target: Tensor, real: Tensor, teacher: TeacherWords, options: Options
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        gradient = _place_for_gradient(log_probs, teacher) if ctx.needs_input_grad[0] else None  # (N, V)
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
            raise RuntimeError("the word-level loss goes backward once: its gradient has been given away")
        gradient, ctx.gradient = ctx.gradient, None
        return gradient.mul_(loss), None, None, None, None


def compare(
    block: Tensor, target: Tensor, teacher: TeacherWords, options: Options, out: Optional[Tensor] = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What some words add to the loss.

    Args:
        block: (n, V) log-probabilities of the student.
        target: (n,) gold words.
        teacher: at these n words.
        options: of the loss.
        out: (n, V), gets the gradient with respect to `block`; may be the memory of the teacher's probabilities.

    Returns:
        (n,) each: the gold part, the negative log-likelihood, `tau**2 * CE`, and whether the likeliest words are one.
    """
    words = target.unsqueeze(1)  # (n, 1)
    gold, nll, share = _gold_part(block, words, options.smoothing)  # (n,), (n,), (): also the gradient's
    likely = teacher.probabilities.to(block.dtype)  # (n, C)
    crossed, soft = _teacher_part(block, likely, teacher.words, options.temperature)  # (n,), (n, V) or None
    agrees = block.gather(1, teacher.best.unsqueeze(1)).squeeze(1).eq(block.amax(1))  # (n,)
    if out is not None:
        _fill_gradient(out, likely, teacher.words, soft, words, share, options)
    return gold, nll, crossed, agrees


def _place_for_gradient(log_probs: Tensor, teacher: TeacherWords) -> Tensor:
    """(N, V), to be written over."""
    spare = teacher.probabilities if teacher.spare and teacher.words is None else None
    return torch.empty_like(log_probs) if spare is None or spare.dtype != log_probs.dtype else spare


def _gold_part(block: Tensor, words: Tensor, epsilon: float) -> tuple[Tensor, Tensor, float]:
    """The smoothed loss and the negative log-likelihood of gold at each word, and what each wrong word weighs."""
    nll = -block.gather(1, words).squeeze(1)  # (n,)
    if epsilon == 0:
        return nll, nll, 0.0
    share = epsilon / (block.size(1) - 1)
    return (1.0 - epsilon - share) * nll - share * block.sum(1), nll, share


def _teacher_part(
    block: Tensor, likely: Tensor, chosen: Optional[Tensor], temperature: float
) -> tuple[Tensor, Optional[Tensor]]:
    """`tau**2 * CE` at each word, (n,); and the student's own probabilities where the temperature is not 1, (n, V)."""
    tempered = block if temperature == 1.0 else torch.log_softmax(block / temperature, dim=-1)  # (n, V)
    theirs = tempered if chosen is None else tempered.gather(1, chosen)  # (n, C)
    crossed = -(temperature**2) * (likely * theirs).sum(1)  # (n,)
    return crossed, None if temperature == 1.0 else tempered.exp_()


def _fill_gradient(
    out: Tensor,
    likely: Tensor,
    chosen: Optional[Tensor],
    soft: Optional[Tensor],
    words: Tensor,
    share: float,
    options: Options,
) -> None:
    """The gradient of each word's loss with respect to the student's log-probabilities, into `out` (n, V).

    That of `tau**2 * CE` is `tau * (student - teacher)`, both at the temperature; at temperature 1, where the student's
    log-probabilities are taken as they come, it is `- teacher`. `out` may be the memory of `likely`.
    """
    weight, temperature, epsilon = options
    scale = weight * temperature
    if chosen is None:
        torch.mul(likely, -scale, out=out)
    else:
        out.zero_().scatter_add_(1, chosen, likely * -scale)
    if soft is not None:
        out.add_(soft, alpha=scale)
    if share > 0:
        out.sub_((1 - weight) * share)
    # The gold word has `share` already, as every word.
    certain = torch.full(words.shape, -(1 - weight) * (1.0 - epsilon - share), dtype=out.dtype, device=out.device)
    out.scatter_add_(1, words, certain)


def _gold_loss(log_probs: Tensor, target: Tensor, padding: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """The gold part's sum, and its negative log-likelihood without smoothing as a constant."""
    if epsilon == 0:
        nll = torch.nn.functional.nll_loss(log_probs, target, ignore_index=padding, reduction="sum")
        return nll, nll.detach()
    no_word = target.eq(padding).unsqueeze(1)  # (N, 1)
    nll = -log_probs.gather(1, target.unsqueeze(1)).masked_fill(no_word, 0.0).sum()
    uniform = -log_probs.sum(1, keepdim=True).masked_fill(no_word, 0.0).sum()
    # fairseq spreads epsilon over the V - 1 wrong words and counts the gold word's own part on top of 1 - epsilon.
    share = epsilon / (log_probs.size(1) - 1)
    return (1.0 - epsilon - share) * nll + share * uniform, nll.detach()
