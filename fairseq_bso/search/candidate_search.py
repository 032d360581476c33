"""The best next words among few words of each sentence.

A constraint allows these words (Wiseman & Rush 2016, section 4.2), or they are among the best after some gold prefix.
"""

from __future__ import annotations

from copy import copy
from typing import Optional, Protocol, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .constraints import BatchConstraint, allowed_along, states_along
from .decoder import GoldRun
from .scorer import Candidates, Scorer
from .states import State
from .topk import best_of
from .violation_reset import BeamState
from .vocabulary_search import BestWords, VocabularyProduct, best_after_gold


class CandidateScorer:
    """Scores ``f`` of each sentence's own candidates; their rows of ``W_out`` are gathered once for the whole batch.

    Args:
        scorer: the output layer; used detached, in at least float32.
        candidates: (B, C) int64, or (1, C) if all sentences share them.
    """

    def __init__(self, scorer: Scorer, candidates: Tensor) -> None:
        weight, bias = scorer.weight.detach()[candidates], scorer.bias.detach()[candidates]  # (B, C, H), (B, C)
        exact = torch.promote_types(weight.dtype, torch.float32)
        # The layout in memory is (B, H, C): a product then takes two thirds of the time.
        self.weight, self.bias = weight.to(exact).transpose(1, 2).contiguous(), bias.to(exact)

    def select(self, sentences: Tensor) -> CandidateScorer:
        """The same scorer for some of the sentences (B',)."""
        chosen = copy(self)
        if self.weight.size(0) > 1:
            chosen.weight, chosen.bias = self.weight.index_select(0, sentences), self.bias.index_select(0, sentences)
        return chosen

    def __call__(self, outputs: Tensor) -> Tensor:
        """outputs (B, W, H) -> (B, W, C)."""
        outputs = outputs.to(self.weight.dtype)
        if self.weight.size(0) == 1:  # one product for all sentences
            return F.linear(outputs, self.weight[0].t(), self.bias[0])
        return torch.baddbmm(self.bias.unsqueeze(1), outputs, self.weight)


class LogZ(Protocol):
    """``log Z``, the logarithm of the softmax's denominator, of all hypotheses of a search."""

    gold: Tensor
    """(T, B) after every gold prefix"""
    exact_gold: bool
    """whether ``gold`` is exact, that is, not from a low-precision product"""

    def of_others(self, kept: BeamState, t: int, outputs: Tensor, own: Optional[Tensor] = None) -> Tensor:
        """(B, W) of the other hypotheses; empty places hold arbitrary values.

        Args:
            kept, t: as in ``Search.best_of_others``.
            outputs: (B, W, H) of ``kept``, in their places.
            own: (B, W, C) the scores of the words that an estimate counts, if they are known.
        """


class ExactLogZ:
    """Exact ``log Z``: one product with the vocabulary for every hypothesis.

    Args:
        product: the output layer.
        gold: the gold run, detached.
    """

    def __init__(self, product: VocabularyProduct, gold: GoldRun) -> None:
        self.product, self.exact_gold = product, not product.screened
        log_z = best_after_gold(product, gold, 1, True).log_z
        assert log_z is not None
        self.gold = log_z

    def of_others(self, kept: BeamState, t: int, outputs: Tensor, own: Optional[Tensor] = None) -> Tensor:
        """(B, W) of the other hypotheses; empty places hold 0."""
        found = self.product.best_words(kept.outputs, 1, True).log_z
        assert found is not None
        return kept.rows.by_sentence(found, kept.alive.size(0))


class CandidateSearch:
    """Finds the best allowed next words of each hypothesis, without gradient.

    Args:
        scorer: the output layer.
        constraint: allows candidates after a prefix.
        gold: the gold run, detached; its words are allowed up to each sentence's length.
        log_z: turns scores into log-probabilities; None if local scores are ``f`` itself.
        best: (T, B, n) the best words after gold, if they are already known.
        scores: the scorer of the candidates, if ``log_z`` has one that sums over the same words.
    """

    def __init__(
        self,
        scorer: Scorer,
        constraint: BatchConstraint,
        gold: GoldRun,
        log_z: Optional[LogZ] = None,
        best: Optional[BestWords] = None,
        scores: Optional[CandidateScorer] = None,
    ) -> None:
        self.constraint, self.gold, self.log_z, self.best = constraint, gold, log_z, best
        self.candidates: Optional[Tensor] = constraint.candidates
        self.scores, self.shared = scores or CandidateScorer(scorer, constraint.candidates), scores is not None
        self.gold_constraint_states = states_along(constraint, gold.words)
        raw = scorer.score_words(gold.outputs.transpose(0, 1), gold.words)  # (B, T)
        self.gold_scores = raw if log_z is None else raw - log_z.gold.t()
        self.gold_log_z = log_z.gold if log_z is not None and log_z.exact_gold else None

    def best_after_gold(self, k: int) -> Tuple[Tensor, Tensor]:
        """The ``k`` best next words of every gold prefix.

        Returns:
            local scores (T, B, k), best first, and words (T, B, k). If fewer than k exist, the rest are ``-inf``. Ties
            go to the smaller word id.
        """
        scores, words = self._best_candidates(k) if self.best is None else self.best[:2]
        if self.log_z is not None:
            scores = scores - self.log_z.gold.unsqueeze(2)
        return scores[..., :k], words[..., :k]

    def _best_candidates(self, k: int) -> Tuple[Tensor, Tensor]:
        """The ``k`` best allowed candidates after every gold prefix: scores ``f`` and words, (T, B, k) each."""
        outputs = self.gold.outputs
        time, sentences, _ = outputs.shape
        allowed = allowed_along(self.constraint, self.gold_constraint_states, self.gold.words)  # (T, B, C)
        scores = self.scores(outputs.transpose(0, 1)).transpose(0, 1).masked_fill(~allowed, -torch.inf)
        values, columns = best_of(scores.flatten(0, 1), k)  # (T * B, k)
        owners = torch.arange(sentences, device=columns.device).repeat(time)  # (T * B,)
        words = self.constraint.of(self.constraint.candidates, owners).gather(1, columns)
        return values.view(time, sentences, k), words.view(time, sentences, k)

    def best_of_others(self, kept: BeamState, t: int, k: int, only: Optional[int] = None) -> Candidates:
        """The best (B, k) over the other hypotheses of each sentence; ties to the smaller (slot, word)."""
        sentences, rows = kept.alive.size(0), kept.rows
        allowed = self.constraint.allowed(kept.constraint_states, rows.sentences)  # (R, C)
        allowed = rows.by_sentence(allowed, sentences)  # (B, W, C)
        if only is not None:
            allowed = allowed & (self.constraint.candidates == only).unsqueeze(1)
        outputs = rows.by_sentence(kept.outputs, sentences)  # (B, W, H)
        scores, added = self.scores(outputs), kept.scores  # (B, W, C), (B, W)
        if self.log_z is not None:
            added = added - self.log_z.of_others(kept, t, outputs, scores if self.shared else None)
        columns = scores.size(2)
        scores = (scores + added.unsqueeze(2)).masked_fill(~(allowed & kept.alive.unsqueeze(2)), -torch.inf)
        values, flat = best_of(scores.flatten(1), k)  # (B, k)
        words = self.constraint.candidates.expand(sentences, -1).gather(1, flat.remainder(columns))
        return Candidates(values, flat.div(columns, rounding_mode="floor"), words)

    def advance_constraint(self, states: State, words: Tensor, sentences: Tensor) -> State:
        """The constraint's states after one more word: states each (R, ...), words and sentences (R,)."""
        return self.constraint.advance(states, words, sentences)
