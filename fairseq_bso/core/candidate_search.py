"""The best successors among the few words that a successor function allows (Wiseman & Rush 2016, section 4.2)."""

from __future__ import annotations

from copy import copy
from typing import Optional, Tuple

import torch
from torch import Tensor

from .beam import best_of
from .scorer import Candidates, Scorer
from .successors import State, Successors, allowed_along, states_along


class CandidateScorer:
    """``f`` of each sentence's own candidates: their rows of ``W_out`` are gathered once for the whole batch.

    Args:
        scorer: the output layer; used detached, in float32 at least.
        candidates: (B, C) int64, or (1, C) for all sentences alike.
    """

    def __init__(self, scorer: Scorer, candidates: Tensor) -> None:
        weight, bias = scorer.weight.detach()[candidates], scorer.bias.detach()[candidates]  # (B, C, H), (B, C)
        exact = torch.promote_types(weight.dtype, torch.float32)
        self.weight, self.bias = weight.to(exact), bias.to(exact)

    def select(self, sentences: Tensor) -> CandidateScorer:
        """The same for some of the sentences (B',)."""
        chosen = copy(self)
        if self.weight.size(0) > 1:
            chosen.weight, chosen.bias = self.weight.index_select(0, sentences), self.bias.index_select(0, sentences)
        return chosen

    def __call__(self, outputs: Tensor) -> Tensor:
        """outputs (B, W, H) -> (B, W, C)."""
        weight = self.weight[0].t() if self.weight.size(0) == 1 else self.weight.transpose(1, 2)  # never one per row
        return outputs.to(weight.dtype).matmul(weight) + self.bias.unsqueeze(1)


class CandidateSearch:
    """Finds the best allowed successors of each hypothesis, without gradient.

    Args:
        scorer: the output layer.
        successors: the constraint.
        gold_words: (B, T) int64, allowed up to each sentence's length, anything beyond.
    """

    def __init__(self, scorer: Scorer, successors: Successors, gold_words: Tensor) -> None:
        self.successors, self.gold_words = successors, gold_words
        self.scores = CandidateScorer(scorer, successors.candidates)
        self.gold_states = states_along(successors, gold_words)

    def best_after_gold(self, outputs: Tensor, k: int) -> Tuple[Tensor, Tensor]:
        """The ``k`` best successors of every gold prefix.

        Args:
            outputs: (T, B, H) attentional vectors.
            k: how many.

        Returns:
            scores (T, B, k), best first, ``-inf`` where there are fewer, and words (T, B, k). Ties go to the smaller
            word id.
        """
        time, sentences, _ = outputs.shape
        allowed = allowed_along(self.successors, self.gold_states, self.gold_words)  # (T, B, C)
        scores = self.scores(outputs.transpose(0, 1)).transpose(0, 1).masked_fill(~allowed, -torch.inf)
        values, columns = best_of(scores.flatten(0, 1), k)  # (T * B, k)
        of = torch.arange(sentences, device=columns.device).repeat(time)
        words = self.successors.of(self.successors.candidates, of).gather(1, columns)
        return values.view(time, sentences, k), words.view(time, sentences, k)

    def best_per_sentence(
        self, outputs: Tensor, states: State, slots: Optional[Tensor], alive: Tensor, k: int
    ) -> Candidates:
        """The ``k`` best successors over all hypotheses of each sentence.

        Args:
            outputs: (R, H) attentional vectors, one per hypothesis that may be extended.
            states: each (R, ...), what the successor function remembers of them.
            slots: (R,) int64 place of each row in the flat beam of ``B * W`` places; None if every place has a row.
            alive: (B, W) bool, which places hold a hypothesis that may be extended; with ``slots``, exactly those.
            k: how many.

        Returns:
            Candidates (B, k), ties to the smaller (slot, word); ``slots`` counts from 0 to W - 1.
        """
        sentences, width = alive.shape
        places = torch.arange(sentences * width, device=outputs.device) if slots is None else slots
        allowed = self.successors.allowed(states, places.div(width, rounding_mode="floor"))  # (R, C)
        if slots is None:
            allowed = allowed & alive.view(-1, 1)
        else:
            outputs = outputs.new_zeros(alive.numel(), outputs.size(1)).index_copy_(0, slots, outputs)
            allowed = allowed.new_zeros(alive.numel(), allowed.size(1)).index_copy_(0, slots, allowed)
        scores = self.scores(outputs.view(sentences, width, -1))  # (B, W, C)
        columns = scores.size(2)
        scores = scores.masked_fill(~allowed.view(sentences, width, columns), -torch.inf)
        values, flat = best_of(scores.flatten(1), k)  # (B, k)
        words = self.successors.candidates.expand(sentences, -1).gather(1, flat.remainder(columns))
        return Candidates(values, flat.div(columns, rounding_mode="floor"), words)

    def follow(self, states: State, words: Tensor, sentences: Tensor) -> State:
        """What is remembered after one more word: states each (R, ...), words and sentences (R,)."""
        return self.successors.advance(states, words, sentences)
