"""Knowledge distillation of sequence models (Kim & Rush 2016, sections 3.1 to 3.3), in tensors alone.

Word level: at every target word the student learns the teacher's whole distribution beside the gold word,

    (1 - a) * NLL + a * tau**2 * CE(teacher, student)

where both distributions of the cross entropy are those of temperature `tau` (Hinton et al. 2015; its square keeps the
gradient's size). Sequence level: which hypotheses of the teacher a student trains on.

Sizes: `N` target words of a batch (padding included), `V` vocabulary, `C` words of the teacher that count: `V` or its
top k; `B` sentences, `K` hypotheses of each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional, Sequence

import torch
from torch import Tensor

from .costs import closeness

__all__ = ["TeacherWords", "WordLoss", "mixture", "rank_by_closeness", "soften", "word_loss"]


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
    _check(temperature, top_k)
    if words is None and 0 < top_k < log_probs.size(-1):
        log_probs, words = log_probs.topk(top_k, dim=-1)  # (N, C), likeliest first
    parts = []
    probabilities = log_probs if in_place else torch.empty_like(log_probs)  # (N, C)
    for rows in _blocks(log_probs):
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

    With weight 0, or no teacher, the loss is the plain one, to the bit: what fairseq's `cross_entropy` computes, or
    with label smoothing its `label_smoothed_cross_entropy`.

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
    _check(temperature, 0)
    if not 0 <= weight <= 1 or not 0 <= label_smoothing < 1:
        raise ValueError(
            f"the weight must be from 0 to 1, label smoothing from 0 to below 1; got {weight} and {label_smoothing}"
        )
    if teacher is None:
        gold, nll = _gold_loss(log_probs, target, padding, label_smoothing)
        nothing = nll.new_zeros(())
        return WordLoss(gold, nll, nothing, nothing, target.new_zeros(()))
    options = _Options(weight, temperature, label_smoothing)
    real = target.ne(padding)  # (N,)
    loss, nll, distillation, agreement = _MixedLoss.apply(log_probs, target, real, teacher, options)
    if weight == 0:
        loss, nll = _gold_loss(log_probs, target, padding, label_smoothing)
    return WordLoss(loss, nll, distillation, teacher.entropy.masked_fill(~real, 0.0).sum(), agreement)


class _Options(NamedTuple):
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
        ctx: Any, log_probs: Tensor, target: Tensor, real: Tensor, teacher: TeacherWords, options: _Options
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        gradient = _place_for_gradient(log_probs, teacher) if ctx.needs_input_grad[0] else None  # (N, V)
        sums = log_probs.new_zeros(3)
        agreement = target.new_zeros(())
        for rows in _blocks(log_probs):
            block, words, counts = log_probs[rows], target[rows].unsqueeze(1), real[rows].to(log_probs.dtype)
            gold, nll, slope = _gold_part(block, words, options.smoothing)  # (n,), (n,), (): also the gradient's
            chosen = None if teacher.words is None else teacher.words[rows]
            likely = teacher.probabilities[rows].to(block.dtype)  # (n, C)
            crossed, soft = _teacher_part(block, likely, chosen, options.temperature)  # (n,), (n, V) or None
            sums += torch.stack([gold, nll, crossed]).mv(counts)
            at_best = block.gather(1, teacher.best[rows].unsqueeze(1)).squeeze(1)  # (n,)
            agreement += (at_best.eq(block.amax(1)) & real[rows]).sum()
            if gradient is not None:
                out = gradient[rows]
                _fill_gradient(out, likely, chosen, soft, words, slope, options)
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
    options: _Options,
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


# Floats in a block: a few blocks of this size stay in a core's cache.
_BLOCK = 2**17


def _blocks(tensor: Tensor) -> Iterator[slice]:
    """Rows to visit together: a cacheful on a CPU, all at once elsewhere."""
    count, width = tensor.shape
    step = max(1, _BLOCK // max(1, width)) if tensor.device.type == "cpu" else max(1, count)
    return (slice(start, start + step) for start in range(0, max(1, count), step))


def _check(temperature: float, top_k: int) -> None:
    if not temperature > 0 or math.isinf(temperature):
        raise ValueError(f"the temperature must be above 0 and finite, but is {temperature}")
    if top_k < 0:
        raise ValueError(f"the teacher's top k must be at least 0 (0: all words), but is {top_k}")


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


def rank_by_closeness(hypotheses: Tensor, lengths: Tensor, gold: Tensor, gold_lengths: Tensor) -> Tensor:
    """The hypotheses of each sentence, those closest to gold first (Seq-Inter, section 3.3).

    Closeness is smoothed sentence BLEU (`costs.closeness`). Among equals the one that comes first stays first.

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
    bleu = closeness(
        hypotheses.reshape(sentences * beam, longest), flat_gold, lengths.reshape(-1), flat_gold_lengths
    )  # (BK,)
    return torch.sort(bleu.view(sentences, beam), dim=1, descending=True, stable=True).indices
