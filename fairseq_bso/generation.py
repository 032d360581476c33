"""Decoding with raw scores in fairseq's own generator."""

from typing import List, Optional, Tuple

import torch
from fairseq.sequence_generator import EnsembleModel
from fairseq.sequence_scorer import SequenceScorer
from torch import Tensor


class UnnormalizedEnsemble(EnsembleModel):
    """Averages raw scores over models, where fairseq averages probabilities.

    Models that score the last word alone emit the difference ``f_t - f_{t-1}``; the mean of differences is the
    difference of means, so sums telescope to the mean ``f`` of the last word.
    """

    def __init__(self, models: List[torch.nn.Module]) -> None:
        super().__init__(models)
        self.members = [EnsembleModel([model]) for model in models]

    def forward_decoder(
        self, tokens: Tensor, encoder_outs: list, incremental_states: list, temperature: float = 1.0
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """tokens (N, t) -> mean scores (N, V) and mean attention (N, S)."""
        parts = [
            member.forward_decoder(tokens, [encoder_out], [state], temperature)
            for member, encoder_out, state in zip(self.members, encoder_outs, incremental_states)
        ]
        scores = torch.stack([score for score, _ in parts]).mean(0)
        attention = [weights for _, weights in parts if weights is not None]
        return scores, torch.stack(attention).mean(0) if attention else None


class UnnormalizedScorer(SequenceScorer):
    """Scores references by the last ``f``, where fairseq divides by length."""

    @torch.no_grad()
    def generate(self, models, sample, **kwargs) -> list:
        """One list with one hypothesis (the reference) per sentence."""
        references = super().generate(models, sample, **kwargs)
        for (reference,) in references:
            reference["score"] = reference["positional_scores"].sum()
        return references
