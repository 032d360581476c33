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
from typing import NamedTuple, Optional, Sequence

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
def soften(log_probs: Tensor, temperature: float = 1.0, top_k: int = 0) -> TeacherWords:
    """The teacher's distribution at a temperature, of its `top_k` likeliest words only if that is above 0.

    What is left of the `top_k` is renormalised: its probabilities add up to one. Equal probabilities at the border go
    as `torch.topk` has them.

    Args:
        log_probs: (N, V) of the teacher, at temperature 1; its own memory is not changed.
        temperature: tau, above 0: probabilities are raised to the power 1 / tau.
        top_k: how many words count; 0, or V and above: all.

    Raises:
        ValueError: for a temperature or top_k that make no sense.
    """
    _check(temperature, top_k)
    words = None
    if 0 < top_k < log_probs.size(-1):
        log_probs, words = log_probs.topk(top_k, dim=-1)  # (N, C), likeliest first
    if words is not None or temperature != 1.0:
        log_probs = torch.log_softmax(log_probs / temperature, dim=-1)  # (N, C)
    probabilities = log_probs.exp()  # (N, C)
    # A word of probability 0 has log-probability -inf and adds nothing.
    entropy = -_dot(probabilities, log_probs.clamp(min=torch.finfo(log_probs.dtype).min))  # (N,)
    best = log_probs.argmax(-1) if words is None else words[:, 0]  # (N,)
    return TeacherWords(probabilities, words, entropy, best)


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
    real = target.ne(padding)  # (N,)
    gold, nll = _gold_loss(log_probs, target, padding, label_smoothing)
    if teacher is None:
        nothing = nll.new_zeros(())
        return WordLoss(gold, nll, nothing, nothing, real.new_zeros((), dtype=torch.int64))
    tempered = log_probs if temperature == 1.0 else torch.log_softmax(log_probs / temperature, dim=-1)  # (N, V)
    crossed = _cross_entropy(teacher, tempered)  # (N,)
    distillation = temperature**2 * crossed.masked_fill(~real, 0.0).sum()
    agreement = (log_probs.detach().argmax(-1).eq(teacher.best) & real).sum()
    loss = gold if weight == 0 else (1 - weight) * gold + weight * distillation
    entropy = teacher.entropy.masked_fill(~real, 0.0).sum()
    return WordLoss(loss, nll, distillation.detach(), entropy, agreement)


def _check(temperature: float, top_k: int) -> None:
    if not temperature > 0 or math.isinf(temperature):
        raise ValueError(f"the temperature must be above 0 and finite, but is {temperature}")
    if top_k < 0:
        raise ValueError(f"the teacher's top k must be at least 0 (0: all words), but is {top_k}")


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Row by row, without a tensor of products: (N, C), (N, C) -> (N,)."""
    return torch.bmm(one.unsqueeze(1), other.unsqueeze(2)).view(-1)


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


def _cross_entropy(teacher: TeacherWords, log_probs: Tensor) -> Tensor:
    """-sum over words of the teacher's probability times the student's log-probability: (N, V) -> (N,)."""
    if teacher.words is not None:
        log_probs = log_probs.gather(1, teacher.words)  # (N, C)
    return -_dot(teacher.probabilities.to(log_probs.dtype), log_probs)


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
