"""The output layer ``f(w | prefix) = W_out h~ + b`` (Wiseman & Rush 2016, section 3.1), and what searches find."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .products import linear

# Scores that are alive at once: on a CPU 2 MiB stay in the cache.
CPU_CACHED, DEVICE_CHUNK = 2**19, 2**27
HALF = (torch.float16, torch.bfloat16)


class Scorer(NamedTuple):
    """The output layer as plain tensors."""

    weight: Tensor
    """(V, H) one row per word"""
    bias: Tensor
    """(V,)"""

    def score_words(self, outputs: Tensor, words: Tensor) -> Tensor:
        """Scores of one word per row: gather and dot, never the V-wide product.

        Args:
            outputs: (..., H) attentional vectors.
            words: (...) int64 word ids.

        Returns:
            (...) scores ``f(words | prefix)``, differentiable, with a gradient that is sparse in ``weight``; float32
            also where the model is in half precision.
        """
        flat = words.reshape(-1)  # (N,)
        rows = self.weight.index_select(0, flat).view(*words.shape, self.weight.size(1))  # (..., H)
        bias = self.bias.index_select(0, flat).view(words.shape)
        if outputs.dtype in HALF:
            outputs, rows, bias = outputs.float(), rows.float(), bias.float()
        return (outputs * rows).sum(-1) + bias

    @torch.no_grad()
    def log_totals(self, outputs: Tensor, temperature: float = 1.0) -> Tensor:
        """The logarithm of the softmax's denominator, without gradient: outputs (R, H) -> (R,) float32.

        On a CPU some rows at a time, so that their V scores are still in the cache when they are added up.
        """
        elements = CPU_CACHED if outputs.device.type == "cpu" else DEVICE_CHUNK
        totals = []
        for chunk in outputs.split(max(1, elements // self.bias.numel())):
            scores = linear(chunk, self.weight, self.bias).float().div_(temperature)  # (r, V)
            highest = scores.amax(1, keepdim=True)
            totals.append(scores.sub_(highest).exp_().sum(1).log_().add_(highest.squeeze(1)))
        return torch.cat(totals)


class Candidates(NamedTuple):
    """The best successors of some prefixes, best first; a score of ``-inf`` marks an empty place."""

    scores: Tensor
    """(B, K) float"""
    slots: Tensor
    """(B, K) int64, which hypothesis of the sentence the word follows"""
    words: Tensor
    """(B, K) int64"""
