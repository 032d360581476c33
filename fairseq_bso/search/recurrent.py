"""Decoders whose state of a hypothesis is a few tensors: the search selects states, and segments start from gold's.

The segments of all violators run side by side. As segments of one sentence never overlap in time, they are at most one
more run over the target.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .decoder import GoldRun, Rows, Scored, State
from .scorer import PrefixScore, Scorer
from .violation_reset import select
from .violations import Violations


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
        """Decodes the violators' own words with gradient, longest first, from the gold states that they branch off."""
        sentences = gold.words.size(0)
        lengths, order = (violations.ends - violations.branches).sort(descending=True, stable=True)  # (M,) new steps
        running = _longer_than(lengths)  # running[j]: the number of segments that have a step j
        branch, sentence = violations.branches[order], violations.sentences[order]
        start = branch * sentences + sentence  # (M,) into the flat (T * B) gold states
        moving = running[0] if running else 0
        rank = _rank_within_sentences(sentence[:moving], sentences)
        widths = _widths(rank, running)
        states = tuple(part.flatten(0, 1).index_select(0, start[:moving]) for part in self.gold_states)
        found = [gold.outputs.flatten(0, 1).index_select(0, start)]  # the first word follows gold's own prefix
        inputs = self._embed_segments(violations.paths[order], sentence, branch, running)
        for j, embedded in enumerate(inputs):
            states = tuple(part[: running[j]] for part in states)
            slots, times = sentence[: running[j]] * widths[j] + rank[: running[j]], branch[: running[j]] + j + 1
            outputs, states = self.advance(embedded, states, Rows(slots, widths[j], False), times)
            found.append(outputs)
        counts = [order.numel(), *running]
        owners = torch.cat([order[:count] for count in counts])
        steps = torch.repeat_interleave(torch.arange(len(counts), device=owners.device), owners.new_tensor(counts))
        places = violations.branches[owners] + steps
        return Scored(torch.cat(found), violations.paths[owners, places], owners, places)

    def _embed_segments(self, paths: Tensor, sentence: Tensor, branch: Tensor, running: List[int]) -> Sequence[Tensor]:
        """The inputs of all segments in one call: for each step j, (running[j], I)."""
        if not running:
            return []
        row = torch.cat([torch.arange(count, device=paths.device) for count in running])  # (sum of running,)
        step = torch.repeat_interleave(
            torch.arange(len(running), device=paths.device), torch.tensor(running, device=paths.device)
        )
        place = branch[row] + step
        return self.embed(paths[row, place], sentence[row], place + 1).split(running)


def _longer_than(lengths: Tensor) -> List[int]:
    """For j = 0, 1, ...: the number of lengths above j. Only here does the host read the number of segments."""
    if lengths.numel() == 0:
        return []
    tally = torch.bincount(lengths)  # (longest + 1,)
    return tally.flip(0).cumsum(0).flip(0)[1:].tolist()


def _rank_within_sentences(sentence: Tensor, sentences: int) -> Tensor:
    """(M,) the sentence of each segment -> (M,) the number of earlier segments of the same sentence."""
    grouped, order = sentence.sort(stable=True)
    tally = torch.bincount(sentence, minlength=sentences)  # (B,)
    first = tally.cumsum(0) - tally
    rank = torch.empty_like(sentence)
    rank[order] = torch.arange(sentence.numel(), device=sentence.device) - first[grouped]
    return rank


def _widths(rank: Tensor, running: List[int]) -> List[int]:
    """For each step, the largest number of running segments of a sentence: attention needs only as many slots."""
    if not running:
        return []
    last = torch.tensor(running, device=rank.device) - 1
    return (rank.cummax(0).values[last] + 1).tolist()
