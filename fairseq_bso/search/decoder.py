"""The interface that a search in training needs of a model: hypotheses one word longer, and violators with gradient."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Protocol, Tuple

import torch
from torch import Tensor

from .scorer import PrefixScore, Scorer
from .violations import Violations


class Rows(NamedTuple):
    """A batch of R hypotheses in a beam of ``B * width`` slots: the slot of each row."""

    slots: Tensor
    """(R,) int64, distinct, in the flat ``B * width`` beam; ascending in a search"""
    width: int
    """beam slots per sentence"""
    dense: bool
    """whether the rows are all ``B * width`` slots in order"""

    @staticmethod
    def of(alive: Tensor, live_only: bool) -> Rows:
        """The rows of the slots (B, width) that are alive; or of all slots, so that the host need not count them."""
        flat = alive.view(-1)
        slots = flat.nonzero().squeeze(1) if live_only else torch.arange(flat.numel(), device=flat.device)
        return Rows(slots, alive.size(1), not live_only)

    @property
    def sentences(self) -> Tensor:
        """(R,) int64"""
        return self.slots.div(self.width, rounding_mode="floor")

    def row_of_slot(self, sentences: int) -> Tensor:
        """(B * width,) int64, the row in each slot of B sentences; 0 for slots without a row."""
        rows = self.slots.new_zeros(sentences * self.width)
        rows[self.slots] = torch.arange(self.slots.numel(), device=rows.device)
        return rows

    def by_sentence(self, values: Tensor, sentences: int) -> Tensor:
        """(R, ...) -> (B, width, ...); slots without a row are zero."""
        if not self.dense:
            empty = values.new_zeros(sentences * self.width, *values.shape[1:])
            values = empty.index_copy_(0, self.slots, values)
        return values.unflatten(0, (sentences, self.width))

    def by_row(self, values: Tensor) -> Tensor:
        """(B, width, ...) -> (R, ...)."""
        values = values.flatten(0, 1)
        return values if self.dense else values.index_select(0, self.slots)


class GoldRun(NamedTuple):
    """The model's pass along the gold words."""

    words: Tensor
    """(B, T) int64; positions beyond a sentence's length are arbitrary"""
    lengths: Tensor
    """(B,) int64 >= 1, including ``</s>``"""
    outputs: Tensor
    """(T, B, H): ``outputs[t]`` scores word ``t``"""

    @property
    def inside(self) -> Tensor:
        """(T, B) bool, True where a sentence has a word."""
        return torch.arange(self.words.size(1), device=self.words.device).unsqueeze(1) < self.lengths

    def detach(self) -> GoldRun:
        """The same without gradient."""
        return self._replace(outputs=self.outputs.detach())


class Scored(NamedTuple):
    """N words of M violations, with the outputs that score them."""

    outputs: Tensor
    """(N, H)"""
    words: Tensor
    """(N,) int64"""
    owners: Tensor
    """(N,) int64, the violation that a word belongs to"""
    places: Tensor
    """(N,) int64, the position of a word in its sentence"""

    def select(self, index: Tensor) -> Scored:
        """The words at ``index``, (N',) int64 or (N,) bool."""
        index = index.nonzero().squeeze(1) if index.dtype == torch.bool else index
        return Scored(*(part.index_select(0, index) for part in self))


class Decoder(Protocol):
    """The interface that the search and the loss need of a model on one batch."""

    scorer: Scorer
    """the output layer"""
    prefix_score: PrefixScore
    """the local scores and the scores of prefixes"""
    padding: int
    """the padding symbol, which follows no prefix"""
    end: int
    """``</s>``"""

    def prepare(self, words: Optional[Tensor]) -> None:
        """Called before every search, so that the decoder may look up embeddings once.

        Args:
            words: (U,) int64, distinct: the search will embed no others. None if it may embed any word.
        """

    def extend(self, t: int, states: Any, source: Tensor, words: Tensor, rows: Rows) -> Tuple[Tensor, Any]:
        """Extends hypotheses of ``t`` words by one word, without gradient. The search calls it for ascending ``t``.

        Args:
            t: the number of words of the hypotheses.
            states: the second result of the call for ``t - 1``; ``()`` if that search kept no hypothesis.
            source: (R,) int64, the parent of each row: below B the gold prefix of that sentence, then the rows of
                ``states``.
            words: (R,) int64, word ``t`` of each row.
            rows: the beam slots of the new rows.

        Returns:
            outputs (R, H), which score word ``t + 1``, and the states of the new rows.
        """

    def score(self, gold: GoldRun, violations: Violations) -> Tuple[GoldRun, Scored]:
        """The gold run and the violators' own words, with gradient.

        Args:
            gold: the gold run of the search.
            violations: M violations.

        Returns:
            the gold run with gradient (``gold`` itself if it has one), and the words of each violator from its branch
            to its end.
        """
