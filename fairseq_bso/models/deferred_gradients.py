"""The decoder's inner loop, cheaper than autograd makes it.

Autograd would add one (4H, H) gradient per time step to every recurrent weight, and one (B, S, H) gradient per step to
the attention memory. Here each step only notes its input and its output gradient; one product over all steps at the end
gives the same sums. The anchor is an identity whose backward runs after all steps that used it.
"""

from typing import Dict, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ..linear import in_whole_blocks, multiply
from ..search.scorer import HALF

# What each call noted; a second backward through the same call notes the same place again.
Notes = Dict[object, Tuple[Tensor, ...]]


class _WeightAnchor(Function):
    @staticmethod
    def forward(ctx, weight, notes):
        ctx.notes = notes
        ctx.set_materialize_grads(False)
        return weight.view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        notes = list(ctx.notes.values())
        ctx.notes.clear()
        if not notes:
            return gradient, None
        inputs = in_whole_blocks(torch.cat([given for given, _ in notes]))  # (sum of rows, I)
        gradients = in_whole_blocks(torch.cat([output for _, output in notes]))  # (sum of rows, O)
        total = multiply(gradients.t(), inputs.t())  # (O, I)
        return total if gradient is None else total + gradient, None


class _Product(Function):
    @staticmethod
    def forward(ctx, given, weight, added, notes):
        ctx.save_for_backward(given, weight)
        ctx.notes, ctx.call = notes, object()
        return multiply(given, weight, added)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        given, weight = ctx.saved_tensors
        ctx.notes[ctx.call] = given, gradient
        return multiply(gradient, weight.t()), None, gradient, None


class RecurrentWeight:
    """A weight (O, I) that is applied at many time steps; its gradient is one product over all of them."""

    def __init__(self, weight: Tensor) -> None:
        self.notes: Notes = {}
        self.deferred = torch.is_grad_enabled() and weight.requires_grad
        self.weight = _WeightAnchor.apply(weight, self.notes) if self.deferred else weight

    def __call__(self, given: Tensor, added: Tensor) -> Tensor:
        """``given (R, I) @ weight.T + added``, added (R, O) or (O,)."""
        if self.deferred and torch.is_grad_enabled():
            return _Product.apply(given, self.weight, added.expand(given.size(0), -1), self.notes)
        if torch.is_grad_enabled():  # a frozen weight: the gradient of what is given is autograd's
            return torch.addmm(added, given, self.weight.t())
        return multiply(given, self.weight, added)


class _LSTMCell(Function):
    @staticmethod
    def forward(ctx, gates, cell):
        hidden, new_cell, saved = _lstm_cell(gates, cell)
        ctx.save_for_backward(*saved, cell)
        return hidden, new_cell

    @staticmethod
    @once_differentiable
    def backward(ctx, d_hidden, d_cell):
        sigmoids, candidate, tanh_cell, cell = ctx.saved_tensors
        size = cell.size(1)
        into, keep, out = sigmoids.split(size, 1)
        d_cell = d_cell + d_hidden * out * (1 - tanh_cell * tanh_cell)
        d_gates = sigmoids.new_empty(cell.size(0), 4 * size)  # (R, 4H)
        torch.mul(d_cell, candidate, out=d_gates[:, :size])
        torch.mul(d_cell, cell, out=d_gates[:, size : 2 * size])
        torch.mul(d_hidden, tanh_cell, out=d_gates[:, 2 * size : 3 * size])
        d_gates[:, : 3 * size].mul_(sigmoids * (1 - sigmoids))
        torch.mul(d_cell * into, 1 - candidate * candidate, out=d_gates[:, 3 * size :])
        return d_gates, d_cell * keep


def _lstm_cell(gates: Tensor, cell: Tensor):
    size = cell.size(1)
    sigmoids = torch.sigmoid(gates[:, : 3 * size])  # (R, 3H)
    candidate = torch.tanh(gates[:, 3 * size :])  # (R, H)
    into, keep, out = sigmoids.split(size, 1)
    new_cell = torch.addcmul(keep * cell, into, candidate)
    tanh_cell = torch.tanh(new_cell)
    return out * tanh_cell, new_cell, (sigmoids, candidate, tanh_cell)


def lstm_cell(gates: Tensor, cell: Tensor) -> Tuple[Tensor, Tensor]:
    """The LSTM's elementwise part.

    Args:
        gates: (R, 4H) pre-activations of the input, forget, output gates and the candidate, in this order.
        cell: (R, H) previous cell state.

    Returns:
        hidden (R, H) and cell (R, H).
    """
    if torch.is_grad_enabled():
        return _LSTMCell.apply(gates, cell)
    hidden, cell, _ = _lstm_cell(gates, cell)
    return hidden, cell


class _MemoryAnchor(Function):
    @staticmethod
    def forward(ctx, keys, values, notes):
        ctx.notes = notes
        ctx.set_materialize_grads(False)
        return keys.view_as(keys), values.view_as(values)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_keys, d_values):
        notes = list(ctx.notes.values())
        ctx.notes.clear()
        if not notes:
            return d_keys, d_values, None
        queries, weights, d_scores, d_contexts = (torch.cat(parts, 1) for parts in zip(*notes))  # (B, sum of n, .)
        return d_scores.transpose(1, 2).bmm(queries), weights.transpose(1, 2).bmm(d_contexts), None


class _Attend(Function):
    @staticmethod
    def forward(ctx, query, keys, values, mask, notes):
        context, weights = _attend(query, keys, values, mask)
        ctx.save_for_backward(query, keys, values, weights)
        ctx.notes, ctx.call = notes, object()
        ctx.mark_non_differentiable(weights)
        return context, weights

    @staticmethod
    @once_differentiable
    def backward(ctx, d_context, _):
        query, keys, values, weights = ctx.saved_tensors
        d_weights = d_context.bmm(values.transpose(1, 2))  # (B, n, S)
        product = weights * d_weights
        d_scores = product - weights * product.sum(2, keepdim=True)
        ctx.notes[ctx.call] = query, weights, d_scores, d_context
        return d_scores.bmm(keys), None, None, None, None


def _attend(query: Tensor, keys: Tensor, values: Tensor, mask: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
    scores = query.bmm(keys.transpose(1, 2))  # (B, n, S)
    weights = attention_weights(scores, mask)
    return weights.bmm(values), weights


def attention_weights(scores: Tensor, mask: Optional[Tensor]) -> Tensor:
    """Softmax of (B, n, S) over the places that ``mask`` (B, S) does not bar; inside, float32 for 16-bit models.

    A weight that is lost in rounding beside the others, below the root of the smallest number (1e-19 in float32), is
    zero. Its gradients would be denormal numbers, with which an Intel CPU multiplies ten times as slowly.
    """
    if mask is not None:
        scores = scores.masked_fill(mask.unsqueeze(1), -torch.inf)
    inside = torch.float32 if scores.dtype in HALF else scores.dtype
    weights = torch.softmax(scores, dim=2, dtype=inside)
    return F.threshold(weights, torch.finfo(inside).tiny ** 0.5, 0.0).to(scores.dtype)


class AttentionMemory:
    """Dot-product attention over a fixed memory, asked at many time steps.

    Args:
        keys: (B, S, H).
        values: (B, S, D).
        mask: (B, S) bool, True at padding, or None.
    """

    def __init__(self, keys: Tensor, values: Tensor, mask: Optional[Tensor]) -> None:
        self.notes: Notes = {}
        self.deferred = torch.is_grad_enabled() and keys.requires_grad and values.requires_grad
        self.keys, self.values = _MemoryAnchor.apply(keys, values, self.notes) if self.deferred else (keys, values)
        self.mask = mask

    def __call__(self, query: Tensor) -> Tuple[Tensor, Tensor]:
        """query (B, n, H) -> context (B, n, D) and weights (B, n, S), to look at: not to train on."""
        if self.deferred and torch.is_grad_enabled():
            return _Attend.apply(query, self.keys, self.values, self.mask, self.notes)
        return _attend(query, self.keys, self.values, self.mask)
