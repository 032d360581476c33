"""The ranking of the teacher's hypotheses by sentence BLEU (Kim & Rush 2016, section 3.3), in tensors alone."""

from __future__ import annotations

import torch
from torch import Tensor

from ..sentence_bleu import sentence_bleu

__all__ = ["rank_by_sentence_bleu"]


def rank_by_sentence_bleu(hypotheses: Tensor, lengths: Tensor, gold: Tensor, gold_lengths: Tensor) -> Tensor:
    """Sorts the hypotheses of each sentence by smoothed BLEU against gold, best first (Seq-Inter, section 3.3).

    The sort is stable. An empty hypothesis has BLEU 0.

    Args:
        hypotheses: (B, K, L) int64, in the order of the search.
        lengths: (B, K) int64, words of each hypothesis; 0 where there is none.
        gold: (B, G) int64.
        gold_lengths: (B,) int64.

    Returns:
        (B, K) int64, indices into the second axis of `hypotheses`.
    """
    sentences, beam, longest = hypotheses.shape
    flat_gold = gold.unsqueeze(1).expand(-1, beam, -1).reshape(sentences * beam, -1)  # (BK, G)
    flat_gold_lengths = gold_lengths.unsqueeze(1).expand(-1, beam).reshape(-1)  # (BK,)
    bleu = sentence_bleu(
        hypotheses.reshape(sentences * beam, longest), flat_gold, lengths.reshape(-1), flat_gold_lengths
    )  # (BK,)
    return torch.sort(bleu.view(sentences, beam), dim=1, descending=True, stable=True).indices
