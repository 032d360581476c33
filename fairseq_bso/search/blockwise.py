"""Losses over the whole vocabulary that never hold the scores of all words.

``N`` prefixes have ``N * V`` scores, which are most of an update's memory, and on a CPU getting and filling that memory
takes longer than what is computed in it. Here some rows at a time are scored, visited and forgotten, while they are in
the cache. Where the loss is a sum, its gradient is made in the same visit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from ..linear import ROWS, multiply, onednn_suits
from .scorer import HALF

__all__ = ["CrossEntropy", "Visit", "cross_entropy", "exponentials", "log_partition", "row_blocks", "sum_over_blocks"]

# Rows that products are quick with, where their scores are neither too few nor too many: 4 MiB stay in the cache, and
# above 32 MiB glibc's malloc hands out fresh memory every time, page by page.
CPU_ROWS, CPU_SCORES = 128, (2**20, 2**22)
DEVICE_SCORES = 2**25
# Probabilities that wait for their gradient: 64 MiB.
KEPT = 2**24

# Gets rows, their scores (r, V) in float32 at least, and whether the gradient is wanted; then it writes the gradient of
# its loss over the scores. Returns its loss (), summed over these rows.
Visit = Callable[[slice, Tensor, bool], Tensor]
Kept = Tuple[slice, Tensor]


def row_blocks(outputs: Tensor, words: int, first: int = 0) -> Iterator[slice]:
    """Rows of ``outputs`` (N, H) to score together, from row ``first`` on, in whole blocks of ROWS."""
    if outputs.device.type == "cpu":
        fewest, most = (scores // max(1, words) for scores in CPU_SCORES)
        step = min(max(fewest, CPU_ROWS), most)
    else:
        step = DEVICE_SCORES // max(1, words)
    step = max(1, step // ROWS) * ROWS
    return (slice(start, min(start + step, outputs.size(0))) for start in range(first, outputs.size(0), step))


def log_partition(outputs: Tensor, weight: Tensor, bias: Tensor, known: Optional[Tensor] = None) -> Tensor:
    """``log Z``, the logarithm of the softmax's denominator, differentiable in all three.

    Args:
        outputs: (N, H) attentional vectors.
        weight: (V, H).
        bias: (V,).
        known: (n,) what it is for the first n rows, where something else has scored them before.

    Returns:
        (N,) float32, of a float64 model float64.
    """
    known = outputs.new_empty(0, dtype=_wide(outputs)) if known is None else known
    if not any(_wanted(outputs, weight, bias)):
        return _log_partition(outputs, weight, bias, known)
    return _LogPartition.apply(outputs, weight, bias, known)


class _LogPartition(torch.autograd.Function):
    """What each row counts is known in backward only. Up to KEPT probabilities wait for it; others are made again."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, weight: Tensor, bias: Tensor, known: Tensor) -> Tensor:
        ctx.kept = []
        totals = _log_partition(outputs, weight, bias, known, ctx.kept)
        ctx.save_for_backward(outputs, weight, bias, totals)
        ctx.known = known.numel()
        return totals

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        outputs, weight, bias, totals = ctx.saved_tensors
        gradients = _Gradients(outputs, weight, bias, ctx.needs_input_grad[:3])
        for rows, probabilities in ctx.kept:
            gradients.add(rows, probabilities * gradient[rows].unsqueeze(1))
        rest = ctx.kept[-1][0].stop if ctx.kept else ctx.known
        for rows in (*row_blocks(outputs[: ctx.known], bias.numel()), *row_blocks(outputs, bias.numel(), rest)):
            slope = _scores(outputs[rows], weight, bias)  # (r, V)
            slope.sub_(totals[rows].unsqueeze(1)).exp_().mul_(gradient[rows].unsqueeze(1))
            gradients.add(rows, slope)
        return (*(None if part is None else part.to(outputs.dtype) for part in gradients.parts), None)


def _log_partition(
    outputs: Tensor, weight: Tensor, bias: Tensor, known: Tensor, kept: Optional[List[Kept]] = None
) -> Tensor:
    """Also notes in ``kept`` the probabilities of the first blocks that are not known, up to KEPT of them."""
    totals = outputs.new_empty(outputs.size(0), dtype=_wide(outputs))  # (N,)
    totals[: known.numel()] = known
    room = KEPT
    for rows in row_blocks(outputs, bias.numel(), known.numel()):
        scores = _scores(outputs[rows], weight, bias)
        totals[rows], sums = exponentials(scores)
        room -= scores.numel()
        if kept is not None and room >= 0:
            kept.append((rows, scores.div_(sums)))
    return totals


def sum_over_blocks(visit: Visit, outputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The sum of what ``visit`` returns for each block of rows.

    Args:
        visit: the loss of a block and, written over its scores, the gradient.
        outputs: (N, H) attentional vectors.
        weight: (V, H).
        bias: (V,).

    Returns:
        () float32, of a float64 model float64; differentiable in all three, and it goes backward once.
    """
    wanted = _wanted(outputs, weight, bias)
    if not any(wanted):
        return _sum_over_blocks(visit, outputs, weight, bias, None)
    return _BlockSum.apply(outputs, weight, bias, visit, wanted)


class _BlockSum(torch.autograd.Function):
    """Makes the gradient for an incoming 1 beside the loss; backward scales it."""

    @staticmethod
    def forward(
        ctx: Any, outputs: Tensor, weight: Tensor, bias: Tensor, visit: Visit, wanted: tuple[bool, ...]
    ) -> Tensor:
        gradients = _Gradients(outputs, weight, bias, wanted)
        total = _sum_over_blocks(visit, outputs, weight, bias, gradients)
        ctx.parts, ctx.dtype = gradients.parts, outputs.dtype
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor) -> Any:
        if ctx.parts is None:
            raise RuntimeError("a sum over blocks goes backward once: its gradient has been given away")
        parts, ctx.parts = ctx.parts, None
        return (*(None if part is None else part.mul_(scale).to(ctx.dtype) for part in parts), None, None)


def _sum_over_blocks(
    visit: Visit, outputs: Tensor, weight: Tensor, bias: Tensor, gradients: Optional[_Gradients]
) -> Tensor:
    total = outputs.new_zeros((), dtype=_wide(outputs))
    for rows in row_blocks(outputs, bias.numel()):
        scores = _scores(outputs[rows], weight, bias)  # (r, V)
        total += visit(rows, scores, gradients is not None)
        if gradients is not None:
            gradients.add(rows, scores)
    return total


class CrossEntropy(NamedTuple):
    """What ``cross_entropy`` adds up over the words of a batch, padding left out."""

    loss: Tensor
    """() what to minimise, in nats; all else is for the log and constant"""
    nll: Tensor
    """() negative log-likelihood of gold, without label smoothing"""
    squared_log_z: Tensor
    """() sum of ``(log Z)^2``"""
    correct: Tensor
    """() int64, at how many words gold is the best; 0 where that was not asked for"""


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
    """The negative log-likelihood of gold words, label smoothing as fairseq has it, and ``weight * (log Z)^2``.

    Args:
        outputs: (N, H) attentional vectors.
        weight: (V, H).
        bias: (V,).
        target: (N,) int64 gold words.
        padding: the target that counts nothing: its rows are never scored.
        smoothing: epsilon, the share of the loss that goes to all words alike.
        self_normalize: weight of ``(log Z)^2`` at each word, which draws ``f`` to log-probabilities (Devlin et al.
            2014, section 2.3).
        count_correct: whether ``correct`` is wanted.
    """
    real = target.ne(padding).nonzero().squeeze(1)  # (N',)
    visit = _CrossEntropyOfBlock(target.index_select(0, real), smoothing, self_normalize, count_correct)
    loss = sum_over_blocks(visit, outputs.index_select(0, real), weight, bias)
    return CrossEntropy(loss, visit.nll, visit.squared_log_z, visit.correct)


class _CrossEntropyOfBlock:
    """A ``Visit``; sums for the log stay here."""

    def __init__(self, target: Tensor, smoothing: float, self_normalize: float, count_correct: bool) -> None:
        self.target, self.smoothing, self.self_normalize = target, smoothing, self_normalize
        self.count_correct = count_correct
        self.correct = target.new_zeros(())
        self.nll = self.squared_log_z = target.new_zeros((), dtype=torch.float32)

    def __call__(self, rows: slice, scores: Tensor, wants_gradient: bool) -> Tensor:
        words = self.target[rows].unsqueeze(1)  # (r, 1)
        if self.count_correct:
            self.correct += scores.argmax(1, keepdim=True).eq(words).sum()
        size = scores.size(1)
        # fairseq spreads epsilon over the V - 1 wrong words and counts the gold word's own part on top of 1 - epsilon.
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


class _Gradients:
    """Adds up the gradients of outputs, weight and bias over blocks of rows, in float32 at least.

    Args:
        outputs: (N, H).
        weight: (V, H).
        bias: (V,).
        wanted: which of the three are wanted.
    """

    def __init__(self, outputs: Tensor, weight: Tensor, bias: Tensor, wanted: tuple[bool, ...]) -> None:
        given = (outputs, weight, bias)
        self.parts = [
            part.new_zeros(part.shape, dtype=_wide(part)) if wants else None for part, wants in zip(given, wanted)
        ]
        self.by_onednn = onednn_suits(outputs.t(), weight)
        if self.by_onednn and wanted[1]:  # as oneDNN is quickest with
            self.parts[1] = weight.new_zeros(weight.shape[::-1]).t()
        # The slope of most words is too small for float16.
        narrow = outputs.dtype == torch.float16
        self.outputs, self.weight = (outputs.float(), weight.float()) if narrow else (outputs, weight)

    def add(self, rows: slice, slope: Tensor) -> None:
        """Adds what the slope (r, V), the gradient of these rows' scores, amounts to."""
        to_outputs, to_weight, to_bias = self.parts
        if to_bias is not None:
            to_bias += slope.sum(0)
        slope = slope.to(self.weight.dtype)
        if to_outputs is not None:
            to_outputs[rows] = multiply(slope, self.weight.t())  # (r, H)
        if to_weight is None:
            return
        if self.by_onednn:
            to_weight += multiply(self.outputs[rows].t(), slope.t()).t()
        elif to_weight.dtype == slope.dtype:  # adds in place, which oneDNN cannot
            to_weight.addmm_(slope.t(), self.outputs[rows])
        else:
            to_weight += slope.t().mm(self.outputs[rows])


def exponentials(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Writes ``exp(scores - highest)`` over scores (r, V). Gives ``log Z`` (r,) and the sums of these (r, 1)."""
    highest = scores.amax(1, keepdim=True)
    sums = scores.sub_(highest).exp_().sum(1, keepdim=True)
    return (sums.log() + highest).squeeze(1), sums


def _scores(outputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(r, H) -> (r, V) in float32 at least, memory of its own."""
    return multiply(outputs, weight, bias).to(_wide(outputs))


def _wide(tensor: Tensor) -> torch.dtype:
    """The type that sums are kept in."""
    return torch.float32 if tensor.dtype in HALF else tensor.dtype


def _wanted(*tensors: Tensor) -> tuple[bool, ...]:
    """Which of them a gradient is wanted for."""
    return tuple(torch.is_grad_enabled() and tensor.requires_grad for tensor in tensors)
