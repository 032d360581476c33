"""Hand-written gradients for the decoder's inner loop, cheaper than autograd's.

Autograd would add a gradient (4H, H) per time step to every recurrent weight, and a gradient (B, S, H) per step to the
attention's keys. Here the backward pass of each step only records its inputs and output gradients. After all steps, one
product over the recorded calls gives the same sums. The deferred tensor passes through an identity function, whose
backward pass runs after those of all steps that used it.
"""

from typing import Dict, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ..linear import HALF, in_whole_blocks, multiply

Calls = Dict[object, Tuple[Tensor, ...]]
"""call -> what its backward pass recorded; a second backward pass through the same call overwrites its record"""


class _DeferredWeight(Function):
    """The identity of a weight (O, I). Its backward pass sums the gradients of all recorded calls."""

    @staticmethod
    def forward(ctx, weight, calls):
        ctx.calls = calls
        ctx.set_materialize_grads(False)
        return weight.view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        calls = list(ctx.calls.values())
        ctx.calls.clear()
        if not calls:
            return gradient, None
        inputs = in_whole_blocks(torch.cat([call_inputs for call_inputs, _ in calls]))  # (sum of rows, I)
        gradients = in_whole_blocks(torch.cat([call_gradient for _, call_gradient in calls]))  # (sum of rows, O)
        total = multiply(gradients.t(), inputs.t())  # (O, I)
        return total if gradient is None else total + gradient, None


class _Product(Function):
    """``inputs @ weight.T + bias``. The backward pass records the call for the gradient of the weight."""

    @staticmethod
    def forward(ctx, inputs, weight, bias, calls):
        ctx.save_for_backward(inputs, weight)
        ctx.calls, ctx.call = calls, object()
        return multiply(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        inputs, weight = ctx.saved_tensors
        ctx.calls[ctx.call] = inputs, gradient
        return multiply(gradient, weight.t()), None, gradient, None


class RecurrentWeight:
    """A weight (O, I) that many time steps use. Its gradient is one product over all of them."""

    def __init__(self, weight: Tensor) -> None:
        self.calls: Calls = {}
        self.deferred = torch.is_grad_enabled() and weight.requires_grad
        self.weight = _DeferredWeight.apply(weight, self.calls) if self.deferred else weight

    def __call__(self, inputs: Tensor, bias: Tensor) -> Tensor:
        """``inputs (R, I) @ weight.T + bias``; the bias is (R, O) or (O,)."""
        if self.deferred and torch.is_grad_enabled():
            return _Product.apply(inputs, self.weight, bias.expand(inputs.size(0), -1), self.calls)
        if torch.is_grad_enabled():  # a frozen weight: autograd computes the gradient of the inputs
            return torch.addmm(bias, inputs, self.weight.t())
        return multiply(inputs, self.weight, bias)


class _LSTMCell(Function):
    """The elementwise part of an LSTM with a hand-written gradient."""

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
        input_gate, forget_gate, output_gate = sigmoids.split(size, 1)
        d_cell = d_cell + d_hidden * output_gate * (1 - tanh_cell * tanh_cell)
        d_gates = sigmoids.new_empty(cell.size(0), 4 * size)  # (R, 4H)
        torch.mul(d_cell, candidate, out=d_gates[:, :size])
        torch.mul(d_cell, cell, out=d_gates[:, size : 2 * size])
        torch.mul(d_hidden, tanh_cell, out=d_gates[:, 2 * size : 3 * size])
        d_gates[:, : 3 * size].mul_(sigmoids * (1 - sigmoids))
        torch.mul(d_cell * input_gate, 1 - candidate * candidate, out=d_gates[:, 3 * size :])
        return d_gates, d_cell * forget_gate


def _lstm_cell(gates: Tensor, cell: Tensor):
    """Hidden and cell state (R, H), and the tensors that the backward pass needs."""
    size = cell.size(1)
    sigmoids = torch.sigmoid(gates[:, : 3 * size])  # (R, 3H)
    candidate = torch.tanh(gates[:, 3 * size :])  # (R, H)
    input_gate, forget_gate, output_gate = sigmoids.split(size, 1)
    new_cell = torch.addcmul(forget_gate * cell, input_gate, candidate)
    tanh_cell = torch.tanh(new_cell)
    return output_gate * tanh_cell, new_cell, (sigmoids, candidate, tanh_cell)


def lstm_cell(gates: Tensor, cell: Tensor) -> Tuple[Tensor, Tensor]:
    """The elementwise part of an LSTM.

    Args:
        gates: (R, 4H) pre-activations of input gate, forget gate, output gate and candidate, in this order.
        cell: (R, H) previous cell state.

    Returns:
        Hidden state (R, H) and cell state (R, H).
    """
    if torch.is_grad_enabled():
        return _LSTMCell.apply(gates, cell)
    hidden, cell, _ = _lstm_cell(gates, cell)
    return hidden, cell


class _DeferredMemory(Function):
    """The identity of keys and values. Its backward pass sums the gradients of all recorded calls."""

    @staticmethod
    def forward(ctx, keys, values, calls):
        ctx.calls = calls
        ctx.set_materialize_grads(False)
        return keys.view_as(keys), values.view_as(values)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_keys, d_values):
        calls = list(ctx.calls.values())
        ctx.calls.clear()
        if not calls:
            return d_keys, d_values, None
        queries, weights, d_scores, d_contexts = (torch.cat(parts, 1) for parts in zip(*calls))  # (B, sum of n, .)
        return d_scores.transpose(1, 2).bmm(queries), weights.transpose(1, 2).bmm(d_contexts), None


class _Attend(Function):
    """Attention of one time step. The backward pass records the call for the gradients of keys and values."""

    @staticmethod
    def forward(ctx, query, keys, values, mask, calls):
        context, weights = _attend(query, keys, values, mask)
        ctx.save_for_backward(query, keys, values, weights)
        ctx.calls, ctx.call = calls, object()
        ctx.mark_non_differentiable(weights)
        return context, weights

    @staticmethod
    @once_differentiable
    def backward(ctx, d_context, _):
        query, keys, values, weights = ctx.saved_tensors
        d_weights = d_context.bmm(values.transpose(1, 2))  # (B, n, S)
        product = weights * d_weights
        d_scores = product - weights * product.sum(2, keepdim=True)
        ctx.calls[ctx.call] = query, weights, d_scores, d_context
        return d_scores.bmm(keys), None, None, None, None


def _attend(query: Tensor, keys: Tensor, values: Tensor, mask: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
    """query (B, n, H) -> context (B, n, D) and weights (B, n, S)."""
    scores = query.bmm(keys.transpose(1, 2))  # (B, n, S)
    weights = attention_weights(scores, mask)
    return weights.bmm(values), weights


def attention_weights(scores: Tensor, mask: Optional[Tensor]) -> Tensor:
    """Softmax of scores (B, n, S) over the positions that are not masked; computed in float32 for 16-bit models.

    Weights below the root of the smallest normal number (1e-19 in float32) are set to zero. Beside the others they are
    lost in rounding, but their gradients would be denormal numbers, with which an Intel CPU multiplies ten times as
    slowly.

    Args:
        scores: (B, n, S).
        mask: (B, S) bool, True at masked positions, or None.
    """
    if mask is not None:
        scores = scores.masked_fill(mask.unsqueeze(1), -torch.inf)
    inside = torch.float32 if scores.dtype in HALF else scores.dtype
    weights = torch.softmax(scores, dim=2, dtype=inside)
    return F.threshold(weights, torch.finfo(inside).tiny ** 0.5, 0.0).to(scores.dtype)


class AttentionMemory:
    """Dot-product attention over fixed keys and values, for many time steps.

    Args:
        keys: (B, S, H).
        values: (B, S, D).
        mask: (B, S) bool, True at padding, or None.
    """

    def __init__(self, keys: Tensor, values: Tensor, mask: Optional[Tensor]) -> None:
        self.calls: Calls = {}
        self.deferred = torch.is_grad_enabled() and keys.requires_grad and values.requires_grad
        self.keys, self.values = _DeferredMemory.apply(keys, values, self.calls) if self.deferred else (keys, values)
        self.mask = mask

    def __call__(self, query: Tensor) -> Tuple[Tensor, Tensor]:
        """query (B, n, H) -> context (B, n, D) and weights (B, n, S). The weights have no gradient."""
        if self.deferred and torch.is_grad_enabled():
            return _Attend.apply(query, self.keys, self.values, self.mask, self.calls)
        return _attend(query, self.keys, self.values, self.mask)
