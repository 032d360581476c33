"""The columns of the constrained generator: the few words that a sentence may hold, in place of the vocabulary."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

SPECIAL = 4  # fairseq's <s>, <pad>, </s>, <unk>


class Columns(NamedTuple):
    """The words of the generator's G columns."""

    words: Tensor
    """(B, G) int64 the word of every column; padding for columns without a word"""
    places: Tensor
    """(B, C) int64 the column of every candidate"""

    @staticmethod
    def of(candidates: Tensor, sentences: int, padding: int, least: int) -> "Columns":
        """candidates (B, C) or (1, C); at least ``least`` columns."""
        candidates = candidates.expand(sentences, -1)
        special = torch.arange(SPECIAL, device=candidates.device).expand(sentences, -1)  # (B, SPECIAL)
        rest = candidates.new_full((sentences, max(least - SPECIAL - candidates.size(1), 0)), padding)
        places = torch.arange(candidates.size(1), device=candidates.device) + SPECIAL  # (C,)
        keeps_its_id = (candidates < SPECIAL) & (candidates != padding)
        return Columns(
            words=torch.cat([special, candidates, rest], 1),
            places=torch.where(keeps_its_id, candidates, places.expand_as(candidates)),
        )

    def spread(self, scores: Tensor, sentences: Tensor) -> Tensor:
        """Scores of candidates (N, C) -> scores of columns (N, G); ``-inf`` for columns without a candidate."""
        spread = scores.new_full((scores.size(0), self.words.size(1)), -math.inf)
        return spread.scatter_(1, self.places.index_select(0, sentences), scores)

    def to_words(self, columns: Tensor, sentences: Tensor) -> Tensor:
        """columns (N, t) -> words (N, t)."""
        return self.words.index_select(0, sentences).gather(1, columns)
