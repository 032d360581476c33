"""Beam search to the end, in training: the best finished hypotheses of every sentence. `finished_scores` scores them.

The search is that of fairseq's generator. A hypothesis is finished if ``</s>`` is among the K best candidates of a
step. The K best of the other candidates are extended, until K hypotheses are finished. With ``end_at_limit``
only ``</s>`` may follow at the limit of the length. Gold plays no part in it.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional

import torch
from torch import Tensor

from .decoder import Decoder, GoldRun, Rows
from .scorer import Candidates
from .segments import SearchOptions, make_search
from .states import State, select
from .violation_reset import BeamState, Search


class Finished(NamedTuple):
    """The finished hypotheses of B sentences, at most K each, in the order in which they ended."""

    paths: Tensor
    """(B, K, T) int64, padding after the end"""
    lengths: Tensor
    """(B, K) int64, the number of words including ``</s>``; 0 for none"""
    scores: Tensor
    """(B, K) float, the sum of local scores in the search; ``-inf`` for none"""


def finished_search(decoder: Decoder, gold: GoldRun, options: SearchOptions) -> Finished:
    """Searches to the end, without gradient.

    Args:
        decoder: the model on this batch.
        gold: its gold run, detached. ``T`` bounds the length of hypotheses, so gold may be padded.
        options: the beam is K; the margin and the options of finished rivals do not matter.
    """
    time, beam, on_cpu = gold.outputs.size(0), options.beam, gold.words.device.type == "cpu"
    search, _ = make_search(decoder, gold, options._replace(beam=2 * beam))  # at most K of 2 K end
    decoder.prepare(None if search.candidates is None else search.candidates.unique())
    ended = _EndedHypotheses(gold.words, beam)
    scores, words = (part[0] for part in search.best_after_gold(2 * beam))
    found = Candidates(scores, torch.zeros_like(words), words)
    history: List[Candidates] = []
    kept: Optional[BeamState] = None
    for t in range(time):
        if kept is not None:
            at_limit = options.end_at_limit and t + 1 == time
            found = search.best_of_others(kept, t, 2 * beam, decoder.end if at_limit else None)
        places = ended.record(found, t, decoder.end)  # (B, K) of the candidates to extend
        chosen = Candidates(*(part.gather(1, places) for part in found))
        alive = (chosen.scores > -torch.inf) & (chosen.words != decoder.end) & ~ended.full().unsqueeze(1)
        history.append(chosen)
        if t + 1 == time or on_cpu and not bool(alive.any()):
            break
        kept = _extend(decoder, search, kept, chosen, alive, t, live_rows_only=on_cpu)
    return ended.finished(history, decoder.padding, decoder.end, time)


def _extend(
    decoder: Decoder,
    search: Search,
    kept: Optional[BeamState],
    chosen: Candidates,
    alive: Tensor,
    t: int,
    live_rows_only: bool,
) -> BeamState:
    """Feeds the chosen words to the decoder and returns the hypotheses one step later.

    Args:
        decoder, search: of this batch.
        kept: the hypotheses that the words follow; None for the empty prefix.
        chosen: (B, K) candidates.
        alive: (B, K) bool, whether a candidate may be extended.
        t: the number of words of ``kept``.
        live_rows_only: as in ``violation_reset_search``.
    """
    rows = Rows.of(alive, live_rows_only)
    words = chosen.words.view(-1)[rows.slots]  # (R,)
    source, states = rows.sentences, ()
    before: State = ()
    if kept is not None:
        source, states, before = _sources(chosen.slots, kept, rows), kept.states, kept.constraint_states
    empty_prefix = tuple(part[0] for part in search.gold_constraint_states)  # each (B, ...)
    constraint_states = select(empty_prefix, before, source)
    outputs, states = decoder.extend(t, states, source, words, rows)
    constraint_states = search.advance_constraint(constraint_states, words, rows.sentences)
    return BeamState(rows, outputs, states, constraint_states, chosen.scores, alive, torch.zeros_like(chosen.slots))


def _sources(slots: Tensor, kept: BeamState, rows: Rows) -> Tensor:
    """(R,) the parent of each row, in ``kept``; the B empty gold prefixes count before its rows."""
    parents = rows.sentences * rows.width + slots.view(-1)[rows.slots]  # (R,) in the flat beam of ``kept``
    return slots.size(0) + kept.rows.row_of_slot(slots.size(0))[parents]


class _EndedHypotheses:
    """The hypotheses that have ended: at most K of each of B sentences.

    Args:
        words: (B, T) int64, for the shape and the device.
        beam: K.
    """

    def __init__(self, words: Tensor, beam: int) -> None:
        # Column K is a dummy target for candidates that do not end, or end after K others.
        self.times = words.new_full((words.size(0), beam + 1), -1)  # (B, K + 1)
        self.slots = torch.zeros_like(self.times)  # of the parent, among the hypotheses kept in the step before
        self.scores = torch.full(self.times.shape, -torch.inf, device=words.device)
        self.counts = torch.zeros_like(words[:, 0])
        self.beam = beam

    def full(self) -> Tensor:
        """(B,) bool, whether K hypotheses of a sentence have ended."""
        return self.counts == self.beam

    def record(self, found: Candidates, t: int, end: int) -> Tensor:
        """Records those of 2 K candidates that end in step ``t``. Returns the places (B, K) of the best others."""
        rank = torch.arange(found.words.size(1), device=found.words.device)  # (2 K,)
        is_end = (found.words == end) & (found.scores > -torch.inf)  # (B, 2 K)
        is_end = is_end | found.scores.isnan()  # a NaN must reach the loss: it ends its hypothesis
        ending = is_end & (rank < self.beam)
        place = torch.where(
            ending, self.counts.unsqueeze(1) + ending.cumsum(1) - 1, torch.full_like(found.words, self.beam)
        )
        place = place.clamp(max=self.beam)  # (B, 2 K) its place among those that have ended
        self.times.scatter_(1, place, torch.full_like(place, t))
        self.slots.scatter_(1, place, found.slots)
        self.scores = self.scores.to(found.scores.dtype).scatter_(1, place, found.scores)
        self.counts = (self.counts + ending.sum(1)).clamp(max=self.beam)
        return (rank + is_end.long() * rank.numel()).topk(self.beam, largest=False).values.remainder(rank.numel())

    def finished(self, history: List[Candidates], padding: int, end: int, time: int) -> Finished:
        """Recovers all paths by back-pointers; ``history`` has the chosen candidates (B, K) of every step."""
        times, slots, scores = (part[:, : self.beam] for part in (self.times, self.slots, self.scores))
        paths = slots.new_full((*slots.shape, time), padding)
        for t in range(len(history) - 1, -1, -1):
            chosen, before = history[t], times > t
            words = chosen.words.gather(1, slots)
            paths[..., t] = torch.where(before, words, paths[..., t].masked_fill(times == t, end))
            slots = torch.where(before, chosen.slots.gather(1, slots), slots)
        return Finished(paths, times + 1, scores.masked_fill(times < 0, -torch.inf))


def lowest_cost(finished: Finished, costs: Tensor, normalized: bool) -> Tensor:
    """The slot of the lowest-cost hypothesis of each sentence that has a word besides ``</s>``: (B,), -1 for none.

    Among equal costs the best by the measure of decoding wins.

    Args:
        finished: hypotheses.
        costs: (B, K).
        normalized: whether decoding divides scores by length.
    """
    eligible = finished.lengths > 1  # (B, K) a target needs a word
    least = costs.masked_fill(~eligible, torch.inf).amin(1, keepdim=True)  # (B, 1)
    measure = finished.scores / finished.lengths.clamp(min=1) if normalized else finished.scores
    best = measure.masked_fill(~eligible | (costs > least), -torch.inf).argmax(1)
    return best.masked_fill(~eligible.any(1), -1)
