"""The output layer, the scores of prefixes, and the candidates that searches find.

The output layer is ``f(w | prefix) = W_out h~ + b`` (Wiseman & Rush 2016, section 3.1). It scores a word ``w`` after a
prefix with the attentional vector ``h~``; ``W_out`` is its weight and ``b`` its bias.
"""

from __future__ import annotations

from typing import Dict, NamedTuple

from torch import Tensor

from ..linear import HALF


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
            (...) scores ``f(words | prefix)``, differentiable, with a gradient that is sparse in ``weight``. They are
            float32 also if the model is in half precision.
        """
        flat = words.reshape(-1)  # (N,)
        rows = self.weight.index_select(0, flat).view(*words.shape, self.weight.size(1))  # (..., H)
        bias = self.bias.index_select(0, flat).view(words.shape)
        if outputs.dtype in HALF:
            outputs, rows, bias = outputs.float(), rows.float(), bias.float()
        return (outputs * rows).sum(-1) + bias


class PrefixScore(NamedTuple):
    """One value of ``--scorer``: the local score ``l(w | prefix)`` of a word and the score ``s`` of a prefix.

    ``f(w | prefix) = W_out h~ + b`` is the output layer; all three scorers have the same parameters.
    """

    name: str
    """the value of ``--scorer``"""
    normalized: bool
    """whether ``l`` is ``log softmax f``; otherwise it is ``f`` itself"""
    cumulative: bool
    """whether ``s`` is the sum of ``l`` over the words of a prefix; otherwise it is ``l`` of the last word alone"""


SCORERS: Dict[str, PrefixScore] = {
    score.name: score
    for score in (
        PrefixScore("softmax", normalized=True, cumulative=True),
        PrefixScore("summed", normalized=False, cumulative=True),
        PrefixScore("unnormalized", normalized=False, cumulative=False),  # Wiseman & Rush 2016
    )
}


class Candidates(NamedTuple):
    """The best next words of some prefixes, best first; a score of ``-inf`` marks an empty place."""

    scores: Tensor
    """(B, K) float"""
    slots: Tensor
    """(B, K) int64, the beam slot of the hypothesis that the word follows"""
    words: Tensor
    """(B, K) int64"""
