"""Decoders whose state of a hypothesis is a few tensors: the search selects states, and segments start from gold's.

The segments of all violators run side by side, and a prefix that several of a sentence share is one row. The segments
of one sentence's violators never overlap in time: they are at most one more run over the target.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from .decoder import GoldRun, Rows, Scored
from .prefixes import distinct_prefixes
from .scorer import PrefixScore, Scorer
from .states import State, select
from .violations import Violations, ragged


class RecurrentDecoder(ABC):
    """A ``Decoder`` of a model with ``embed`` and ``advance``.

    ``times`` is the step whose word is scored next. The step and the sentence together select the dropout masks, which
    all hypotheses of a sentence share.
    """

    scorer: Scorer
    prefix_score: PrefixScore
    padding: int
    end: int
    gold_states: State
    """each (T, B, ...): the states that gave the gold run's ``outputs[t]``, with gradient"""

    @abstractmethod
    def embed(self, words: Tensor, sentences: Tensor, times: Tensor) -> Tensor:
        """words, sentences, times (N,) -> (N, I), the words as inputs of ``advance``."""

    @abstractmethod
    def advance(self, inputs: Tensor, states: State, rows: Rows, times: Tensor) -> Tuple[Tensor, State]:
        """inputs (R, I), states each (R, ...), times (R,) -> outputs (R, H) and the states after these inputs."""

    @abstractmethod
    def prepare(self, words: Optional[Tensor]) -> None:
        """As in ``Decoder``."""

    def extend(self, t: int, states: State, source: Tensor, words: Tensor, rows: Rows) -> Tuple[Tensor, State]:
        """As in ``Decoder``."""
        parents = select(tuple(part[t].detach() for part in self.gold_states), states, source)
        times = torch.full_like(source, t + 1)
        return self.advance(self.embed(words, rows.sentences, times), parents, rows, times)

    def score(self, gold: GoldRun, violations: Violations) -> Tuple[GoldRun, Scored]:
        """As in ``Decoder``: the gold run has its gradient already."""
        return gold, self._segments(gold, violations)

    def _segments(self, gold: GoldRun, violations: Violations) -> Scored:
        """Decodes the violators' own words with gradient, from the gold states that they branch off."""
        steps = _steps(violations, gold.words.size(0))
        index = torch.arange(violations.times.numel(), device=gold.words.device)  # (M,)
        states = tuple(part.flatten(0, 1) for part in self.gold_states)  # (T * B, ...) each
        found = [gold.outputs.flatten(0, 1).index_select(0, steps.gold_states)]  # the first word follows gold's prefix
        inputs = self.embed(steps.words, steps.sentences, steps.times).split(steps.counts) if steps.counts else []
        parts = (part.split(steps.counts) for part in (steps.parents, steps.sentences, steps.ranks, steps.times))
        for width, embedded, parents, sentences, ranks, times in zip(steps.widths, inputs, *parts):
            states = tuple(part.index_select(0, parents) for part in states)
            outputs, states = self.advance(embedded, states, Rows(sentences * width + ranks, width, False), times)
            found.append(outputs)
        owners, places = torch.cat([index, steps.owners]), torch.cat([violations.branches, steps.places])
        outputs = torch.cat(found).index_select(0, torch.cat([index, index.numel() + steps.numbers]))
        return Scored(outputs, violations.paths[owners, places], owners, places)


class _Steps(NamedTuple):
    """The steps that decode the segments of M violations: one row for each of U distinct prefixes, by their length."""

    gold_states: Tensor
    """(M,) int64, the state at the branch of each violation, in a flat ``T * B``"""
    owners: Tensor
    """(N,) int64, the violation of each word after the first of a segment"""
    places: Tensor
    """(N,) int64, the position of each of these words in its sentence"""
    numbers: Tensor
    """(N,) int64, the row whose output scores each of these words"""
    words: Tensor
    """(U,) int64, the input of each row"""
    sentences: Tensor
    """(U,) int64"""
    times: Tensor
    """(U,) int64, the position of the word that the row scores"""
    parents: Tensor
    """(U,) int64, the state that a row continues: among the gold states, then among the rows of the step before"""
    ranks: Tensor
    """(U,) int64, the number of earlier rows of the same sentence in the same step"""
    counts: List[int]
    """the number of rows of each step"""
    widths: List[int]
    """the largest number of rows of a sentence in each step: attention needs only as many slots"""


def _steps(violations: Violations, sentences: int) -> _Steps:
    """Plans the steps of M violations of B sentences. Only here does the host read how many there are."""
    branches, paths = violations.branches, violations.paths
    gold_states = branches * sentences + violations.sentences
    owners, places = ragged(branches + 1, violations.ends - branches)  # (N,)
    prefixes = distinct_prefixes(violations, owners, places)
    step = (places - branches[owners] - 1)[prefixes.words]  # (U,)
    step, order = step.sort(stable=True)
    numbers, chosen = order.argsort()[prefixes.numbers], prefixes.words[order]
    owner, place = owners[chosen], places[chosen]  # (U,) a violation with this prefix, and the word that it scores
    sentence, row_at = violations.sentences[owner], paths.new_zeros(paths.shape)
    row_at[owners, places] = numbers
    tally = torch.bincount(step)
    first = tally.cumsum(0) - tally  # the first row of each step
    parents = torch.where(step == 0, gold_states[owner], row_at[owner, place - 1] - first[(step - 1).clamp(min=0)])
    ranks = _rank_within_groups(step * sentences + sentence)
    widths = torch.zeros_like(tally).scatter_reduce(0, step, ranks + 1, "amax")
    counts, width = torch.stack([tally, widths]).tolist()
    words = paths[owner, place - 1]
    return _Steps(gold_states, owners, places, numbers, words, sentence, place, parents, ranks, counts, width)


def _rank_within_groups(group: Tensor) -> Tensor:
    """The group of each row (U,) -> (U,) the number of earlier rows of the same group."""
    grouped, order = group.sort(stable=True)
    index = torch.arange(group.numel(), device=group.device)  # (U,)
    begins = torch.ones_like(grouped, dtype=torch.bool)
    begins[1:] = grouped[1:] != grouped[:-1]
    first = torch.where(begins, index, 0).cummax(0).values if index.numel() else index
    return torch.empty_like(group).scatter_(0, order, index - first)
