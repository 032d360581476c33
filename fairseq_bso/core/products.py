"""The product with the whole vocabulary, which costs more than all the rest of a small model.

torch multiplies float32 matrices on a CPU with MKL. On the AMD CPU where this was measured oneDNN takes about half the
time; other CPUs were not measured. oneDNN is what torch itself takes for bfloat16; here it takes float32 as well, where
this torch has the operator.
"""

from __future__ import annotations

from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
# Products of fewer multiplications than this are over before oneDNN has begun.
_WORTH_IT = 2**24


def _onednn_suits(given: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN can take ``given (R, I) @ weight.T (I, O)`` and is worth its start."""
    return (
        _ONEDNN is not None
        and given.device.type == "cpu"
        and given.dtype == weight.dtype == torch.float32
        and given.size(0) * weight.numel() >= _WORTH_IT
    )


def _product(given: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    """given (R, I), weight (O, I), bias (O,) -> (R, O)."""
    assert _ONEDNN is not None
    return _ONEDNN(given, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, given: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(given, weight)
        return _product(given, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        given, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        to_given = _product(gradient, weight.t(), None) if ctx.needs_input_grad[0] else None  # (R, I)
        to_weight = _product(given.t(), gradient.t(), None).t() if ctx.needs_input_grad[1] else None  # (O, I)
        return to_given, to_weight, gradient.sum(0)


def linear(given: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``given @ weight.T + bias`` by the quickest product there is.

    Args:
        given: (..., I).
        weight: (O, I).
        bias: (O,).

    Returns:
        (..., O).
    """
    flat = given.reshape(-1, given.size(-1))  # (R, I)
    if not _onednn_suits(flat, weight):
        return F.linear(given, weight, bias)
    needs_gradient = torch.is_grad_enabled() and any(part.requires_grad for part in (given, weight, bias))
    made = _Linear.apply(flat, weight, bias) if needs_gradient else _product(flat, weight, bias)
    return made.view(*given.shape[:-1], weight.size(0))
