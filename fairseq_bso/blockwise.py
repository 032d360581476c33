"""Sums over the whole vocabulary that never hold the scores of all words.

``N`` prefixes have ``N * V`` scores over a vocabulary of ``V`` words. They are most of an update's memory. On a CPU,
allocating and filling that memory takes longer than the computation in it. This module scores a block of rows, visits
it while it is in the cache, and discards it. If the loss is a sum, the same visit also computes its gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable, List, Optional, Tuple

import torch
from torch import Tensor

from .linear import HALF, ROWS, multiply, onednn_suits

__all__ = ["Visit", "exponentials", "log_partition", "row_blocks", "sum_over_blocks"]

# Products are fast with CPU_ROWS rows. CPU_SCORES bounds the scores of a block: 4 MiB stay in the cache, and above
# 32 MiB glibc's malloc returns fresh memory at every call, page by page.
CPU_ROWS, CPU_SCORES = 128, (2**20, 2**22)
DEVICE_SCORES = 2**25
# Number of probabilities kept for backward: 64 MiB.
KEPT = 2**24

# A Visit gets r rows, their scores (r, V) in at least float32, and whether the gradient is wanted. If it is, the Visit
# overwrites the scores with the gradient of its loss. It returns its loss (), summed over these rows.
Visit = Callable[[slice, Tensor, bool], Tensor]
Kept = Tuple[slice, Tensor]


def row_blocks(outputs: Tensor, words: int, first: int = 0) -> Iterator[slice]:
    """Slices of the rows of ``outputs`` (N, H) to score together, from row ``first`` on, in whole blocks of ROWS."""
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
        known: (n,) ``log Z`` of the first n rows, if an earlier computation has scored them.

    Returns:
        (N,) float32; float64 for a float64 model.
    """
    known = outputs.new_empty(0, dtype=_wide(outputs)) if known is None else known
    if not any(_wanted(outputs, weight, bias)):
        return _log_partition(outputs, weight, bias, known)
    return _LogPartition.apply(outputs, weight, bias, known)


class _LogPartition(torch.autograd.Function):
    """The weight of each row is known only in backward. Up to KEPT probabilities are kept; others are recomputed."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, weight: Tensor, bias: Tensor, known: Tensor) -> Tensor:
        ctx.kept = []
        log_z = _log_partition(outputs, weight, bias, known, ctx.kept)
        ctx.save_for_backward(outputs, weight, bias, log_z)
        ctx.known = known.numel()
        return log_z

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        outputs, weight, bias, log_z = ctx.saved_tensors
        gradients = _Gradients(outputs, weight, bias, ctx.needs_input_grad[:3])
        for rows, probabilities in ctx.kept:
            gradients.add(rows, probabilities * gradient[rows].unsqueeze(1))
        rest = ctx.kept[-1][0].stop if ctx.kept else ctx.known
        for rows in (*row_blocks(outputs[: ctx.known], bias.numel()), *row_blocks(outputs, bias.numel(), rest)):
            slope = _scores(outputs[rows], weight, bias)  # (r, V)
            slope.sub_(log_z[rows].unsqueeze(1)).exp_().mul_(gradient[rows].unsqueeze(1))
            gradients.add(rows, slope)
        return (*(None if part is None else part.to(outputs.dtype) for part in gradients.parts), None)


def _log_partition(
    outputs: Tensor, weight: Tensor, bias: Tensor, known: Tensor, kept: Optional[List[Kept]] = None
) -> Tensor:
    """(N,) ``log Z``. Appends up to KEPT probabilities of the first blocks that are not known to ``kept``."""
    log_z = outputs.new_empty(outputs.size(0), dtype=_wide(outputs))  # (N,)
    log_z[: known.numel()] = known
    budget = KEPT  # probabilities that may still be kept
    for rows in row_blocks(outputs, bias.numel(), known.numel()):
        scores = _scores(outputs[rows], weight, bias)
        log_z[rows], sums = exponentials(scores)
        budget -= scores.numel()
        if kept is not None and budget >= 0:
            kept.append((rows, scores.div_(sums)))
    return log_z


def sum_over_blocks(visit: Visit, outputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The sum of the results of ``visit`` over all blocks of rows.

    Args:
        visit: returns the loss of a block, and overwrites its scores with the gradient.
        outputs: (N, H) attentional vectors.
        weight: (V, H).
        bias: (V,).

    Returns:
        () float32; float64 for a float64 model. It is differentiable in all three, and backward runs once.
    """
    wanted = _wanted(outputs, weight, bias)
    if not any(wanted):
        return _sum_over_blocks(visit, outputs, weight, bias, None)
    return _BlockSum.apply(outputs, weight, bias, visit, wanted)


class _BlockSum(torch.autograd.Function):
    """Forward also computes the gradient for an incoming gradient of 1; backward scales it."""

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
            raise RuntimeError("a sum over blocks can go backward only once: its gradient is not kept")
        parts, ctx.parts = ctx.parts, None
        return (*(None if part is None else part.mul_(scale).to(ctx.dtype) for part in parts), None, None)


def _sum_over_blocks(
    visit: Visit, outputs: Tensor, weight: Tensor, bias: Tensor, gradients: Optional[_Gradients]
) -> Tensor:
    """``sum_over_blocks`` without autograd; adds up the gradients too if there is a place for them."""
    total = outputs.new_zeros((), dtype=_wide(outputs))
    for rows in row_blocks(outputs, bias.numel()):
        scores = _scores(outputs[rows], weight, bias)  # (r, V)
        total += visit(rows, scores, gradients is not None)
        if gradients is not None:
            gradients.add(rows, scores)
    return total


class _Gradients:
    """Adds up the gradients of outputs, weight and bias over blocks of rows, in at least float32.

    Args:
        outputs: (N, H).
        weight: (V, H).
        bias: (V,).
        wanted: for each of the three, whether its gradient is wanted.
    """

    def __init__(self, outputs: Tensor, weight: Tensor, bias: Tensor, wanted: tuple[bool, ...]) -> None:
        given = (outputs, weight, bias)
        self.parts = [
            part.new_zeros(part.shape, dtype=_wide(part)) if wants else None for part, wants in zip(given, wanted)
        ]
        self.by_onednn = onednn_suits(outputs.t(), weight)
        if self.by_onednn and wanted[1]:  # the layout in which oneDNN is fastest
            self.parts[1] = weight.new_zeros(weight.shape[::-1]).t()
        # The gradient of most words' scores is too small for float16.
        narrow = outputs.dtype == torch.float16
        self.outputs, self.weight = (outputs.float(), weight.float()) if narrow else (outputs, weight)

    def add(self, rows: slice, slope: Tensor) -> None:
        """Adds the contribution of ``slope`` (r, V), the gradient of these rows' scores."""
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
    """Overwrites scores (r, V) with ``exp(scores - row maximum)``. Returns ``log Z`` (r,) and their row sums (r, 1)."""
    highest = scores.amax(1, keepdim=True)
    sums = scores.sub_(highest).exp_().sum(1, keepdim=True)
    return (sums.log() + highest).squeeze(1), sums


def _scores(outputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(r, H) -> (r, V) in at least float32, in fresh memory."""
    return multiply(outputs, weight, bias).to(_wide(outputs))


def _wide(tensor: Tensor) -> torch.dtype:
    """The dtype of sums."""
    return torch.float32 if tensor.dtype in HALF else tensor.dtype


def _wanted(*tensors: Tensor) -> tuple[bool, ...]:
    """For each tensor, whether its gradient is wanted."""
    return tuple(torch.is_grad_enabled() and tensor.requires_grad for tensor in tensors)
