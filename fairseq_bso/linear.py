"""Matrix products by the faster library for this CPU, MKL or oneDNN.

torch multiplies float32 matrices on a CPU with MKL, which uses AVX-512 only on CPUs by Intel. oneDNN, which torch uses
for bfloat16, has no such limit. On an AMD EPYC with AVX-512 (Zen 5) oneDNN takes a third to a half of MKL's time. It
takes up to a sixth more on one without (Zen 3), and up to a third more on an Intel Xeon (Emerald Rapids). So oneDNN
multiplies float32 here where the CPU has AVX-512 and is not by Intel, and where this torch has the operator.
"""

from __future__ import annotations

import platform
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)


def _suits_mkl() -> bool:
    """Whether the system says that the CPU is by Intel, or has AVX2 but no AVX-512."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            text = file.read(4096)  # Linux writes a page for each core; the first is enough
    except OSError:  # not Linux
        text = platform.processor()
    return "GenuineIntel" in text or ("avx2" in text and "avx512f" not in text)


_ONEDNN = None if _suits_mkl() else getattr(torch.ops.mkldnn, "_linear_pointwise", None)
# A product of fewer multiplications is faster without oneDNN, whose calls have a fixed cost.
_FEWEST_MULTIPLICATIONS = 2**22
# oneDNN compiles code for every number of rows, which takes about as long as one product, and keeps the latest 1,024
# pieces. A search has another number of rows at every step. Rounded up to blocks of rows, there are few such numbers.
ROWS = 16


def onednn_suits(given: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN can compute ``given (R, I) @ weight.T (I, O)``, and is faster."""
    return (
        _ONEDNN is not None
        and given.device.type == "cpu"
        and given.dtype == weight.dtype == torch.float32
        and given.size(0) * weight.numel() >= _FEWEST_MULTIPLICATIONS
    )


def in_whole_blocks(given: Tensor) -> Tensor:
    """Pads (R, I) with rows of zeros on a CPU: (R', I), R' a multiple of ROWS. Elsewhere returns it unchanged."""
    missing = -given.size(0) % ROWS if given.device.type == "cpu" else 0
    return F.pad(given, (0, 0, 0, missing)) if missing else given


def multiply(given: Tensor, weight: Tensor, added: Optional[Tensor] = None) -> Tensor:
    """``given @ weight.T + added``, without gradient.

    Args:
        given: (R, I).
        weight: (O, I).
        added: (R, O), (O,) or None.

    Returns:
        (R, O).
    """
    if onednn_suits(given, weight):
        assert _ONEDNN is not None
        rows, given = given.size(0), in_whole_blocks(given)
        if added is None or added.dim() == 1:
            return _ONEDNN(given, weight, added, "none", [], "")[:rows]
        return _ONEDNN(given, weight, None, "none", [], "")[:rows].add_(added)
    return given.mm(weight.t()) if added is None else torch.addmm(added, given, weight.t())


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, given: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
        ctx.save_for_backward(given, weight)
        return multiply(given, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        given, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        to_given = multiply(gradient, weight.t()) if ctx.needs_input_grad[0] else None  # (R, I)
        to_weight = multiply(given.t(), gradient.t()).t() if ctx.needs_input_grad[1] else None  # (O, I)
        return to_given, to_weight, gradient.sum(0) if ctx.needs_input_grad[2] else None


def linear(given: Tensor, weight: Tensor, bias: Optional[Tensor] = None) -> Tensor:
    """``given @ weight.T + bias``, differentiable.

    Args:
        given: (..., I).
        weight: (O, I).
        bias: (O,) or None.

    Returns:
        (..., O).
    """
    flat = given.reshape(-1, given.size(-1))  # (R, I)
    if not onednn_suits(flat, weight):
        return F.linear(given, weight, bias)
    needs_gradient = torch.is_grad_enabled() and any(
        part is not None and part.requires_grad for part in (given, weight, bias)
    )
    product = _Linear.apply(flat, weight, bias) if needs_gradient else multiply(flat, weight, bias)
    return product.view(*given.shape[:-1], weight.size(0))
