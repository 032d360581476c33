"""Violation-reset search: beam search in training that starts again from gold at every margin violation.

Wiseman & Rush 2016 (arXiv 1606.02960), section 4 and algorithm 1; the search of LaSO (Daume & Marcu 2005). Slot 0 of
every beam is the gold prefix, whose states the gold run already holds; slots 1..K-1 are the other hypotheses, best
first. Time is counted from 0 here: step ``t`` ranks the candidates for word ``t``.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Protocol, Tuple

import torch
from torch import Tensor

from .beam import best_of, recover_paths
from .scorer import Candidates

State = Tuple[Tensor, ...]


class Rows(NamedTuple):
    """Which places of a flat ``B * width`` beam the rows of a batch of hypotheses stand for."""

    slots: Tensor
    """(R,) int64, ascending within what a step needs to scatter"""
    width: int
    """places per sentence"""
    everywhere: bool
    """whether the rows are all ``B * width`` places in order"""

    @property
    def sentences(self) -> Tensor:
        """(R,) int64"""
        return self.slots.div(self.width, rounding_mode="floor")


class Decoder(Protocol):
    """What the search and the segments need of a model. ``times`` is the step whose word is scored next; together with
    the sentence it picks the dropout masks, which all hypotheses of a sentence share."""

    def embed(self, words: Tensor, sentences: Tensor, times: Tensor) -> Tensor:
        """words, sentences, times (N,) -> (N, I), the words as inputs of ``advance``."""

    def advance(self, inputs: Tensor, states: State, rows: Rows, times: Tensor) -> Tuple[Tensor, State]:
        """inputs (R, I), states each (R, ...), times (R,) -> outputs (R, H) and the states after these inputs."""


class Search(Protocol):
    """Finds the best successors: ``VocabularySearch`` over all words, ``CandidateSearch`` under a constraint."""

    gold_states: State
    """each (T, B, ...), what is remembered of every gold prefix to know its successors; none without a constraint"""

    def best_after_gold(self, outputs: Tensor, k: int) -> Tuple[Tensor, Tensor]:
        """outputs (T, B, H) -> scores and words (T, B, k) of each gold prefix."""

    def best_per_sentence(
        self, outputs: Tensor, states: State, slots: Optional[Tensor], alive: Tensor, k: int
    ) -> Candidates:
        """outputs (R, H), states each (R, ...), slots (R,), alive (B, W) -> the best (B, k) of each sentence."""

    def follow(self, states: State, words: Tensor, sentences: Tensor) -> State:
        """What is remembered after one more word: states each (R, ...), words and sentences (R,)."""


class GoldRun(NamedTuple):
    """The model's pass along the gold words."""

    words: Tensor
    """(B, T) int64, anything beyond a sentence's length"""
    lengths: Tensor
    """(B,) int64 >= 1, including ``</s>``"""
    outputs: Tensor
    """(T, B, H): ``outputs[t]`` scores word ``t``"""
    states: State
    """each (T, B, ...): the state that gave ``outputs[t]``"""

    def detach(self) -> GoldRun:
        """The same without gradient."""
        return GoldRun(self.words, self.lengths, self.outputs.detach(), tuple(part.detach() for part in self.states))


class Violations(NamedTuple):
    """All margin violations of a batch, in order of (time, sentence)."""

    sentences: Tensor
    """(M,) int64"""
    times: Tensor
    """(M,) int64, from 0"""
    resets: Tensor
    """(M,) int64: words ``resets..times`` were searched since the last reset (``r + 1 .. t`` of the paper)"""
    branches: Tensor
    """(M,) int64 in ``[resets, times]``: the first word in which the violator differs from gold, or ``times`` where
    only its last word does"""
    paths: Tensor
    """(M, T) int64: the violator up to and including ``times``, gold words elsewhere"""
    gaps: Tensor
    """(M,) float: gold score minus violator score, as the search saw them"""

    @property
    def last_words(self) -> Tensor:
        """(M,) int64, the word each violator was scored for."""
        return self.paths.gather(1, self.times.unsqueeze(1)).squeeze(1)


class _Ranked(NamedTuple):
    """What one step decides for every sentence."""

    violated: Tensor
    """(B,) bool"""
    gap: Tensor
    """(B,) float"""
    violator_slot: Tensor
    """(B,) int64"""
    violator_word: Tensor
    """(B,) int64"""
    next_slots: Tensor
    """(B, K-1) int64, parents of the other hypotheses kept"""
    next_words: Tensor
    """(B, K-1) int64"""
    next_alive: Tensor
    """(B, K-1) bool, whether a kept hypothesis can be extended"""


def violation_reset_search(
    gold: GoldRun,
    gold_scores: Tensor,
    search: Search,
    decoder: Decoder,
    beam: int,
    end: int,
    margin: float = 1.0,
    live_rows_only: bool = True,
) -> Violations:
    """Searches all sentences of a batch at once and returns where gold fell below the margin.

    Args:
        gold: the gold run, detached.
        gold_scores: (B, T) ``f(y_t | y_<t)``.
        search: finds the best successors.
        decoder: extends hypotheses; called without gradient.
        beam: K >= 2.
        end: the word id of ``</s>``; a hypothesis that ended has no successors.
        margin: by which gold must beat the violator, > 0.
        live_rows_only: compute only rows that hold a hypothesis (needs their number on the host each step: free on a
            CPU). Otherwise all ``B * (K-1)`` rows are computed and the device is never asked for a value inside the
            loop.

    Returns:
        Violations.

    Raises:
        ValueError: if ``beam`` < 2 or ``margin`` <= 0.
    """
    if beam < 2:
        raise ValueError(f"the train beam is {beam}, but must be at least 2: with one hypothesis gold has no rival")
    if margin <= 0:
        raise ValueError(f"the margin is {margin}, but must be above 0, or gold could leave the beam unnoticed")
    with torch.no_grad():
        steps, parents, words = _search_all_steps(gold, gold_scores, search, decoder, beam, end, margin, live_rows_only)
        return _collect(gold, steps, parents, words)


def _search_all_steps(
    gold: GoldRun,
    gold_scores: Tensor,
    search: Search,
    decoder: Decoder,
    beam: int,
    end: int,
    margin: float,
    live_rows_only: bool,
) -> Tuple[List[_Ranked], Tensor, Tensor]:
    """The time loop. Returns the decisions and (T, B, K) back-pointers and words, slot 0 being gold."""
    time, sentences, _ = gold.outputs.shape
    best, best_words = search.best_after_gold(gold.outputs, beam)  # (T, B, K)
    every_row = torch.arange(sentences * (beam - 1), device=best.device)
    rows, outputs = Rows(every_row[:0], beam - 1, False), gold.outputs[0, :0]
    states: State = ()
    steps: List[_Ranked] = []
    for t in range(time):
        candidates = Candidates(best[t], torch.zeros_like(best_words[t]), best_words[t])
        if rows.slots.numel() > 0:
            slots = None if rows.everywhere else rows.slots
            remembered = states[len(gold.states) :]
            others = search.best_per_sentence(outputs, remembered, slots, steps[-1].next_alive, beam)
            candidates = _merge(candidates, others, beam)
        steps.append(_rank(candidates, gold, gold_scores, t, end, margin))
        if t + 1 == time:
            break
        rows, outputs, states = _extend(steps[-1], gold, t, rows, states, search, decoder, every_row, live_rows_only)
    zero = gold.words.new_zeros(sentences, 1)
    parents = torch.stack([torch.cat([zero, ranked.next_slots], 1) for ranked in steps])  # (T, B, K)
    words = torch.stack([torch.cat([zero, ranked.next_words], 1) for ranked in steps])
    return steps, parents, words


def _merge(gold: Candidates, others: Candidates, beam: int) -> Candidates:
    """The best of the gold prefix's candidates and all others'; ties go to the gold prefix, then to the better slot."""
    scores, places = best_of(torch.cat([gold.scores, others.scores], 1), beam)
    slots = torch.cat([gold.slots, others.slots + 1], 1).gather(1, places)
    words = torch.cat([gold.words, others.words], 1).gather(1, places)
    return Candidates(scores, slots, words)


def _rank(candidates: Candidates, gold: GoldRun, gold_scores: Tensor, t: int, end: int, margin: float) -> _Ranked:
    """Ranks gold among the candidates of step ``t``: who violates, and what is kept."""
    scores, slots, words = candidates  # (B, K)
    beam = scores.size(1)
    exists = scores > -torch.inf
    slots, words = slots.masked_fill(~exists, 0), words.masked_fill(~exists, 0)
    is_gold = exists & (slots == 0) & (words == gold.words[:, t : t + 1])
    final = gold.lengths == t + 1  # (B,)
    active = gold.lengths > t
    # t < T: the last of K that is not gold. t = T: the first that is not gold. Either stands at or next to an end.
    place = torch.where(final, is_gold[:, 0].long(), beam - 1 - is_gold[:, -1].long()).unsqueeze(1)  # (B, 1)
    rival = scores.gather(1, place).squeeze(1)
    gap = gold_scores[:, t].to(rival.dtype) - rival
    threatened = torch.where(final, rival > -torch.inf, exists[:, -1])  # fewer than K candidates: gold cannot fall off
    violated = active & (threatened & (gap < margin) | gap.isnan())  # a NaN must reach the loss
    # The next beam without gold: skip its place. Gold is among the K wherever it is not violated.
    gold_place = torch.where(is_gold.any(1), is_gold.long().argmax(1), torch.full_like(gold.lengths, beam - 1))
    others = torch.arange(beam - 1, device=scores.device).expand(scores.size(0), -1)
    others = others + (others >= gold_place.unsqueeze(1)).long()  # (B, K-1)
    next_words = words.gather(1, others)
    goes_on = (active & ~final & ~violated).unsqueeze(1)
    return _Ranked(
        violated=violated,
        gap=gap,
        violator_slot=slots.gather(1, place).squeeze(1),
        violator_word=words.gather(1, place).squeeze(1),
        next_slots=slots.gather(1, others),
        next_words=next_words,
        next_alive=goes_on & exists.gather(1, others) & (next_words != end),
    )


def _extend(
    ranked: _Ranked,
    gold: GoldRun,
    t: int,
    rows: Rows,
    states: State,
    search: Search,
    decoder: Decoder,
    every_row: Tensor,
    live_rows_only: bool,
) -> Tuple[Rows, Tensor, State]:
    """Feeds the kept words: the states and outputs of the other hypotheses, one step later. ``states`` are those of
    the model, then what the search remembers: both are selected, and reset to gold's, by the same index."""
    sentences, width = ranked.next_slots.shape
    alive = ranked.next_alive.view(-1)
    slots = alive.nonzero().squeeze(1) if live_rows_only else every_row  # (R,)
    next_rows = Rows(slots, width, not live_rows_only)
    if slots.numel() == 0:
        return next_rows, gold.outputs[t, :0], ()
    sentence = next_rows.sentences
    parent = ranked.next_slots.view(-1)[slots]  # 0 is gold, k is slot k - 1 of the others
    gold_states = (*gold.states, *search.gold_states)
    if states:
        row_of_slot = torch.zeros_like(every_row)
        row_of_slot[rows.slots] = every_row[: rows.slots.numel()]
        other = sentences + row_of_slot[sentence * width + (parent - 1).clamp(min=0)]
        source = torch.where(parent == 0, sentence, other)  # (R,) into gold's rows, then the others'
        merged = tuple(
            torch.cat([mine[t], theirs]).index_select(0, source) for mine, theirs in zip(gold_states, states)
        )
    else:
        merged = tuple(mine[t].index_select(0, sentence) for mine in gold_states)
    words = ranked.next_words.view(-1)[slots]
    times = torch.full_like(slots, t + 1)
    split = len(gold.states)
    outputs, states = decoder.advance(decoder.embed(words, sentence, times), merged[:split], next_rows, times)
    return next_rows, outputs, (*states, *search.follow(merged[split:], words, sentence))


def _collect(gold: GoldRun, steps: List[_Ranked], parents: Tensor, words: Tensor) -> Violations:
    """Gathers the violations of all steps and recovers what each violator said. The only place that counts them."""
    violated = torch.stack([ranked.violated for ranked in steps])  # (T, B)
    time = torch.arange(len(steps), device=violated.device)
    after = torch.where(violated, time.unsqueeze(1) + 1, torch.zeros_like(violated, dtype=torch.long))
    since = torch.cat(
        [torch.zeros_like(after[:1]), after.cummax(0).values[:-1]]
    )  # (T, B) first word after the last reset
    times, sentences = violated.nonzero(as_tuple=True)  # (M,)
    slots = torch.stack([ranked.violator_slot for ranked in steps])[times, sentences]
    last = torch.stack([ranked.violator_word for ranked in steps])[times, sentences]
    paths, branches = recover_paths(parents, words, gold.words, sentences, times, slots)
    paths.scatter_(1, times.unsqueeze(1), last.unsqueeze(1))
    gaps = torch.stack([ranked.gap for ranked in steps])[times, sentences]
    return Violations(sentences, times, since[times, sentences], branches, paths, gaps)
